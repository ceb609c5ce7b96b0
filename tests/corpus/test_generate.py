"""Many lists in parts: the same bytes after an interruption, each list from its seed alone, other settings refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

import saeattr
from saeattr import UserError
from saeattr.behaviours.lists.sampling import Sampling, sample_lists
from saeattr.behaviours.lists.table import lists_to_rows
from saeattr.corpus import generate as corpus
from saeattr.model.loading import LanguageModel
from tests.runs.short_of_memory import no_more_than

SMALL = {"lists": 5, "max_new_tokens": 40, "device": "cpu", "batch_size": 2}


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "PART", 2)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "data").iterdir())}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "PART", 2)
        out = tmp_path_factory.mktemp("lists") / "whole"
        return saeattr.generate_lists(["cities", "birds"], out=out, temperatures=(0.4, 1.3), **SMALL)


def test_every_condition_has_its_lists_in_parts(whole: Path) -> None:
    names = [
        f"{topic}-short-t{heat}-{first:05d}.parquet"
        for topic in ("birds", "cities")
        for heat in ("0.4", "1.3")
        for first in (0, 2, 4)
    ]
    assert list(contents(whole)) == names
    assert [pq.read_metadata(whole / "data" / name).num_rows for name in names] == [2, 2, 1] * 4


def test_a_list_is_the_one_that_sampling_alone_gives_in_any_part_and_batch(whole: Path, lm: LanguageModel) -> None:
    parts = [pd.read_parquet(path) for path in sorted((whole / "data").glob("cities-short-t1.3-*"))]
    found = pd.concat(parts, ignore_index=True)
    alone = lists_to_rows(sample_lists(lm, "cities", Sampling(5, temperature=1.3, max_new_tokens=40, batch_size=5)))
    assert found["list_id"].tolist() == ["000", "001", "002", "003", "004"]
    assert [list(ids) for ids in found["token_ids"]] == [list(ids) for ids in alone["token_ids"]]
    assert found[["seed", "text", "ended"]].equals(alone[["seed", "text", "ended"]])


def test_an_interrupted_run_goes_on_and_gives_the_same_bytes(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = 0

    def stop_after_three(*args, **kwargs):
        nonlocal done
        done += 1
        if done > 3:
            raise KeyboardInterrupt
        return sample_lists(*args, **kwargs)

    asked = {"out": tmp_path / "cut", "temperatures": (0.4, 1.3), **SMALL}
    with monkeypatch.context() as patch:
        patch.setattr(corpus, "sample_lists", stop_after_three)
        with pytest.raises(KeyboardInterrupt):
            saeattr.generate_lists(["cities", "birds"], **asked)
    assert len(contents(tmp_path / "cut")) == 3
    # What a crash left half written, and a part that the disk damaged.
    (tmp_path / "cut" / "data" / ".cities.parquet.1.tmp").write_bytes(b"half")
    (tmp_path / "cut" / "data" / "cities-short-t0.4-00000.parquet").write_bytes(b"damaged")
    saeattr.generate_lists(["cities", "birds"], **asked)
    assert contents(tmp_path / "cut") == contents(whole)


def test_what_is_there_is_not_drawn_again_and_conditions_are_added(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(whole, folder)
    with monkeypatch.context() as patch:
        patch.setattr("saeattr.api.lists.load_model", None)
        saeattr.generate_lists(["cities", "birds"], out=folder, temperatures=(0.4, 1.3), **SMALL)
    before = contents(folder)
    saeattr.generate_lists("cities", out=folder, request=["plain", "long"], temperature=0.4, **SMALL)
    after = contents(folder)
    added = sorted(set(after) - set(before))
    assert added == [f"cities-{word}-t0.4-0000{first}.parquet" for word in ("long", "plain") for first in (0, 2, 4)]
    assert all(after[name] == before[name] for name in before)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"lists": 6}, "lists is 5 there and 6 here"),
        ({"max_new_tokens": 30}, "max_new_tokens is 40 there and 30 here"),
        ({"top_p": 0.5}, "top_p is 0.9 there and 0.5 here"),
        ({"dtype": "bfloat16"}, "dtype is 'float32' there and 'bfloat16' here"),
    ],
)
def test_other_settings_are_refused_in_a_folder(whole: Path, changes: dict, said: str) -> None:
    before = contents(whole)
    with pytest.raises(UserError, match=said) as refused:
        saeattr.generate_lists("cities", out=whole, **{**SMALL, **changes})
    assert "another folder with --out" in str(refused.value)
    assert contents(whole) == before


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"request": "tiny"}, "'tiny' is not a request: choose one of short, long, plain, few, many"),
        ({"temperature": 12}, "--temperature cannot be 12"),
        ({"temperatures": (0.5, -1)}, "temperature -1 is not allowed: give 0, or a number from 0.001 to 10"),
        ({"temperatures": (0.5, float("nan"))}, "temperature nan is not allowed"),
        ({"temperatures": (0.5, 0.5)}, "each temperature is given once"),
        ({"temperatures": ()}, "each temperature is given once"),
        ({"temperatures": (0.5,), "temperature": 0.8}, "--temperatures says it all"),
        ({"lists": 0}, "--n-pairs cannot be 0"),
        ({"swap": "few"}, "'swap' is no setting of lists, which take lists"),
        ({"topic": ()}, "no topic was given"),
        ({"model": "nowhere/at/all"}, "nowhere"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(tmp_path: Path, asked: dict, said: str) -> None:
    with pytest.raises(UserError, match=said) as refused:
        saeattr.generate_lists(**{"topic": "cities", "out": tmp_path / "out", **asked})
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="exists and holds no generated lists"):
        saeattr.generate_lists("cities", out=tmp_path, **SMALL)
    (tmp_path / "lists.yaml").write_text("[")
    with pytest.raises(UserError, match=r"lists\.yaml cannot be read"):
        saeattr.generate_lists("cities", out=tmp_path, **SMALL)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lists.yaml", "mine.txt"]


def test_the_folder_opens_as_a_dataset(whole: Path, tmp_path: Path) -> None:
    import datasets

    found = datasets.load_dataset(str(whole), split="train", cache_dir=str(tmp_path))
    assert len(found) == 20
    assert set(found["topic"]) == {"cities", "birds"}


def room_for(most: int, seen: list[int]) -> Callable[..., Any]:
    """``sample_lists`` with memory for so many lists at a time."""
    return no_more_than(most, sample_lists, lambda lm, topic, sampling, **_: sampling.batch_size, seen)


def test_where_memory_runs_out_lists_are_drawn_in_batches_of_half_the_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smaller = saeattr.generate_lists("cities", out=tmp_path / "smaller", **{**SMALL, "batch_size": 1})
    seen: list[int] = []
    monkeypatch.setattr(corpus, "sample_lists", room_for(1, seen))
    halved = saeattr.generate_lists("cities", out=tmp_path / "halved", **SMALL)
    assert contents(halved) == contents(smaller)
    # The first part was begun twice, the two behind it were drawn as it was.
    assert seen == [2, 1, 1, 1]


def test_where_not_even_one_list_fits_one_line_says_so_and_the_parts_before_stay(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"out": tmp_path / "cut", "temperatures": (0.4, 1.3), **SMALL}
    saeattr.generate_lists("cities", **asked)
    before = contents(tmp_path / "cut")
    with monkeypatch.context() as patch:
        patch.setattr(corpus, "sample_lists", room_for(0, []))
        with pytest.raises(
            UserError, match="^cpu has too little memory for one list at a time: lower --max-new-tokens"
        ):
            saeattr.generate_lists(["cities", "birds"], **asked)
    assert contents(tmp_path / "cut") == before
    saeattr.generate_lists(["cities", "birds"], **asked)
    assert contents(tmp_path / "cut") == contents(whole)
