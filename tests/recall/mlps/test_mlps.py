"""MLPs of the bundled model regressed: tables against the plain model, held-out facts, claims that can break."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import saeattr
from saeattr import Study
from saeattr.model.loading import LanguageModel
from saeattr.recall.facts.batteries import named_battery
from saeattr.recall.mlps.task_function import NO_FOLD, cosines
from saeattr.study.recall.mlps import PART, Asked
from saeattr.tables import (
    RECALL_MLP_FACTS,
    RECALL_MLP_FIT,
    RECALL_MLP_INTERCEPT,
    RECALL_MLP_TOKENS,
    RECALL_MLP_WEIGHTS,
)


def battery() -> list[dict[str, str]]:
    """The first phrasing of every fact of three relations."""
    chosen = ("capitals", "elements", "gods")
    rows = [row for row in named_battery("facts").rows if row.category in chosen and row.pair_id.endswith(" 1")]
    return [row.as_cells() for row in rows]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Study:
    out = tmp_path_factory.mktemp("mlps") / "study"
    return saeattr.run_recall(battery(), parts="mlps", selection="C", out=out, device="cpu")


def one_fact(found: Study, plain_model: Any, lm: LanguageModel) -> tuple[pd.Series, list[torch.Tensor]]:
    """The first fact of the table, and the plain model's stream at its final position after every layer."""
    row = found.recall(RECALL_MLP_FACTS).iloc[0]
    prompt = next(
        cells["clean_prompt"]
        for cells in battery()
        if cells["category"] == row["category"] and cells["entity_token"] == row["pair_id"].rsplit(" ", 1)[0]
    )
    ids = torch.tensor([[lm.tokenizer.bos_token_id, *lm.tokenizer.encode(prompt, add_special_tokens=False)]])
    with torch.no_grad():
        hidden = plain_model(ids, output_hidden_states=True).hidden_states
    return row, [one[0, -1] for one in hidden]


def test_every_split_and_mlp_has_its_r2_and_no_answer_is_on_both_sides(found: Study) -> None:
    fits = found.recall(RECALL_MLP_FIT)
    facts = found.recall(RECALL_MLP_FACTS)
    # Three relations are too few for folds of relations.
    assert set(map(tuple, fits[["layer", "split"]].to_numpy())) == {
        (layer, split) for layer in range(6) for split in ("answers", "within")
    }
    for (layer, fitted), own in facts.groupby(["layer", "fitted"]):
        split = {"all": "answers", "relation": "within"}[str(fitted)]
        row = fits[(fits["layer"] == layer) & (fits["split"] == split)].iloc[0]
        assert row["r2"] == pytest.approx(1 - own["error"].sum() / own["spread"].sum())
        assert row["r2_low"] <= row["r2_high"]
        assert row["n_facts"] == len(own)
        by = ["answer"] if fitted == "all" else ["category", "answer"]
        assert len(own[[*by, "fold"]].drop_duplicates()) == len(own[by].drop_duplicates())
    assert fits["n_sources"].tolist()[::2] == [1 + 4 * (layer + 1) + layer for layer in range(6)]


def test_the_rank_with_all_that_an_mlp_writes_is_the_lens_after_its_layer(
    found: Study, lm: LanguageModel, plain_model: Any
) -> None:
    row, hidden = one_fact(found, plain_model, lm)
    target = lm.tokenizer.encode(row["answer"], add_special_tokens=False)[0]
    facts = found.recall(RECALL_MLP_FACTS)
    own = facts[(facts["category"] == row["category"]) & (facts["pair_id"] == row["pair_id"])]
    own = own[own["fitted"] == "all"].set_index("layer")
    with torch.no_grad():
        for layer in range(5):
            logits = plain_model.lm_head(plain_model.model.norm(hidden[layer + 1]))
            assert own["answer_mlp"][layer] == 1 + int((logits > logits[target]).sum())


