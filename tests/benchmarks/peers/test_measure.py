"""Contestants of the benchmark of peers on a tiny model: the same effects, and a page of what was measured."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))
from benchmarks.cost.exact import choose_edits
from benchmarks.peers.ablations import take_copies, time_ablations
from benchmarks.peers.arithmetic import dense_effects, site_effects
from benchmarks.peers.case import Case, Shape, all_sites, layers_of, resid_sites, write_case
from benchmarks.peers.contestants import CONTESTANTS, is_installed
from benchmarks.peers.measure import wanted
from benchmarks.peers.page import write_page
from benchmarks.peers.settings import Setting, full_settings, quick_settings
from benchmarks.peers.turns import correlations, largest_difference, take_turns

from saeattr.runs.batch import run_batch
from saeattr.runs.question import Question
from saeattr.saes.formats import config_file
from saeattr.saes.loading import load_sae

SHAPE = Shape("tiny", 3, 48, all_sites(3), 128)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    root = tmp_path_factory.mktemp("peers")
    for n_lists in (1, 2):
        write_case(root, SHAPE, n_lists)
    return Case(root, SHAPE, resid_sites(range(3)), 2)


@pytest.mark.parametrize("name", ["nnsight", "nnsight dense", "command", "hooks", "sae-lens"])
def test_every_contestant_gives_the_effects_of_the_core(case: Case, name: str) -> None:
    if not is_installed(name):
        pytest.skip(f"{name} is not installed")
    core, one = (CONTESTANTS[who][0](case) for who in ("core", name))
    ours = core.effects(case, core.run(case))
    assert largest_difference(one.effects(case, one.run(case)), ours) < 1e-4
    # Two batches are the same as one.
    smaller = dataclasses.replace(case, batch_size=1)
    assert largest_difference(one.effects(smaller, one.run(smaller)), ours) < 1e-4


def test_arithmetic_over_all_tokens_gives_the_same_effects(case: Case) -> None:
    (prompts,), site = case.prompts(), case.sites[0]
    generator = torch.Generator().manual_seed(0)
    clean, corrupted, g = torch.randn(3, *prompts.clean.shape, SHAPE.width, generator=generator)
    found = [one(case.sae_folder(site), prompts, clean, corrupted, g) for one in (site_effects, dense_effects)]
    assert float((found[0] - found[1]).abs().max()) < 1e-4 * float(found[0].abs().max())


def test_hooks_give_the_effects_of_the_core_at_every_kind_of_site(case: Case) -> None:
    every = dataclasses.replace(case, sites=SHAPE.sites)
    core, hooks = (CONTESTANTS[who][0](every) for who in ("core", "hooks"))
    found = hooks.run(every)
    assert list(found) == [str(site) for site in SHAPE.sites]
    assert largest_difference(found, core.effects(every, core.run(every))) < 1e-4


def test_with_all_saes_of_sae_lens_at_once_the_highest_alone_is_right(case: Case) -> None:
    *lower, highest = correlations(case).values()
    assert highest["correlation"] == pytest.approx(1, abs=1e-5)
    assert all(one["correlation"] < 0.99 for one in lower)


def test_some_ablations_are_the_same_among_fewer(case: Case) -> None:
    lm, site = case.open_model(), case.sites[0]
    batch = run_batch(lm, case.pairs(), [site], Question(), gradients=False)
    edits = choose_edits(batch, load_sae(config_file(case.sae_folder(site) / "cfg.json")), 4)
    few = take_copies(edits, torch.tensor([1, 3]))
    assert few.row.tolist() == edits.row[[1, 3]].tolist()
    for copy, before in enumerate((1, 3)):
        assert few.position[few.copy == copy].tolist() == edits.position[edits.copy == before].tolist()
    rows = time_ablations(case, (2, 4), sample=2, rounds=1)
    assert [(row["layer"], row["n"], row["sample"]) for row in rows] == [(0, 2, 2), (0, 4, 2), (1, 2, 2), (1, 4, 2)]
    assert all(row["different"] < 1e-4 for row in rows)


def test_what_is_not_installed_takes_no_part(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.peers.contestants.CONTESTANTS", {**CONTESTANTS, "nnsight": (None, "no_such_peer")})
    assert not is_installed("nnsight")
    setting = Setting("1 site", ("sites",), SHAPE, n_lists=2, contestants=("core", "nnsight", "floor"), rounds=2)
    found = take_turns(setting, case)
    assert {name: len(seconds) for name, seconds in found["seconds"].items()} == {"core": 2, "floor": 2}
    assert all(words[-1] != "nnsight" for words in wanted(full_settings(3), quick=False))


def test_the_page_is_written_again_from_what_is_stored(case: Case, tmp_path: Path) -> None:
    (setting, _) = quick_settings()
    setting = dataclasses.replace(setting, contestants=("core", "hooks", "floor"))
    machine = {"processor": "P", "cores": 2, "load": 0.0, "speed": 1e9, "python": "3", "versions": {"torch": "2"}}
    stored = {"machine": machine, f"time/{setting.name}": take_turns(setting, case)}
    write_page(json.loads(json.dumps(stored)), [setting], tmp_path)
    text = (tmp_path / "measured" / "peers.md").read_text(encoding="utf-8")
    seconds = stored[f"time/{setting.name}"]["seconds"]
    ratio = seconds["hooks"][0] / seconds["core"][0]
    assert f"{seconds['hooks'][0]:.2f} ({ratio:.2f}x)" in text
    assert "nnsight" in text
    assert (tmp_path / "measured" / "peers.png").stat().st_size < 150_000


def test_sites_are_spread_evenly_over_the_layers() -> None:
    assert layers_of(1, 12) == [6]
    assert layers_of(3, 12) == [3, 6, 9]
    assert layers_of(12, 12) == list(range(12))
