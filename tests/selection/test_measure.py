"""Layer selection on the bundled model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from saeattr.behaviours.pair import Pair

from saeattr.behaviours.lists.pairs import make_pairs
from saeattr.behaviours.lists.sampling import sample_lists
from saeattr.errors import UserError
from saeattr.model.loading import LanguageModel
from saeattr.runs.metric import make_metric
from saeattr.saes.loading import SaeFile
from saeattr.selection.measure import select
from saeattr.selection.score import SCORE_COLUMNS
from saeattr.sites import Site
from tests import plain


def test_a_selection_keeps_its_budget_and_says_why(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair]
) -> None:
    metric = make_metric("end-vs-continue", lm.tokenizer)
    found = select(lm, pairs, list(saes.values()), metric, budget_bytes=2 * 2**20, lists=2)
    assert list(found.table.columns) == [*SCORE_COLUMNS, "sae_width", "sae_bytes", "chosen"]
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
    metric = make_metric("end-vs-continue", lm.tokenizer)
    pairs = [pair for group in ("cities", "birds") for pair in make_pairs(lm.tokenizer, sample_lists(lm, group, 2))[0]]
    offer = [saes[Site("resid_post", layer)] for layer in (1, 4)] + [saes[Site("attn_z", 2)]]
    one = select(lm, pairs, offer, metric, batch_size=16)
    other = select(lm, pairs[::-1], offer[::-1], metric, batch_size=1)
    numbers = one.table.columns.drop(["kind", "chosen"])
    np.testing.assert_allclose(one.table[numbers], other.table[numbers], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("decision", ["last", "all"])
def test_every_measurement_is_made_at_the_decisions_asked_for(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], plain_model: Any, decision: Any
) -> None:
    metric = make_metric("end-vs-continue", lm.tokenizer)
    assert metric.plus is not None
    assert metric.minus is not None
    site = Site("resid_post", 2)
    found = select(lm, pairs, [saes[site]], metric, decision=decision, lists=2)
    lens = found.lens.set_index(["pair_id", "kind", "layer"])["clean"]
    ablated = found.ablation.set_index(["pair_id", "role"])["effect"]
    for pair in pairs[:2]:
        assert len(pair.decision_positions) > 1
        points = list(pair.decision_positions if decision == "all" else pair.decision_positions[-1:])
        clean = [plain.metric(plain_model, pair.clean_ids, at, metric.plus, metric.minus) for at in points]
        value = float(torch.stack(clean).detach().mean())
        assert lens[pair.pair_id, "resid_post", lm.n_layers - 1] == pytest.approx(value, abs=1e-4)  # pyright: ignore[reportArgumentType]
        x = plain.read(plain_model, site, pair.corrupted_ids)[points]

        def put_in(stream: torch.Tensor, points: list[int] = points, x: torch.Tensor = x) -> torch.Tensor:
            return stream.index_copy(1, torch.tensor(points), x[None])

        with plain.edited(plain_model, site, put_in):
            after = [plain.metric(plain_model, pair.clean_ids, at, metric.plus, metric.minus) for at in points]
        change = float(torch.stack(after).detach().mean()) - value
        assert ablated[pair.pair_id, "decision"] == pytest.approx(change, abs=1e-4)  # pyright: ignore[reportArgumentType]


def test_nothing_to_measure_is_refused(lm: LanguageModel, saes: dict[Site, SaeFile]) -> None:
    with pytest.raises(UserError, match="at least one usable list"):
        select(lm, [], list(saes.values()), make_metric("end-vs-continue", lm.tokenizer))
