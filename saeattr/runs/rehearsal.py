"""The runs of a study rehearsed on meta tensors: the code that runs, with the method and the metric that are asked for.

What each part takes is counted at two numbers of rows, and grows evenly between and beyond them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from saeattr.behaviours.pair import Pair, Point
from saeattr.model.costs import COUNTED_ROWS, NOTHING, Cost, Costs, through
from saeattr.model.loading import LanguageModel
from saeattr.model.memory import LiveBytes
from saeattr.model.recompute import recompute
from saeattr.model.unembed import entropy
from saeattr.runs.batch import BatchRuns, Rules, run_batch
from saeattr.runs.metric import LOGIT_DIFFERENCE, plan_reads
from saeattr.runs.question import Question
from saeattr.sites import Site

#: Decision points and tokens at which reading is counted.
COUNTED_READS = 64, 256


@dataclass(frozen=True)
class Asked:
    """What is rehearsed.

    Attributes:
        sites: those captured, the lowest first.
        slope: where a method finds g by runs of its own: a function of the batch, the site, the base and the rows of a
            forward; None where the clean run's gradient is g.
        rules: in force during the clean run.
    """

    sites: Sequence[Site]
    question: Question
    rules: Rules
    slope: Callable[[BatchRuns, Site, torch.Tensor, int], torch.Tensor] | None = None


def rehearse_runs(lm: LanguageModel, asked: Asked, length: int) -> Costs:
    """What prompts of ``length`` tokens take.

    The metric is counted by itself: where it reads the whole vocabulary, it takes what no number of rows makes small.

    Args:
        lm: from ``saeattr.model.memory.meta_model``.
    """
    read, tokens = rehearse_reading(lm, asked.question)
    captured, capture = rehearse_capture(lm, asked, length, gradients=True)
    recorded, record = rehearse_capture(lm, asked, length, gradients=False)
    return Costs(
        weights=sum(p.numel() * p.element_size() for p in lm.hf.parameters()),
        captured=captured,
        capture=capture,
        recorded=recorded,
        record=record,
        recompute=rehearse_copies(lm, asked, length),
        slope=NOTHING if asked.slope is None else rehearse_slope(lm, asked, length),
        read=read,
        entropy=tokens,
    )


def rehearse_capture(lm: LanguageModel, asked: Asked, length: int, gradients: bool) -> list[Cost]:
    """What the runs of a batch leave behind, and the most alive at once."""
    found, known = [], list(lm.hf.parameters())
    for rows in COUNTED_ROWS:
        pairs = rehearsed_pairs(rows, length)
        with LiveBytes(known) as live:
            runs = run_batch(lm, pairs, asked.sites, _cheap(asked), gradients=gradients, rules=asked.rules)
            found.append((live.now, live.peak))
            del runs
    return [through(*both) for both in zip(*found, strict=True)]


@torch.no_grad()
def rehearse_copies(lm: LanguageModel, asked: Asked, length: int) -> Cost:
    """Of an edited copy, while the layers above the lowest site run, to where the metric is read."""
    site = asked.sites[0]
    runs = run_batch(lm, rehearsed_pairs(1, length), [site], _cheap(asked), gradients=False)

    def run(copies: int) -> None:
        rows = torch.zeros(copies, dtype=torch.long, device="meta")
        at = torch.full((copies, 1), length - 1, device="meta")
        recompute(runs.clean, site, runs.clean.x[site][rows].float(), rows, at=at)

    return counted(run, [*lm.hf.parameters(), *runs.clean.calls.inputs])


def rehearse_slope(lm: LanguageModel, asked: Asked, length: int) -> Cost:
    """Of a point at which the method finds g, a forward and a backward of the layers above the lowest site."""
    site, slope = asked.sites[0], asked.slope
    assert slope is not None
    runs = run_batch(lm, rehearsed_pairs(1, length), [site], _cheap(asked), gradients=False)
    x_base = runs.clean.x[site].float()
    return counted(lambda n: slope(runs, site, x_base, n), [*lm.hf.parameters(), *runs.clean.calls.inputs, x_base])


def rehearse_reading(lm: LanguageModel, question: Question) -> tuple[Cost, Cost]:
    """Of a decision point whose metric is read with gradients, and of a token whose entropy is."""
    known = list(lm.hf.parameters())
    read = counted(lambda n: _read_with_gradients(lm, question, n), known, COUNTED_READS)
    with torch.no_grad():
        return read, counted(lambda n: entropy(lm, _hidden(lm, n)), known, COUNTED_READS)


def _cheap(asked: Asked) -> Question:
    """Two tokens' logits take next to nothing."""
    return dataclasses.replace(asked.question, metric=LOGIT_DIFFERENCE)


def counted(work: Callable[[int], object], known: Sequence[torch.Tensor], rows: tuple[int, int] = COUNTED_ROWS) -> Cost:
    """The most that work on a number of rows has alive at once."""
    peaks = []
    for n in rows:
        with LiveBytes(known) as live:
            work(n)
        peaks.append(live.peak)
    return through(peaks[0], peaks[1], rows)


def rehearsed_pairs(n_pairs: int, length: int) -> list[Pair]:
    """Pairs without meaning that differ in one token and are read at their last."""
    clean, corrupted = (0,) * length, (0,) * (length // 4) + (1,) + (0,) * length
    points = (Point(length - 1, (1,), (2,)),)
    return [
        Pair("rehearsal", str(number), "", clean, corrupted[:length], points, ("other",) * length)
        for number in range(n_pairs)
    ]


def _hidden(lm: LanguageModel, n_tokens: int) -> torch.Tensor:
    return torch.empty(n_tokens, lm.hf.config.get_text_config().hidden_size, dtype=lm.dtype, device="meta")


def _read_with_gradients(lm: LanguageModel, question: Question, n_points: int) -> None:
    reads = plan_reads(rehearsed_pairs(n_points, 2), "last")
    hidden = _hidden(lm, n_points).requires_grad_()
    torch.autograd.grad(question.metric.values(lm, hidden, reads).sum(), hidden)
