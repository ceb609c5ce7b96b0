"""Ablation while generating: against a naive generation without a cache, and what the tables say."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from saeattr import UserError
from saeattr.behaviours.lists.sampling import Sampling, prompt_ids, sample_lists
from saeattr.behaviours.pair import Pair, pad_pairs
from saeattr.generation.ablation import (
    Ablation,
    ablation,
    control_sets,
    generate_conditions,
    mean_difference,
    sample_edited,
)
from saeattr.model.capture import capture
from saeattr.model.loading import LanguageModel
from saeattr.runs.base import BASES, SiteBase, SiteMeans, site_means
from saeattr.runs.batch import run_batch
from saeattr.runs.question import Question
from saeattr.saes.loading import SaeFile, load_sae
from saeattr.saes.sae import SparseAutoencoder
from saeattr.sites import KINDS, Site
from saeattr.validation.controls import SiteProfile
from tests import plain

GREEDY = Sampling(n_lists=1, temperature=0, max_new_tokens=30)
BRIEF = Sampling(n_lists=1, temperature=0, max_new_tokens=8)


def busiest(lm: LanguageModel, sae: SparseAutoencoder, pairs: list[Pair], count: int = 4) -> list[int]:
    """The features with the largest mean activation in the pairs."""
    padded = pad_pairs(pairs, lm.pad_id)
    run = capture(lm, padded.clean, padded.mask, [sae.site])
    mask = padded.mask.clone()
    mask[:, 0] = False
    return sae.encode(run.x[sae.site][mask]).mean(0).topk(count).indices.tolist()


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_step_is_ablated_as_in_full_forwards_without_a_cache(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], plain_model: Any, kind: Any, base: Any
) -> None:
    """With the corrupted base, f_base comes from a forward of the long request with the answer so far."""
    site = Site(kind, 2)
    sae = load_sae(saes[site])
    features = busiest(lm, sae, pairs)
    means = SiteMeans(torch.full((sae.d_sae,), 0.7), torch.zeros(sae.d_in))
    edit = ablation(SiteBase(base, sae, means if base == "mean" else None), features)
    (made,) = sample_edited(lm, "cities", site, edit, GREEDY, corrupted_run=base == "corrupted")
    prompt = made.token_ids[: made.prompt_length]
    corrupted_prompt = tuple(prompt_ids(lm.tokenizer, "cities", "long"))
    n_steps = len(made.token_ids) - len(prompt)
    assert n_steps > 5
    with torch.no_grad():
        for step in range(n_steps):
            answer = made.token_ids[len(prompt) : len(prompt) + step]
            corrupted = site_value(plain_model, site, corrupted_prompt + answer)

            def by_hand(x: torch.Tensor, corrupted: torch.Tensor = corrupted) -> torch.Tensor:
                f = sae.encode(x[0])
                held = {"zero": f * 0, "mean": (f > 0) * 0.7, "corrupted": sae.encode(corrupted[0])}[base]
                changed = f.clone()
                changed[:, features] = held[:, features]
                edited = x[0] - sae.decode(f) + sae.decode(changed)
                edited[0] = x[0, 0]
                return edited[None]

            with plain.edited(plain_model, site, by_hand):
                logits = plain_model(input_ids=torch.tensor([prompt + answer])).logits
            assert int(logits[0, -1].argmax()) == made.token_ids[len(prompt) + step]


def test_the_first_token_is_never_edited(lm: LanguageModel, plain_model: Any) -> None:
    """The edit sees what the site holds at every token of the request but the first, then one token a step."""
    site = Site("resid_post", 2)
    seen: list[torch.Tensor] = []

    def edit(x: torch.Tensor, corrupted: torch.Tensor | None) -> torch.Tensor:
        seen.append(x.clone())
        return x

    (made,) = sample_edited(lm, "cities", site, edit, BRIEF)
    prompt = made.token_ids[: made.prompt_length]
    assert prompt[0] == lm.tokenizer.bos_token_id
    torch.testing.assert_close(seen[0][0], plain.read(plain_model, site, prompt)[1:], rtol=1e-3, atol=1e-3)
    assert len(seen) > 1
    assert {x.shape[1] for x in seen[1:]} == {1}


def site_value(model: Any, site: Site, ids: tuple[int, ...]) -> torch.Tensor:
    seen: list[torch.Tensor] = []
    with plain.edited(model, site, lambda x: (seen.append(x.clone()), x)[1]):
        model(input_ids=torch.tensor([ids]))
    return seen[0]


def test_conditions_hold_the_same_lists_and_nothing_is_ordinary_sampling(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair]
) -> None:
    site = Site("resid_post", 0)
    sae = load_sae(saes[site])
    features = busiest(lm, sae, pairs)
    idle = [feature for feature in range(sae.d_sae) if feature not in features][:2]
    batch = run_batch(lm, pairs, [site], Question())
    steering = mean_difference([batch], site)
    brief = Sampling(n_lists=3, max_new_tokens=30, seed=5)
    ablated = Ablation(SiteBase("zero", sae), features, [idle, idle], steering)
    table = generate_conditions(lm, "cities", ablated, brief)
    counts = table.groupby(["condition", "control_set"]).size()
    assert counts.to_dict() == {
        ("nothing", -1): 3,
        ("features", -1): 3,
        ("controls", 0): 3,
        ("controls", 1): 3,
        ("steering", -1): 3,
    }
    plain_lists = sample_lists(lm, "cities", Sampling(3, seed=5, max_new_tokens=30))
    nothing = table[table["condition"] == "nothing"]
    assert nothing["text"].tolist() == [one.parsed.text for one in plain_lists]
    assert nothing["items"].tolist() == [len(one.parsed.complete_items) for one in plain_lists]
    assert set(table.loc[table["condition"] == "features", "text"]) != set(nothing["text"])
    pd.testing.assert_frame_equal(table, generate_conditions(lm, "cities", ablated, brief))


def test_the_model_is_as_before_afterwards(lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair]) -> None:
    before = sample_lists(lm, "cities", Sampling(2))
    sae = load_sae(saes[Site("attn_z", 1)])
    edit = ablation(SiteBase("zero", sae), busiest(lm, sae, pairs))
    sample_edited(lm, "cities", sae.site, edit, dataclasses.replace(GREEDY, n_lists=2))
    assert sample_lists(lm, "cities", Sampling(2)) == before


def test_the_mean_difference_takes_tokens_that_can_differ(lm: LanguageModel, pairs: list[Pair]) -> None:
    """From the length word to the last decision point of each pair, each token counted once."""
    site = Site("resid_post", 3)
    batches = [run_batch(lm, part, [site], Question()) for part in (pairs[:2], pairs[2:])]
    parts = []
    for pair in pairs:
        padded = pad_pairs([pair], lm.pad_id)
        assert padded.corrupted is not None
        clean, corrupted = (
            capture(lm, ids, padded.mask, [site]).x[site][0] for ids in (padded.clean, padded.corrupted)
        )
        parts.append((clean - corrupted)[min(pair.changed_positions) : pair.points[-1].position + 1])
    torch.testing.assert_close(mean_difference(batches, site), torch.cat(parts).mean(0), rtol=1e-4, atol=1e-5)


def test_the_whole_site_at_its_corrupted_value_gives_the_long_list(lm: LanguageModel, pairs: list[Pair]) -> None:
    """At the last site the corrupted run's x in place of x leaves nothing of the short request."""

    def edit(x: torch.Tensor, corrupted: torch.Tensor | None) -> torch.Tensor:
        assert corrupted is not None
        return corrupted

    long = sample_lists(lm, "cities", Sampling(3, length="long", seed=2, max_new_tokens=60))
    short = Sampling(n_lists=3, max_new_tokens=60, seed=2)
    made = sample_edited(lm, "cities", Site("resid_post", 5), edit, short, corrupted_run=True)
    assert [one.parsed.text for one in made] == [one.parsed.text for one in long]


