"""The stage that chooses a study's sites: once, from the first group's pairs (``select``: from all), and kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from saeattr.files import read_metadata
from saeattr.runs.memory import parse_bytes
from saeattr.saes.formats import SaeFile
from saeattr.selection.choose import Limits
from saeattr.selection.measure import Selection, select_sites
from saeattr.study.folder import StudyFolder
from saeattr.study.memory import memory_plan
from saeattr.study.prepare import Prepared
from saeattr.study.stage import WHOLE, Outcome, Stage, Work
from saeattr.tables import LAYER_SCORES, LENS, ROLE_EFFECTS, Table, sites_of

_REASON = "saeattr.reason"


@dataclass(frozen=True)
class Choosing(Stage):
    """Which sites are worth an SAE: scores, and the best set that fits what the budget leaves beside the model."""

    name: ClassVar[str] = "selection"
    joined: ClassVar[tuple[Table, ...]] = (LAYER_SCORES,)
    kept: ClassVar[tuple[Table, ...]] = (LENS, ROLE_EFFECTS)

    def run(self, work: Work) -> Outcome:
        found = select_sites(work.task, limits(work))
        tables = {"layer_scores": found.table, "lens": found.lens, "role_effects": found.ablation}
        return Outcome(tables, notes={_REASON: found.reason})


def limits(work: Work) -> Limits:
    """What the chosen SAEs may take: all that the budget leaves beside the model and the runs."""
    settings, pairs = work.prepared.settings, work.task.pairs
    budget = None
    if settings.vram is not None:
        longest = max(len(pair.clean_ids) for pair in pairs)
        plan = memory_plan(work.prepared, len(pairs), longest, work.task.lm.device)
        budget = parse_bytes(settings.vram) - (plan.peak - plan.sae)
    return Limits(budget, settings.max_sites)


def stored_selection(study: StudyFolder, saes: Sequence[SaeFile]) -> Selection | None:
    """What was chosen before among ``saes``, by what, and why; None where nothing was."""
    if not Choosing.is_there(study, WHOLE):
        return None
    table, lens, ablation = (Choosing.read(study, wanted, WHOLE) for wanted in (LAYER_SCORES, LENS, ROLE_EFFECTS))
    rows = table[table["chosen"]]
    picked = set(zip(sites_of(rows), rows["sae_width"].astype(int), strict=True))
    chosen = [file for file in saes if (file.site, file.d_sae) in picked]
    return Selection(
        table, lens, ablation, sorted(chosen, key=lambda file: file.site.order), stored_reason(study) or ""
    )


def stored_reason(study: StudyFolder) -> str | None:
    """Why a study has the sites it has; None where they were named."""
    path = Choosing.path(study, WHOLE, LAYER_SCORES)
    return read_metadata(path).get(_REASON)


def with_choice(prepared: Prepared, study: StudyFolder) -> Prepared:
    """The same study at the sites that were chosen; as it is where none were."""
    found = stored_selection(study, prepared.saes)
    return prepared if found is None else dataclasses.replace(prepared, saes=found.chosen)
