"""A row becomes a pair: prompts as tokens, their alignment, decision points, roles."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.given.align import align
from saeattr.behaviours.given.prompts import PromptTokens, answer_tokens, read_prompt, span_positions
from saeattr.behaviours.given.rows import PairRow, RowFault, RowUnusable
from saeattr.behaviours.pair import BOS, Pair, Point
from saeattr.settings import Unequal

#: Metrics that need a wrong answer, and those that read one token where several would do.
CONTRASTS, SINGLE = ("logit-difference", "log-prob-difference"), ("logit-difference",)


@dataclass(frozen=True)
class Reading:
    """How rows are read.

    Attributes:
        metric: an entry of ``saeattr.runs.metric.METRICS``.
        unequal: what becomes of prompts of unequally many tokens.
        contrast: token ids to contrast in place of the rows' own answers.
        longest: tokens that the model can read; None for any number.
        paired: whether a row needs a corrupted prompt.
    """

    metric: str = "logit-difference"
    unequal: Unequal = "refuse"
    contrast: tuple[int, int] | None = None
    longest: int | None = None
    paired: bool = False


@dataclass(frozen=True)
class Sides:
    """What is wanted and what is not: of each, one continuation, or several single tokens."""

    answer: tuple[tuple[int, ...], ...]
    wrong: tuple[tuple[int, ...], ...]

    @property
    def tails(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The tokens that are read behind the prompt: all of a continuation but the last."""
        answer, wrong = (side[0][:-1] if len(side) == 1 else () for side in (self.answer, self.wrong))
        return answer, wrong


def make_pairs(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[PairRow], reading: Reading
) -> tuple[list[Pair], list[RowFault]]:
    """The pairs of the rows that make one, and why the others do not."""
    pairs, faults = [], []
    for row in rows:
        try:
            pairs.append(make_pair(tokenizer, row, reading))
        except RowUnusable as fault:
            faults.append(RowFault(row.row, row.id or "", fault.reason, fault.mend, row.group))
    return pairs, faults


def make_pair(tokenizer: PreTrainedTokenizerBase, row: PairRow, reading: Reading) -> Pair:
    """One pair.

    Behind the prompts stand the answer's tokens but the last, then the wrong one's, which do not see the answer's: in
    both runs the same, so that the metric reads the same continuations.

    Raises:
        RowUnusable: the row makes none.
    """
    if row.corrupted is None and reading.paired:
        raise RowUnusable(
            "there is no corrupted prompt", "fill the column corrupted, or use --base zero or mean with named --sites"
        )
    clean = read_prompt(tokenizer, row, row.clean)
    spans = span_positions(tokenizer, clean, row.spans)
    at = _read_at(row, clean, spans)
    sides = _sides(tokenizer, row, clean, reading)
    answer, wrong = sides.tails
    if (answer or wrong) and at != len(clean.ids) - 1:
        raise RowUnusable("an answer of several tokens is read inside the prompt", "leave position out")
    corrupted, partners = None, None
    if row.corrupted is not None:
        corrupted = read_prompt(tokenizer, row, row.corrupted).ids
        partners = align(clean.ids, corrupted, reading.unequal)
        _check_change(clean.ids, corrupted, partners, at)
        if partners is not None:
            partners = (*partners, *range(len(corrupted), len(corrupted) + len(answer) + len(wrong)))
    size = max(len(clean.ids), len(corrupted or ())) + len(answer) + len(wrong)
    if reading.longest is not None and size > reading.longest:
        raise RowUnusable(f"it has {size} tokens, and the model reads {reading.longest}", "shorten the prompt")
    points = _points(sides, at)
    branches = (0,) * len(clean.ids) + (1,) * len(answer) + (2,) * len(wrong) if answer and wrong else None
    pair = Pair(
        group=row.group,
        pair_id=row.pair_id,
        title=row.pair_id,
        clean_ids=clean.ids + answer + wrong,
        corrupted_ids=None if corrupted is None else corrupted + answer + wrong,
        points=points,
        roles=(*["common"] * len(clean.ids), *["answer"] * len(answer), *["wrong"] * len(wrong)),
        partners=partners,
        branches=branches,
        whole=len(points) > 1,
    )
    return dataclasses.replace(pair, roles=_roles(tokenizer, pair, clean, spans))


