"""Ablation while generating: against a naive generation without a cache, and what the tables say."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import saeattr.generation.ablation as generation_ablation
from saeattr import UserError
from saeattr.behaviours.lists.pairs import ListRequest, make_pairs
from saeattr.behaviours.lists.sampling import Sampling, prompt_ids, sample_lists
from saeattr.behaviours.pair import Pair, pad_pairs
from saeattr.generation.ablation import Ablation, generate_cells, generate_conditions, sample_edited
from saeattr.generation.moves import Edit, ablation, mean_difference, stand_in, steering
from saeattr.model.capture import capture
from saeattr.model.loading import LanguageModel
from saeattr.runs.base import BASES, SiteBase, SiteMeans, site_means
from saeattr.runs.batch import run_batch
from saeattr.runs.question import Question
from saeattr.saes.loading import SaeFile, load_sae
from saeattr.saes.sae import SparseAutoencoder
from saeattr.sites import KINDS, Site
from tests import plain

GREEDY = Sampling(n_lists=1, temperature=0, max_new_tokens=30)
SITE = Site("resid_post", 2)
BRIEF = Sampling(n_lists=1, temperature=0, max_new_tokens=8)


def busiest(lm: LanguageModel, sae: SparseAutoencoder, pairs: list[Pair], count: int = 4) -> list[int]:
    """The features with the largest mean activation in the pairs."""
    padded = pad_pairs(pairs, lm.pad_id)
    run = capture(lm, padded.clean, [sae.site])
    mask = padded.clean.mask.clone()
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
    edit = Edit(site, ablation(SiteBase(base, sae, means if base == "mean" else None), features))
    ((made,),) = sample_edited(lm, "cities", [edit], GREEDY, corrupted_run=base == "corrupted")
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

    def look(x: torch.Tensor, corrupted: torch.Tensor | None) -> torch.Tensor:
        seen.append(x.clone())
        return torch.zeros_like(x)

    ((made,),) = sample_edited(lm, "cities", [Edit(site, look)], BRIEF)
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
    idle = [feature for feature in range(sae.d_sae) if feature not in features][: len(features)]
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


def separately(
    lm: LanguageModel, topic: str, ablated: Ablation, sampling: Sampling
) -> dict[tuple[str, int], list[str]]:
    """The lists of each condition, each sampled by itself."""
    found = {("nothing", -1): [one.parsed.text for one in sample_lists(lm, topic, sampling)]}
    for condition, number, edit in ablated.cell().edits:
        (lists,) = sample_edited(lm, topic, [edit], sampling, corrupted_run=ablated.base.name == "corrupted")
        found[condition, number] = [one.parsed.text for one in lists]
    return found


@pytest.mark.parametrize("base", ["corrupted", "zero"])
def test_cells_of_several_sites_in_the_same_batches_are_what_each_gives_by_itself(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], base: Any
) -> None:
    """Two numbers of features at one site, one at another and their controls: rows of one batch, and runs apart."""
    sampling = Sampling(n_lists=3, max_new_tokens=40, seed=3)
    ablated = []
    for site, sizes in ((Site("resid_post", 4), (2, 12)), (Site("attn_z", 1), (4,))):
        sae = load_sae(saes[site])
        direction = mean_difference([run_batch(lm, pairs, [site], Question())], site)
        top = busiest(lm, sae, pairs, 24)
        for size in sizes:
            ablated.append(Ablation(SiteBase(base, sae), top[:size], [top[12 : 12 + size]], direction))
    table = generate_cells(lm, "cities", [one.cell() for one in ablated], dataclasses.replace(sampling, batch_size=99))
    assert set(table["n_features"]) == {2, 4, 12}
    changed = 0
    for one in ablated:
        site = one.base.sae.site
        own = table[(table["kind"] == site.kind) & (table["n_features"] == len(one.features))]
        apart = separately(lm, "cities", one, sampling)
        for (condition, number), texts in apart.items():
            rows = own[(own["condition"] == condition) & (own["control_set"] == number)]
            assert rows["text"].tolist() == texts
            assert rows["list_id"].tolist() == ["000", "001", "002"]
        changed += apart["features", -1] != apart["nothing", -1]
    assert changed


def test_nothing_and_what_cells_share_are_sampled_once(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    sae = load_sae(saes[SITE])
    shared = steering(SITE, torch.ones(sae.d_in))
    few, more = (Ablation(SiteBase("zero", sae), range(size), steering=torch.ones(sae.d_in)) for size in (1, 2))
    seen: list[int] = []
    whole = generation_ablation.sample_variants

    def counted(lm: LanguageModel, topic: str, sampling: Sampling, n_variants: int, **more: Any) -> Any:
        seen.append(n_variants)
        return whole(lm, topic, sampling, n_variants, **more)

    monkeypatch.setattr(generation_ablation, "sample_variants", counted)
    cells = [few.cell(shared), more.cell(shared)]
    table = generate_cells(lm, "cities", cells, BRIEF)
    # Nothing, two sets of features, and one steering.
    assert seen == [4]
    nothing = table[table["condition"] == "nothing"]
    assert nothing["n_features"].tolist() == [1, 2]
    again = generate_cells(lm, "cities", cells, BRIEF, nothing)
    assert seen == [4, 3]
    pd.testing.assert_frame_equal(again, table)


def test_the_model_is_as_before_afterwards(lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair]) -> None:
    before = sample_lists(lm, "cities", Sampling(2))
    sae = load_sae(saes[Site("attn_z", 1)])
    edit = Edit(sae.site, ablation(SiteBase("zero", sae), busiest(lm, sae, pairs)))
    sample_edited(lm, "cities", [edit], dataclasses.replace(GREEDY, n_lists=2))
    assert sample_lists(lm, "cities", Sampling(2)) == before


def test_the_mean_difference_takes_tokens_that_can_differ(lm: LanguageModel, pairs: list[Pair]) -> None:
    """From the length word to the last decision point of each pair, each token counted once."""
    site = Site("resid_post", 3)
    batches = [run_batch(lm, part, [site], Question()) for part in (pairs[:2], pairs[2:])]
    parts = []
    for pair in pairs:
        padded = pad_pairs([pair], lm.pad_id)
        assert padded.corrupted is not None
        clean, corrupted = (capture(lm, ids, [site]).x[site][0] for ids in (padded.clean, padded.corrupted))
        parts.append((clean - corrupted)[min(pair.changed_positions) : pair.points[-1].position + 1])
    torch.testing.assert_close(mean_difference(batches, site), torch.cat(parts).mean(0), rtol=1e-4, atol=1e-5)


def test_the_mean_difference_leaves_out_tokens_without_a_partner(lm: LanguageModel) -> None:
    """Of requests of unequally many tokens: from behind the last swapped word on, each beside its own token."""
    site = Site("resid_post", 3)
    lists = sample_lists(lm, "cities", Sampling(3, length="few"))
    pairs, _ = make_pairs(lm.tokenizer, lists, ListRequest(clean="few", corrupted="many", unequal="zero"))
    parts = []
    for pair in pairs:
        padded = pad_pairs([pair], lm.pad_id)
        assert padded.corrupted is not None
        clean, corrupted = (capture(lm, ids, [site]).x[site][0] for ids in (padded.clean, padded.corrupted))
        behind = max(at for at, role in enumerate(pair.roles) if role == "length") + 1
        assert len(corrupted) == len(clean) + 1
        parts.append((clean[behind:] - corrupted[behind + 1 :])[: pair.points[-1].position + 1 - behind])
    found = mean_difference([run_batch(lm, pairs, [site], Question())], site)
    torch.testing.assert_close(found, torch.cat(parts).mean(0), rtol=1e-4, atol=1e-5)


def test_the_whole_site_at_its_corrupted_value_gives_the_long_list(lm: LanguageModel, pairs: list[Pair]) -> None:
    """At the last site the corrupted run's x in place of x leaves nothing of the short request."""

    def to_corrupted(x: torch.Tensor, corrupted: torch.Tensor | None) -> torch.Tensor:
        assert corrupted is not None
        return corrupted - x

    long = sample_lists(lm, "cities", Sampling(3, length="long", seed=2, max_new_tokens=60))
    short = Sampling(n_lists=3, max_new_tokens=60, seed=2)
    edit = Edit(Site("resid_post", 5), to_corrupted)
    (made,) = sample_edited(lm, "cities", [edit], short, corrupted_run=True)
    assert [one.parsed.text for one in made] == [one.parsed.text for one in long]


