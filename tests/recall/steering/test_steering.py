"""Steering: against plain hooks on the Hugging Face model and dense SAEs by hand; identities; shares and claims."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from saeattr.behaviours.pair import Pair, Point
from saeattr.model.loading import LanguageModel, load_model
from saeattr.recall.facts.answers import join_answers
from saeattr.recall.facts.batteries import named_battery
from saeattr.recall.facts.check import align_facts, entity_positions
from saeattr.recall.steering.flips import flip_shares, steering_claims
from saeattr.recall.steering.moves import (
    ACTIVATION,
    ALL,
    ENTITY,
    FEATURES,
    FINAL,
    OTHER,
    RANDOM,
    SAME,
    SiteMoves,
    other_facts,
    place_tokens,
    site_moves,
)
from saeattr.recall.steering.steered import Steps, steer_facts, steered_answers, unsteered_answers
from saeattr.runs.task import Task, run_pairs
from saeattr.saes.held import held_saes
from saeattr.saes.loading import SaeFile, load_sae
from saeattr.saes.sae import ReluAutoencoder
from saeattr.sites import Site, parse_site
from saeattr.tables import RECALL_STEERING, STEERED
from tests.model.toys import FAMILIES, make_toy
from tests.runs.test_unedited import rounding_by_shape

STEPS = Steps(strengths=(1.0, 2.0), sizes=(3,))


@pytest.fixture(scope="module")
def facts(lm: LanguageModel) -> list[Pair]:
    """Facts of prompts of several lengths, two of one relation, one of an entity of two tokens."""
    rows = [row for row in named_battery("facts").rows if row.pair_id.endswith(" 1")]
    longest = max(rows, key=lambda row: len(row.entity.split()))
    chosen = [longest, *[row for row in rows if row.category == "capitals"][:4], *rows[60:240:60]]
    pairs = [fact.pair for fact in align_facts(lm.tokenizer, chosen)[0]]
    assert len({len(pair.clean_ids) for pair in pairs}) > 1
    return pairs


def dense(sae: Any, x: Tensor) -> Tensor:
    """f of a JumpReLU SAE, feature by feature in plain numpy."""
    pre = x.double().numpy() @ sae.W_enc.double().numpy() + sae.b_enc.double().numpy()
    threshold = 0.0 if sae.threshold is None else sae.threshold.double().numpy()
    return torch.from_numpy(np.where(pre > threshold, np.maximum(pre, 0), 0.0))


def hooked_module(model: Any, site: Site) -> tuple[torch.nn.Module, bool]:
    """The module of a Hugging Face model whose output, or input, is a site's activation."""
    layers = model.transformer.h if hasattr(model, "transformer") else model.model.layers
    layer = layers[site.layer]
    if site.kind == "attn_z":
        return layer.self_attn.o_proj, True
    return (layer.post_feedforward_layernorm if site.kind == "mlp_out" else layer), False


@torch.no_grad()
def naive_run(model: Any, ids: tuple[int, ...], site: Site, edit: Any) -> tuple[Tensor, Tensor]:
    """x at a site and the last logits of one prompt alone, x replaced by ``edit(x)`` in a full forward."""
    seen: list[Tensor] = []
    module, at_input = hooked_module(model, site)

    def change(value: Any) -> Any:
        x = value[0] if isinstance(value, tuple) else value
        seen.append(x[0].clone())
        new = edit(x[0])[None].to(x.dtype)
        return (new, *value[1:]) if isinstance(value, tuple) else new

    handle = (
        module.register_forward_pre_hook(lambda _, args: change(args))
        if at_input
        else module.register_forward_hook(lambda _, args, output: change(output))
    )
    try:
        logits = model(torch.tensor([ids])).logits[0, -1]
    finally:
        handle.remove()
    return seen[0], logits.double()


