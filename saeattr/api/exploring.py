"""What a model does before any SAE is opened: stages that need pairs and the model alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from saeattr.api.begin import prepared_for, root_for, run_and_draw
from saeattr.errors import UserError
from saeattr.progress import OnProgress, quiet
from saeattr.study.entropy import Entropy
from saeattr.study.lens import Lens, check_temperatures, usual_directions
from saeattr.study.patching import MOST_PAIRS, HeadMoves, patching_stages, usual_components
from saeattr.study.results import Study
from saeattr.study.stage import Stage


def explore(
    group: str | Sequence[str] | None,
    stages: Sequence[Stage],
    settings: dict[str, Any],
    *,
    out: str | Path | None = None,
    config: str | Path | None = None,
    figures: bool = True,
    on_progress: OnProgress,
) -> Study:
    """Run stages that open no SAE, into a study folder that ``attribute`` may go on with."""
    prepared = prepared_for(group, config, settings, with_saes=False)
    return run_and_draw(prepared, root_for(prepared, out), stages, figures, on_progress)


def entropy(
    group: str | Sequence[str] | None = None,
    *,
    at: Sequence[str] | None = None,
    out: str | Path | None = None,
    config: str | Path | None = None,
    figures: bool = True,
    on_progress: OnProgress = quiet,
    **settings: Any,
) -> Study:
    """How open the next token is along the prompts: entropy of the whole vocabulary, in nats, at the last token of each
    span (of lists: each item), under the clean and under the corrupted request.

    Answers written to the corrupted request are read too, where the behaviour has such. ``Study.entropy()`` has the
    numbers, ``Study.entropy_onset()`` where an ending sets in, pair by pair.

    Args:
        at: roles of the tokens, in place of those that the behaviour names.
        group, out, config, figures, on_progress, settings: as for ``attribute``; no SAE is opened.

    Raises:
        UserError: the input cannot be used.
    """
    stages = [Entropy(tuple(at) if at else None)]
    return explore(group, stages, settings, out=out, config=config, figures=figures, on_progress=on_progress)


def lens(
    group: str | Sequence[str] | None = None,
    *,
    direction: str | Sequence[str] | None = None,
    tokens: tuple[str, str] | None = None,
    at: Sequence[str] | None = None,
    temperatures: Sequence[float] | None = None,
    out: str | Path | None = None,
    config: str | Path | None = None,
    figures: bool = True,
    on_progress: OnProgress = quiet,
    **settings: Any,
) -> Study:
    """The logit lens over layers, position by position: in which layers does a direction appear?

    ``Study.logit_lens()`` has the numbers, ``Study.lens_onset()`` the layers with intervals. Directions are kept side
    by side in a study.

    Args:
        direction: names of directions: the behaviour's own, or ``metric`` for the study's metric; by default all that
            the behaviour has.
        tokens: two tokens in place of named directions: the first against the second.
        at: roles of the tokens at which it is read, in place of the direction's own.
        temperatures: of lists that are sampled at these too.
        group, out, config, figures, on_progress, settings: as for ``attribute``; no SAE is opened.

    Raises:
        UserError: the input cannot be used.
    """
    if tokens is not None and direction:
        raise UserError("--tokens is a direction of its own: leave out --direction")
    prepared = prepared_for(group, config, settings, with_saes=False)
    named = [direction] if isinstance(direction, str) else list(direction or usual_directions(prepared))
    if temperatures:
        check_temperatures(prepared, temperatures)
    places, warm = tuple(at) if at else None, tuple(map(float, temperatures)) if temperatures else None
    if tokens is not None:
        stages = [Lens(tokens=(tokens[0], tokens[1]), at=places, temperatures=warm)]
    else:
        stages = [Lens(name, at=places, temperatures=warm) for name in dict.fromkeys(named)]
    for stage in stages:
        # Refused before anything is written.
        stage.question(prepared)
    return run_and_draw(prepared, root_for(prepared, out), stages, figures, on_progress)


def patch(
    group: str | Sequence[str] | None = None,
    *,
    component: str | Sequence[str] = (),
    by: str = "role",
    direction: str = "noising",
    method: str = "exact",
    most_pairs: int = MOST_PAIRS,
    heads: bool = True,
    out: str | Path | None = None,
    config: str | Path | None = None,
    figures: bool = True,
    on_progress: OnProgress = quiet,
    **settings: Any,
) -> Study:
    """Patch components between clean and corrupted runs: where, and in which layer, is what decides?

    Each call adds to the study what it lacks: other components, other ways to tell places apart, the other direction.

    Args:
        group: as for ``attribute``.
        component: resid_pre, q, k, v, scores, pattern, z, attn_out, resid_mid, mlp_out, resid_post or all; several in a
            list or with commas. By default resid_pre, attn_out and mlp_out, or z and pattern by head.
        by: role (of positions; and the behaviour's locations), head, head-role, or token.
        direction: noising (corrupted into the clean run) or denoising (clean into the corrupted run).
        method: exact, attribution (by gradient, all components at once), or both and how well they agree.
        most_pairs: of each group, evenly over all.
        heads: also which heads carry what differs between the prompts to where the metric is read.
        out, config, figures, on_progress, settings: as for ``attribute``.

    Returns:
        The study: ``study.patching()``, ``study.patching_agreement()``, ``study.head_moves()``.

    Raises:
        UserError: the input cannot be used; nothing is written then.
    """
    names = component.split(",") if isinstance(component, str) else component
    named = [name.strip() for name in names if name.strip()] or usual_components(by)
    stages: list[Stage] = [*patching_stages(named, by, direction, method, most_pairs)]
    if heads:
        stages.append(HeadMoves(most_pairs))
    return explore(group, stages, settings, out=out, config=config, figures=figures, on_progress=on_progress)
