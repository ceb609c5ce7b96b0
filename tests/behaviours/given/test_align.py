"""Prompts align one to one, or by what they have in common at both ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saeattr.behaviours.given.align import align
from saeattr.behaviours.given.rows import RowUnusable

#: Few tokens, so that common ends and repetitions are frequent.
IDS = st.lists(st.integers(0, 2), min_size=1, max_size=9).map(tuple)


def by_hand(clean: tuple[int, ...], corrupted: tuple[int, ...]) -> tuple[int, ...]:
    """The longest common beginning, then the longest common end of what is left, by trying every length."""
    shorter = min(len(clean), len(corrupted))
    start = max(n for n in range(shorter + 1) if clean[:n] == corrupted[:n])
    left = shorter - start
    end = max(n for n in range(left + 1) if clean[len(clean) - n :] == corrupted[len(corrupted) - n :])
    first = [at if at < start else None for at in range(len(clean))]
    last = [at - len(clean) + len(corrupted) if at >= len(clean) - end else None for at in range(len(clean))]
    return tuple(
        one if one is not None else other if other is not None else -1 for one, other in zip(first, last, strict=True)
    )


@given(IDS, IDS)
def test_equally_many_tokens_align_one_to_one_and_others_by_both_ends(
    clean: tuple[int, ...], corrupted: tuple[int, ...]
) -> None:
    if clean == corrupted:
        with pytest.raises(RowUnusable, match="clean and corrupted prompt are the same"):
            align(clean, corrupted, "zero")
        return
    partners = align(clean, corrupted, "zero")
    if len(clean) == len(corrupted):
        assert partners is None
        return
    assert partners == by_hand(clean, corrupted)


@given(IDS, IDS)
def test_partners_are_the_same_tokens_in_order_each_once(clean: tuple[int, ...], corrupted: tuple[int, ...]) -> None:
    if len(clean) == len(corrupted):
        return
    partners = align(clean, corrupted, "zero")
    assert partners is not None
    assert len(partners) == len(clean)
    there = [(at, other) for at, other in enumerate(partners) if other >= 0]
    assert all(clean[at] == corrupted[other] for at, other in there)
    others = [other for _, other in there]
    assert others == sorted(set(others))
    # What has no partner is one piece.
    gaps = [at for at, other in enumerate(partners) if other < 0]
    assert gaps == list(range(gaps[0], gaps[-1] + 1)) if gaps else True


@given(IDS, IDS)
def test_unequally_many_tokens_are_refused_unless_they_are_allowed(
    clean: tuple[int, ...], corrupted: tuple[int, ...]
) -> None:
    if len(clean) == len(corrupted):
        return
    with pytest.raises(RowUnusable) as refused:
        align(clean, corrupted)
    assert refused.value.reason == (f"the clean prompt has {len(clean)} tokens and the corrupted one {len(corrupted)}")
    assert "--unequal zero" in refused.value.mend
