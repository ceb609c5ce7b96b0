"""From a user's settings to everything a study needs, checked before anything is written."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from saeattr import bundle
from saeattr.attribution.methods import find_method
from saeattr.behaviours.behaviour import Behaviour, Contrast, find_behaviour
from saeattr.behaviours.given.behaviour import Given
from saeattr.behaviours.given.source import GivenRows, read_source
from saeattr.digests import file_sha256
from saeattr.errors import UserError
from saeattr.model.hub import hub_name, named, unknown_model
from saeattr.model.loading import (
    count_layers,
    find_model,
    load_tokenizer,
    longest_input,
    model_name,
    read_config,
    resolve_device,
    site_widths,
    widths_of,
)
from saeattr.runs.metric import find_metric
from saeattr.runs.question import Question
from saeattr.saes.formats import SaeFile
from saeattr.saes.loading import check_weights, check_width, find_saes
from saeattr.settings import StudySettings
from saeattr.sites import Kind, Site
from saeattr.study.folder import FORMAT
from saeattr.study.limits import check_amounts, unusual_limits
from saeattr.study.named_sites import choose_sites
from saeattr.study.passed import NOTHING, Passed


@dataclass(frozen=True)
class Prepared:
    """Everything a study needs, checked, with no weights loaded and nothing written."""

    settings: StudySettings
    behaviour: Behaviour
    groups: tuple[str, ...]
    tokenizer: PreTrainedTokenizerBase
    contrast: Contrast
    question: Question
    saes: list[SaeFile]
    record: dict[str, Any]
    passed: Passed = NOTHING


@dataclass(frozen=True)
class KnownModel:
    """What is known of the model before it is open.

    Attributes:
        longest: tokens that it can read; None for any number.
        named: its entry in the record.
    """

    widths: dict[Kind, int]
    n_layers: int
    longest: int | None
    tokenizer: PreTrainedTokenizerBase
    named: dict[str, Any]


def resolve(
    settings: StudySettings, behaviour: Behaviour, passed: bool = False, with_saes: bool = True
) -> StudySettings:
    """Settings with what was left open filled in: the model's own SAEs, and bfloat16 on a GPU.

    Args:
        passed: whether the model is open already, so that its name need not be known.
        with_saes: False leaves open which SAEs.

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
    elif saes is None and not (passed or hub_name(settings.model) or Path(settings.model).expanduser().is_dir()):
        raise unknown_model(settings.model)
    elif saes is None and with_saes:
        raise UserError(
            "a model of your own needs SAEs made for it: give their folder, or a release in sae-lens' directory, "
            "with --saes"
        )
    metric = settings.metric or next(iter(behaviour.metrics))
    return settings.model_copy(update={"dtype": dtype, "saes": saes, "sae_width": sae_width, "metric": metric})


def prepare(
    settings: StudySettings,
    *,
    weights: bool = True,
    given: GivenRows | None = None,
    passed: Passed = NOTHING,
    with_saes: bool = True,
) -> Prepared:
    """Check everything that can be checked without loading weights; the model is downloaded first if it is on the hub.

    SAEs from the hub are downloaded here where their sites are named; else no file of theirs is touched before they
    are chosen.

    Args:
        settings: as the user gave them.
        weights: False leaves the weights of model and SAEs alone (they need not be there).
        given: the rows of ``pairs``, where they are at hand; else they are read from what it names.
        passed: objects in place of the names in the settings.
        with_saes: False for what needs the model alone: no SAE is looked for, and the record says nothing of any.

    Raises:
        UserError: a group, token, site, SAE or model file cannot be used.
    """
    if given is None and settings.pairs is not None:
        given = read_source(settings.pairs, settings.columns or ())
    if given is None and settings.columns is not None:
        raise UserError("--columns names the columns of --pairs: give both, or leave it out")
    behaviour = find_behaviour(settings.behaviour) if given is None else Given(given)
    if settings.lists_from is not None and not behaviour.inputs(settings):
        raise UserError(f"--lists-from names lists, and this study is of {behaviour.name}: leave it out")
    if settings.swap != "length" and settings.behaviour != "lists":
        raise UserError(f"--swap is of requests for lists, and this study is of {behaviour.name}: leave it out")
    groups = behaviour.asked_groups(settings)
    find_method(settings.method)
    check_amounts(settings)
    settings = resolve(settings, behaviour, passed.model is not None, with_saes)
    model = known_model(settings, passed, weights)
    if given is not None:
        behaviour = Given(given, model.longest)
    saes = usable_saes(settings, passed, model, weights) if with_saes else []
    tokenizer = model.tokenizer
    if settings.metric not in behaviour.metrics:
        find_metric(str(settings.metric), tuple(behaviour.metrics))
    contrast = behaviour.contrast(tokenizer, settings)
    behaviour.check(tokenizer, groups)
    behaviour.check_settings(tokenizer, groups, settings, contrast)
    metric = find_metric(contrast.metric)
    question = Question(
        metric, settings.decision, settings.base, settings.method, settings.ig_steps, settings.check_pairs
    )
    record = {
        "format": FORMAT,
        "settings": settings.identity(with_saes),
        "model": model.named,
        "metric_label": contrast.label or metric.help,
        "versions": package_versions(),
        "groups": [],
    }
    if with_saes and settings.names_sites:
        # Others are fetched and noted when they are chosen (``saeattr.study.fetching``).
        record["saes"] = {str(file.site): file.sha256 for file in saes} if weights else {}
    if behaviour.source:
        record |= {"pairs": {"sha256": behaviour.source["sha256"]}, "source": behaviour.source["name"]}
    inputs = {path.name: file_sha256(path) for path in behaviour.inputs(settings)}
    if inputs:
        record["inputs"] = inputs
    return Prepared(settings, behaviour, groups, tokenizer, contrast, question, saes, record, passed)


