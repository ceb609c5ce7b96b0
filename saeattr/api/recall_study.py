"""A recall study: facts selected by a triage, and what its parts measure of them, in one folder and one report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saeattr.api.begin import noted, prepared_for, root_for, run_and_draw
from saeattr.api.recalling import NAMES, triage, with_file
from saeattr.api.results import report as write_report
from saeattr.errors import UserError
from saeattr.progress import OnProgress, quiet
from saeattr.recall.facts.folder import RECORD, SELECTED, Triage, load_facts
from saeattr.recall.localisation.curves import UNDER, check_under
from saeattr.recall.shots.prompts import KnownFact, known_facts
from saeattr.study.lock import locked
from saeattr.study.recall.part import Reading, RecallPart
from saeattr.study.recall.parts import find_parts, write_derived
from saeattr.study.recall.shots import with_known
from saeattr.study.results import Study

#: The name of the model that comes with the program.
BUNDLED = "bundled"
#: Settings that say that SAEs are wanted, whichever the model.
NAMES_SAES = ("saes", "sites", "layers", "download")
#: Reasons for which rows are left out, named at most.
SAID = 5


def run_recall(
    facts: Any = None,
    *,
    parts: str | Sequence[str] = (),
    selection: str = "B",
    chat: bool = False,
    under: float = UNDER,
    out: str | Path | None = None,
    config: str | Path | None = None,
    figures: bool = True,
    report: bool = True,
    on_progress: OnProgress = quiet,
    **settings: Any,
) -> Study:
    """How a model recalls facts: where it holds them, which heads move them, what its MLPs do with them.

    Args:
        facts: what ``triage`` returned, or its folder; else a battery as for ``triage``, which is asked first.
        parts: names, by default every one (``saeattr recall run --help`` lists them); several in a list or with commas.
            What a study has already is not done again.
        selection: of a battery, which facts are taken: A, B or C; chat: it is asked in the model's chat template. Both
            are the triage's own where there is one.
        under: a fact is released in the first layer from which the damage at its entity stays under this share of its
            maximum.
        out: a study folder, which ``attribute`` may go on with; derived tables are in ``recall`` in it.
        config: a YAML file of settings, such as those in configs/; what it says of pairs and question is not recall's.
        figures: draw them; report: also write report.html with them (not without figures).
        settings: as for ``patch``, without ``group`` and ``pairs``, and which SAEs (``saes``, ``sae_width``,
            ``sae_l0``, ``layers``, ``kinds``, ``sites``, ``download``); the model is by default that of the triage.
            Parts that open SAEs take all of the bundled model's where no sites are named; with another model they run
            only where its SAEs, sites or ``download`` are named, or the part is, and the facts choose the sites.

    Returns:
        The study; ``Study.recall(name)`` has the derived tables.

    Raises:
        UserError: the input cannot be used, or none of the facts is known.
    """
    check_under(under)
    settings = with_file(config, settings)
    for name in ("pairs", "group"):
        if name in settings:
            raise UserError(f"{name!r} is not a setting of recall: give the triage, or a battery")
    names = [name.strip() for name in parts.split(",")] if isinstance(parts, str) and parts else list(parts)
    wanted = find_parts(names)
    chosen = _selected(facts, selection, chat, settings, on_progress)
    settings = {"model": chosen.model, **settings}
    wanted, told = (wanted, []) if names else _without_unnamed_saes(wanted, settings)
    with_saes = any(part.opens_saes for part in wanted)
    if with_saes and settings["model"] == BUNDLED and not any(name in settings for name in ("sites", "layers")):
        # All of its sites have an SAE, and each is small.
        settings["layers"] = "all"
    prepared = prepared_for("all", None, {**settings, "pairs": chosen.pairs}, with_saes=with_saes)
    stages = with_known([stage for part in wanted for stage in part.stages(prepared.groups)], chosen.known)
    root = root_for(prepared, out)
    with locked(root, prepared.settings.wait, on_progress):
        study = run_and_draw(prepared, root, stages, False, on_progress)
        study = noted(study, "recall", [*chosen.told, *told])
        write_derived(study, wanted, Reading(under))
        if figures:
            from saeattr.reporting.figures.of_recall import figures as recall_figures
            from saeattr.reporting.figures.study import draw_stale

            # Maps of every category are for ``saeattr patch``.
            draw_stale(study, list(recall_figures(study)), on_progress)
            if report:
                write_report(study, model=False, on_progress=on_progress)
    return study


def _without_unnamed_saes(
    parts: Sequence[RecallPart], settings: Mapping[str, Any]
) -> tuple[list[RecallPart], list[str]]:
    """The parts that run where none is named, and a line on those left out: SAEs of many layers are large.

    Parts that open SAEs run with the bundled model, or where SAEs or sites of a model are named, or a limit of them.
    """
    named = settings["model"] == BUNDLED or any(name in settings for name in NAMES_SAES)
    kept = [part for part in parts if named or not part.opens_saes]
    left = [part.name for part in parts if part not in kept]
    how = "name --sites, --layers or --download for it"
    told = f"{', '.join(left)} left out, which would open SAEs of many layers: {how}"
    return kept, [told] if left else []


def patch_recall(facts: Any = None, **asked: Any) -> Study:
    """Where a model holds facts: in which layers at the entity, from which on at the end of the prompt.

    Patched exactly and in both directions, in every layer: the residual stream before, within and after it, its
    attention and its MLP, by role (entity, what lies behind it, final position) and token by token; and every head's z.

    Args:
        facts, asked: as for ``run_recall``, of which this is one part.

    Returns:
        The study: ``study.recall("recall_patches")`` has every patch, ``"recall_curves"`` each fact's curves,
        ``"recall_release"`` where it leaves its entity, ``"recall_worst"`` which layers and heads move most,
        ``"recall_restored"`` what each token restores of LD and of the answer's probability.

    Raises:
        UserError: as ``run_recall``.
    """
    return run_recall(facts, **{"report": False, **asked, "parts": "localisation"})


@dataclass(frozen=True)
class _Selected:
    """The facts of a study.

    Attributes:
        model: by default.
        pairs: the selected facts, as rows or as a file of pairs.
        known: all facts that the model knows.
        told: what a reader should know of the battery, one line each.
    """

    model: str
    pairs: Any
    known: tuple[KnownFact, ...]
    told: tuple[str, ...]


def _selected(facts: Any, selection: str, chat: bool, settings: dict[str, Any], on_progress: OnProgress) -> _Selected:
    """What is asked of the model by default.

    Raises:
        UserError: there is no such triage or battery, or nothing is selected.
    """
    if isinstance(facts, (str, Path)) and (Path(facts).is_dir() or Path(facts).name == SELECTED):
        folder = Path(facts) if Path(facts).is_dir() else Path(facts).parent
        if not (folder / RECORD).exists():
            raise UserError(f"{folder} holds no triage: make one with saeattr recall triage --out {folder}")
        name, rows = load_facts(folder)
        given, some, told = str(folder / SELECTED), bool(rows["selected"].any()), []
    else:
        known = {name: value for name, value in settings.items() if name in NAMES}
        found = facts if isinstance(facts, Triage) else triage(facts, selection=selection, chat=chat, **known)
        given = [row.model_dump(exclude={"row"}, exclude_none=True) for row in found.pairs.rows]
        told, rows = _notes(found), found.facts
        name, some = found.checked.model, not found.selected.empty
    if not some:
        raise UserError("there is no fact to patch: the model knows none of those that it was asked")
    return _Selected(name, given, known_facts(rows), tuple(told))


def _notes(found: Triage) -> list[str]:
    """What a reader should know of a battery: how it was asked, fields that nothing reads, rows that are left out."""
    unasked, told = found.checked.unasked, list(found.checked.notes)
    for reason, rows in unasked.groupby("reason", sort=False):
        if len(told) - len(found.checked.notes) == SAID:
            break
        which = f"row {rows['row'].iloc[0]}" + (f" and {len(rows) - 1} more" if len(rows) > 1 else "")
        told.append(f"left out, {which}: {reason}: {rows['mend'].iloc[0]}")
    if unasked["reason"].nunique() > SAID:
        told.append(f"left out are {len(unasked)} rows in all: saeattr recall check names each with its reason")
    return told
