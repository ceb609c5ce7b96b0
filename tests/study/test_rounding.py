"""The line that a validation adds where the model's dtype changes exact effects much."""

from __future__ import annotations

import pandas as pd
import pytest

from saeattr.behaviours.pair import Pair
from saeattr.model.loading import LanguageModel, load_model
from saeattr.runs.task import Task
from saeattr.saes.loading import SaeFile
from saeattr.sites import Site
from saeattr.study import rounding
from saeattr.study.rounding import ROUNDING_FEATURES, exact_rounding_warnings
from saeattr.tables import site_columns
from saeattr.validation.rounding import ExactRounding

SITE = Site("resid_post", 2)


def test_the_first_features_of_the_top_site_are_run_in_float32_too_where_the_dtype_is_another(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, below = ({**site_columns(site)} for site in (SITE, Site("mlp_out", 1)))
    ranks = [(here, 9, 1), (below, 4, 2), (here, 7, 3), (here, 5, 5), (here, 3, 4), (here, 1, 6)]
    features = pd.DataFrame([{**site, "feature": feature, "rank": rank} for site, feature, rank in ranks])
    asked: list[tuple[str, str, list[int]]] = []

    def measure(lm: LanguageModel, pair: Pair, sae: object, top: list[int], question: object) -> ExactRounding:
        asked.append((pair.pair_id, str(getattr(sae, "site", None)), top))
        return ExactRounding(str(SITE), "bfloat16", (2.0,), (1.0,))

    monkeypatch.setattr(rounding, "measure_exact_rounding", measure)
    files = [saes[SITE], saes[Site("mlp_out", 1)]]
    assert exact_rounding_warnings(Task(lm, pairs, files), features) == []
    assert not asked
    coarse = load_model("bundled", device="cpu", dtype="bfloat16")
    (line,) = exact_rounding_warnings(Task(coarse, pairs, files), features)
    assert line.startswith("bfloat16 changes exact effects at resid_post.2 by 1, 100 %")
    assert asked == [(pair.pair_id, str(SITE), [9, 7, 3]) for pair in pairs]
    assert len(asked[0][2]) == ROUNDING_FEATURES
    assert exact_rounding_warnings(Task(coarse, pairs, files), features[:0]) == []
