"""A pair refuses what does not align, and pairs are padded on the right."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from saeattr import UserError
from saeattr.behaviours.pair import Pair, Point, by_group, chunks, pad_pairs


def pair_of(clean: tuple[int, ...], corrupted: tuple[int, ...] | None, **changes: Any) -> Pair:
    fields = {
        "group": "cities",
        "pair_id": "007",
        "title": "cities 007",
        "roles": ("bos",) + ("word",) * len(clean[1:]),
    }
    roles = ("bos", *["word"] * len(clean[1:]))
    points = (Point(len(clean) - 1, (5,), (6,)),)
    return Pair(
        **{**fields, "clean_ids": clean, "corrupted_ids": corrupted, "points": points, "roles": roles, **changes}
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"corrupted_ids": (1, 2)}, "has 3 clean and 2 corrupted tokens"),
        ({"corrupted_ids": (1, 2, 3)}, "has the same clean and corrupted tokens"),
        ({"roles": ("bos", "word")}, "has 2 roles for 3 tokens"),
        ({"points": ()}, "needs decision points, each at one of its 3 tokens"),
        ({"points": (Point(3, (5,), (6,)),)}, "needs decision points, each at one of its 3 tokens"),
        ({"points": (Point(2, (5,), (6,)), Point(-1, (5,), (6,)))}, "needs decision points"),
    ],
)
def test_what_is_no_pair_is_refused_in_one_line_that_names_it(changes: dict[str, Any], said: str) -> None:
    assert pair_of((1, 2, 3), (1, 4, 3)).changed_positions == (1,)
    with pytest.raises(UserError, match=said) as refusal:
        pair_of((1, 2, 3), (1, 4, 3), **changes)
    assert str(refusal.value).startswith("pair 007 of 'cities' ")
    assert "\n" not in str(refusal.value)


def test_changed_positions_are_where_the_prompts_differ() -> None:
    assert pair_of((1, 2, 3, 4), (1, 9, 3, 8)).changed_positions == (1, 3)
    assert pair_of((1, 2, 3, 4), None).changed_positions == ()


def test_padding_is_on_the_right_and_masked() -> None:
    pairs = [pair_of((1, 2, 3), (1, 4, 3)), pair_of((1, 2, 3, 4, 5), (1, 2, 7, 8, 5)), pair_of((1, 2), (1, 3))]
    batch = pad_pairs(pairs, 0, torch.device("cpu"))
    assert batch.corrupted is not None
    assert batch.clean.shape == batch.corrupted.shape == batch.mask.shape == (3, 5)
    assert batch.clean.dtype == torch.long
    for row, pair in enumerate(pairs):
        size = len(pair.clean_ids)
        assert batch.mask[row].tolist() == [at < size for at in range(5)]
        assert tuple(batch.clean[row, :size].tolist()) == pair.clean_ids
        assert tuple(batch.corrupted[row, :size].tolist()) == pair.corrupted_ids
        assert not batch.clean[row, size:].any()
        assert not batch.corrupted[row, size:].any()


def test_one_pair_without_a_corrupted_prompt_leaves_the_batch_without() -> None:
    batch = pad_pairs([pair_of((1, 2, 3), (1, 4, 3)), pair_of((1, 2), None)], 9)
    assert batch.corrupted is None
    assert batch.clean.tolist() == [[1, 2, 3], [1, 2, 9]]


def test_chunks_and_groups_keep_the_order() -> None:
    names = [("b", "0"), ("a", "0"), ("b", "1"), ("b", "2"), ("a", "1")]
    pairs = [pair_of((1, 2), (1, 3), group=group, pair_id=pair_id) for group, pair_id in names]
    assert [len(chunk) for chunk in chunks(pairs, 2)] == [2, 2, 1]
    assert [pair for chunk in chunks(pairs, 2) for pair in chunk] == pairs
    grouped = by_group(pairs)
    assert {group: [pair.pair_id for pair in own] for group, own in grouped.items()} == {
        "b": ["0", "1", "2"],
        "a": ["0", "1"],
    }
    assert list(grouped) == ["b", "a"]
