"""What an interruption, a second call or a full GPU leaves behind, and that the next call ends with the same tables."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

import saeattr
from saeattr import UserError
from saeattr.digests import file_sha256
from saeattr.study.results import Study, load_study

SMALL: dict[str, Any] = {
    **{"lists": 2, "max_new_tokens": 20, "sites": ["resid_post.2"]},
    **{"figures": False, "device": "cpu"},
}
LATER: dict[str, Any] = {"top": 3, "curves": False, "figures": False, "device": "cpu"}

OnProgress = Callable[[str, str, int, int], None]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Two groups in one go."""
    out = tmp_path_factory.mktemp("whole") / "s"
    return saeattr.attribute(["cities", "rivers"], out=out, validate_top=2, **SMALL)


@pytest.fixture
def copy(whole: Study, tmp_path: Path) -> Path:
    shutil.copytree(whole.folder.root, tmp_path / "copy")
    return tmp_path / "copy"


def tables(folder: Path) -> dict[str, str]:
    """The checksum of every table of a study, those of single groups and the lists too."""
    return {str(path.relative_to(folder)): file_sha256(path) for path in folder.rglob("*.parquet")}


def leftovers(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob(".*")]


def stop_at(stage: str, at: int, group: str = "rivers", error: type[BaseException] = KeyboardInterrupt) -> OnProgress:
    """Raise ``error`` each time a stage of a group has got so far."""

    def on_progress(name: str, now: str, done: int, total: int) -> None:
        if (name, now, done) == (group, stage, at):
            raise error

    return on_progress


@pytest.mark.parametrize(
    ("stage", "at"),
    [
        ("sampling lists", 0),
        ("exact effects where features were ranked", 1),
        ("exact effects", 1),
        ("cumulative curves", 2),
    ],
)
def test_the_same_call_completes_what_was_interrupted_in_the_second_group(
    whole: Study, tmp_path: Path, stage: str, at: int
) -> None:
    out = tmp_path / "s"
    # The first group is there already, as in a run that got so far.
    shutil.copytree(whole.folder.root, out)
    for path in (*out.glob("*.parquet"), *out.rglob("rivers.parquet")):
        path.unlink()
    for path in out.glob("*/rivers"):
        shutil.rmtree(path)
    before = tables(out)
    with pytest.raises(KeyboardInterrupt):
        saeattr.attribute(["cities", "rivers"], out=out, validate_top=2, on_progress=stop_at(stage, at), **SMALL)
    left = tables(out)
    assert {name: left[name] for name in before} == before
    study = saeattr.attribute(["cities", "rivers"], out=out, validate_top=2, **SMALL)
    assert study.groups == ("cities", "rivers")
    assert tables(out) == tables(whole.folder.root)
    assert leftovers(out) == []


