"""A plan of memory that holds: what stays resident, what is streamed, and how many prompts share a batch in each stage.

The model's part is rehearsed on meta tensors (``saeattr.runs.rehearsal``) or was (``saeattr.model.fitted``); the SAE's
part follows from its width. Nothing slow is imported here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from saeattr.errors import UserError
from saeattr.model.costs import Costs
from saeattr.runs.needs import (
    Load,
    Need,
    Sized,
    encode,
    held_runs,
    held_saes,
    patched_copies,
    stage_needs,
    table_bytes,
)

if TYPE_CHECKING:
    from saeattr.runs.question import Pace

#: Tokens of a short list of a dozen items with its request, and of the request alone.
USUAL_LENGTH, USUAL_REQUEST = 60, 32
#: What sampling, pandas and the allocator hold besides, on the CPU.
HOST_BYTES = 56 * 2**20
#: On a card: what CUDA takes before the first tensor, and the share of the tensors that the allocator's blocks are
#: larger than them.
CONTEXT_BYTES, ALLOCATOR_SHARE = 512 * 2**20, 0.05

#: More edited copies in one forward than these are not faster: caches overflow on a CPU, a GPU is busy.
MOST_COPIES_ON_HOST, MOST_COPIES = 32, 512

#: The stage whose smallest peak a budget must hold.
FIRST = "attribution"
#: Stages whose batches are not of a group's pairs.
OF_SETTINGS = ("pairs", "test_pairs", "generation", "selection")


@dataclass(frozen=True)
class StagePlan:
    """How a stage runs, and what it will hold.

    Attributes:
        batch_size, copies: pairs and edited copies in one forward.
        tensors: predicted bytes of tensors on the device; ``most``: at which moment.
        predicted: what is measured there: the tensors, and on the CPU what the tables and the process take besides.
    """

    batch_size: int
    copies: int
    tensors: int
    predicted: int
    most: str


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes by part, and for each stage the batch size that keeps the peak within the budget.

    Attributes:
        batch_size: pairs in one forward and backward.
        weights, captured: resident throughout: the model, and what is on the device of the captured runs.
        working: the most that a batch's forward and backward needs beside them.
        sae, encode: the SAEs in memory (the present one and the next), and the dense activations of one.
        tables: rows of attributions before they are written; on the host whatever the device.
        peak: predicted for attribution, on the device (host tables included where the device is the CPU).
        budget: what was allowed; None for no limit.
        copies: edited copies of a prompt in one forward of the validation.
        validation: the most that such a forward needs.
        overhead: of a card what no tensor takes: CUDA's context, and blocks that are larger than what is in them. It
            counts against the budget; a peak as it is measured has no part of it.
        stages: by name.
        download: still to be fetched from the hub.
    """

    batch_size: int
    weights: int
    captured: int
    working: int
    sae: int
    encode: int
    tables: int
    peak: int
    budget: int | None
    copies: int
    validation: int
    overhead: int = 0
    stages: Mapping[str, StagePlan] = field(default_factory=dict)
    download: int = 0

    def predicted(self, stage: str) -> int | None:
        """Bytes at a stage's peak; None for one that is not predicted."""
        return self.stages[stage].predicted if stage in self.stages else None

    def pace(self, stage: str, pace: Pace) -> Pace:
        """The pace at which a stage keeps within the budget; one that is not predicted has attribution's."""
        known = self.stages.get(stage)
        batch_size = self.batch_size if known is None else known.batch_size
        return dataclasses.replace(pace, batch_size=batch_size, copies=known.copies if known else self.copies)


