"""A recall study: facts selected by a triage, and what its parts measure of them, in one folder and one report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from saeattr.api.begin import folder_for, prepared_for, run_and_draw
from saeattr.api.recalling import NAMES, triage, with_file
from saeattr.api.results import report as write_report
from saeattr.errors import UserError
from saeattr.progress import OnProgress, quiet
from saeattr.recall.batteries import default_battery, read_battery
from saeattr.recall.check import align_facts
from saeattr.recall.curves import UNDER, check_under
from saeattr.recall.folder import RECORD, SELECTED, Triage, load_facts
from saeattr.recall.triage import FIRST, read_selection
from saeattr.study.recall.memory import RecallPlan, plan_facts
from saeattr.study.recall.part import Reading
from saeattr.study.recall.parts import PARTS, find_parts, write_derived
from saeattr.study.results import Study


def run_recall(
    facts: Any = None,
    *,
    parts: str | Sequence[str] = (),
    selection: str = "B",
    under: float = UNDER,
    out: str | Path | None = None,
    config: str | Path | None = None,
    figures: bool = True,
    report: bool = False,
    on_progress: OnProgress = quiet,
    **settings: Any,
) -> Study:
    """How a model recalls facts: where it holds them, which heads move them, what its MLPs do with them.

    Args:
        facts: what ``triage`` returned, or its folder; else a battery as for ``triage``, which is asked first.
        parts: names, by default every one (``saeattr recall run --help`` lists them); several in a list or with commas.
            What a study has already is not done again.
        selection: of a battery, which facts are taken: A, B or C.
        under: a fact is released in the first layer from which the damage at its entity stays under this share of its
            maximum.
        out: a study folder, which ``attribute`` may go on with; derived tables are in ``recall`` in it.
        config: a YAML file of settings, such as those in configs/; what it says of pairs and question is not recall's.
        figures: draw them; report: also write report.html with them.
        settings: as for ``patch``, without ``group`` and ``pairs``; the model is by default that of the triage.

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
    wanted = find_parts(names or [part.name for part in PARTS])
    model, pairs = _selected(facts, selection, settings, on_progress)
    settings = {"model": model, **settings}
    with_saes = any(part.opens_saes for part in wanted)
    prepared = prepared_for("all", None, {**settings, "pairs": pairs}, with_saes=with_saes)
    stages = [stage for part in wanted for stage in part.stages(prepared.groups)]
    study = run_and_draw(prepared, folder_for(prepared, out), stages, False, on_progress)
    write_derived(study, wanted, Reading(under))
    if figures:
        from saeattr.reporting.figures.of_recall import figures as recall_figures
        from saeattr.reporting.figures.study import draw_stale

        # Maps of every category are drawn by ``saeattr report``.
        draw_stale(study, list(recall_figures(study)), on_progress)
        if report:
            write_report(study, model=False, on_progress=on_progress)
    return study


def plan_recall(
    facts: Any = None, *, selection: str = "B", config: str | Path | None = None, **settings: Any
) -> RecallPlan:
    """What memory ``run_recall`` will need, by part; no weights are loaded or fetched, nothing is written.

    Which facts the model knows is not known yet, so all that it can be asked are counted as known.

    Args:
        facts: a battery as for ``triage``; selection, config, settings: as for ``run_recall``.

    Raises:
        UserError: battery or model cannot be used, or no row of the battery can be asked.
    """
    letter, settings = read_selection(selection), with_file(config, settings)
    read = read_battery(default_battery(settings.get("model", "bundled")) if facts is None else facts)
    prepared = prepared_for("all", None, {"behaviour": "facts", **settings}, weights=False, with_saes=False)
    found, faults = align_facts(prepared.tokenizer, read.rows)
    if not found:
        raise UserError(f"none of the {len(faults)} rows of {read.name} can be asked of this model; {faults[0]}")
    categories = {fact.row.category for fact in found}
    single = {(fact.row.category, fact.row.fact) for fact in found}
    n_facts = {"A": min(FIRST, len(single)), "B": len(categories), "C": len(single)}[letter]
    return plan_facts(prepared, n_facts, max(len(fact.pair.clean_ids) for fact in found))


def patch_recall(facts: Any = None, **asked: Any) -> Study:
    """Where a model holds facts: in which layers at the entity, from which on at the end of the prompt.

    Patched exactly and in both directions, in every layer: the residual stream before, within and after it, its
    attention and its MLP, by role (entity, what lies behind it, final position) and token by token; and every head's z.

    Args:
        facts, asked: as for ``run_recall``, of which this is one part.

    Returns:
        The study: ``study.patching()`` has every patch, ``study.recall("recall_curves")`` each fact's curves,
        ``"recall_release"`` where it leaves its entity, ``"recall_worst"`` which layers and heads move most.

    Raises:
        UserError: as ``run_recall``.
    """
    return run_recall(facts, **{"report": False, **asked, "parts": "localisation"})


def _selected(facts: Any, selection: str, settings: dict[str, Any], on_progress: OnProgress) -> tuple[Any, Any]:
    """The model by default, and the selected facts as rows or as a file of pairs.

    Raises:
        UserError: there is no such triage or battery, or nothing is selected.
    """
    if isinstance(facts, (str, Path)) and (Path(facts).is_dir() or Path(facts).name == SELECTED):
        folder = Path(facts) if Path(facts).is_dir() else Path(facts).parent
        if not (folder / RECORD).exists():
            raise UserError(f"{folder} holds no triage: make one with saeattr recall triage --out {folder}")
        name, rows = load_facts(folder)
        given, some = str(folder / SELECTED), bool(rows["selected"].any())
    else:
        known = {name: value for name, value in settings.items() if name in NAMES}
        found = facts if isinstance(facts, Triage) else triage(facts, selection=selection, **known)
        given = [row.model_dump(exclude={"row"}, exclude_none=True) for row in found.pairs.rows]
        name, some = found.checked.model, not found.selected.empty
    if not some:
        raise UserError("there is no fact to patch: the model knows none of those that it was asked")
    return name, given
