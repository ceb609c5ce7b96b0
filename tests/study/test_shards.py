"""A group in shards gives what the whole group gives, goes on where it stopped, and says what it leaves out."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

import saeattr
from saeattr.attribution import group
from saeattr.attribution.group import attribute_group, waiting_values
from saeattr.behaviours.facts.behaviour import fact_pairs, relations
from saeattr.behaviours.given.export import export_pairs
from saeattr.behaviours.pair import Pair
from saeattr.files import read_table
from saeattr.model.loading import LanguageModel
from saeattr.progress import quiet
from saeattr.runs.base import BASES
from saeattr.runs.question import Pace, Question
from saeattr.runs.task import Task
from saeattr.saes.loading import SaeFile
from saeattr.settings import BaseName
from saeattr.sites import Site
from saeattr.study import attribution, site_parts, waiting
from saeattr.study.attribution import Attribution, attribute_parts
from saeattr.study.site_parts import GroupParts
from saeattr.study.waiting import in_rounds, run_bytes
from saeattr.tables import PAIR_EFFECTS, TABLES

SITES = [Site("resid_post", 2), Site("mlp_out", 4)]


def task_of(lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], base: BaseName = "corrupted") -> Task:
    return Task(lm, pairs, [saes[site] for site in SITES], Question(base=base), Pace(batch_size=2))


def sorted_rows(table: pd.DataFrame) -> pd.DataFrame:
    return table.sort_values(list(table.columns[:6]), kind="stable").reset_index(drop=True)


def in_shards(task: Task, folder: Path, shard_pairs: int = 2) -> dict[str, Any]:
    """A group's tables by way of its parts, every entry kept."""
    parts = GroupParts(task, folder, 0.0, shard_pairs)
    attribute_parts([parts], folder.parent, quiet)
    return parts.tables()


def frame_of(found: Any, name: str) -> pd.DataFrame:
    """A table, from memory or from its parts."""
    if isinstance(found, pd.DataFrame):
        return TABLES[name].frame(found)
    return pd.concat([read_table(part / f"{name}.parquet", TABLES[name]) for part in found], ignore_index=True)


