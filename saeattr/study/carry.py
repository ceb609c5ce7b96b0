"""One stage carried out for some groups: as the memory plan says, measured, and stored group by group."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from saeattr.behaviours.pair import Pair
from saeattr.errors import UserError, during
from saeattr.runs.memory import USUAL_LENGTH, MemoryPlan
from saeattr.runs.question import Pace
from saeattr.study.memory import memory_plan, note_stage, within_memory
from saeattr.study.notes import StageNotes, keep_notes
from saeattr.study.pairs import stored_test_pairs
from saeattr.study.stage import Stage, Work

#: Groups that are named where work on them ends; more are counted.
NAMED = 3


@dataclass(frozen=True)
class Carried:
    """A stage carried out for some groups.

    Attributes:
        told: by group, what the reader should know, one line each.
        pace: at which it fitted.
        peak: measured, in bytes; None where the system does not tell.
    """

    told: Mapping[str, Sequence[str]]
    pace: Pace
    peak: int | None


def plan_of(works: Sequence[Work]) -> MemoryPlan:
    """How the groups' pairs, those that rank or those that test, will be run within the settings' budget.

    Raises:
        UserError: the budget is too small.
    """
    first = works[0]
    kinds = [pairs for work in works for pairs in (work.task.pairs, _test_pairs(work))]
    longest = max(len(pair.clean_ids) for pairs in kinds for pair in pairs)
    return memory_plan(first.prepared, max(map(len, kinds)), longest, first.task.lm.device, len(works))


def _test_pairs(work: Work) -> list[Pair]:
    try:
        return stored_test_pairs(work.study, work.group) or []
    except UserError:
        # They are damaged, and made again before any of them is run.
        return []


def early_plan(work: Work) -> MemoryPlan:
    """The plan of a stage that needs no SAE: of the group's pairs, or of usual ones where there are none yet."""
    pairs, settings = work.task.pairs, work.prepared.settings
    longest = max((len(pair.clean_ids) for pair in pairs), default=USUAL_LENGTH)
    n_pairs = len(pairs) or work.prepared.behaviour.most_pairs(settings)
    return memory_plan(work.prepared, n_pairs, longest, work.task.lm.device, refuse=False)


def carry_out(stage: Stage, works: Sequence[Work], plan: MemoryPlan | None = None) -> list[str]:
    """Run one stage for some groups as the memory plan says, measure its peak, and store what each group gave.

    Args:
        plan: None makes one of pairs of the usual number and length.

    Returns:
        What the reader should know, one line each.
    """
    together = [works] if stage.together else [[work] for work in works]
    return [line for some in together for line in _carry_out(stage, some, plan)]


def _carry_out(stage: Stage, works: Sequence[Work], plan: MemoryPlan | None) -> list[str]:
    if plan is None:
        plan = early_plan(works[0])
    done = carry_at(stage, works, plan.pace(stage.name, works[0].task.pace))
    return [line for work in works for line in note(stage, work, plan, done)]


def carry_at(stage: Stage, works: Sequence[Work], pace: Pace) -> Carried:
    """Run one stage for some groups at a pace, or at half of it where memory runs out, and store what each gave."""
    left, told = list(works), {work.group: [] for work in works}

    def attempt(pace: Pace) -> None:
        paced = [dataclasses.replace(work, task=dataclasses.replace(work.task, pace=pace)) for work in left]
        for outcome in stage.run_groups(paced):
            work = left.pop(0)
            lines = tuple(outcome.warnings)
            keep_notes(work.study, StageNotes(stage.name, stage.variant, work.group, bool(outcome.tables), lines))
            stage.write(work.study, work.group, outcome)
            told[work.group] += outcome.warnings

    groups = [work.group for work in works]
    with during(f"{stage.name} of {', '.join(groups) if len(groups) <= NAMED else f'{len(groups)} groups'}"):
        _, pace, peak = within_memory(works[0].task.lm, pace, attempt)
    return Carried(told, pace, peak)


def note(stage: Stage, work: Work, plan: MemoryPlan, done: Carried) -> Sequence[str]:
    """Add what a stage of a group took to plan.json; what the reader should know of the group."""
    note_stage(work.study, work.group, plan, stage.name, done.pace, done.peak)
    return done.told[work.group]
