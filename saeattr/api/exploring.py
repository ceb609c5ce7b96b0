"""What a model does before any SAE is opened: stages that need pairs and the model alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from saeattr.api.begin import folder_for, prepared_for, run_and_draw
from saeattr.progress import OnProgress
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
    return run_and_draw(prepared, folder_for(prepared, out), stages, figures, on_progress)
