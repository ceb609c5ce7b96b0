"""Facts patched in one batch: against the group-wise stage, naive hooked runs and transformer-lens; probabilities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import transformer_lens.patching as theirs
from torch import Tensor

from saeattr.behaviours.pair import Pair, Point, by_group
from saeattr.model.loading import LanguageModel
from saeattr.patching.group import DIRECTIONS, PatchPlan, patch_group
from saeattr.recall.facts.batteries import named_battery
from saeattr.recall.facts.check import align_facts
from saeattr.recall.localisation.curves import STREAM
from saeattr.recall.localisation.patches import patch_facts
from saeattr.runs.question import Pace
from saeattr.runs.task import Task
from tests.model.toys import FAMILIES, make_toy

KEY = ["category", "pair_id", "component", "direction", "layer", "head", "place", "position"]


@pytest.fixture(scope="module")
def facts(lm: LanguageModel) -> list[Pair]:
    """Facts of several categories, the entity of two tokens among them."""
    found, _ = align_facts(lm.tokenizer, [row for row in named_battery("facts").rows if row.pair_id.endswith(" 1")])
    longest = max(found, key=lambda fact: len(fact.positions))
    return [fact.pair for fact in (longest, found[0], found[1], found[100])]


@pytest.fixture(scope="module")
def patched(lm: LanguageModel, facts: list[Pair]) -> pd.DataFrame:
    return patch_facts(Task(lm, facts, pace=Pace(batch_size=3)))


def toy_facts() -> list[Pair]:
    """Two facts of other lengths: an entity of two tokens and one of one, something behind it, the final position."""
    rows = (
        (
            (2, 5, 6, 7, 8, 9, 10),
            (2, 5, 16, 17, 8, 9, 10),
            ("bos", "common", "entity", "entity", "after", "after", "last"),
        ),
        ((2, 6, 7, 8, 9), (2, 21, 7, 8, 9), ("bos", "entity", "after", "after", "last")),
    )
    return [
        Pair(f"c{at}", "f 1", "f", clean, corrupted, (Point(len(clean) - 1, (7 + at,), (11,)),), roles)
        for at, (clean, corrupted, roles) in enumerate(rows)
    ]


def final_logits(lm: LanguageModel, ids: tuple[int, ...], hooks: list[Any]) -> Tensor:
    with torch.no_grad(), lm.bridge.hooks(fwd_hooks=hooks):
        return lm.hf(input_ids=torch.tensor([ids])).logits[0, -1].float()


def naive(lm: LanguageModel, pair: Pair, row: dict[str, Any]) -> tuple[float, float, float]:
    """LD, its change, and P(clean_target) where the whole model runs again with the other prompt's activation."""
    own, other = (pair.clean_ids, pair.corrupted_ids)[:: 1 if row["direction"] == "noising" else -1]
    assert own is not None
    assert other is not None
    hook = "attn.hook_z" if row["component"] == "z" else f"hook_{row['component']}"
    name, kept = f"blocks.{row['layer']}.{hook}", {}
    final_logits(lm, other, [(name, lambda x, hook: kept.update(x=x.clone()))])
    role = "last" if row["place"] == "decision" else row["place"]
    positions = [at for at, one in enumerate(pair.roles) if one == role]
    positions = positions if row["position"] < 0 else [row["position"]]

    def put(x: Tensor, hook: Any) -> Tensor:
        x = x.clone()
        for at in positions:
            which = (0, at) if row["head"] < 0 else (0, at, row["head"])
            x[which] = kept["x"][which]
        return x

    (point,) = pair.points
    before, after = final_logits(lm, own, []), final_logits(lm, own, [(name, put)])
    ld_before, ld_after = (float(one[point.wanted[0]] - one[point.unwanted[0]]) for one in (before, after))
    return ld_before, ld_after - ld_before, float(after.softmax(0)[point.wanted[0]])