def test_the_run_beside_changes_no_list(lm: LanguageModel) -> None:
    """Lists end at different steps, so rows of both runs leave the batch together."""
    alone, beside = (sample_lists(lm, "rivers", Sampling(6), beside=other) for other in (False, True))
    assert len({len(one.token_ids) for one in alone}) > 1
    assert [one.token_ids for one in beside] == [one.token_ids for one in alone]


def test_requests_that_do_not_align_have_no_corrupted_run(lm: LanguageModel, saes: dict[Site, SaeFile]) -> None:
    sae = load_sae(saes[Site("mlp_out", 0)])
    with pytest.raises(UserError, match="the requests for cities have 30 and 29 tokens.*use --base zero or mean"):
        generate_conditions(lm, "cities", Ablation(SiteBase("corrupted", sae), [1]), Sampling(1, corrupted="none"))


@pytest.mark.parametrize("base", ["corrupted", "zero"])
def test_controls_move_x_at_every_step_as_far_as_the_features_would_there(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], base: Any
) -> None:
    """Each step's move is looked at: as long as that of the features in the same run, in another direction."""
    sae = load_sae(saes[Site("resid_post", 2)])
    site_base = SiteBase(base, sae)
    features = busiest(lm, sae, pairs)
    others = [(feature + 50) % sae.d_sae for feature in features]
    mine, theirs = ablation(site_base, features), stand_in(site_base, features, others)
    lengths: list[tuple[float, float]] = []
    directions: list[float] = []

    def look(x: torch.Tensor, corrupted: torch.Tensor | None) -> torch.Tensor:
        wanted, moved = mine(x, corrupted), theirs(x, corrupted)
        lengths.extend(zip(wanted.norm(dim=-1).flatten().tolist(), moved.norm(dim=-1).flatten().tolist(), strict=True))
        directions.append(float(torch.nn.functional.cosine_similarity(wanted, moved, dim=-1).abs().max()))
        return moved

    edit = Edit(sae.site, look, like=mine)
    sample_edited(lm, "cities", [edit], BRIEF, corrupted_run=base == "corrupted")
    wanted, moved = np.array(lengths).T
    assert wanted.max() > 0.1
    assert max(directions) < 0.9
    np.testing.assert_allclose(moved, wanted, rtol=1e-4, atol=1e-5)
    assert edit.length_ratio == pytest.approx(1.0, abs=1e-4)