def test_the_run_beside_changes_no_list(lm: LanguageModel) -> None:
    """Lists end at different steps, so rows of both runs leave the batch together."""
    alone, beside = (sample_lists(lm, "rivers", Sampling(6), beside=other) for other in (False, True))
    assert len({len(one.token_ids) for one in alone}) > 1
    assert [one.token_ids for one in beside] == [one.token_ids for one in alone]


def test_requests_that_do_not_align_have_no_corrupted_run(lm: LanguageModel, saes: dict[Site, SaeFile]) -> None:
    sae = load_sae(saes[Site("mlp_out", 0)])
    with pytest.raises(UserError, match="do not align"):
        generate_conditions(lm, "cities", Ablation(SiteBase("corrupted", sae), [1]), Sampling(1, corrupted="none"))


def test_controls_are_matched_and_in_one_place_only() -> None:
    norm = np.array([1.0, 1.1, 0.9, 5.0, 5.5, 4.5, 0.0, 50.0])
    profile = SiteProfile(norm, np.where(norm > 0, 0.5, 0.0), norm)
    assert control_sets(profile, [0, 3], 9) == [[1, 4], [2, 5]]
    assert control_sets(profile, [0, 3], 9, excluded=[4]) == [[1, 5], [2, 7]]


def test_a_feature_that_is_off_is_left_off_with_the_mean_base(saes: dict[Site, SaeFile]) -> None:
    sae = load_sae(saes[Site("mlp_out", 0)])
    x = torch.randn(1, 3, sae.d_in, generator=torch.Generator().manual_seed(0))
    means = site_means(sae, x[0])
    off = int((sae.encode(x[0]) == 0).all(0).nonzero()[0])
    assert torch.equal(ablation(SiteBase("mean", sae, means), [off])(x, None), x)