@pytest.mark.parametrize("shard_pairs", [2, 100])
@pytest.mark.parametrize("base", BASES)
def test_shards_give_what_the_group_gives(
    lm: LanguageModel,
    saes: dict[Site, SaeFile],
    pairs: list[Pair],
    base: BaseName,
    shard_pairs: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever is a mean over the group: features' base values, and the centre of the unexplained variance.

    A group without shards is the same when its parts were stored on the way.
    """
    monkeypatch.setattr(site_parts, "STORED_AFTER", 0.0)
    task = task_of(lm, saes, pairs, base)
    whole, found = attribute_group(task), in_shards(task, tmp_path / "parts", shard_pairs)
    assert len(list((tmp_path / "parts").iterdir())) == (3 if shard_pairs == 2 else 1) * (1 + len(SITES))
    for name in ("attributions", "pair_effects", "features", "active", "site_effects", "metric_by_point", "carriers"):
        pd.testing.assert_frame_equal(
            sorted_rows(frame_of(found[name], name)),
            sorted_rows(TABLES[name].frame(getattr(whole, name))),
            check_dtype=False,
            rtol=1e-4,
            atol=1e-5,
            obj=name,
        )
    pd.testing.assert_frame_equal(
        TABLES["entries"].frame(found["entries"]), TABLES["entries"].frame(whole.entries), rtol=1e-4
    )


def test_a_part_that_is_stored_is_not_done_again_whatever_stopped_the_run(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site_parts, "STORED_AFTER", 0.0)
    task, done = task_of(lm, saes, pairs), []
    real = group._attribute_sae

    def stops(sae: Any, batches: Any, unit: Any) -> Any:
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append((str(sae.site), unit.number))
        return real(sae, batches, unit)

    monkeypatch.setattr(group, "_attribute_sae", stops)
    parts = GroupParts(task, tmp_path / "parts", 0.0, 2)
    with pytest.raises(KeyboardInterrupt):
        attribute_parts([parts], tmp_path, quiet)
    first, second = (str(file.site) for file in task.saes)
    assert done == [(first, 0), (first, 1), (first, 2), (second, 0)]
    done.clear()
    found = in_shards(task, tmp_path / "parts")
    assert done == [(second, 1), (second, 2)]
    done.clear()
    # Another question has other parts.
    monkeypatch.setattr(group, "_attribute_sae", real)
    other = GroupParts(dataclasses.replace(task, question=Question(base="zero")), tmp_path / "parts", 0.0, 3)
    assert [len(unit.task.saes) for unit in other.missing()] == [2, 2]
    assert GroupParts(task, tmp_path / "parts", 0.0, 2).missing() == []
    pd.testing.assert_frame_equal(found["features"], in_shards(task, tmp_path / "other")["features"])
    assert list(tmp_path.glob(".unfinished*")) == []


def test_units_go_together_as_far_as_there_is_room_for_their_runs(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    units = GroupParts(task_of(lm, saes, pairs), tmp_path, 0.0, 1).units
    sizes = {unit.number: run_bytes(unit.task, waiting_values(unit.task)) for unit in units}
    # x of two runs and g, float32, at two sites as wide as the residual stream.
    width = lm.hf.config.get_text_config().hidden_size
    assert sizes[0] == len(pairs[0].clean_ids) * width * 2 * 3 * 4
    for room, expected in ((sizes[0] + sizes[1], [0, 1]), (1, [0]), (sum(sizes.values()), [0, 1, 2, 3, 4])):
        # Half of what is free, beside what stays in memory.
        monkeypatch.setattr(waiting, "HELD_ON_HOST", room - 1)
        monkeypatch.setattr(waiting.shutil, "disk_usage", lambda root: SimpleNamespace(free=2))
        together = list(in_rounds(units, lambda unit: sizes[unit.number], tmp_path))
        assert [unit.number for unit in together[0]] == expected
        assert [unit.number for some in together for unit in some] == [0, 1, 2, 3, 4]
        assert all(len(some) == 1 or sum(sizes[unit.number] for unit in some) <= room for some in together)


def test_small_entries_are_left_out_and_everything_else_is_of_all(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair]
) -> None:
    task = task_of(lm, saes, pairs)
    whole, kept = attribute_group(task), attribute_group(task, keep_from=0.02)
    size = whole.attributions["effect"].abs().astype(float)
    of_site = size.groupby([whole.attributions[key] for key in ("layer", "kind", "pair_id")]).transform("sum")
    large = whole.attributions[size >= 0.02 * of_site]
    assert 0 < len(large) < len(whole.attributions)
    pd.testing.assert_frame_equal(kept.attributions.reset_index(drop=True), large.reset_index(drop=True))
    for name in ("features", "active", "site_effects", "pair_effects", "carriers"):
        pd.testing.assert_frame_equal(getattr(kept, name), getattr(whole, name), obj=name)
    total = kept.entries[["n_entries", "n_kept", "size", "size_kept"]].sum()
    assert (total["n_entries"], total["n_kept"]) == (len(whole.attributions), len(large))
    assert total["size_kept"] / total["size"] == pytest.approx(large["effect"].abs().sum() / size.sum(), rel=1e-5)


def rows_of_facts(lm: LanguageModel, path: Path) -> Path:
    found, _ = fact_pairs(lm.tokenizer, relations()["capitals"])
    exported = export_pairs(lm.tokenizer, found[:14])
    path.write_text("".join(json.dumps(row) + "\n" for row in exported.rows), encoding="utf-8")
    return path


def test_a_study_in_shards_ranks_and_tests_as_one_in_one_piece(
    lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = rows_of_facts(lm, tmp_path / "facts.jsonl")
    asked: dict[str, Any] = {"pairs": file, "sites": ["mlp_out.3"], "validate_top": 3, "device": "cpu", "curves": False}
    one = saeattr.attribute(out=tmp_path / "one", figures=False, **asked)
    monkeypatch.setattr(attribution, "GroupParts", functools.partial(GroupParts, shard_pairs=4))
    several = saeattr.attribute(out=tmp_path / "several", **asked)
    assert not list((tmp_path / "several" / "attribution").glob(".partial*"))
    (name,) = one.groups
    pd.testing.assert_frame_equal(several.features(), one.features(), rtol=1e-4, atol=1e-5)
    columns = ["feature", "exact_median", "verdict"]
    pd.testing.assert_frame_equal(several.validation()[columns], one.validation()[columns], rtol=1e-3, atol=1e-4)
    parts = [Attribution.read(study.folder, PAIR_EFFECTS, name) for study in (one, several)]
    one_has, several_have = (set(zip(part["feature"], part["pair_id"], strict=True)) for part in parts)
    assert one_has == several_have
    # Entries under a hundredth of their site's sum are left out, and it is said; a use that needs them is refused.
    assert any("attributions.parquet has " in warning for warning in several.warnings)
    assert len(several.attributions()) < len(one.attributions())
    with pytest.raises(saeattr.UserError, match="--positions single needs every entry"):
        saeattr.validate(several, positions="single", figures=False)


def test_so_many_pairs_of_each_half_test_what_the_other_ranks(lm: LanguageModel, tmp_path: Path) -> None:
    file = rows_of_facts(lm, tmp_path / "facts.jsonl")
    asked: dict[str, Any] = {"sites": ["mlp_out.3"], "validate_top": 2, "device": "cpu", "curves": False}
    study = saeattr.attribute(pairs=file, out=tmp_path / "s", figures=False, validate_pairs=6, **asked)
    found = study.validation()
    assert set(found["n_pairs"]) <= {6, 12}
    assert (found["verdict"] != "too few pairs").all()
