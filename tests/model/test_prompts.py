"""Continuations side by side in one row: each reads as if it were alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from saeattr.model.capture import final_hidden
from saeattr.model.loading import LanguageModel
from saeattr.model.prompts import Prompts, branch_positions
from tests.model.toys import FAMILIES, make_toy


def test_a_branch_begins_where_the_prompt_ends() -> None:
    branch = torch.tensor([[0, 0, 0, 1, 1, 2, 2, 2], [0, 0, 1, 2, 0, 0, 0, 0]])
    assert branch_positions(branch)[0].tolist() == [0, 1, 2, 3, 4, 3, 4, 5]
    assert branch_positions(branch)[1, :4].tolist() == [0, 1, 2, 2]


def side_by_side(prompt: list[int], tails: list[list[int]]) -> tuple[list[int], list[int]]:
    """Token ids and branches of one row."""
    ids, branch = list(prompt), [0] * len(prompt)
    for number, tail in enumerate(tails, 1):
        ids, branch = ids + tail, branch + [number] * len(tail)
    return ids, branch


def check_against_each_alone(lm: LanguageModel, rows: list[tuple[list[int], list[list[int]]]]) -> None:
    """The final states of every row's prompt and tails, against a plain run of each [prompt, tail]."""
    laid = [side_by_side(*row) for row in rows]
    width = max(len(ids) for ids, _ in laid)
    tokens, branch, mask = torch.zeros(3, len(rows), width, dtype=torch.long)
    for at, (ids, branches) in enumerate(laid):
        tokens[at, : len(ids)], branch[at, : len(ids)] = torch.tensor([ids, branches])
        mask[at, : len(ids)] = 1
    with torch.no_grad():
        found = final_hidden(lm, Prompts(tokens, mask.bool(), branch))
        for at, (prompt, tails) in enumerate(rows):
            start = len(prompt)
            for tail in tails:
                ids = torch.tensor([prompt + tail])
                alone = final_hidden(lm, Prompts(ids, torch.ones_like(ids).bool()))[0]
                own = [*range(len(prompt)), *range(start, start + len(tail))]
                torch.testing.assert_close(found[at, own], alone, rtol=1e-4, atol=1e-4)
                start += len(tail)


def test_each_continuation_reads_as_if_it_were_alone(lm: LanguageModel) -> None:
    long = torch.randint(6, 1800, (70,), generator=torch.Generator().manual_seed(0)).tolist()
    # 70 tokens are more than the sliding window of every second layer.
    rows = [([2, 40, 41, 42], [[100, 101, 102], [200, 201]]), ([2, *long], [[7, 8], [9, 10, 11]]), ([2, 5], [[6]])]
    check_against_each_alone(lm, rows)


@pytest.mark.parametrize("family", FAMILIES)
def test_it_holds_for_other_families(family: str, tmp_path: Path) -> None:
    lm, _ = make_toy(family, tmp_path)
    check_against_each_alone(lm, [([1, 4, 5, 6], [[10, 11], [12, 13, 14]]), ([1, 9], [[3], [4, 5]])])


def test_rows_of_two_batches_are_stacked_to_the_longer() -> None:
    short = Prompts(torch.tensor([[1, 2]]), torch.ones(1, 2).bool())
    branched = Prompts(torch.tensor([[3, 4, 5]]), torch.ones(1, 3).bool(), torch.tensor([[0, 1, 2]]))
    both = short.above(branched)
    assert both.tokens.tolist() == [[1, 2, 0], [3, 4, 5]]
    assert both.mask.tolist() == [[True, True, False], [True, True, True]]
    assert both.branch is not None
    assert both.branch.tolist() == [[0, 0, 0], [0, 1, 2]]
    assert short.above(short).branch is None
