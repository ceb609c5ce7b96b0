"""The stages of each group in order: lists, attribution, validation. What is stored is not done again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from saeattr.behaviours.lists.pairs import make_pairs
from saeattr.behaviours.lists.topics import group_slug
from saeattr.behaviours.pair import Pair
from saeattr.files import write_part, write_text
from saeattr.model.hub import named
from saeattr.model.loading import LanguageModel, load_model
from saeattr.model.precision import device_warning
from saeattr.study.attribution import (
    OnProgress,
    idle_bytes,
    list_warnings,
    reconstruction_warnings,
    rounding_warnings,
    group_lists,
    group_tables,
)
from saeattr.study.folder import StudyFolder
from saeattr.study.generation import GenerationPlan, generate_stage, is_generated
from saeattr.study.prepare import Prepared
from saeattr.study.selection import choose_layers_of, store_choice, stored_choice, with_sites
from saeattr.study.validation import is_validated, validate_stage
from saeattr.validation.group import ValidationPlan

#: What attributing a group gives.
TABLES = ("attributions", "features", "site_effects", "metric_by_point")


def run_groups(
    prepared: Prepared,
    folder: StudyFolder,
    wanted: ValidationPlan | None,
    generation: GenerationPlan | None,
    on_progress: OnProgress,
) -> list[str]:
    """Do what is missing, group by group; the model is loaded only if there is something to do.

    Args:
        wanted: how to validate each group's top features; None leaves validation out.
        generation: what to ablate while lists are generated; None leaves that out.

    Returns:
        What the reader should know, one line each.
    """
    known = named(prepared.settings.model)
    warnings = [known.note] if known is not None and known.note else []
    choice = None if prepared.settings.names_sites else stored_choice(folder)
    choosing = choice is None and not prepared.settings.names_sites and not any(_is_attributed(prepared, folder))
    if choice is not None:
        prepared = with_sites(prepared, choice[0])
    lm: LanguageModel | None = None
    for group in prepared.groups:
        slug = group_slug(group)
        attributed = folder.group_folder(slug).is_dir()
        validated = wanted is None or is_validated(folder, slug, wanted)
        generated = generation is None or is_generated(folder, slug, generation)
        if attributed and validated and generated:
            on_progress(group, "already done", 1, 1)
            continue
        if lm is None:
            on_progress(group, "loading the model", 0, 1)
            lm = open_model(prepared)
            differs = device_warning(lm.device) if lm.device.type == "mps" else None
            warnings += [differs] if differs else []
            on_progress(group, "loading the model", 1, 1)
        lists = group_lists(lm, group, prepared.settings, folder, on_progress)
        pairs, skipped = make_pairs(lm.tokenizer, lists)
        pairs = [pair for pair in pairs if prepared.metric.positions(pair)]
        if choosing and pairs:
            found = choose_layers_of(lm, pairs, prepared, on_progress)
            store_choice(folder, found, prepared.metric.label)
            prepared, choosing = with_sites(prepared, [file.site for file in found.chosen]), False
        if not attributed:
            warnings += list_warnings(group, lists, pairs, skipped)
            warnings += _attribute(lm, group, pairs, prepared, folder, on_progress) if pairs else []
        if wanted is not None and not validated and pairs:
            warnings += validate_stage(lm, group, pairs, prepared, folder, wanted, on_progress)
        if generation is not None and not generated and pairs:
            generate_stage(lm, group, pairs, prepared, folder, generation, on_progress)
    return warnings


def _is_attributed(prepared: Prepared, folder: StudyFolder) -> Iterator[bool]:
    return (folder.group_folder(group_slug(group)).is_dir() for group in prepared.groups)


def open_model(prepared: Prepared) -> LanguageModel:
    """The study's model on its device."""
    settings = prepared.settings
    return load_model(settings.model, device=settings.device, dtype=settings.dtype or "float32")


def _attribute(
    lm: LanguageModel,
    group: str,
    pairs: list[Pair],
    prepared: Prepared,
    folder: StudyFolder,
    on_progress: OnProgress,
) -> list[str]:
    """Attribute one group and store its tables; what the reader should know of them."""
    tables, memory = group_tables(lm, group, pairs, prepared, idle_bytes(lm), on_progress)
    write_part(folder.group_folder(group_slug(group)), {name: getattr(tables, name) for name in TABLES})
    _note_plan(folder, group, prepared, memory)
    return reconstruction_warnings(group, tables) + rounding_warnings(lm, pairs, prepared, tables)


def _note_plan(folder: StudyFolder, group: str, prepared: Prepared, memory: dict[str, Any]) -> None:
    """Add a group to plan.json: bytes by part, predicted peak, measured peak."""
    path = folder.root / "plan.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known["sites"] = {str(file.site): {"width": file.d_sae, "sae": file.name} for file in prepared.saes}
    known.setdefault("groups", {})[group] = memory
    write_text(path, json.dumps(known, indent=1) + "\n")
