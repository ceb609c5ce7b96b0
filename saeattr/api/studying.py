"""The whole study in one call: what the behaviour is like, where it is read, what carries it, and which features do."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from saeattr.api.begin import noted, prepared_for, root_for, run_and_draw, validation_stages
from saeattr.api.results import report
from saeattr.errors import UserError
from saeattr.progress import OnProgress, quiet
from saeattr.study.attribution import Attribution
from saeattr.study.entropy import Entropy
from saeattr.study.generation import Generating, check_generation, generation_plan
from saeattr.study.lens import Lens, usual_directions
from saeattr.study.limits import may_leave_out
from saeattr.study.lock import locked
from saeattr.study.patching import HeadMoves, patching_stages, usual_components
from saeattr.study.prepare import Prepared
from saeattr.study.results import Study
from saeattr.study.stage import Stage
from saeattr.study.statistics import Statistics

#: Where features are ablated while lists are written, and how many, unless the settings say otherwise.
GENERATED_SITES, GENERATED_FEATURES = ("resid_post",), (1, 5, 20)


def run_study(
    group: str | Sequence[str] | None = None,
    *,
    out: str | Path | None = None,
    config: str | Path | None = None,
    generate: bool = True,
    figures: bool = True,
    on_progress: OnProgress = quiet,
    **settings: Any,
) -> Study:
    """Everything that can be asked of a behaviour, in one folder and one report, each stage resumable.

    In order: pairs; statistics of the lists; entropy; logit lens; patching by role and by head, and which heads move
    what differs; selection; attribution; validation; lists written under ablation; then figures (overlap of the groups
    among them) and the page. What a behaviour has nothing for (statistics and generation of others than lists) is left
    out.

    Args:
        generate: write lists while features are ablated, at ``generate_sites`` (by default the residual stream) with
            each of ``generate_features`` (by default 1, 5 and 20).
        figures: draw them, and write report.html.
        group, out, config, on_progress, settings: as for ``attribute``; those of ``validate`` too.

    Raises:
        UserError: the input cannot be used; nothing is written then.
    """
    prepared = with_grid(prepared_for(group, config, settings))
    stages = exploring_stages(prepared)
    stages.append(Attribution())
    told: list[str] = []
    if prepared.settings.validate_top:
        stages += validation_stages(prepared)
        if generate and prepared.behaviour.name == "lists":
            try:
                check_generation(prepared)
                stages.append(Generating(generation_plan(prepared.settings)))
            except UserError as error:
                told.append(f"no lists are written under ablation: {error}")
    root = root_for(prepared, out)
    with locked(root, prepared.settings.wait, on_progress):
        study = run_and_draw(prepared, root, stages, figures, on_progress)
        study = noted(study, "study", told)
        if figures:
            report(study, model=False, on_progress=on_progress)
    return study


def with_grid(prepared: Prepared) -> Prepared:
    """The same study with lists to be written over layers and numbers of features, where nothing else is asked for."""
    settings = prepared.settings
    # Of few sites all are taken; nothing says that the residual stream is among them.
    few = settings.names_sites or may_leave_out(settings, prepared.saes)
    usual = {"generate_sites": ("all",) if few else GENERATED_SITES, "generate_features": GENERATED_FEATURES}
    left = {name: value for name, value in usual.items() if name not in settings.model_fields_set}
    return dataclasses.replace(prepared, settings=settings.model_copy(update=left))


def exploring_stages(prepared: Prepared) -> list[Stage]:
    """What needs no SAE, in order."""
    stages: list[Stage] = [Statistics()] if prepared.behaviour.name == "lists" else []
    stages += [Entropy(), *(Lens(name) for name in usual_directions(prepared))]
    stages += patching_stages(usual_components("role"), "role", method="both")
    return [*stages, *patching_stages(["z"], "head"), HeadMoves()]
