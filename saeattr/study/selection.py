"""The stage that chooses a study's sites: once, from the first group's pairs (``select``: from all), and kept."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from saeattr.errors import UserError
from saeattr.files import fault, read_metadata
from saeattr.saes.formats import SaeFile
from saeattr.selection.limits import Limits
from saeattr.selection.measure import Selection, select_sites
from saeattr.selection.reason import choice_lines
from saeattr.settings import flag
from saeattr.study.fetching import check_fetched, recorded_saes
from saeattr.study.folder import StudyFolder
from saeattr.study.limits import asked_limits
from saeattr.study.memory import memory_plan
from saeattr.study.prepare import Prepared
from saeattr.study.stage import WHOLE, Outcome, Stage, Work
from saeattr.tables import LAYER_SCORES, LENS, ROLE_EFFECTS, Table, sites_of

_REASON, _LIMITS, _HERE = "saeattr.reason", "saeattr.limits", "saeattr.here_bytes"


@dataclass(frozen=True)
class Choosing(Stage):
    """Which sites are worth an SAE: scores, and the best set within number, download and what memory leaves."""

    name: ClassVar[str] = "selection"
    joined: ClassVar[tuple[Table, ...]] = (LAYER_SCORES,)
    kept: ClassVar[tuple[Table, ...]] = (LENS, ROLE_EFFECTS)
    of_sites: ClassVar[bool] = False
    made_from: ClassVar[tuple[str, ...]] = ()

    def run(self, work: Work) -> Outcome:
        found = select_sites(work.task, limits(work))
        check_same_sites(work.study, found.chosen)
        tables = {"layer_scores": found.table, "lens": found.lens, "role_effects": found.ablation}
        limited = json.dumps(dataclasses.asdict(found.limits))
        return Outcome(tables, notes={_REASON: found.reason, _LIMITS: limited, _HERE: json.dumps(found.here_bytes)})


def limits(work: Work) -> Limits:
    """What the chosen SAEs may take: what may be downloaded, and what memory leaves beside the model and the runs."""
    pairs = work.task.pairs
    asked = asked_limits(work.prepared.settings, work.prepared.saes)
    if asked.vram_bytes is None:
        return asked
    longest = max(len(pair.clean_ids) for pair in pairs)
    plan = memory_plan(work.prepared, len(pairs), longest, work.task.lm.device)
    return dataclasses.replace(asked, budget_bytes=asked.vram_bytes - plan.overhead - (plan.peak - plan.sae))


def stored_selection(study: StudyFolder, saes: Sequence[SaeFile]) -> Selection | None:
    """What was chosen before among ``saes``, by what, and why; None where nothing was, or it is damaged."""
    if not Choosing().is_done(study, WHOLE):
        return None
    table, lens, ablation = (Choosing.read(study, wanted, WHOLE) for wanted in (LAYER_SCORES, LENS, ROLE_EFFECTS))
    rows = table[table["chosen"]]
    picked = set(zip(sites_of(rows), rows["sae_width"].astype(int), strict=True))
    chosen = [file for file in saes if (file.site, file.d_sae) in picked]
    chosen.sort(key=lambda file: file.site.order)
    return Selection(
        table, lens, ablation, chosen, stored_reason(study) or "", stored_limits(study) or Limits(), _stored_here(study)
    )


def stored_reason(study: StudyFolder) -> str | None:
    """Why a study has the sites it has; None where they were named."""
    return _noted(study).get(_REASON)


def stored_limits(study: StudyFolder) -> Limits | None:
    """The limits within which a study's sites were chosen; None where none were, or an earlier version chose them."""
    text = _noted(study).get(_LIMITS)
    return None if text is None else Limits(**json.loads(text))


def stored_lines(study: StudyFolder) -> list[str]:
    """What was chosen, within which limits, and what they left out; nothing where sites were named."""
    if not Choosing.is_there(study, WHOLE):
        return []
    table = Choosing.read(study, LAYER_SCORES, WHOLE)
    return choice_lines(table, stored_limits(study) or Limits(), _stored_here(study))


def check_limits(study: StudyFolder, prepared: Prepared) -> None:
    """Refuse limits that are given and are not those by which the study's sites were chosen; none given go on.

    Raises:
        UserError: a limit is another.
    """
    settings, stored = prepared.settings, stored_limits(study)
    if stored is None or settings.names_sites or not prepared.saes:
        return
    asked = asked_limits(settings, prepared.saes)
    for name, text in asked.texts.items():
        if getattr(settings, name) is not None and text != stored.texts[name]:
            within = f"within {' and '.join(stored.options)}" if stored.options else "without a limit"
            raise UserError(
                f"{study.root} holds a study whose sites were chosen {within}, and {flag(name)} is {text} here: leave "
                f"{flag(name)} out to go on with that choice, or give another folder with --out (there --sites may "
                "name sites, too)"
            )


def with_choice(prepared: Prepared, study: StudyFolder) -> Prepared:
    """The same study at the sites that were chosen; as it is where none were.

    The sites stand in study.yaml too: a study keeps them where its choice is damaged or was deleted.

    Raises:
        UserError: a chosen SAE is on this machine, and is not the one that the study was made with.
    """
    found, known = stored_selection(study, prepared.saes), recorded_saes(study)
    if found is not None:
        chosen = found.chosen
        check_same_sites(study, chosen)
    elif known:
        chosen = sorted((file for file in prepared.saes if str(file.site) in known), key=lambda file: file.site.order)
        check_same_sites(study, chosen)
    else:
        return prepared
    check_fetched(study, chosen)
    return dataclasses.replace(prepared, saes=chosen)


def check_same_sites(study: StudyFolder, chosen: Sequence[SaeFile]) -> None:
    """Refuse other sites than those of the topics that a study has: all its topics have the same.

    Raises:
        UserError: they are others.
    """
    known, sites = list(recorded_saes(study)), [str(file.site) for file in chosen]
    if known and set(known) != set(sites):
        raise UserError(
            f"{study.root} is a study of the sites {', '.join(known)}, and {', '.join(sites)} are chosen here: give "
            "the limits that it was made with, or another folder with --out"
        )


def _noted(study: StudyFolder) -> dict[str, str]:
    """The choice's metadata, of its own table or else of the joined one."""
    own, joined = Choosing.path(study, WHOLE, LAYER_SCORES), study.table_path(LAYER_SCORES.name)
    return read_metadata(joined if not own.exists() or fault(own) else own)


def _stored_here(study: StudyFolder) -> int | None:
    return json.loads(_noted(study).get(_HERE, "null"))
