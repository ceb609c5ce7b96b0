"""A study from settings to figures: each stage is stored before the next begins, and is not done twice."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from saeattr import bundle
from saeattr.analysis.memory_plan import MemoryPlan, parse_bytes
from saeattr.analysis.metrics import make_metric
from saeattr.config import StudySettings, choose_sites, make_settings
from saeattr.errors import UserError
from saeattr.model.loading import (
    LanguageModel,
    find_model,
    load_model,
    load_tokenizer,
    model_name,
    resolve_device,
    site_widths,
)
from saeattr.prompts.pairs import check_swap, make_pairs
from saeattr.prompts.topics import resolve_topics, topic_slug
from saeattr.results import Study
from saeattr.saes.loading import check_weights, check_width, find_saes
from saeattr.store import (
    FORMAT,
    StudyFolder,
    join_topics,
    open_study,
    read_record,
    remove_leftovers,
    write_record,
    write_text,
    write_topic,
)
from saeattr.study_topic import OnProgress, Prepared, list_warnings, memory_plan, topic_lists, topic_tables

TABLES = ("attributions", "features", "site_effects", "metric_by_item")

#: Tokens of a short list of a dozen items with its request.
USUAL_LENGTH = 60

#: Written into every table, because tools disagree on it.
SIGN_CONVENTION = (
    "effect: estimated change of the metric when the feature is patched from its clean to its base value "
    "(gradient on the clean run, towards the base)"
)


def attribute(
    topics: str | Sequence[str] | None = None,
    *,
    out: str | Path | None = None,
    config: str | Path | None = None,
    figures: bool = True,
    on_progress: OnProgress = lambda topic, stage, done, total: None,
    **settings: Any,
) -> Study:
    """Which SAE features make the model end its list: sample, pair, attribute, draw.

    Args:
        topics: one or more topics, or ``all``.
        out: the study folder; a folder that holds part of the same study is completed.
        config: a YAML file with settings.
        figures: draw them.
        on_progress: called as the work goes on.
        settings: any field of ``StudySettings``, e.g. ``lists=5, base="zero", sites=["resid_post.3"]``.

    Returns:
        The study; its tables are read from the folder when asked for.

    Raises:
        UserError: the input cannot be used; nothing is written then.
    """
    names = None if topics is None else ((topics,) if isinstance(topics, str) else tuple(topics))
    chosen = make_settings({**settings, "topics": names}, None if config is None else Path(config))
    prepared = prepare(chosen)
    if chosen.vram is not None:
        # The lists are not known yet; a budget that no usual list fits is refused before anything is written.
        memory_plan(prepared, chosen.lists, USUAL_LENGTH, resolve_device(chosen.device))
    folder = open_study(Path(out) if out is not None else default_folder(chosen), prepared.record)
    remove_leftovers(folder)
    warnings = _attribute_topics(prepared, folder, on_progress)
    done = _join(folder, prepared)
    study = Study(folder, done, tuple(warnings))
    if figures:
        from saeattr.report.figures import draw_study

        draw_study(study, on_progress)
    return study


def plan(
    topics: str | Sequence[str] | None = None,
    *,
    config: str | Path | None = None,
    length: int = USUAL_LENGTH,
    **settings: Any,
) -> MemoryPlan:
    """What ``attribute`` with these settings will need, by part; no weights are loaded, nothing is written.

    Args:
        length: tokens of the longest list with its request.

    Raises:
        UserError: the input cannot be used, or the budget (``vram``) is too small.
    """
    names = None if topics is None else ((topics,) if isinstance(topics, str) else tuple(topics))
    chosen = make_settings({**settings, "topics": names}, None if config is None else Path(config))
    return memory_plan(prepare(chosen), chosen.lists, length, resolve_device(chosen.device))


def prepare(settings: StudySettings) -> Prepared:
    """Check everything that can be checked without loading weights.

    Raises:
        UserError: a topic, token, site, SAE or model file cannot be used.
    """
    topics = resolve_topics(settings.topics)
    resolve_device(settings.device)
    if settings.vram is not None:
        parse_bytes(settings.vram)
    found = find_saes(settings.saes)
    saes = [found[site] for site in choose_sites(settings, list(found))]
    folder = find_model(settings.model)
    widths = site_widths(folder)
    for file in saes:
        check_width(file, widths[file.site.kind])
        check_weights(file)
    tokenizer = load_tokenizer(folder)
    metric = make_metric(settings.metric, tokenizer, settings.contrast)
    for topic in topics:
        check_swap(tokenizer, topic)
    record = {
        "format": FORMAT,
        "settings": settings.identity(),
        "model": {"name": model_name(settings.model), "sha256": bundle.fingerprint(folder)},
        "metric_label": metric.label,
        "saes": {str(file.site): bundle.file_sha256(file.weights) for file in saes},
        "versions": _versions(),
        "topics": [],
    }
    return Prepared(settings, topics, tokenizer, metric, saes, record)


def default_folder(settings: StudySettings) -> Path:
    """``runs/MODEL``, with every setting that is not the default in its name."""
    plain = StudySettings().identity()
    changed = {k: v for k, v in settings.identity().items() if v != plain[k] and k not in ("model", "saes")}
    parts = [model_name(settings.model)]
    for name, value in changed.items():
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        parts.append(f"{name}={text}")
    kept = "".join(letter if letter.isalnum() or letter in "-_=,." else "_" for letter in "-".join(parts))
    return Path("runs") / kept[:120]


def _attribute_topics(prepared: Prepared, folder: StudyFolder, on_progress: OnProgress) -> list[str]:
    """Do what is missing, topic by topic; the model is loaded only if there is something to do."""
    warnings: list[str] = []
    lm: LanguageModel | None = None
    for topic in prepared.topics:
        if folder.topic_folder(topic_slug(topic)).is_dir():
            on_progress(topic, "already done", 1, 1)
            continue
        if lm is None:
            on_progress(topic, "loading the model", 0, 1)
            lm = load_model(prepared.settings.model, device=prepared.settings.device, dtype=prepared.settings.dtype)
            on_progress(topic, "loading the model", 1, 1)
        lists = topic_lists(lm, topic, prepared.settings, folder, on_progress)
        pairs, skipped = make_pairs(lm.tokenizer, lists)
        pairs = [pair for pair in pairs if prepared.metric.positions(pair)]
        warnings += list_warnings(topic, lists, pairs, skipped)
        if pairs:
            tables, memory = topic_tables(lm, topic, pairs, prepared, on_progress)
            write_topic(folder, topic_slug(topic), {name: getattr(tables, name) for name in TABLES})
            _note_plan(folder, topic, prepared, memory)
    return warnings


def _note_plan(folder: StudyFolder, topic: str, prepared: Prepared, memory: dict[str, Any]) -> None:
    """Add a topic to plan.json: bytes by part, predicted peak, measured peak."""
    path = folder.root / "plan.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known["sites"] = {str(file.site): {"width": file.d_sae, "sae": file.name} for file in prepared.saes}
    known.setdefault("topics", {})[topic] = memory
    write_text(path, json.dumps(known, indent=1) + "\n")


def _join(folder: StudyFolder, prepared: Prepared) -> tuple[str, ...]:
    """Join the tables of all topics done so far; what is joined already stays as it is.

    Raises:
        UserError: no topic gave anything.
    """
    record = read_record(folder)
    order = list(dict.fromkeys([*record["topics"], *prepared.topics]))
    done = [topic for topic in order if folder.topic_folder(topic_slug(topic)).is_dir()]
    if not done:
        raise UserError(
            f"no list about {', '.join(prepared.topics)} can be used (they are in {folder.root / 'lists'}): "
            "try another topic, or a lower --temperature"
        )
    metadata = {"saeattr.topics": json.dumps(done), "saeattr.sign_convention": SIGN_CONVENTION}
    for table in TABLES:
        if not _is_joined(folder.table_path(table), metadata):
            join_topics(folder, table, [topic_slug(topic) for topic in done], metadata)
    if record["topics"] != done:
        write_record(folder, {**record, "topics": done})
    return tuple(done)


def _is_joined(path: Path, metadata: Mapping[str, str]) -> bool:
    if not path.exists():
        return False
    has = pq.read_schema(path).metadata or {}
    return all(has.get(key.encode()) == value.encode() for key, value in metadata.items())


def _versions() -> dict[str, str]:
    found = {}
    for package in ("saeattr", "torch", "transformers", "transformer-lens", "sae-lens", "safetensors"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
