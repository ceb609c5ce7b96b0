"""Layer selection on the bundled model."""

from __future__ import annotations

import numpy as np
import pytest

from saeattr.behaviours.lists.pairs import make_pairs
from saeattr.behaviours.lists.sampling import sample_lists
from saeattr.behaviours.pair import Pair
from saeattr.errors import UserError
from saeattr.model.loading import LanguageModel
from saeattr.runs.metric import make_metric
from saeattr.saes.loading import SaeFile
from saeattr.selection.measure import select
from saeattr.selection.score import SCORE_COLUMNS
from saeattr.sites import Site


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


def test_nothing_to_measure_is_refused(lm: LanguageModel, saes: dict[Site, SaeFile]) -> None:
    with pytest.raises(UserError, match="at least one usable list"):
        select(lm, [], list(saes.values()), make_metric("end-vs-continue", lm.tokenizer))
