"""From a user's settings to everything a study needs, checked before anything is written."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from saeattr import bundle
from saeattr.behaviours.lists.pairs import check_swap
from saeattr.behaviours.lists.topics import resolve_topics
from saeattr.errors import UserError
from saeattr.model.hub import hub_name, named, unknown_model
from saeattr.model.loading import count_layers, find_model, load_tokenizer, model_name, resolve_device, site_widths
from saeattr.runs.memory import parse_bytes
from saeattr.runs.metric import Metric, make_metric
from saeattr.saes.loading import SaeFile, check_weights, check_width, find_saes
from saeattr.settings import StudySettings, choose_sites
from saeattr.study.folder import FORMAT


@dataclass(frozen=True)
class Prepared:
    """Everything a study needs, checked, with no weights loaded and nothing written."""

    settings: StudySettings
    groups: tuple[str, ...]
    tokenizer: PreTrainedTokenizerBase
    metric: Metric
    saes: list[SaeFile]
    record: dict[str, Any]


def resolve(settings: StudySettings) -> StudySettings:
    """Settings with what was left open filled in: the model's own SAEs, and bfloat16 on a GPU.

    Raises:
        UserError: the device does not exist, or nothing is known of SAEs for the model.
    """
    device = resolve_device(settings.device)
    dtype = settings.dtype or ("bfloat16" if device.type == "cuda" and settings.model != "bundled" else "float32")
    known = named(settings.model)
    saes, sae_width = settings.saes, settings.sae_width
    if saes is None and settings.model == "bundled":
        saes = "bundled"
    elif saes is None and known is not None:
        saes, sae_width = ",".join(known.releases), sae_width or known.width
    elif saes is None and hub_name(settings.model) is None and not Path(settings.model).expanduser().is_dir():
        raise unknown_model(settings.model)
    elif saes is None:
        raise UserError(
            "a model of your own needs SAEs made for it: give their folder, or a release in sae-lens' directory, "
            "with --saes"
        )
    return settings.model_copy(update={"dtype": dtype, "saes": saes, "sae_width": sae_width})


def prepare(settings: StudySettings, *, weights: bool = True) -> Prepared:
    """Check everything that can be checked without loading weights; what is on the hub is downloaded first.

    Args:
        settings: as the user gave them.
        weights: False leaves the weights of model and SAEs alone (they need not be there).

    Raises:
        UserError: a group, token, site, SAE or model file cannot be used.
    """
    groups = resolve_topics(settings.groups)
    if settings.vram is not None:
        parse_bytes(settings.vram)
    settings = resolve(settings)
    folder = find_model(settings.model, weights=weights)
    widths, n_layers = site_widths(folder), count_layers(folder)
    assert settings.saes is not None
    found = find_saes(settings.saes, widths, width=settings.sae_width, l0=settings.sae_l0)
    saes = [found[site] for site in choose_sites(settings, list(found))]
    for file in saes:
        if file.site.layer >= n_layers:
            raise UserError(
                f"the model has layers 0 to {n_layers - 1}, so there is no {file.site}: "
                "name --layers or --sites that it has"
            )
        check_width(file, widths[file.site.kind])
        if weights:
            check_weights(file)
    tokenizer = load_tokenizer(folder)
    metric = make_metric(settings.metric, tokenizer, settings.contrast)
    for group in groups:
        check_swap(tokenizer, group)
    record = {
        "format": FORMAT,
        "settings": settings.identity(),
        "model": {"name": model_name(settings.model), "sha256": bundle.fingerprint(folder) if weights else None},
        "metric_label": metric.label,
        "saes": {str(file.site): bundle.file_sha256(file.weights) for file in saes} if weights else {},
        "versions": _versions(),
        "groups": [],
    }
    return Prepared(settings, groups, tokenizer, metric, saes, record)


def default_folder(settings: StudySettings) -> Path:
    """``runs/MODEL``, with every setting that is not the default in its name."""
    plain = StudySettings(dtype="float32").identity()
    named_apart = ("model", "saes", "sae_width")
    changed = {k: v for k, v in settings.identity().items() if v != plain[k] and k not in named_apart}
    parts = [model_name(settings.model)]
    for name, value in changed.items():
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        parts.append(f"{name}={text}")
    kept = "".join(letter if letter.isalnum() or letter in "-_=,." else "_" for letter in "-".join(parts))
    return Path("runs") / kept[:120]


def _versions() -> dict[str, str]:
    found = {}
    for package in ("saeattr", "torch", "transformers", "transformer-lens", "sae-lens", "safetensors"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