def test_the_numbers_are_those_of_the_stage_that_patches_group_by_group(
    lm: LanguageModel, facts: list[Pair], patched: pd.DataFrame
) -> None:
    tables = []
    for own in by_group(facts).values():
        for direction in DIRECTIONS:
            for names, by in ((STREAM, "role"), (STREAM, "token"), (("z",), "head-role")):
                tables.append(patch_group(Task(lm, own), PatchPlan(tuple(names), by, direction)))  # pyright: ignore[reportArgumentType]
    wanted = pd.concat(tables).rename(columns={"group": "category"})
    wanted = wanted[~wanted["joint"] & ~((wanted["component"] == "z") & (wanted["place"] == "after"))]
    both = patched.merge(wanted, on=KEY, suffixes=("", "_there"))
    assert len(both) == len(patched) == len(wanted)
    for name in ("effect", "clean", "corrupted"):
        np.testing.assert_allclose(both[name], both[f"{name}_there"], atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_equals_a_naive_hooked_loop_in_ld_and_probability(family: str, tmp_path: Path) -> None:
    """Grouped queries, norms behind attention, soft-caps and sliding windows among them; resid_mid has no own hook."""
    lm, _ = make_toy(family, tmp_path)
    pairs = {pair.group: pair for pair in toy_facts()}
    found = patch_facts(Task(lm, list(pairs.values())))
    assert set(found["component"]) == {*STREAM, "z"}
    hooked = found[found["component"] != "resid_mid"]
    for row in hooked.iloc[::7].to_dict("records"):
        own, change, p = naive(lm, pairs[row["category"]], row)  # pyright: ignore[reportArgumentType]
        assert row["clean" if row["direction"] == "noising" else "corrupted"] == pytest.approx(own, abs=1e-4)
        assert row["effect"] == pytest.approx(change, abs=1e-4), row
        if row["component"] != "z":
            assert row["p_patched"] == pytest.approx(p, abs=1e-4), row
    stream = found[found["component"] == "resid_pre"]
    assert stream["effect"].abs().max() > 0.1
    assert (stream["p_patched"] - stream["p_corrupted"]).abs().max() > 1e-3


def test_on_the_bundled_model_too(lm: LanguageModel, facts: list[Pair], patched: pd.DataFrame) -> None:
    pairs = {(pair.group, pair.pair_id): pair for pair in facts}
    hooked = patched[patched["component"] != "resid_mid"]
    for row in hooked.iloc[::97].to_dict("records"):
        _, change, p = naive(lm, pairs[row["category"], row["pair_id"]], row)  # pyright: ignore[reportArgumentType]
        assert row["effect"] == pytest.approx(change, abs=1e-4), row
        if row["component"] != "z":
            assert row["p_patched"] == pytest.approx(p, abs=1e-4), row


def test_restored_probability_equals_transformer_lens_own_patching(
    lm: LanguageModel, facts: list[Pair], patched: pd.DataFrame
) -> None:
    """Its functions take the corrupted tokens and the clean cache: denoising."""
    pair = facts[0]
    (point,) = pair.points
    _, cache = lm.bridge.run_with_cache(torch.tensor([pair.clean_ids]))
    own = patched[(patched["category"] == pair.group) & (patched["pair_id"] == pair.pair_id)]
    own = own[(own["direction"] == "denoising") & (own["position"] >= 0)]

    def probability(logits: Tensor) -> Tensor:
        return logits[0, point.position].float().softmax(0)[point.wanted[0]]

    for component in ("resid_pre", "attn_out", "mlp_out"):
        ours = own[own["component"] == component]
        wanted: Any = ours[["layer", "position"]].rename(columns={"position": "pos"}).reset_index(drop=True)
        got = theirs.generic_activation_patch(
            lm.bridge,  # pyright: ignore[reportArgumentType]
            torch.tensor([pair.corrupted_ids]),
            cache,
            probability,
            theirs.layer_pos_patch_setter,
            component,
            index_df=wanted,
        )
        np.testing.assert_allclose(ours["p_patched"], got.detach(), atol=1e-4)
        assert float(got.max()) > 0.5 or component != "resid_pre"


def test_the_same_facts_in_other_batches_give_the_same_numbers(
    lm: LanguageModel, facts: list[Pair], patched: pd.DataFrame
) -> None:
    again = patch_facts(Task(lm, facts[::-1], pace=Pace(batch_size=1, copies=5)))
    both = patched.merge(again, on=KEY, suffixes=("", "_again"))
    assert len(both) == len(patched) == len(again)
    for name in ("effect", "p_patched"):
        np.testing.assert_allclose(both[name], both[f"{name}_again"], atol=1e-4)
