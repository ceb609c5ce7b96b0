"""Layers patched together equal a plain run with hooks in all of them, in several families; sums by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from saeattr.behaviours.pair import Pair, Point
from saeattr.model.loading import LanguageModel
from saeattr.recall.phases.redundancy import all_layers, joint_table, window_shares
from saeattr.recall.phases.windows import MOST_TOGETHER, window_patches, windows
from saeattr.runs.question import Pace
from saeattr.runs.task import Task
from saeattr.tables import WINDOW_PATCHES
from tests.model.toys import FAMILIES, make_toy


def toy_facts() -> list[Pair]:
    """Three pairs of two categories and unequal lengths; one entity has two tokens."""
    generator = torch.Generator().manual_seed(3)
    pairs = []
    for nth, (length, entity) in enumerate(((7, (2,)), (10, (3, 4)), (5, (1,)))):
        clean = torch.randint(3, 64, (length,), generator=generator).tolist()
        corrupted = [(token + 7) % 61 + 3 if at in entity else token for at, token in enumerate(clean)]
        roles = tuple("bos" if at == 0 else "entity" if at in entity else "common" for at in range(length))
        point = Point(length - 1, (10 + nth,), (20 + nth,))
        group = "a" if nth < 2 else "b"
        pairs.append(Pair(group, f"{nth}", f"{nth}", tuple(clean), tuple(corrupted), (point,), roles))
    return pairs


def difference(lm: LanguageModel, ids: tuple[int, ...], point: Point) -> float:
    with torch.no_grad():
        logits = lm.hf(input_ids=torch.tensor([ids])).logits[0, -1].float()
    return float(logits[point.wanted[0]] - logits[point.unwanted[0]])


def naive(lm: LanguageModel, pair: Pair, component: str, place: str, layers: range, direction: str) -> float:
    """A whole forward with one hook for each layer: each puts in what the other prompt's run had there."""
    own, other = pair.clean_ids, pair.corrupted_ids or ()
    if direction == "denoising":
        own, other = other, own
    at = [len(own) - 1] if place == "final" else [n for n, role in enumerate(pair.roles) if role == "entity"]
    names = [f"blocks.{layer}.hook_{component}" for layer in layers]
    kept: dict[str, torch.Tensor] = {}

    def keep(x: torch.Tensor, hook: object, name: str) -> None:
        kept[name] = x.clone()

    def put(x: torch.Tensor, hook: object, name: str) -> torch.Tensor:
        x = x.clone()
        x[:, at] = kept[name][:, at]
        return x

    with lm.hooks([(name, lambda x, hook, name=name: keep(x, hook, name)) for name in names]):
        difference(lm, other, pair.points[0])
    with lm.hooks([(name, lambda x, hook, name=name: put(x, hook, name)) for name in names]):
        patched = difference(lm, own, pair.points[0])
    return patched - difference(lm, own, pair.points[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_patched_together_equal_a_plain_run_with_hooks_in_all_of_them(family: str, tmp_path: Path) -> None:
    lm, _ = make_toy(family, tmp_path)
    pairs = {pair.pair_id: pair for pair in toy_facts()}
    # So few copies in a forward that they are not all of one row.
    found = window_patches(Task(lm, list(pairs.values()), pace=Pace(batch_size=2, copies=2)))
    assert len(found) == 2 * 3 * len(windows(3)) * len(pairs)
    for row in found.to_dict("records"):
        layers = range(row["first_layer"], row["last_layer"] + 1)
        wanted = naive(lm, pairs[row["pair_id"]], row["component"], row["place"], layers, row["direction"])
        assert row["effect"] == pytest.approx(wanted, abs=1e-4)
    assert found["effect"].abs().max() > 0.1
    for row in found.groupby("pair_id").head(1).to_dict("records"):
        pair = pairs[row["pair_id"]]
        assert row["clean"] == pytest.approx(difference(lm, pair.clean_ids, pair.points[0]), abs=1e-4)
        assert row["corrupted"] == pytest.approx(difference(lm, pair.corrupted_ids or (), pair.points[0]), abs=1e-4)


def test_windows_slide_over_the_depth_and_the_last_one_is_all_of_it() -> None:
    assert windows(3) == [(0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (0, 2)]
    deep = windows(26)
    assert deep[-1] == (0, 25)
    assert max(last - first + 1 for first, last in deep[:-1]) == MOST_TOGETHER
    assert len(set(deep)) == len(deep) == 26 + 25 + 24 + 23 + 1


def patch(pair: str, first: int, last: int, effect: float, direction: str = "noising") -> dict[str, object]:
    own = {"group": "a", "pair_id": pair, "direction": direction, "component": "mlp_out", "place": "final"}
    return {**own, "first_layer": first, "last_layer": last, "effect": effect, "clean": 3.0, "corrupted": -1.0}


def test_joint_and_summed_shares_by_hand() -> None:
    """Of a swing of 4 logits; the two layers of x do half of it alone each, and three quarters together."""
    rows = [patch("x", 0, 0, -2.0), patch("x", 1, 1, -2.0), patch("x", 0, 1, -3.0)]
    rows += [patch("y", 0, 0, -1.0), patch("y", 1, 1, 0.4), patch("y", 0, 1, -2.0)]
    rows += [patch("x", 0, 0, 1.0, "denoising"), patch("x", 1, 1, 0.0, "denoising"), patch("x", 0, 1, 2.0, "denoising")]
    table = WINDOW_PATCHES.frame(pd.DataFrame(rows))
    shares = window_shares(table).set_index(["direction", "pair_id"])
    assert shares.loc[("noising", "x"), ["joint", "summed"]].tolist() == [0.75, 1.0]
    assert shares.loc[("noising", "y"), ["joint", "summed"]].tolist() == pytest.approx([0.5, 0.15])
    assert shares.loc[("denoising", "x"), ["joint", "summed"]].tolist() == [0.5, 0.25]
    joint = joint_table(table).set_index("direction")
    assert joint.loc["noising", ["joint", "summed", "ratio", "excess"]].tolist() == pytest.approx(
        [0.625, 0.575, 0.625 / 0.575, 0.05]
    )
    # One fact alone has no interval.
    assert np.isnan(joint.loc["denoising", "ratio_low"])
    assert all_layers(joint_table(table))["n_together"].tolist() == [2, 2]


def test_nothing_patched_gives_no_joint_effect() -> None:
    assert joint_table(WINDOW_PATCHES.empty()).empty