def known_model(settings: StudySettings, passed: Passed = NOTHING, weights: bool = True) -> KnownModel:
    """The model that was passed, or the one that the settings name."""
    if passed.model is not None:
        lm = passed.model.lm
        named = {"name": model_name(lm.name), "sha256": passed.model.sha256, "passed": True}
        return KnownModel(widths_of(lm.hf.config), lm.n_layers, longest_input(lm.hf.config), lm.tokenizer, named)
    folder = find_model(settings.model, weights=weights)
    named = {"name": model_name(settings.model), "sha256": bundle.fingerprint(folder) if weights else None}
    longest = longest_input(read_config(folder))
    return KnownModel(site_widths(folder), count_layers(folder), longest, load_tokenizer(folder), named)


def usable_saes(settings: StudySettings, passed: Passed, model: KnownModel, weights: bool) -> list[SaeFile]:
    """The SAEs that were passed or named, checked against the model; their files too where wanted or local."""
    widths, n_layers = model.widths, model.n_layers
    found = chosen_saes(settings, passed, widths)
    saes = [found[site] for site in choose_sites(settings, list(found))]
    for file in saes:
        if file.site.layer >= n_layers:
            raise UserError(
                f"the model has layers 0 to {n_layers - 1}, so there is no {file.site}: "
                "name --layers or --sites that it has"
            )
        check_width(file, widths[file.site.kind])
        # Of SAEs from the hub nothing is fetched before they are chosen.
        if weights and (settings.names_sites or file.published is None):
            check_weights(file)
    return saes


def chosen_saes(settings: StudySettings, passed: Passed, widths: dict[Kind, int]) -> dict[Site, SaeFile]:
    """The SAEs that were passed, or those that the settings name."""
    if passed.saes is not None:
        return dict(passed.saes)
    return find_saes(settings.saes or "bundled", widths, width=settings.sae_width, l0=settings.sae_l0)


def default_folder(prepared: Prepared) -> Path:
    """``runs/MODEL``, with where own pairs come from, and every setting and limit that is not the default."""
    settings, source = prepared.settings, prepared.behaviour.source
    metric = next(iter(prepared.behaviour.metrics))
    plain = StudySettings(dtype="float32", metric=metric).identity()
    named_apart = ("model", "saes", "sae_width")
    changed = {k: v for k, v in settings.identity().items() if v != plain[k] and k not in named_apart}
    changed |= unusual_limits(settings, prepared.saes)
    parts = [model_name(settings.model)]
    if source:
        changed.pop("behaviour", None)
        parts.append(f"{Path(source['name']).stem}-{source['sha256'][:8]}")
    for name, value in changed.items():
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        parts.append(f"{name}={text}")
    kept = "".join(letter if letter.isalnum() or letter in "-_=,." else "_" for letter in "-".join(parts))
    return Path("runs") / kept[:120]


def package_versions() -> dict[str, str]:
    """Of the packages that decide numbers."""
    found = {}
    for package in ("saeattr", "torch", "transformers", "transformer-lens", "sae-lens", "safetensors"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
