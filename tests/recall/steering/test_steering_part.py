"""The part of a recall study that steers: its tables, claims and figures, and when it is left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import saeattr
from saeattr import Study, UserError
from saeattr.api.recall_study import _without_unnamed_saes
from saeattr.recall.facts.batteries import named_battery
from saeattr.recall.steering.flips import flip_shares, world_shares
from saeattr.recall.steering.moves import ALL, FEATURES, FINAL
from saeattr.reporting.figures.of_recall import figures
from saeattr.reporting.figures.recall_steering import features_figure, layer_figure
from saeattr.study.recall.parts import PARTS
from saeattr.tables import RECALL_CLAIMS, RECALL_STEERING, RECALL_WORLDS, STEERED, WORLDS


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Study:
    rows = [row.as_cells() for row in named_battery("facts").rows if row.pair_id.endswith(" 1")][::40]
    out = tmp_path_factory.mktemp("steered") / "study"
    sites = ("resid_post.0", "resid_post.4", "attn_z.0")
    return saeattr.run_recall(rows, parts="steering", selection="C", sites=sites, out=out, figures=False, device="cpu")


def test_derived_tables_and_claims_are_those_of_what_was_measured(found: Study) -> None:
    steered = found.recall(STEERED)
    assert set(zip(steered["kind"], steered["layer"], strict=True)) == {
        ("resid_post", 0),
        ("resid_post", 4),
        ("attn_z", 0),
    }
    shares = flip_shares(steered)
    assert found.recall(RECALL_STEERING).equals(shares)
    assert found.recall(RECALL_WORLDS).equals(world_shares(found.recall(WORLDS)))
    claims = found.recall(RECALL_CLAIMS)
    assert set(claims["part"]) == {"steering"}
    carry = claims[claims["name"] == "few-features"]
    assert carry["n"].iloc[0] <= shares["n_facts"].max()


def test_the_line_of_a_figure_is_the_column_of_its_table(found: Study) -> None:
    shares = found.recall(RECALL_STEERING)
    drawn = layer_figure(shares)
    assert drawn is not None
    final = shares[(shares["kind"] == "resid_post") & (shares["place"] == FINAL) & (shares["n_features"] == ALL)]
    for strength, line in zip((0.5, 1, 2, 4), drawn.axes[1].lines, strict=False):
        expected = final[(final["towards"] == FEATURES) & (final["strength"] == strength)]["first"]
        np.testing.assert_allclose(np.asarray(line.get_ydata(), dtype=float), expected)
    counted = features_figure(shares)
    assert counted is not None
    assert [text.get_text()[:3] for text in counted.axes[1].get_xticklabels()] == ["1", "5", "20", "all"]
    assert [one.name for one in figures(found)] == ["recall-steering", "recall-steering-features"]
    assert layer_figure(shares.iloc[:0]) is None
    assert features_figure(shares.iloc[:0]) is None


def test_what_opens_saes_is_left_out_unless_they_are_named() -> None:
    kept, told = _without_unnamed_saes(PARTS, {"model": "gemma-2-2b"})
    assert all(not part.opens_saes for part in kept)
    assert any("steering" in line and "--sites" in line for line in told)
    for settings in ({"model": "bundled"}, {"model": "gemma-2-2b", "layers": (3,)}, {"model": "x", "saes": "folder"}):
        assert _without_unnamed_saes(PARTS, settings) == (list(PARTS), [])


def test_a_site_without_an_sae_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no SAE for resid_post.9"):
        saeattr.run_recall(parts="steering", sites=("resid_post.9",), out=tmp_path / "study", device="cpu")
