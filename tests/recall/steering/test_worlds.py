"""Worlds: prompts token by token, runs against the Hugging Face model alone, the other half's mean by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from saeattr.model.loading import LanguageModel
from saeattr.recall.steering.flips import world_claims, world_shares
from saeattr.recall.steering.worlds import (
    CONTEXT,
    FACT,
    FALSE,
    FINAL,
    TRUE,
    WORLD,
    of_other_half,
    separator_ids,
    steer_worlds,
    world_pairs,
)
from saeattr.runs.task import Task
from saeattr.saes.held import held_saes
from saeattr.saes.sae import ReluAutoencoder
from saeattr.sites import Site
from saeattr.tables import RECALL_WORLDS, WORLDS
from tests.model.toys import FAMILIES, make_toy
from tests.recall.steering.test_steering import dense, naive_run, toy_fact

#: The second one's entity is of the relation of the first, the third's is not.
FACTS = [toy_fact("a", 0, 6, (2, 3)), toy_fact("a", 1, 8, (4,)), toy_fact("b", 2, 5, (1,))]


def test_a_statement_ends_with_the_right_answer_or_the_other_one() -> None:
    own = world_pairs(FACTS, "own", (7, 8), 0)
    fact, pair = FACTS[0], own[0]
    assert pair.clean_ids == (*fact.clean_ids, 10, 7, 8, *fact.clean_ids[1:])
    assert pair.corrupted_ids == (*fact.clean_ids, 20, 7, 8, *fact.clean_ids[1:])
    assert [at for at, role in enumerate(pair.roles) if role == "entity"] == [6] == list(pair.changed_positions)
    assert pair.points[0].position == len(pair.clean_ids) - 1
    assert (pair.points[0].wanted, pair.points[0].unwanted) == ((10,), (20,))
    other = world_pairs(FACTS, "other", (7, 8), 0)
    # The relation of the third has no other fact.
    assert other[0].clean_ids[:8] == FACTS[1].clean_ids
    assert other[2].clean_ids[: len(other[2].clean_ids) - 4 - 3] in {FACTS[0].clean_ids, FACTS[1].clean_ids}
    assert world_pairs(FACTS[:1], "other", (7, 8), 0) == []


def test_the_mean_of_the_other_half_has_no_part_of_the_fact() -> None:
    move = torch.tensor([[1.0], [10.0], [3.0], [20.0]])
    assert of_other_half(move).flatten().tolist() == [15.0, 2.0, 15.0, 2.0]
    assert of_other_half(move[:1]).flatten().tolist() == [0.0]


@pytest.fixture(scope="module", params=FAMILIES)
def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[LanguageModel, Any, ReluAutoencoder, pd.DataFrame]:
    lm, model = make_toy(request.param, tmp_path_factory.mktemp("toy"))
    torch.manual_seed(1)
    weights = torch.randn(32, 40), torch.zeros(40), torch.randn(40, 32) / 6, torch.randn(32)
    sae = ReluAutoencoder(Site("resid_post", 1), "", *weights, None)
    files = held_saes({"resid_post.1": sae, "mlp_out.1": ReluAutoencoder(Site("mlp_out", 1), "", *weights, None)})
    return lm, model, sae, steer_worlds(Task(lm, FACTS, list(files.values())), (7, 8))


def test_a_statement_and_a_question_stand_in_lines_of_their_own(lm: LanguageModel) -> None:
    assert lm.tokenizer.decode(list(separator_ids(lm))) == ".\n"


def test_runs_and_moves_between_worlds_are_those_of_plain_hooks(opened: Any) -> None:
    _, model, sae, table = opened
    assert set(table["kind"]) == {"", "resid_post"}
    pairs, own = world_pairs(FACTS, "own", (7, 8), 0), table[table["about"] == "own"]
    both = [(pair.clean_ids, pair.corrupted_ids or ()) for pair in pairs]
    runs = [[naive_run(model, ids, sae.site, lambda x: x) for ids in worlds] for worlds in both]
    for place in (CONTEXT, FINAL):
        spots = [p.changed_positions[0] if place == CONTEXT else p.points[0].position for p in pairs]
        changes = [
            (dense(sae, false[0][[at]]) - dense(sae, true[0][[at]]))[0] @ sae.W_dec.double()
            for at, (true, false) in zip(spots, runs, strict=True)
        ]
        # Facts 0 and 2 make one half, fact 1 the other.
        means = [changes[1], (changes[0] + changes[2]) / 2, changes[1]]
        for fact, pair in enumerate(pairs):
            for towards, move in ((FACT, changes[fact]), (WORLD, means[fact])):
                moved = torch.zeros_like(runs[fact][0][0])
                moved[spots[fact]] = 4 * move.float()
                _, logits = naive_run(model, pair.clean_ids, sae.site, lambda x, moved=moved: x + moved)
                row = own[(own["pair_id"] == pair.pair_id) & (own["place"] == place)]
                row = row[(row["towards"] == towards) & (row["strength"] == 4.0)]
                assert len(row) == 1
                assert row["ld"].iloc[0] == pytest.approx(float(logits[10 + fact] - logits[20 + fact]), abs=2e-3)
                assert row["length"].iloc[0] == pytest.approx(4 * float(move.norm()), rel=1e-3, abs=1e-4)
    for fact, pair in enumerate(pairs):
        for towards, (_, logits) in zip((TRUE, FALSE), runs[fact], strict=True):
            row = own[(own["pair_id"] == pair.pair_id) & (own["towards"] == towards)].iloc[0]
            assert row["ld"] == pytest.approx(float(logits[10 + fact] - logits[20 + fact]), abs=2e-3)
            assert row["rank_corrupt"] == 1 + int((logits > logits[20 + fact]).sum())


def asked(ranks: list[int], **cell: Any) -> pd.DataFrame:
    names = {column.name: 0 for column in WORLDS.columns if column.type != "text"} | {"layer": 2, "strength": 1.0}
    told = {"group": "g", "pair_id": [str(at) for at in range(len(ranks))], "rank_corrupt": ranks}
    rest = {name: value for name, value in names.items() if name not in told}
    texts = {"about": "own", "kind": "resid_post", "place": FINAL, "towards": WORLD}
    return WORLDS.frame(pd.DataFrame(told).assign(**{**rest, **texts, **cell}))


@pytest.mark.parametrize(("ranks", "verdict"), [([1] * 40, "holds"), ([2] * 40, "broken"), ([1, 2] * 20, "undecided")])
def test_what_is_said_of_worlds_can_hold_and_break(ranks: list[int], verdict: str) -> None:
    nothing = {"layer": -1, "kind": "", "place": "", "strength": 0.0, "towards": FALSE}
    table = pd.concat([asked(ranks), asked(ranks, **nothing), asked([3] * 40, about="other")])
    shares = world_shares(table)
    assert list(shares.columns) == RECALL_WORLDS.names
    own = shares[shares["about"] == "own"]
    np.testing.assert_allclose(own["first"], np.mean(np.array(ranks) == 1))
    assert [claim.verdict for claim in world_claims("steering", table)] == [verdict] * 2
    assert world_claims("steering", WORLDS.empty()) == []


def test_without_a_residual_site_only_the_plain_worlds_are_asked(tmp_path: Path) -> None:
    lm, _ = make_toy("llama", tmp_path)
    table = steer_worlds(Task(lm, FACTS), (7, 8))
    assert set(table["towards"]) == {TRUE, FALSE}
    assert len(table) == 2 * 2 * len(FACTS)