def test_the_ratio_reached_is_that_of_what_was_really_moved() -> None:
    """Half as far, and rounded to bfloat16; without anything to be as long as there is no ratio."""
    x = torch.full((1, 2, 4), 1.0)
    edit = Edit(SITE, lambda x, corrupted: torch.full_like(x, 0.5), like=lambda x, corrupted: torch.full_like(x, 1.0))
    edit(x, None, torch.float32)
    assert edit.length_ratio == pytest.approx(0.5)
    tiny = Edit(SITE, lambda x, corrupted: torch.full_like(x, 1e-4), like=lambda x, corrupted: torch.full_like(x, 1e-4))
    tiny(x, None, torch.bfloat16)
    assert tiny.length_ratio == 0
    assert np.isnan(Edit(SITE, lambda x, corrupted: x).length_ratio)


def test_a_feature_that_is_off_is_left_off_with_the_mean_base(saes: dict[Site, SaeFile]) -> None:
    sae = load_sae(saes[Site("mlp_out", 0)])
    x = torch.randn(1, 3, sae.d_in, generator=torch.Generator().manual_seed(0))
    means = site_means(sae, x[0])
    off = int((sae.encode(x[0]) == 0).all(0).nonzero()[0])
    assert not ablation(SiteBase("mean", sae, means), [off])(x, None).any()
