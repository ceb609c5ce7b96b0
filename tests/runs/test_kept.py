"""Runs that wait: the same numbers wherever they lie, no more kept than is used again, files only past the limit."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch

from saeattr.attribution import group
from saeattr.attribution.group import SiteTables, Unit, attribute_units, first_pairs
from saeattr.behaviours.pair import Pair
from saeattr.errors import UserError
from saeattr.model.loading import LanguageModel
from saeattr.runs.batch import run_batch
from saeattr.runs.kept import RunStore, at_site
from saeattr.runs.question import Pace, Question
from saeattr.runs.task import Task
from saeattr.saes.formats import SaeFile
from saeattr.sites import Site

SITES = [Site("attn_z", 1), Site("resid_post", 2), Site("mlp_out", 4)]


def attributed(task: Task, store: RunStore) -> dict[Site, SiteTables]:
    found: dict[Site, SiteTables] = {}
    attribute_units(
        [Unit(task, first_pairs(task))],
        store,
        lambda unit, points: None,
        lambda unit, site, tables: found.update({site: tables}),
    )
    return found


@pytest.mark.parametrize("method", ["attribution", "ig", "relp"])
def test_runs_in_files_give_the_same_tables_as_runs_in_memory(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], method: str, tmp_path: Path
) -> None:
    """Layers run again from what is mapped too: whole sites in the first pairs, and every pair of ig."""
    task = Task(lm, pairs, [saes[site] for site in SITES], Question(method=method, ig_steps=2), Pace(batch_size=2))
    in_memory, mapped = RunStore(), RunStore(tmp_path / "runs", limit=0)
    one, other = (attributed(task, store) for store in (in_memory, mapped))
    assert mapped.files == 3
    assert len(list((tmp_path / "runs").iterdir())) == 3
    assert mapped.held == 0
    assert in_memory.held > 0
    for site in SITES:
        for name, table in vars(one[site]).items():
            pd.testing.assert_frame_equal(getattr(other[site], name), table, obj=name)


def test_the_first_runs_stay_in_memory_and_those_past_the_limit_do_not(
    lm: LanguageModel, pairs: list[Pair], tmp_path: Path
) -> None:
    batches = [run_batch(lm, [pair], SITES, Question()) for pair in pairs[:3]]
    first = RunStore()
    first.keep(batches[0], ())
    store = RunStore(tmp_path / "runs", limit=first.held)
    kept = [store.keep(batch, ()) for batch in batches]
    assert (store.held, store.files) == (first.held, 2)
    for batch, one in zip(batches, kept, strict=True):
        assert batch.corrupted is not None
        assert one.corrupted is not None
        for site in SITES:
            assert torch.equal(one.clean.x[site], batch.clean.x[site])
            assert torch.equal(one.clean.g[site], batch.clean.g[site])
            assert torch.equal(one.corrupted.x[site], batch.corrupted.x[site])


def test_inputs_are_kept_of_the_layers_that_run_again_alone(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the pairs that are checked, and there of the layers that a site lies in."""
    seen: dict[str, list[int]] = {}
    real = group._attribute_sae

    def watch(sae: Any, batches: Any, unit: Any) -> Any:
        for batch in batches:
            seen[batch.pairs[0].pair_id] = [layer for layer, x in enumerate(batch.clean.calls.inputs) if x.numel()]
        return real(sae, batches, unit)

    monkeypatch.setattr(group, "_attribute_sae", watch)
    attributed(Task(lm, pairs, [saes[site] for site in SITES], Question(check_pairs=1), Pace(batch_size=1)), RunStore())
    assert seen == {pair.pair_id: [1, 4] if pair is pairs[0] else [] for pair in pairs}


def test_of_waiting_runs_one_site_and_the_layers_from_it_on_go_to_the_device(
    lm: LanguageModel, pairs: list[Pair]
) -> None:
    batch = RunStore().keep(run_batch(lm, pairs[:2], SITES, Question()), range(lm.n_layers))
    assert at_site(batch, SITES[1]) is batch
    elsewhere: Any = SimpleNamespace(device=torch.device("meta"))
    there = at_site(dataclasses.replace(batch, lm=elsewhere), SITES[1])
    assert there.corrupted is not None
    for values in (there.clean.x, there.clean.g, there.corrupted.x):
        assert list(values) == [SITES[1]]
        assert values[SITES[1]].device.type == "meta"
    assert [x.device.type for x in there.clean.calls.inputs] == ["cpu"] * 2 + ["meta"] * (lm.n_layers - 2)


def test_a_folder_that_cannot_be_written_is_said_in_one_line(
    lm: LanguageModel, pairs: list[Pair], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    store = RunStore(tmp_path / "file" / "runs", limit=0)
    with pytest.raises(UserError, match="cannot be written"):
        store.keep(run_batch(lm, pairs[:1], SITES, Question()), ())
