"""A study from settings to figures: each stage is stored before the next begins, and is not done twice."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from saeattr.analysis.memory_plan import MemoryPlan
from saeattr.config import make_settings
from saeattr.errors import UserError
from saeattr.model.device_check import device_warning
from saeattr.model.loading import LanguageModel, load_model, resolve_device
from saeattr.model.names import named
from saeattr.prepare import Prepared, default_folder, prepare
from saeattr.prompts.pairs import make_pairs
from saeattr.prompts.topics import topic_slug
from saeattr.results import Study
from saeattr.store import (
    StudyFolder,
    join_topics,
    open_study,
    read_record,
    remove_leftovers,
    write_record,
    write_text,
    write_topic,
)
from saeattr.study_topic import (
    OnProgress,
    idle_bytes,
    list_warnings,
    memory_plan,
    reconstruction_warnings,
    topic_lists,
    topic_tables,
)

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
    chosen = prepared.settings
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
    return memory_plan(prepare(chosen, weights=False), chosen.lists, length, resolve_device(chosen.device))


def _attribute_topics(prepared: Prepared, folder: StudyFolder, on_progress: OnProgress) -> list[str]:
    """Do what is missing, topic by topic; the model is loaded only if there is something to do."""
    known = named(prepared.settings.model)
    warnings = [known.note] if known is not None and known.note else []
    lm: LanguageModel | None = None
    idle: int | None = None
    for topic in prepared.topics:
        if folder.topic_folder(topic_slug(topic)).is_dir():
            on_progress(topic, "already done", 1, 1)
            continue
        if lm is None:
            on_progress(topic, "loading the model", 0, 1)
            lm = load_model(
                prepared.settings.model, device=prepared.settings.device, dtype=prepared.settings.dtype or "float32"
            )
            idle = idle_bytes(lm)
            differs = device_warning(lm.device) if lm.device.type == "mps" else None
            warnings += [differs] if differs else []
            on_progress(topic, "loading the model", 1, 1)
        lists = topic_lists(lm, topic, prepared.settings, folder, on_progress)
        pairs, skipped = make_pairs(lm.tokenizer, lists)
        pairs = [pair for pair in pairs if prepared.metric.positions(pair)]
        warnings += list_warnings(topic, lists, pairs, skipped)
        if pairs:
            tables, memory = topic_tables(lm, topic, pairs, prepared, idle, on_progress)
            warnings += reconstruction_warnings(topic, tables)
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