def check_against_naive(model: Any, sae: Any, pairs: list[Pair], steered: pd.DataFrame, strength: float) -> None:
    """LD and ranks of every fact, all features and the whole activation, at both places."""
    for pair in pairs:
        site, point = sae.site, pair.points[0]
        wanted, unwanted = point.wanted[0], point.unwanted[0]
        assert pair.corrupted_ids is not None
        x, clean = naive_run(model, pair.clean_ids, site, lambda x: x)
        x_corrupted, _ = naive_run(model, pair.corrupted_ids, site, lambda x: x)
        features = ((dense(sae, x_corrupted) - dense(sae, x)) @ sae.W_dec.double()).float()
        for place, at in ((ENTITY, entity_positions(pair)), (FINAL, (point.position,))):
            for towards, move, times in ((FEATURES, features, strength), (ACTIVATION, x_corrupted - x, 1.0)):
                moved = torch.zeros_like(x)
                moved[list(at)] = times * move[list(at)]
                _, logits = naive_run(model, pair.clean_ids, site, lambda x, moved=moved: x + moved)
                row = steered[
                    (steered["group"] == pair.group)
                    & (steered["pair_id"] == pair.pair_id)
                    & (steered["kind"] == site.kind)
                    & (steered["layer"] == site.layer)
                    & (steered["place"] == place)
                    & (steered["towards"] == towards)
                    & (steered["n_features"] == ALL)
                    & (steered["strength"] == times)
                ]
                assert len(row) == 1
                found = row.iloc[0]
                assert found["ld"] == pytest.approx(float(logits[wanted] - logits[unwanted]), abs=2e-3)
                assert found["clean"] == pytest.approx(float(clean[wanted] - clean[unwanted]), abs=2e-3)
                assert found["rank_corrupt"] == 1 + int((logits > logits[unwanted]).sum())
                assert found["length"] == pytest.approx(float(times * move[list(at)].norm(dim=1).mean()), rel=1e-3)


@pytest.mark.parametrize("address", ["resid_post.0", "attn_z.0", "mlp_out.4", "resid_post.5"])
def test_a_steered_run_is_a_full_forward_with_the_features_set_by_hand(
    lm: LanguageModel, plain_model: Any, saes: dict[Site, SaeFile], facts: list[Pair], address: str
) -> None:
    file = saes[parse_site(address)]
    steered = steer_facts(Task(lm, facts, [file]), STEPS)
    check_against_naive(plain_model, load_sae(file), facts[:3], steered, 2.0)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_steered_as_by_plain_hooks(tmp_path: Path, family: str) -> None:
    lm, model = make_toy(family, tmp_path)
    torch.manual_seed(1)
    sae = ReluAutoencoder(
        Site("resid_post", 1), "", torch.randn(32, 40), torch.zeros(40), torch.randn(40, 32) / 6, torch.randn(32), None
    )
    pairs = [toy_fact("a", 0, 9, (2, 3)), toy_fact("a", 1, 12, (4,)), toy_fact("b", 2, 7, (1,))]
    steered = steer_facts(Task(lm, pairs, list(held_saes({"resid_post.1": sae}).values())), STEPS)
    check_against_naive(model, sae, pairs, steered, 2.0)


def toy_fact(group: str, number: int, length: int, entity: tuple[int, ...]) -> Pair:
    source = np.random.default_rng(number)
    clean = source.integers(3, 64, length)
    corrupted = clean.copy()
    corrupted[list(entity)] = 3 + (clean[list(entity)] + 7) % 60
    roles = tuple("entity" if at in entity else "bos" if at == 0 else "common" for at in range(length))
    point = Point(length - 1, (10 + number,), (20 + number,))
    ids = tuple(clean.tolist()), tuple(corrupted.tolist())
    return Pair(group, str(number), str(number), *ids, (point,), roles)


@pytest.fixture(scope="module", params=[ENTITY, FINAL])
def moved(
    request: pytest.FixtureRequest, lm: LanguageModel, saes: dict[Site, SaeFile], facts: list[Pair]
) -> tuple[Any, Tensor, Tensor, SiteMoves]:
    """The SAE, x clean and corrupted at the tokens in the order of facts, and the moves."""
    sae = load_sae(saes[Site("resid_post", 1)])
    task = Task(lm, facts, ())
    batches = run_pairs(task, [sae.site])
    tokens = place_tokens(batches, request.param)
    pairs = [pair for batch in batches for pair in batch.pairs]
    moves = site_moves(sae, batches, tokens, other_facts(pairs, 0), (3, 10**6), seed=0)
    xs = []
    for which in ("clean", "corrupted"):
        runs = [getattr(batch, which).x[sae.site] for batch in batches]
        spots = zip(tokens.batch, tokens.row, tokens.position, strict=True)
        xs.append(torch.stack([runs[batch][row, at] for batch, row, at in spots]))
    return sae, xs[0], xs[1], moves


