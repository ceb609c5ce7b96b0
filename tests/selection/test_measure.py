"""Layer selection on the bundled model; first-order sizes against a finite difference of the plain model."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from saeattr.behaviours.lists.pairs import make_pairs
from saeattr.behaviours.lists.sampling import Sampling, sample_lists
from saeattr.behaviours.pair import Pair
from saeattr.errors import UserError
from saeattr.model.loading import LanguageModel
from saeattr.runs.batch import run_batch
from saeattr.runs.question import Pace, Question
from saeattr.runs.task import Task
from saeattr.saes.loading import SaeFile
from saeattr.selection.limits import Limits
from saeattr.selection.measure import coordinate_effects, decision_mask, first_order_sizes, select_sites
from saeattr.selection.score import SCORE_COLUMNS
from saeattr.sites import KINDS, Site
from saeattr.tables import LAYER_SCORES
from tests import plain

STEP = 0.01


def test_a_selection_keeps_its_budget_and_says_why(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair]
) -> None:
    found = select_sites(Task(lm, pairs, list(saes.values())), Limits(2 * 2**20), measured_pairs=2)
    assert list(found.table.columns) == [*SCORE_COLUMNS, "sae_width", "sae_bytes", "chosen"] == LAYER_SCORES.names
    assert len(found.table) == len(saes)
    assert 0 < sum(sae.n_bytes for sae in found.chosen) <= 2 * 2**20
    # All bundled SAEs are of one size, so the best set is the best sites.
    best = found.table.nlargest(len(found.chosen), "score")
    assert sorted(Site(row["kind"], row["layer"]) for row in best.to_dict("records")) == [
        sae.site for sae in found.chosen
    ]
    assert str(found.chosen[0].site) in found.reason
    assert set(found.lens["pair_id"]) == set(found.ablation["pair_id"]) == {pair.pair_id for pair in pairs[:2]}


def test_batches_and_the_order_of_groups_do_not_change_the_scores(lm: LanguageModel, saes: dict[Site, SaeFile]) -> None:
    pairs = [
        pair
        for group in ("cities", "birds")
        for pair in make_pairs(lm.tokenizer, sample_lists(lm, group, Sampling(2)))[0]
    ]
    offer = [saes[Site("resid_post", layer)] for layer in (1, 4)] + [saes[Site("attn_z", 2)]]
    one = select_sites(Task(lm, pairs, offer, pace=Pace(batch_size=16)))
    other = select_sites(Task(lm, pairs[::-1], offer[::-1], pace=Pace(batch_size=1)))
    numbers = one.table.columns.drop(["kind", "chosen"])
    np.testing.assert_allclose(one.table[numbers], other.table[numbers], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("decision", ["last", "all"])
def test_every_measurement_is_made_at_the_decisions_asked_for(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], plain_model: Any, decision: Any
) -> None:
    site = Site("resid_post", 2)
    found = select_sites(Task(lm, pairs, [saes[site]], Question(decision=decision)), measured_pairs=2)
    lens = found.lens.set_index(["pair_id", "kind", "layer"])["clean"]
    ablated = found.ablation.set_index(["pair_id", "role"])["effect"]
    for pair in pairs[:2]:
        assert len(pair.points) > 1
        points = pair.points if decision == "all" else pair.points[-1:]
        positions = [point.position for point in points]
        clean = [plain.at_point(plain_model, pair.clean_ids, point) for point in points]
        value = float(torch.stack(clean).detach().mean())
        assert lens[pair.pair_id, "resid_post", lm.n_layers - 1] == pytest.approx(value, abs=1e-4)  # pyright: ignore[reportArgumentType]
        assert pair.corrupted_ids is not None
        x = plain.read(plain_model, site, pair.corrupted_ids)[positions]

        def put_in(stream: torch.Tensor, positions: list[int] = positions, x: torch.Tensor = x) -> torch.Tensor:
            return stream.index_copy(1, torch.tensor(positions), x[None])

        with plain.edited(plain_model, site, put_in):
            after = [plain.at_point(plain_model, pair.clean_ids, point) for point in points]
        change = float(torch.stack(after).detach().mean()) - value
        assert ablated[pair.pair_id, "decision"] == pytest.approx(change, abs=1e-4)  # pyright: ignore[reportArgumentType]


def test_nothing_to_measure_is_refused(lm: LanguageModel, saes: dict[Site, SaeFile]) -> None:
    with pytest.raises(UserError, match="at least one usable pair"):
        select_sites(Task(lm, [], list(saes.values())))


def test_pairs_without_a_corrupted_prompt_choose_no_layers(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair]
) -> None:
    """Whatever the base: the scores are made of what the corrupted prompt changes."""
    bare = [pairs[0], dataclasses.replace(pairs[1], corrupted_ids=None)]
    with pytest.raises(UserError, match=r"^layers are chosen by what the corrupted prompt changes.*name the --sites$"):
        select_sites(Task(lm, bare, list(saes.values()), Question(base="zero")))


@pytest.mark.parametrize("kind", KINDS)
def test_coordinates_add_up_to_the_slope_towards_the_corrupted_run(
    lm: LanguageModel, pairs: list[Pair], plain_model: Any, kind: Any
) -> None:
    pair, site = pairs[0], Site(kind, 2)
    point = pair.points[-1]
    batch = run_batch(lm, [pair], [site], Question())
    before, at_decision = coordinate_effects(batch, site).sum(1).tolist()
    assert pair.corrupted_ids is not None
    difference = plain.read(plain_model, site, pair.corrupted_ids) - plain.read(plain_model, site, pair.clean_ids)
    for found, places in ((before, range(point.position)), (at_decision, [point.position])):
        change = torch.zeros_like(difference)
        change[list(places)] = difference[list(places)]
        moved = []
        for step in (STEP, -STEP):
            with torch.no_grad(), plain.edited(plain_model, site, lambda x, c=change, s=step: x + s * c):
                moved.append(plain.at_point(plain_model, pair.clean_ids, point))
        assert found == pytest.approx(float(moved[0] - moved[1]) / (2 * STEP), rel=0.02, abs=0.01)


def test_sizes_do_not_depend_on_the_batches(lm: LanguageModel, pairs: list[Pair]) -> None:
    sites = [Site("attn_z", 1), Site("resid_post", 4)]
    together = [run_batch(lm, pairs, sites, Question(decision="all"))]
    apart = [run_batch(lm, [pair], sites, Question(decision="all")) for pair in pairs]
    one, many = (first_order_sizes("cities", batches, sites) for batches in (together, apart))
    assert one.drop(columns="size").equals(many.drop(columns="size"))
    assert (one["size"] - many["size"]).abs().max() < 1e-5
    mask = decision_mask(together[0])
    assert mask.sum(1).tolist() == [len(pair.points) for pair in pairs]
    # By hand: the mean over pairs first, then the Euclidean norm over coordinates.
    assert together[0].corrupted is not None
    clean, corrupted = together[0].clean, together[0].corrupted
    effects = (corrupted.x[sites[1]] - clean.x[sites[1]]) * clean.g[sites[1]] * together[0].usable[..., None]
    expected = (effects[mask].sum(0) ** 2).sum().sqrt() / len(pairs)
    assert one["size"].iloc[3] == pytest.approx(float(expected), rel=1e-4)