@pytest.mark.parametrize("table", ["features.parquet", "validation.parquet"])
def test_an_interruption_while_tables_are_written_leaves_no_half_group(
    whole: Study, copy: Path, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    for path in copy.glob("*/rivers"):
        shutil.rmtree(path)
    write = pq.write_table

    def interrupted(arrow: Any, where: Any, *args: Any, **kwargs: Any) -> None:
        if table in str(where):
            Path(where).write_bytes(b"half")
            raise KeyboardInterrupt
        write(arrow, where, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", interrupted)
        with pytest.raises(KeyboardInterrupt):
            saeattr.attribute(["cities", "rivers"], out=copy, validate_top=2, **SMALL)
    stage = "attribution" if table == "features.parquet" else "validation"
    assert not (copy / stage / "rivers").exists()
    saeattr.attribute(["cities", "rivers"], out=copy, validate_top=2, **SMALL)
    assert tables(copy) == tables(whole.folder.root)
    assert leftovers(copy) == []


@pytest.mark.parametrize("stage", ["attribution", "validation"])
def test_parts_of_tables_that_are_stored_are_removed(whole: Study, copy: Path, stage: str) -> None:
    """A run was killed between the two."""
    parts = copy / stage / ".partial-cities"
    parts.mkdir()
    (parts / "exact-0.parquet").write_bytes((copy / "pairs.parquet").read_bytes())
    saeattr.attribute(["cities", "rivers"], out=copy, validate_top=2, **SMALL)
    assert tables(copy) == tables(whole.folder.root)
    assert leftovers(copy) == []


def test_what_is_attributed_is_only_validated(whole: Study, copy: Path) -> None:
    shutil.rmtree(copy / "validation")
    for name in ("validation", "curves", "agreement"):
        (copy / f"{name}.parquet").unlink()
    stages: set[str] = set()
    saeattr.attribute(
        ["cities", "rivers"],
        out=copy,
        validate_top=2,
        on_progress=lambda group, stage, done, total: stages.add(stage),
        **SMALL,
    )
    assert stages == {
        *["loading the model", "forward", "exact effects where features were ranked", "exact effects", "stages"],
        *["cumulative curves", whole.power("cities"), whole.power("rivers")],
    }
    assert tables(copy) == tables(whole.folder.root)


def test_generating_that_was_interrupted_goes_on_at_the_next_site(tmp_path: Path) -> None:
    """Of two sites one is done: its lists are kept, and the tables are those of a run in one go."""
    # So small a batch that a site's lists fill it.
    settings = {**LATER, "top": 2, "generate": True, "generate_features": (1, 3), "generate_sites": "all"}
    settings["batch_size"] = 1
    asked = {**SMALL, "sites": ["attn_z.1", "resid_post.2"], "batch_size": 1, "validate_top": 0}
    whole = saeattr.attribute(["cities", "rivers"], out=tmp_path / "whole", **asked).folder.root
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    saeattr.validate(whole, **settings)
    seen: list[tuple[int, int]] = []
    partial = copy / "generation" / ".partial-rivers"

    def on_progress(group: str, stage: str, done: int, total: int) -> None:
        if (group, stage) == ("rivers", "ablation while generating"):
            seen.append((done, total))
            # Two lists at each site: two numbers of features with three sets of controls each, and steering.
            if total == 2 * 2 * 9 and list(partial.glob("*")):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        saeattr.validate(copy, on_progress=on_progress, **settings)
    (stored,) = partial.glob("*.parquet")
    assert stored.name.startswith("attn_z.1-")
    seen.clear()
    study = saeattr.validate(copy, on_progress=on_progress, **settings)
    assert {total for _, total in seen} == {2 * 9}
    assert set(study.generation()["group"]) == {"cities", "rivers"}
    assert leftovers(copy) == []
    for name in ("generation", "generation/cities/generated", "generation/rivers/generated"):
        ours, theirs = (pd.read_parquet(folder / f"{name}.parquet") for folder in (copy, whole))
        # The ratio of lengths is a sum whose rounding depends on what shares a batch.
        pd.testing.assert_frame_equal(ours, theirs, rtol=1e-4)


def test_layers_whose_choice_was_interrupted_are_chosen_by_the_next_call(tmp_path: Path) -> None:
    settings = {"lists": 2, "max_sites": 1, "kinds": ["mlp_out"], "device": "cpu"}
    with pytest.raises(KeyboardInterrupt):
        saeattr.select("cities", out=tmp_path, on_progress=stop_at("choosing layers", 1, "cities"), **settings)
    assert not (tmp_path / "layer_scores.parquet").exists()
    found = saeattr.select("cities", out=tmp_path, **settings)
    stored = pd.read_parquet(tmp_path / "layer_scores.parquet")
    pd.testing.assert_frame_equal(stored, found.table)


def test_exact_effects_of_all_positions_are_not_taken_for_those_of_single_ones(copy: Path, tmp_path: Path) -> None:
    shutil.copytree(copy, tmp_path / "fresh")
    fresh = saeattr.validate(tmp_path / "fresh", positions="single", **LATER)
    with pytest.raises(KeyboardInterrupt):
        saeattr.validate(copy, positions="all", on_progress=stop_at("exact effects", 2, "cities"), **LATER)
    found = saeattr.validate(copy, positions="single", **LATER)
    for group in ("cities", "rivers"):
        pd.testing.assert_frame_equal(found.validation(group), fresh.validation(group))
    everywhere = saeattr.validate(copy, positions="all", **LATER).validation("cities")
    assert not everywhere["exact_mean"].equals(fresh.validation("cities")["exact_mean"])


def close(ours: pd.DataFrame, theirs: pd.DataFrame) -> None:
    """The same rows, in which another batch may change the last digits."""
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-3, atol=1e-4)


def test_attribution_that_runs_out_of_memory_once_goes_on_with_half_the_batch(whole: Study, tmp_path: Path) -> None:
    batches: list[int] = []

    def on_progress(group: str, stage: str, done: int, total: int) -> None:
        if stage == "forward and backward":
            batches.append(done)
        if stage == "attribution" and batches == [0, 2]:
            raise torch.cuda.OutOfMemoryError

    study = saeattr.attribute("cities", out=tmp_path, validate_top=0, on_progress=on_progress, **SMALL)
    assert batches == [0, 2, 0, 1, 2]
    plan = json.loads((tmp_path / "plan.json").read_text(encoding="utf-8"))["groups"]["cities"]
    assert plan["batch_size"] == 1
    keys = ["pair_id", "layer", "kind", "feature", "position"]
    ours, theirs = (one.attributions("cities").sort_values(keys, ignore_index=True) for one in (study, whole))
    close(ours, theirs)
    close(study.site_effects("cities"), whole.site_effects("cities"))


def test_attribution_that_never_fits_says_what_to_do(tmp_path: Path) -> None:
    stop = stop_at("attribution", 0, "cities", torch.cuda.OutOfMemoryError)
    with pytest.raises(UserError, match="too little memory for one pair at a time: name fewer --sites") as refusal:
        saeattr.attribute("cities", out=tmp_path, validate_top=0, on_progress=stop, **SMALL)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "attribution" / "cities").exists()


def test_validation_that_runs_out_of_memory_goes_on_at_the_next_feature(copy: Path, tmp_path: Path) -> None:
    shutil.copytree(copy, tmp_path / "fresh")
    fresh = saeattr.validate(tmp_path / "fresh", **LATER)
    stored: list[int] = []

    def on_progress(group: str, stage: str, done: int, total: int) -> None:
        if (group, stage, done) == ("cities", "exact effects", 2):
            stored.extend(len(pd.read_parquet(path)) for path in copy.rglob(".partial-cities/exact-*.parquet"))
            if len(stored) == 1:
                raise torch.cuda.OutOfMemoryError

    found = saeattr.validate(copy, on_progress=on_progress, **LATER)
    # Two features are stored when memory runs out, and they are not measured again.
    assert len(stored) == 2
    assert stored[0] == stored[1]
    close(found.validation("cities"), fresh.validation("cities"))
    assert leftovers(copy) == []


def test_validation_that_never_fits_says_what_to_do(copy: Path) -> None:
    stop = stop_at("exact effects", 0, "cities", torch.cuda.OutOfMemoryError)
    with pytest.raises(UserError, match="too little memory for one pair at a time: name fewer --sites"):
        saeattr.validate(copy, on_progress=stop, **LATER)
    assert len(load_study(copy).validation("cities")) == 2
