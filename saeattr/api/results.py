"""What is read off studies that are there: a page, what groups share, what changed between two models."""

from __future__ import annotations

import dataclasses
import webbrowser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from saeattr.comparison.results import Comparison, check_folder, write_comparison
from saeattr.comparison.run import ExactPlan, compare_studies
from saeattr.errors import UserError, during
from saeattr.features.recurrence import feature_families, overlap_table
from saeattr.progress import OnProgress, about, quiet
from saeattr.runs.question import Pace
from saeattr.study.lock import locked
from saeattr.study.notes import stored_notes
from saeattr.study.passed import take_passed
from saeattr.study.reopen import opened, study_task
from saeattr.study.results import Study
from saeattr.study.selection import stored_reason
from saeattr.study.sets import read_feature_sets
from saeattr.validation.controls import CONTROLS


def report(
    study: str | Path | Study,
    *,
    top: int = 100,
    model: Any = True,
    tokenizer: Any = None,
    saes: Mapping[str, Any] | None = None,
    open_page: bool = False,
    on_progress: OnProgress = quiet,
) -> Path:
    """Write report.html of a study: one file that needs no server and no network.

    A study without features, such as one of ``patch`` or ``run_recall``, shows the parts that it has.

    Args:
        study: its folder, or what ``attribute`` returned.
        top: features with a page of their own.
        model: open the study's model and SAEs for whole prompts, logits, neighbours and upstream features on the
            feature pages; without them a page shows what the tables know. A study made with objects needs them again:
            the model, its ``tokenizer``, and ``saes`` by site.
        open_page: show it in the browser.

    Raises:
        UserError: it is no study, holds nothing to show, or its model or SAEs have changed.
    """
    from saeattr.reporting.page.make import make_report

    known, on_step = opened(study), about(on_progress, "report")
    named = None if isinstance(model, bool) else model
    passed, _ = take_passed({"model": named, "tokenizer": tokenizer, "saes": saes})
    with locked(known.folder.root, on_progress=on_progress):
        # Feature pages alone need the model.
        pages = model is not False and known.folder.table_path("features").exists()
        task = None if not pages else study_task(known, on_step, passed=passed)
        reason = stored_reason(known.folder)
        # The first line names the sites again.
        choice = None if reason is None else " ".join([reason, *(line.strip() for line in known.choice[1:])])
        # What concerned one run alone is not for the page.
        known = dataclasses.replace(known, warnings=stored_notes(known.folder))
        with during("the report"):
            path = make_report(known, task, top=top, layer_choice=choice, on_step=on_step)
    if open_page:
        webbrowser.open(path.resolve().as_uri())
    return path


@dataclass(frozen=True)
class Overlap:
    """How far groups share features.

    Attributes:
        pairs: one row for each site and two groups, with what chance would give.
        families: one row for each feature: shared by most groups, of one group, or between.
    """

    pairs: pd.DataFrame
    families: pd.DataFrame


def overlap(sources: Sequence[str | Path], *, depth: int | None = 30) -> Overlap:
    """Which features recur across the groups of one or more studies, or of files made elsewhere.

    Args:
        sources: study folders, or CSV, JSON or Parquet files with the columns layer, kind, feature and group.
        depth: features in a group's set at a site, by |effect|; None for all.

    Raises:
        UserError: a source cannot be used, or they are of different models, or of fewer than two groups.
    """
    sets = read_feature_sets(sources)
    pairs = overlap_table(sets.features, depth, active=sets.active)
    return Overlap(pairs, feature_families(sets.features, depth))


def compare(
    a: str | Path | Study,
    b: str | Path | Study,
    *,
    out: str | Path | None = None,
    exact: int = 0,
    controls: int = CONTROLS,
    smallest: float = 0.01,
    device: str = "auto",
    batch_size: int = 16,
    figures: bool = True,
    on_progress: OnProgress = quiet,
) -> Comparison:
    """Which features' effects differ between two models: two studies of the same pairs with the same SAEs.

    Args:
        a, b: their folders, or what ``attribute`` returned; B made with ``pairs_of`` A where a behaviour's pairs are
            its model's own. Changes are B minus A.
        out: the folder of the comparison; by default ``runs/A-to-B``.
        exact: of so many features of each group, the most changed ones, the change of the exact effect is measured too,
            in both models, on pairs that did not rank them.
        controls: of each of these: x moved as far in the directions of so many other features, in both models.
        smallest: the smallest change of interest, as a share of the clean-corrupted gap in A.
        device, batch_size: for exact effects; one model is in memory at a time.

    Raises:
        UserError: the studies differ in more than their model, or what they were made with has changed.
    """
    if exact < 0 or controls < 19 or batch_size < 1:
        raise UserError("exact cannot be below 0, controls below 19 or batch_size below 1: a rank needs 19 controls")
    one, other = opened(a), opened(b)
    name = f"{one.folder.root.resolve().name}-to-{other.folder.root.resolve().name}"
    folder = Path(out) if out is not None else Path("runs") / name
    check_folder(folder)
    wanted = ExactPlan(exact, controls, smallest, device, Pace(batch_size=batch_size))
    with locked(folder, on_progress=on_progress):
        found = compare_studies(one, other, wanted, folder, on_progress)
        write_comparison(found, (one, other), {"exact": exact, "controls": controls, "smallest": smallest})
        if figures:
            from saeattr.reporting.figures.comparison import draw_comparison

            draw_comparison(found)
    return found
