"""The memory plan: the largest batch within the budget, and the smallest budget that works."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saeattr.errors import UserError
from saeattr.model.memory import Rehearsal
from saeattr.runs.memory import Load, megabytes, parse_bytes, plan_memory
from saeattr.saes.loading import SaeFile
from saeattr.sites import Site

MIB = 2**20
SAE = SaeFile(Site("resid_post", 0), Path("x"), 128, 512)


def rehearse(batch: int) -> Rehearsal:
    return Rehearsal(weights=7 * MIB, kept=batch * MIB, peak=4 * batch * MIB, recompute=MIB // 2)


@given(st.integers(80, 4000), st.integers(1, 64), st.integers(1, 64))
def test_the_plan_keeps_its_budget_or_names_one_that_works(budget: int, n_pairs: int, batch_size: int) -> None:
    def plan(limit: int | None):
        return plan_memory(rehearse, [SAE], Load(n_pairs, 60), batch_size, limit)

    free = plan(None)
    assert free.batch_size == min(n_pairs, batch_size)
    try:
        held = plan(budget * MIB)
    except UserError as error:
        smallest = parse_bytes(str(error).split("works here is ")[1].split(" (")[0])
        assert smallest > budget * MIB
        assert plan(smallest).peak <= smallest
    else:
        assert held.peak <= budget * MIB
        assert held.batch_size <= free.batch_size


def test_a_smaller_budget_gives_a_smaller_batch() -> None:
    sizes = [plan_memory(rehearse, [SAE], Load(16, 60), 16, budget * MIB).batch_size for budget in (400, 144, 119)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 16
    assert sizes[-1] < 16


def test_streaming_holds_two_saes_however_many_there_are() -> None:
    one = plan_memory(rehearse, [SAE] * 2, Load(4, 60, on_host=False), 4)
    many = plan_memory(rehearse, [SAE] * 100, Load(4, 60, on_host=False), 4)
    assert one.peak == many.peak
    assert one.sae == 2 * SAE_BYTES


def test_the_runs_of_all_pairs_are_captured_whatever_the_batch() -> None:
    plans = {size: plan_memory(rehearse, [SAE], Load(16, 60, on_host=False), size) for size in (1, 4, 16)}
    assert {plan.captured for plan in plans.values()} == {16 * MIB}
    for size, plan in plans.items():
        # The last batch's forward and backward runs beside what all batches captured.
        assert plan.peak >= (7 + 16 + 3 * size) * MIB
    more = plan_memory(rehearse, [SAE], Load(32, 60, on_host=False), 4)
    assert more.peak == plans[4].peak + 16 * MIB


def test_each_sae_counts_its_own_table_rows() -> None:
    wide = dataclasses.replace(SAE, d_sae=1024)
    narrow, mixed, both = (
        plan_memory(rehearse, saes, Load(4, 60), 4).tables for saes in ([SAE], [SAE, wide], [wide] * 2)
    )
    assert mixed == pytest.approx(narrow + both / 2, rel=1e-6)


SAE_BYTES = 4 * (2 * 128 * 512 + 2 * 512 + 128)


@pytest.mark.parametrize(
    ("text", "n_bytes"), [("8GiB", 8 * 2**30), ("200 MiB", 200 * MIB), ("24gb", 24 * 10**9), ("1.5GiB", 3 * 2**29)]
)
def test_amounts_of_memory(text: str, n_bytes: int) -> None:
    assert parse_bytes(text) == n_bytes


@pytest.mark.parametrize("text", ["", "lots", "-1GiB", "8 potatoes", "0MiB", "nanGiB", "1e99GiB"])
def test_other_amounts_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="8GiB"):
        parse_bytes(text)


def test_printed_amounts_suffice() -> None:
    for n_bytes in (1, MIB, 117 * MIB + 1, 2**30, 3 * 2**30 + 12345):
        assert parse_bytes(megabytes(n_bytes)) >= n_bytes


def test_edited_copies_fill_what_the_budget_leaves_up_to_where_more_are_no_faster() -> None:
    def copies(budget: int | None, on_host: bool = True) -> int:
        return plan_memory(rehearse, [SAE], Load(10, 60, on_host), 10, budget).copies

    # Ten prompts at once take half a MiB to recompute, and 30 MiB to capture.
    assert copies(None) == 32
    assert copies(None, on_host=False) == 512
    one = plan_memory(rehearse, [SAE], Load(10, 60), 10)
    assert one.validation == one.copies * (MIB // 2 // 10)

    def heavy(batch: int) -> Rehearsal:
        return Rehearsal(weights=7 * MIB, kept=batch * MIB, peak=4 * batch * MIB, recompute=5 * batch * MIB)

    assert plan_memory(heavy, [SAE], Load(10, 60), 10).copies == 6
    assert plan_memory(heavy, [SAE], Load(10, 60), 10, one.peak + 60 * MIB).copies > 6
    assert plan_memory(heavy, [SAE], Load(1, 60), 1).copies == 1
