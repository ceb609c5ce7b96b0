"""A group in shards gives what the whole group gives, goes on where it stopped, and says what it leaves out."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import saeattr
from saeattr.attribution.group import attribute_group
from saeattr.behaviours.facts.behaviour import fact_pairs, relations
from saeattr.behaviours.given.export import export_pairs
from saeattr.behaviours.pair import Pair
from saeattr.files import read_table
from saeattr.model.loading import LanguageModel
from saeattr.runs.base import BASES
from saeattr.runs.question import Pace, Question
from saeattr.runs.task import Task
from saeattr.saes.loading import SaeFile
from saeattr.settings import BaseName
from saeattr.sites import Site
from saeattr.study import attribution, shards
from saeattr.study.attribution import Attribution
from saeattr.study.shards import attribute_in_shards
from saeattr.tables import ATTRIBUTIONS, PAIR_EFFECTS, TABLES

SITES = [Site("resid_post", 2), Site("mlp_out", 4)]


def task_of(lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], base: BaseName = "corrupted") -> Task:
    return Task(lm, pairs, [saes[site] for site in SITES], Question(base=base), Pace(batch_size=2))


def sorted_rows(table: pd.DataFrame) -> pd.DataFrame:
    return table.sort_values(list(table.columns[:6]), kind="stable").reset_index(drop=True)


@pytest.mark.parametrize("base", BASES)
def test_shards_give_what_the_group_gives(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], base: BaseName, tmp_path: Path
) -> None:
    """Whatever is a mean over the group: features' base values, and the centre of the unexplained variance."""
    task = task_of(lm, saes, pairs, base)
    whole, found = attribute_group(task), attribute_in_shards(task, 0.0, tmp_path, shard_pairs=2)
    assert len(found["attributions"]) == 3
    for name in ("features", "active", "site_effects", "metric_by_point", "entries", "carriers"):
        expected = TABLES[name].frame(getattr(whole, name))
        pd.testing.assert_frame_equal(
            sorted_rows(TABLES[name].frame(found[name])),
            sorted_rows(expected),
            check_dtype=False,
            rtol=1e-4,
            atol=1e-5,
            obj=name,
        )
    joined = pd.concat([read_table(folder / "attributions.parquet", ATTRIBUTIONS) for folder in found["attributions"]])
    keys = ["layer", "kind", "pair_id", "position", "feature"]
    both = joined.merge(whole.attributions, on=keys, suffixes=("", "_whole"))
    assert len(both) == len(joined) == len(whole.attributions)
    assert (both["effect"] - both["effect_whole"]).abs().max() < 1e-4


def test_a_shard_that_is_stored_is_not_done_again(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, done = task_of(lm, saes, pairs), []
    real = shards.attribute_shard

    def stops(task: Task, *more: Any) -> Any:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append([pair.pair_id for pair in task.pairs])
        return real(task, *more)

    monkeypatch.setattr(shards, "attribute_shard", stops)
    with pytest.raises(KeyboardInterrupt):
        attribute_in_shards(task, 0.0, tmp_path, shard_pairs=2)
    assert len(list(tmp_path.iterdir())) == 2
    done.clear()
    found = attribute_in_shards(task, 0.0, tmp_path, shard_pairs=2)
    assert done == [[pairs[4].pair_id]]
    done.clear()
    # Another question is another shard.
    attribute_in_shards(dataclasses.replace(task, question=Question(base="zero")), 0.0, tmp_path, shard_pairs=3)
    assert len(done) == 2
    monkeypatch.undo()
    pd.testing.assert_frame_equal(found["features"], attribute_in_shards(task, 0.0, tmp_path / "x", 2)["features"])


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
    monkeypatch.setattr(attribution, "SHARD_PAIRS", 4)
    monkeypatch.setattr(shards, "SHARD_PAIRS", 4)
    monkeypatch.setattr(attribution.attribute_in_shards, "__defaults__", (4,))
    several = saeattr.attribute(out=tmp_path / "several", **asked)
    assert not list((tmp_path / "several" / "attribution").glob(".partial*"))
    (group,) = one.groups
    pd.testing.assert_frame_equal(several.features(), one.features(), rtol=1e-4, atol=1e-5)
    columns = ["feature", "exact_median", "verdict"]
    pd.testing.assert_frame_equal(several.validation()[columns], one.validation()[columns], rtol=1e-3, atol=1e-4)
    parts = [Attribution.read(study.folder, PAIR_EFFECTS, group) for study in (one, several)]
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