def plan_memory(
    costs: Costs, saes: Sequence[Sized], load: Load, batch_size: int, budget: int | None = None, refuse: bool = True
) -> MemoryPlan:
    """The largest batches up to ``batch_size`` whose predicted peaks are within ``budget``, stage by stage.

    Args:
        costs: of the load's length, with the sites of ``saes`` captured.
        saes: those that will be streamed; none where no stage opens any.
        budget: bytes; None plans without a limit.
        refuse: whether a budget too small for attribution is an error.

    Raises:
        UserError: one pair at a time is too much for attribution; the message names the smallest budget that works.
    """
    needs = stage_needs(costs, saes, load)
    most = min(batch_size, load.n_pairs)
    stages: dict[str, StagePlan] = {}
    for name in sorted(needs, key=lambda name: name != FIRST):
        batch = batch_size if name in OF_SETTINGS else most
        # Without a limit copies are as many as are of use, whatever else runs: their number shows in the last digits.
        stages[name] = fit_stage(partial(_stage, name, needs[name], saes, load), load, batch, budget)
    first = stages.get(FIRST)
    if refuse and budget is not None and first is not None and with_overhead(first.predicted, load) > budget:
        smallest, tensors = with_overhead(first.predicted, load), first.tensors - round(costs.weights)
        card = "" if load.on_host else f", CUDA and its allocator {megabytes(smallest - first.predicted)}"
        raise UserError(
            f"a budget of {megabytes(budget)} is too small: the smallest that works here is {megabytes(smallest)} "
            f"(model {megabytes(round(costs.weights))}, {first.most} {megabytes(tensors)}{card}); raise --vram, name "
            "fewer --sites, or ask for fewer --lists"
        )
    size = most if first is None else first.batch_size
    if "validation" in stages:
        copies = stages["validation"].copies
    else:
        # Of components that are patched nothing is predicted but that their copies take no more than a backward.
        within = round(costs.weights + costs.recorded.of(most) + costs.capture.of(most))
        need = patched_copies(costs, most)
        copies = fit_stage(partial(_stage, "patching", need, saes, load), load, most, budget, within).copies
    peak = round(costs.weights + costs.record.of(size)) if first is None else first.predicted
    return MemoryPlan(
        batch_size=size,
        weights=round(costs.weights),
        captured=round(held_runs(costs, saes, load)) if saes else 0,
        working=round(costs.capture.of(size) - (costs.captured.of(size) if load.on_host else 0)),
        sae=held_saes(saes, load) if saes else 0,
        encode=encode(saes, size * load.length) if saes else 0,
        tables=table_bytes(saes, load) if saes else 0,
        peak=peak,
        budget=budget,
        copies=copies,
        validation=round(costs.recompute.of(copies)),
        overhead=with_overhead(peak, load) - peak,
        stages=stages,
    )


def fit_stage(
    planned: Callable[[int, int], StagePlan], load: Load, batch: int, budget: int | None, within: int | None = None
) -> StagePlan:
    """The largest batch and then the most copies that keep a stage within the budget; the smallest where none does.

    Args:
        planned: the stage at a number of pairs and of copies at a time.
        within: what more than one copy may take where there is no budget.
    """
    plan = planned(batch, 1)
    while plan.batch_size > 1 and not _fits(plan, load, budget):
        plan = planned((plan.batch_size + 1) // 2, 1)
    most = MOST_COPIES_ON_HOST if load.on_host else MOST_COPIES
    while plan.copies < most:
        more = planned(plan.batch_size, min(2 * plan.copies, most))
        if not _fits(more, load, budget) or (within is not None and more.predicted > within):
            break
        plan = more
    return plan


def _stage(name: str, need: Need, saes: Sequence[Sized], load: Load, batch: int, copies: int) -> StagePlan:
    moments = need(batch, copies)
    most = max(moments, key=lambda moment: moments[moment])
    tensors = round(moments[most])
    besides = 0
    if load.on_host:
        besides = HOST_BYTES + (table_bytes(saes, load) if name == FIRST else 0)
    return StagePlan(batch, copies, tensors, tensors + besides, most)


def _fits(plan: StagePlan, load: Load, budget: int | None) -> bool:
    return budget is None or with_overhead(plan.predicted, load) <= budget


def with_overhead(n_bytes: int, load: Load) -> int:
    """What a peak takes of a card, with CUDA's context and the allocator's blocks; on the CPU the same."""
    return n_bytes if load.on_host else CONTEXT_BYTES + round(n_bytes * (1 + ALLOCATOR_SHARE))


def megabytes(n_bytes: int) -> str:
    """``1.5 GiB`` or ``200 MiB``; rounded up, so that a printed budget suffices."""
    if n_bytes >= 2**30:
        return f"{-(-n_bytes * 100 // 2**30) / 100:g} GiB"
    return f"{-(-n_bytes // 2**20)} MiB"


def parse_bytes(text: str) -> int:
    """Read ``8GiB``, ``200MiB``, ``24GB`` or a plain number of bytes.

    Raises:
        UserError: it is none of these.
    """
    units = {"gib": 2**30, "mib": 2**20, "kib": 2**10, "gb": 10**9, "mb": 10**6, "kb": 10**3, "b": 1, "": 1}
    folded = text.strip().lower().replace(" ", "")
    number = folded.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = folded[len(number) :]
    try:
        value = float(number) * units[unit]
    except (KeyError, ValueError) as error:
        raise UserError(f"{text!r} is not an amount of memory: write for example 8GiB or 200MiB") from error
    if not 0 < value < 2**60:
        raise UserError(f"{text!r} is not an amount of memory: it must be positive, for example 8GiB")
    return int(value)
