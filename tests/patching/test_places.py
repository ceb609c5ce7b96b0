"""Which positions are patched together, and pairs whose prompts change places."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saeattr.behaviours.pair import Pair, Point, swap_prompts
from saeattr.model.loading import LanguageModel
from saeattr.patching.components import RESID_PRE, Part
from saeattr.patching.group import PatchPlan, patch_group
from saeattr.patching.places import EVERYWHERE, find_places
from saeattr.runs.batch import BatchRuns, run_batch
from saeattr.runs.question import Question
from saeattr.runs.task import Task

LOCATIONS = {"item breaks": ("marker", "newline"), "white space": ("blank",)}


@pytest.fixture(scope="module")
def batch(lm: LanguageModel, pairs: list[Pair]) -> BatchRuns:
    return run_batch(lm, pairs[:2], [Part(RESID_PRE, 0)], Question(), gradients=False)


def test_roles_share_out_the_positions_from_the_word_to_the_decision(batch: BatchRuns) -> None:
    places = find_places(batch, "role", LOCATIONS)
    for row, pair in enumerate(batch.pairs):
        own = {place.name: place for place in places if place.row == row}
        roles = torch.stack([place.mask for place in own.values() if not place.joint])
        assert roles.sum(0).max() == 1
        assert torch.equal(roles.any(0), own[EVERYWHERE].mask)
        positions = own[EVERYWHERE].mask.nonzero()[:, 0].tolist()
        assert positions == list(range(pair.first_change, pair.points[-1].position + 1))
        breaks = own["marker"].mask | own["newline"].mask
        assert torch.equal(own["item breaks"].mask, breaks)
        assert not breaks[pair.points[-1].position]
        assert own["length"].mask.nonzero()[:, 0].tolist() == list(pair.changed_positions)


def test_tokens_stand_alone_and_heads_share_all_positions(batch: BatchRuns) -> None:
    tokens = find_places(batch, "token", LOCATIONS)
    everywhere = find_places(batch, "head", LOCATIONS)
    assert [place.name for place in everywhere] == [EVERYWHERE] * 2
    for place in everywhere:
        own = [one for one in tokens if one.row == place.row]
        assert torch.equal(torch.stack([one.mask for one in own]).any(0), place.mask)
        assert all(one.mask.sum() == 1 and bool(one.mask[one.position]) for one in own)


@given(st.lists(st.booleans(), min_size=2, max_size=8), st.integers(0, 3))
def test_prompts_that_change_places_twice_are_as_before(kept: list[bool], inserted: int) -> None:
    """Tokens of the clean prompt that the other lacks, and tokens of the other that the clean one lacks."""
    kept[-1] = True
    clean = tuple(range(3, 3 + len(kept)))
    survivors = [token for token, keep in zip(clean, kept, strict=True) if keep]
    corrupted = (*range(100, 101 + inserted), *survivors)
    partner = {token: at for at, token in enumerate(corrupted)}
    partners = tuple(partner.get(token, -1) if keep else -1 for token, keep in zip(clean, kept, strict=True))
    roles = tuple(f"r{at}" if keep else "other" for at, keep in enumerate(kept))
    point = Point(len(clean) - 1, (1,), (2,))
    pair = Pair("g", "p", "p", clean, corrupted, (point,), roles, partners=partners)
    other = swap_prompts(pair)
    assert other.clean_ids == corrupted
    assert other.points[0].position == partners[-1]
    assert [role for role in other.roles if role != "other"] == [role for role in roles if role != "other"]
    assert swap_prompts(other) == pair


def test_a_token_without_a_partner_is_not_patched_and_patterns_of_unequal_prompts_are_left_out(
    lm: LanguageModel, pairs: list[Pair]
) -> None:
    pair = pairs[0]
    (word,) = pair.changed_positions
    assert pair.corrupted_ids is not None
    shorter = pair.corrupted_ids[:word] + pair.corrupted_ids[word + 1 :]
    partners = (*range(word), -1, *range(word, len(shorter)))
    unequal = dataclasses.replace(pair, pair_id="unequal", corrupted_ids=shorter, partners=partners)
    task = Task(lm, [unequal, pairs[1]])
    for direction in ("noising", "denoising"):
        found = patch_group(task, PatchPlan(("resid_pre", "pattern"), direction=direction))
        own = found[found["pair_id"] == "unequal"]
        assert set(own["component"]) == {"resid_pre"}
        assert "length" not in set(own["place"])
        assert own["effect"].abs().max() > 0.1
        assert {"resid_pre", "pattern"} == set(found[found["pair_id"] != "unequal"]["component"])
    noising, denoising = (
        patch_group(Task(lm, [unequal]), PatchPlan(direction=direction)) for direction in ("noising", "denoising")
    )
    for name in ("clean", "corrupted"):
        assert noising[name].iloc[0] == pytest.approx(denoising[name].iloc[0], abs=1e-4)