def _read_at(row: PairRow, clean: PromptTokens, spans: Mapping[str, Sequence[int]]) -> int:
    """The position at which the answer is read."""
    size = len(clean.ids)
    if row.position is None:
        return size - 1
    if isinstance(row.position, str):
        if row.position not in spans:
            raise RowUnusable(f"position names no span ({row.position!r})", "name one of spans, or give a token index")
        return spans[row.position][-1]
    at = row.position + size if row.position < 0 else row.position
    if not 0 <= at < size:
        raise RowUnusable(f"position is {row.position} in a prompt of {size} tokens", f"give -{size} to {size - 1}")
    return at


def _sides(tokenizer: PreTrainedTokenizerBase, row: PairRow, clean: PromptTokens, reading: Reading) -> Sides:
    """Answer and wrong answer as tokens, checked against what the metric reads."""
    if reading.contrast is not None:
        wanted, unwanted = reading.contrast
        return Sides(((wanted,),), ((unwanted,),))
    _check_ids(tokenizer, row)
    answer = tuple((token,) for token in row.answer_ids)
    answer = answer or tuple(answer_tokens(tokenizer, clean, text) for text in row.answer)
    wrong = tuple((token,) for token in row.wrong_ids)
    wrong = wrong or tuple(answer_tokens(tokenizer, clean, text) for text in row.wrong)
    for name, side in (("answer", answer), ("wrong answer", wrong)):
        _check_side(name, side, reading)
    if reading.metric not in CONTRASTS:
        return Sides(answer, ())
    if not wrong:
        raise RowUnusable("there is no wrong answer to contrast with", "fill the column wrong, or --metric log-prob")
    if set(answer) & set(wrong):
        raise RowUnusable("a token is both answer and wrong answer", "name it once")
    return Sides(answer, wrong)


def _check_side(name: str, side: Sequence[tuple[int, ...]], reading: Reading) -> None:
    longest = max(map(len, side), default=1)
    if longest > 1 and len(side) > 1:
        raise RowUnusable(f"one of several {name}s is {longest} tokens", "give single tokens, or one continuation")
    if longest > 1 and reading.metric in SINGLE:
        raise RowUnusable(f"the {name} is {longest} tokens", "give one token, or --metric log-prob-difference")


def _check_ids(tokenizer: PreTrainedTokenizerBase, row: PairRow) -> None:
    for token in (*row.answer_ids, *row.wrong_ids):
        if token >= len(tokenizer):
            raise RowUnusable(f"there is no token {token}", f"this model's are 0 to {len(tokenizer) - 1}")


def _check_change(clean: Sequence[int], corrupted: Sequence[int], partners: Sequence[int] | None, at: int) -> None:
    """What changes after the answer is read cannot change it, and it is read in both prompts."""
    if partners is not None and partners[at] < 0:
        raise RowUnusable(
            "the answer is read at a token that has no partner in the corrupted prompt",
            "let both prompts end alike, or give a position that both have",
        )
    if tuple(clean[: at + 1]) == tuple(corrupted[: at + 1]):
        raise RowUnusable(
            "the prompts are the same up to where the answer is read", "change something before it, or read it later"
        )


def _points(sides: Sides, at: int) -> tuple[Point, ...]:
    """The prompt's last token decides between both sides; behind it each continuation goes on by itself."""
    points = [Point(at, tuple(ids[0] for ids in sides.answer), tuple(ids[0] for ids in sides.wrong))]
    position = at
    for side, wanted in ((sides.answer, True), (sides.wrong, False)):
        for token in side[0][1:] if len(side) == 1 else ():
            position += 1
            points.append(Point(position, (token,) if wanted else (), () if wanted else (token,)))
    return tuple(points)


def _roles(
    tokenizer: PreTrainedTokenizerBase, pair: Pair, clean: PromptTokens, spans: Mapping[str, Sequence[int]]
) -> tuple[str, ...]:
    """One role for each token; a later rule goes before an earlier one."""
    roles = list(pair.roles)
    if pair.corrupted_ids is not None:
        roles[pair.first_change : len(clean.ids)] = ["after"] * (len(clean.ids) - pair.first_change)
    for position in clean.around:
        roles[position] = "turn"
    for position in pair.changed_positions:
        roles[position] = "changed"
    for name, positions in spans.items():
        for position in positions:
            roles[position] = name
    roles[pair.points[0].position] = "last"
    if clean.ids[0] == tokenizer.bos_token_id:
        roles[0] = BOS
    return tuple(roles)