def test_coefficients_have_intervals_signs_and_a_fit_of_each_relation(found: Study) -> None:
    weights = found.recall(RECALL_MLP_WEIGHTS)
    own = weights[weights["category"] == ""]
    assert (own.groupby("layer").size() == [1 + 4 * (layer + 1) + layer for layer in range(6)]).all()
    assert ((own["weight_low"] > 0) == (own["reads"] == "amplified")).all()
    assert ((own["weight_high"] < 0) == (own["reads"] == "erased")).all()
    assert set(weights["category"]) == {"", "capitals", "elements", "gods"}
    assert weights.loc[weights["category"] != "", "weight_low"].isna().all()
    # Within a relation the last word is the same, so its embedding can explain nothing.
    assert np.allclose(weights.query("category != '' and kind == 'embedding'")["size"], 0, atol=1e-6)


def test_intercepts_are_judged_by_facts_left_out_and_the_layer_is_chosen_by_the_others(found: Study) -> None:
    rows = found.recall(RECALL_MLP_INTERCEPT)
    assert rows["cosine"].abs().max() <= 1
    assert (rows["cosine_held"].isna() == (rows["fold"] == NO_FOLD)).all()
    best = rows.loc[rows.groupby(["category", "fold"])["cosine"].idxmax()]
    assert set(rows.index[rows["chosen"]]) == set(best.index)
    # In 128 dimensions random cosines have a standard deviation of 1 / sqrt(128).
    assert rows["random_95"].mean() == pytest.approx(1.645 / np.sqrt(128), rel=0.15)
    assert cosines(np.array([[3.0, 4.0]]), np.array([1.0, 0.0])).tolist() == [0.6]
    tokens = found.recall(RECALL_MLP_TOKENS)
    assert (tokens.groupby(["layer", "side"])["place"].max() == 10).all()
    assert (tokens.query("side == 'towards'")["score"] > 0).all()
    assert (tokens.query("side == 'away'")["score"] < 0).all()


def test_each_claim_is_made_of_all_relations_and_of_each_and_can_break(found: Study) -> None:
    claims = found.recall("recall_claims").set_index("name")
    ranks = ("entity-rank", "entity-rank-control", "answer-rank", "answer-rank-control")
    names = ("linear", "intercept", *ranks)
    assert set(claims.index) == {*names, *(f"{name}-within" for name in names)}
    fits = found.recall(RECALL_MLP_FIT).set_index(["split", "layer"])["r2"]
    assert claims["value"]["linear"] == pytest.approx(fits["answers"].mean())
    assert claims["verdict"]["linear"] == "broken"
    perfect = found.recall(RECALL_MLP_FACTS).query("fitted == 'all'").assign(error=0.0)
    intercepts = found.recall(RECALL_MLP_INTERCEPT).query("chosen and fold != -1 and category == ''")
    asked = Asked("all", "", perfect, intercepts)
    assert asked.linear(0).verdict == "holds"
    turned = Asked("all", "", perfect, intercepts.assign(above=0.0))
    assert turned.points().verdict == "broken"
    ranks = {"entity_before": 2, "entity_after": 1, "entity_random": 4}
    worse = Asked("all", "", perfect.assign(**ranks, answer_before=4, answer_after=8, answer_random=2), intercepts)
    assert [one.verdict for one in worse.moves()] == ["broken"] * 4
    assert [one.value for one in worse.moves()] == [-1.0, -2.0, -1.0, -2.0]


def test_figures_are_drawn_of_it(found: Study) -> None:
    assert [path.stem for path in found.figures if "mlps" in path.stem or "intercepts" in path.stem] == [
        "recall-intercepts",
        "recall-mlps",
    ]


def test_gradient_descent_is_an_option_of_the_stage() -> None:
    (stage,) = PART.stages(("capitals",))
    assert '"fit": "ridge"' in stage.wanted()


def test_too_few_facts_are_a_note_and_no_claim(tmp_path: Path) -> None:
    few = saeattr.run_recall(battery()[:3], parts="mlps", selection="C", out=tmp_path, figures=False, device="cpu")
    assert any("too few different answers" in line for line in few.warnings)
    assert few.recall("recall_claims").empty
