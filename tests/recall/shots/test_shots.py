"""Facts behind others: the prompts by hand, the numbers against the plain model, claims, facts without others."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import saeattr
from saeattr import Study
from saeattr.behaviours.pair import Pair
from saeattr.model.loading import LanguageModel
from saeattr.recall.facts.batteries import named_battery
from saeattr.recall.facts.check import align_facts, entity_positions
from saeattr.recall.shots.prompts import KnownFact, domains, shot_pairs
from saeattr.recall.shots.rows import centre
from saeattr.study.recall.shots import PART, Shots, with_known
from saeattr.tables import RECALL_SHOT_LENS, RECALL_SHOTS


def battery() -> list[dict[str, str]]:
    """Every phrasing of the facts of two relations."""
    return [row.as_cells() for row in named_battery("facts").rows if row.category in ("capitals", "gods")]


def known_of(category: str) -> list[KnownFact]:
    return [
        KnownFact(row.category, row.phrasing, row.entity, row.clean_prompt, row.clean_target)
        for row in named_battery("facts").rows
        if row.category == category
    ]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Study:
    out = tmp_path_factory.mktemp("shots") / "study"
    return saeattr.run_recall(battery(), parts="shots", selection="B", out=out, device="cpu")


def capitals(lm: LanguageModel) -> Pair:
    facts, _ = align_facts(lm.tokenizer, [row for row in named_battery("facts").rows if row.category == "capitals"][:1])
    return facts[0].pair


def test_others_come_before_both_prompts_and_only_the_last_line_differs(lm: LanguageModel) -> None:
    pair, known = capitals(lm), known_of("capitals")
    shots, why = shot_pairs(lm.tokenizer, pair, known, (1, 3), seed=0)
    assert why == ""
    assert [one.shots for one in shots] == [0, 1, 3]
    assert shots[0].pair == pair
    for one in shots[1:]:
        new = one.pair
        text, other = (str(lm.tokenizer.decode(list(ids))) for ids in (new.clean_ids, new.corrupted_ids or ()))
        assert text == f"<bos>{one.shown}The capital of France is"
        assert other == f"<bos>{one.shown}The capital of Germany is"
        lines = one.shown.splitlines()
        assert len(set(lines)) == one.shots
        assert all(line in {fact.text for fact in known if fact.phrasing == "The capital of {x} is"} for line in lines)
        for word in ("France", "Germany", "Paris", "Berlin"):
            assert word not in one.shown
        assert [str(lm.tokenizer.decode([token])).strip() for token in one.answers] == [
            line.split()[-1] for line in lines
        ]
        assert [lm.tokenizer.decode([new.clean_ids[at]]) for at in entity_positions(new)] == [" France"]
        assert new.points[0].position == len(new.clean_ids) - 1
        assert new.changed_positions == entity_positions(new)
    # What is shown first in three is behind it in one.
    assert shots[2].shown.endswith(shots[1].shown)
    again, _ = shot_pairs(lm.tokenizer, pair, known, (1, 3), seed=1)
    assert again[2].shown != shots[2].shown


def test_a_fact_without_others_is_left_out_and_said_why(lm: LanguageModel) -> None:
    pair = capitals(lm)
    few = [one for one in known_of("capitals") if one.entity in ("France", "Germany", "Spain")]
    shots, why = shot_pairs(lm.tokenizer, pair, few, (1, 3), seed=0)
    assert (shots, why) == ([], "1 other known facts of the same phrasing can be shown before it")
    _, why = shot_pairs(lm.tokenizer, pair, few[1:], (1,), seed=0)
    assert why == "" or "not one of those" in why


def test_answer_domain_and_ranks_are_those_of_the_plain_model(
    found: Study, lm: LanguageModel, plain_model: Any
) -> None:
    ids = domains(lm.tokenizer, known_of("capitals"))["capitals"]
    rows, lens = found.recall(RECALL_SHOTS), found.recall(RECALL_SHOT_LENS)
    for shots in (0, 1, 3):
        row = rows[(rows["category"] == "capitals") & (rows["shots"] == shots)].iloc[0]
        fact = next(
            one for one in named_battery("facts").rows if one.category == "capitals" and one.pair_id == row["pair_id"]
        )
        tokens = lm.tokenizer.encode(row["shown"] + fact.clean_prompt, add_special_tokens=False)
        with torch.no_grad():
            out = plain_model(torch.tensor([[2, *tokens]]), output_hidden_states=True)
            logits = out.logits[0, -1].float()
            middle = plain_model.lm_head(plain_model.model.norm(out.hidden_states[3][0, -1])).float()
        right, other = (
            lm.tokenizer.encode(text, add_special_tokens=False)[0] for text in (fact.clean_target, fact.corrupt_target)
        )
        p = logits.softmax(0)
        assert row["p_answer"] == pytest.approx(float(p[right]), abs=1e-5)
        assert row["domain"] == pytest.approx(float(p[list(ids)].sum()), abs=1e-5)
        assert row["ld_clean"] == pytest.approx(float(logits[right] - logits[other]), abs=1e-3)
        assert row["rank_answer"] == 1 + int((logits > logits[right]).sum())
        own = lens[(lens["category"] == "capitals") & (lens["shots"] == shots)].set_index("layer")
        assert own["answer_rank"][2] == 1 + int((middle > middle[right]).sum())
        assert own["answer_rank"][5] == row["rank_answer"]
    assert (rows["p_shown"] <= rows["domain"] + 1e-6).all()
    assert (rows.loc[rows["shots"] == 0, "shown"] == "").all()


def test_the_centre_of_layers_is_their_mean_by_weight() -> None:
    layers = np.array([0, 0, 1, 2], dtype=np.int16)
    assert centre(layers, np.array([1.0, 0.0, 0.0, 3.0])) == 1.5
    assert np.isnan(centre(layers, np.zeros(4)))


def test_movers_equal_a_naive_hooked_run_of_every_head(found: Study, lm: LanguageModel) -> None:
    rows = found.recall(RECALL_SHOTS)
    row = rows[(rows["category"] == "gods") & (rows["shots"] == 3)].iloc[0]
    given = [one for one in named_battery("facts").rows if one.category == "gods" and one.pair_id == row["pair_id"]]
    facts, _ = align_facts(lm.tokenizer, given)
    (behind,) = shot_pairs(lm.tokenizer, facts[0].pair, known_of("gods"), (3,), seed=0)[0][1:]
    assert behind.shown == row["shown"]
    clean, corrupted = (torch.tensor([ids]) for ids in (behind.pair.clean_ids, behind.pair.corrupted_ids))
    point = behind.pair.points[0]

    def difference(hooks: list[Any]) -> float:
        logits = lm.bridge.run_with_hooks(clean, fwd_hooks=hooks)[0, -1]
        return float(logits[point.wanted[0]] - logits[point.unwanted[0]])

    lowers, layers = [], []
    with torch.no_grad():
        for layer in range(6):
            kept: dict[str, torch.Tensor] = {}
            name = f"blocks.{layer}.attn.hook_z"
            lm.bridge.run_with_hooks(corrupted, fwd_hooks=[(name, lambda x, hook, kept=kept: kept.update(x=x.clone()))])
            for head in range(4):

                def put(x: torch.Tensor, hook: object, donor: torch.Tensor, head: int = head) -> torch.Tensor:
                    x, width = x.clone(), x[0, -1].numel() // 4
                    x[:, -1].view(-1)[head * width : (head + 1) * width] = donor[:, -1].reshape(-1)[
                        head * width : (head + 1) * width
                    ]
                    return x

                after = difference([(name, partial(put, donor=kept["x"]))])
                lowers.append(max(0.0, difference([]) - after))
                layers.append(layer)
    assert row["mover_layer"] == pytest.approx(np.average(layers, weights=lowers), abs=1e-3)
    assert rows["attention"].between(0, 1 + 1e-6).all()
    assert rows["attention_layer"].between(0, 5).all()


def test_claims_compare_the_same_facts(found: Study) -> None:
    rows, claims = found.recall(RECALL_SHOTS), found.recall("recall_claims").set_index("name")
    assert set(claims.index) == {"movers", "attention", "domain", "answer"}
    means = rows.groupby("shots")[["domain", "p_answer"]].mean()
    assert claims["value"]["domain"] == pytest.approx(means["domain"][3] - means["domain"][0])
    assert claims["value"]["answer"] == pytest.approx(means["p_answer"][3] - means["p_answer"][0])
    assert claims["n"]["domain"] == 2
    assert claims["side"].to_dict() == {"movers": "below", "attention": "below", "domain": "above", "answer": "above"}
    assert "recall-shots" in [path.stem for path in found.figures]


def test_other_facts_to_show_are_other_work() -> None:
    (stage,) = PART.stages(("capitals",))
    assert isinstance(stage, Shots)
    told = [with_known([stage], tuple(known_of("capitals")[:count]))[0].wanted() for count in (0, 5, 6)]
    assert len(set(told)) == 3


def test_a_relation_of_one_fact_is_a_note_and_no_claim(tmp_path: Path) -> None:
    alone = saeattr.run_recall(battery()[:1], parts="shots", selection="C", out=tmp_path, figures=False, device="cpu")
    assert any("can be shown before it" in line for line in alone.warnings)
    assert alone.recall("recall_claims").empty
