"""Facts patched between clean and corrupted runs: where a model holds them, layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from saeattr.api.exploring import explore
from saeattr.api.recalling import NAMES, triage
from saeattr.errors import UserError
from saeattr.progress import OnProgress, quiet
from saeattr.recall.curves import STREAM, UNDER, check_under, recall_curves
from saeattr.recall.folder import RECORD, SELECTED, Triage, load_facts
from saeattr.recall.localisation import Localisation, write_localisation
from saeattr.study.patching import DIRECTIONS, Patching, patching_stages
from saeattr.study.results import Study

#: In the study's folder.
FOLDER = "recall"


def patch_recall(
    facts: Any = None,
    *,
    selection: str = "B",
    under: float = UNDER,
    out: str | Path | None = None,
    figures: bool = True,
    on_progress: OnProgress = quiet,
    **settings: Any,
) -> Localisation:
    """Where a model holds facts: in which layers at the entity, from which on at the end of the prompt.

    Patched exactly and in both directions, in every layer: the residual stream before, within and after it, its
    attention and its MLP, by role (entity, what lies behind it, final position) and token by token; and every head's z.

    Args:
        facts: what ``triage`` returned, or its folder; else a battery as for ``triage``, which is asked first.
        selection: of a battery, which facts are patched: A, B or C.
        under: a fact is released in the first layer from which the damage at its entity stays under this share of its
            maximum.
        out: a study folder, which ``attribute`` may go on with; the tables and figures are in ``recall`` in it.
        settings: as for ``patch``, without ``group`` and ``pairs``; the model is by default that of the triage.

    Returns:
        The localisation; ``saeattr.load_study(out).patching()`` has every patch.

    Raises:
        UserError: the input cannot be used, or none of the facts is known.
    """
    check_under(under)
    for name in ("pairs", "group"):
        if settings.get(name) is not None:
            raise UserError(f"{name!r} is not a setting of recall: give the triage, or a battery")
    model, pairs = _selected(facts, selection, settings, on_progress)
    settings = {"model": model, **{name: value for name, value in settings.items() if value is not None}}
    stages = recall_stages()
    study = explore("all", stages, {**settings, "pairs": pairs}, out=out, figures=False, on_progress=on_progress)
    patched = _patched(study, stages)
    n_layers = int(patched["layer"].max()) + 1
    curves = recall_curves(patched)
    found = Localisation(str(study.record["model"]["name"]), study.folder.root / FOLDER, n_layers, under, curves)
    write_localisation(found)
    if figures:
        from saeattr.reporting.figures.recall_patch import draw_localisation

        draw_localisation(found)
    return found


def recall_stages() -> list[Patching]:
    """What is patched, in both directions: the stream by role and by token, and z by head and role."""
    return [
        stage
        for direction in DIRECTIONS
        for components, by in ((STREAM, "role"), (STREAM, "token"), (("z",), "head-role"))
        # Of each category all that were selected.
        for stage in patching_stages(components, by, direction, most_pairs=10**6)
    ]


def _patched(study: Study, stages: list[Patching]) -> pd.DataFrame:
    """What these stages measured; the study's folder may hold other patches."""
    table = study.patching()
    names = ["component", "by", "direction", "method"]
    wanted = pd.DataFrame([[getattr(stage, name) for name in names] for stage in stages], columns=pd.Index(names))
    return table.merge(wanted, on=names)


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