def way(moves: SiteMoves, towards: str, n_features: int = ALL) -> Tensor:
    return moves.move[list(zip(moves.towards, moves.n_features, strict=True)).index((towards, n_features))]


def test_all_features_and_the_error_term_are_the_whole_activation(moved: Any) -> None:
    sae, clean, corrupted, moves = moved
    errors = [x - (dense(sae, x) @ sae.W_dec.double() + sae.b_dec.double()) for x in (clean, corrupted)]
    whole = way(moves, FEATURES).double() + errors[1] - errors[0]
    torch.testing.assert_close(whole, way(moves, ACTIVATION).double(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(clean + way(moves, ACTIVATION), corrupted)


def test_more_features_than_change_are_all_of_them_and_few_are_the_largest(moved: Any) -> None:
    sae, clean, corrupted, moves = moved
    torch.testing.assert_close(way(moves, FEATURES, 10**6), way(moves, FEATURES))
    change = dense(sae, corrupted[:1]) - dense(sae, clean[:1])
    if entity_is_one_token := int(moves.n_moved.shape[1]) == len(clean):
        size = change.abs()[0] * sae.W_dec.double().norm(dim=1)
        three = size.argsort(descending=True)[:3]
        by_hand = change[:, three] @ sae.W_dec.double()[three]
        torch.testing.assert_close(way(moves, FEATURES, 3)[:1].double(), by_hand, atol=1e-4, rtol=1e-4)
    assert entity_is_one_token or len(clean) == moves.n_moved.shape[1] + 1


def test_controls_are_as_long_as_the_features_move_token_by_token_and_point_elsewhere(moved: Any) -> None:
    _, clean, _, moves = moved
    own, checked = way(moves, FEATURES), 0
    for name in (SAME, OTHER, RANDOM):
        there = way(moves, name).norm(dim=1) > 0
        checked += int(there.sum())
        torch.testing.assert_close(way(moves, name)[there].norm(dim=1), own[there].norm(dim=1), atol=1e-4, rtol=1e-4)
        cosine = torch.nn.functional.cosine_similarity(way(moves, name)[there], own[there], dim=1)
        assert (cosine < 0.95).all()
    # Two of the facts have a third answer in their relation at least.
    assert checked > 2 * len(clean)


def test_another_fact_has_a_third_answer_and_none_is_made_up(facts: list[Pair]) -> None:
    found = other_facts(facts, 0)
    for fact, pair in enumerate(facts):
        for name in (SAME, OTHER):
            other = found[name][fact]
            third = [
                nth
                for nth, one in enumerate(facts)
                if one.points[0].unwanted[0] not in (*pair.points[0].wanted, *pair.points[0].unwanted)
                and (one.group == pair.group) == (name == SAME)
            ]
            assert other in third if third else other is None
    assert None in found[SAME]
    assert any(other is not None for other in found[SAME])
    assert found == other_facts(facts, 0)


def rows(lds: list[float], ranks: list[int], **cell: Any) -> pd.DataFrame:
    names = {column.name: 0 for column in STEERED.columns if column.type != "text"}
    same = {**names, "kind": "resid_post", "place": FINAL, "towards": FEATURES, "n_features": ALL, "strength": 1.0}
    told = {"group": "g", "pair_id": [f"{at:03}" for at in range(len(lds))], "ld": lds, "rank_corrupt": ranks}
    rest = {name: value for name, value in same.items() if name not in told}
    return STEERED.frame(pd.DataFrame(told).assign(**{**rest, "clean": 4.0, "corrupted": -4.0, **cell}))


def test_flips_are_counted_by_hand_and_facts_that_are_not_known_are_left_out() -> None:
    known = rows([-1.0, 3.0, -2.0, 0.5], [1, 2, 5, 1])
    table = pd.concat([known, rows([-9.0], [1], clean=-1.0, pair_id="unknown")])
    shares = flip_shares(table)
    assert list(shares.columns) == RECALL_STEERING.names
    assert len(shares) == 1
    assert shares[["n_facts", "flipped", "first"]].iloc[0].tolist() == [4, 0.5, 0.5]
    assert shares["share"].iloc[0] == pytest.approx(np.mean([5 / 8, 1 / 8, 6 / 8, 3.5 / 8]))
    # Clopper and Pearson for 2 of 4.
    assert shares[["first_low", "first_high"]].iloc[0].tolist() == pytest.approx([0.0676, 0.9324], abs=1e-4)


@pytest.mark.parametrize("carried", [True, False])
def test_each_claim_holds_on_facts_that_bear_it_out_and_breaks_on_others(carried: bool) -> None:
    n = 120
    told, rank = (1, 9) if carried else (9, 1)
    parts = [
        rows([0.0] * n, [told] * n, place=ENTITY),
        rows([0.0] * n, [1] * n, towards=ACTIVATION),
        rows([0.0] * n, [told] * n),
        rows([0.0] * n, [told] * n, n_features=5),
        rows([0.0] * n, [rank] * n, towards=OTHER),
    ]
    found = {claim.name: claim for claim in steering_claims("steering", pd.concat(parts))}
    # Of facts that all features do not change, nothing is known of few.
    expected = "holds" if carried else "broken"
    unknown = {"few-features"} if not carried else set()
    assert {claim.verdict for name, claim in found.items() if name not in unknown} == {expected}
    assert all(found[name].verdict == "undecided" for name in unknown)
    assert found["entity-flips"].n == n // 2


def test_the_best_layer_is_chosen_by_other_facts_than_test_it() -> None:
    """Even facts flip in layer 0 and odd ones in layer 1: what the even ones choose fails on the odd."""
    even = [1 if at % 2 == 0 else 9 for at in range(100)]
    odd = [10 - rank for rank in even]
    table = pd.concat([rows([0.0] * 100, ranks, place=ENTITY, layer=at) for at, ranks in enumerate((even, odd))])
    claim = steering_claims("steering", table)[0]
    assert (claim.value, claim.verdict) == (0.0, "broken")


def test_without_a_residual_site_nothing_is_claimed() -> None:
    assert steering_claims("steering", rows([1.0], [1], kind="mlp_out")) == []
    assert steering_claims("steering", STEERED.empty()) == []
    assert flip_shares(STEERED.empty()).empty


def test_the_batch_and_the_copies_change_nothing(
    lm: LanguageModel, saes: dict[Site, SaeFile], facts: list[Pair]
) -> None:
    task = Task(lm, facts, [saes[Site("resid_post", 0)]])
    one = steer_facts(task, STEPS)
    pace = dataclasses.replace(task.pace, batch_size=3, copies=500)
    other = steer_facts(dataclasses.replace(task, pace=pace), STEPS)
    keys = ["group", "pair_id", "place", "towards", "n_features", "strength"]
    both = one.merge(other, on=keys)
    assert len(both) == len(one) == len(other)
    for name in ("ld", "length", "clean", "corrupted"):
        np.testing.assert_allclose(both[f"{name}_x"], both[f"{name}_y"], atol=1e-3)


def test_in_bfloat16_a_move_of_nothing_leaves_the_clean_answer_in_any_batch(
    facts: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    rounded, site = load_model("bundled", device="cpu", dtype="bfloat16"), Site("resid_post", 2)
    with rounding_by_shape(rounded) as sizes:
        (batch,) = run_pairs(Task(rounded, facts), [site])
        n, tokens = len(facts), place_tokens([batch], FINAL)
        clean = unsteered_answers([batch], "clean").logits.repeat(5, 1)
        nothing = torch.zeros(5, n, batch.clean.x[site].shape[2])
        for copies in (1, 2 * n, 3 * n, 6 * n):
            sizes.clear()
            answers = join_answers(list(steered_answers(batch, site, tokens.row, tokens.position, nothing, copies)))
            assert torch.equal(answers.logits, clean)
            assert max(sizes) <= max(copies, 2 * n)
        monkeypatch.setattr("saeattr.recall.steering.steered.needs_unedited", lambda batch: False)
        monkeypatch.setattr("saeattr.runs.unedited.needs_unedited", lambda batch: False)
        answers = join_answers(list(steered_answers(batch, site, tokens.row, tokens.position, nothing, 6 * n)))
        assert not torch.equal(answers.logits, clean)
