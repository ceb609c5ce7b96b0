"""The memory plan: the largest batch within the budget, and the smallest budget that works."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saeattr.errors import UserError
from saeattr.model.costs import NOTHING, Cost, Costs
from saeattr.runs.memory import CONTEXT_BYTES, megabytes, parse_bytes, plan_memory
from saeattr.runs.needs import HELD_ON_HOST, Load
from saeattr.runs.question import Pace
from saeattr.saes.loading import SaeFile
from saeattr.sites import Site

MIB = 2**20
SAE = SaeFile(Site("resid_post", 0), Path("x"), 128, 512)


def each(mib: float) -> Cost:
    return Cost(0, mib * MIB)


COSTS = Costs(
    weights=7 * MIB,
    captured=each(1),
    capture=each(4),
    recorded=each(0.5),
    record=each(1),
    recompute=each(0.05),
    slope=NOTHING,
    read=NOTHING,
    entropy=NOTHING,
    sample=each(0.5),
    cache=each(0.25),
)


@given(st.integers(80, 4000), st.integers(1, 64), st.integers(1, 64))
def test_the_plan_keeps_its_budget_or_names_one_that_works(budget: int, n_pairs: int, batch_size: int) -> None:
    def plan(limit: int | None):
        return plan_memory(COSTS, [SAE], Load(n_pairs, 60), batch_size, limit)

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
    sizes = [plan_memory(COSTS, [SAE], Load(16, 60), 16, budget * MIB).batch_size for budget in (400, 144, 119)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 16
    assert sizes[-1] < 16


def test_streaming_holds_two_saes_however_many_there_are() -> None:
    one = plan_memory(COSTS, [SAE] * 2, Load(4, 60, on_host=False), 4)
    many = plan_memory(COSTS, [SAE] * 100, Load(4, 60, on_host=False), 4)
    assert one.peak == many.peak
    assert one.sae == 2 * SAE_BYTES


def test_the_runs_of_all_pairs_and_groups_are_captured_on_the_host_whatever_the_batch() -> None:
    plans = {size: plan_memory(COSTS, [SAE], Load(16, 60), size) for size in (1, 4, 16)}
    assert {plan.captured for plan in plans.values()} == {16 * MIB}
    for size, plan in plans.items():
        # The last batch's forward and backward runs beside what all batches captured.
        assert plan.peak >= (7 + 16 + 3 * size) * MIB
    assert plan_memory(COSTS, [SAE], Load(16, 60, n_groups=3), 4).captured == 48 * MIB
    many = plan_memory(COSTS, [SAE], Load(16, 60, n_groups=1000), 4)
    assert many.captured == HELD_ON_HOST


def test_on_a_card_one_site_of_one_group_is_held_and_the_rest_waits_on_the_host() -> None:
    one, many = (plan_memory(COSTS, [SAE] * 9, Load(16, 60, on_host=False, n_groups=n), 4) for n in (1, 50))
    assert one.peak == many.peak
    assert one.captured == 3 * 16 * 60 * 128 * 4


def test_a_cards_budget_holds_what_no_tensor_takes() -> None:
    free = plan_memory(COSTS, [SAE], Load(4, 60, on_host=False), 4)
    assert free.overhead > CONTEXT_BYTES
    assert plan_memory(COSTS, [SAE], Load(4, 60), 4).overhead == 0
    need = free.peak + free.overhead
    assert plan_memory(COSTS, [SAE], Load(4, 60, on_host=False), 4, need).batch_size == 4
    assert plan_memory(COSTS, [SAE], Load(4, 60, on_host=False), 4, need - MIB).batch_size < 4


def test_every_stage_keeps_the_budget_with_batches_of_its_own() -> None:
    budget = 110 * MIB
    plan = plan_memory(COSTS, [SAE], Load(16, 60), 16, budget)
    for name, stage in plan.stages.items():
        assert stage.predicted <= budget, name
        pace = plan.pace(name, Pace(99, 99, seed=5))
        assert pace == Pace(stage.batch_size, stage.copies, seed=5)
        assert plan.predicted(name) == stage.predicted
    sizes = {name: stage.batch_size for name, stage in plan.stages.items()}
    assert sizes["attribution"] < sizes["pairs"] == 16
    assert plan.predicted("movers") is None
    assert plan.pace("movers", Pace(99, 99)) == Pace(plan.batch_size, plan.copies)


def test_a_method_with_runs_of_its_own_and_a_metric_of_the_whole_vocabulary_count() -> None:
    plain = plan_memory(COSTS, [SAE], Load(4, 60), 4)
    steps = plan_memory(dataclasses.replace(COSTS, slope=each(30)), [SAE], Load(4, 60), 4)
    assert steps.stages["attribution"].most == "steps to the base"
    assert steps.peak >= plain.peak + (4 * 30 - 4 * 4) * MIB
    whole = plan_memory(dataclasses.replace(COSTS, read=Cost(50 * MIB, 0)), [SAE], Load(4, 60), 4)
    assert whole.peak == plain.peak + 50 * MIB


def test_each_sae_counts_its_own_table_rows() -> None:
    wide = dataclasses.replace(SAE, d_sae=1024)
    narrow, mixed, both = (plan_memory(COSTS, saes, Load(4, 60), 4).tables for saes in ([SAE], [SAE, wide], [wide] * 2))
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


def test_edited_copies_are_as_many_as_are_of_use_or_as_the_budget_holds() -> None:
    """Without a budget whatever else runs: the number of copies shows in the last digits of an effect."""

    def copies(costs: Costs, budget: int | None = None, on_host: bool = True) -> int:
        return plan_memory(costs, [SAE], Load(10, 60, on_host), 10, budget).copies

    assert copies(COSTS) == 32
    heavy = dataclasses.replace(COSTS, recompute=each(5))
    assert copies(heavy) == 32
    assert copies(COSTS, on_host=False) == copies(COSTS, 2**34, on_host=False) == 512
    free = plan_memory(heavy, [SAE], Load(10, 60), 10)
    limited = plan_memory(heavy, [SAE], Load(10, 60), 10, free.peak)
    assert 1 <= limited.copies < 32
    assert limited.stages["validation"].predicted <= free.peak
    assert limited.copies <= copies(heavy, free.peak + 200 * MIB) <= 32
