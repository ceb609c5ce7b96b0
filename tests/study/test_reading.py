"""Entropy and lens as stages of a study: what they say of the bundled model, and that they go on where they stopped."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import saeattr
from saeattr import UserError
from saeattr.behaviours.lists.sampling import Sampling, prompt_ids, sample_lists
from saeattr.behaviours.lists.topics import Length
from saeattr.cli import main
from saeattr.digests import file_sha256
from saeattr.model.loading import LanguageModel
from saeattr.reading.endings import TESTABLE_FROM, rises
from saeattr.reading.layers import lens_onsets
from saeattr.stats import median_interval
from saeattr.study.lens import Lens
from saeattr.study.results import Study, load_study

TOPICS = ["cities", "animals", "colors"]
QUICK: dict[str, Any] = {"figures": False, "device": "cpu"}
SMALL: dict[str, Any] = {"lists": 2, "max_new_tokens": 60, **QUICK}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Ten lists of each of three topics, read for entropy and by the lens."""
    out = tmp_path_factory.mktemp("reading") / "s"
    saeattr.entropy(TOPICS, out=out, **QUICK)
    return saeattr.lens(TOPICS, out=out, **QUICK)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Study:
    out = tmp_path_factory.mktemp("small") / "s"
    saeattr.entropy(["cities"], out=out, **SMALL)
    return saeattr.lens(["cities"], out=out, temperatures=[0.1, 1.5], **SMALL)


def tables(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): file_sha256(path) for path in folder.rglob("*.parquet")}


# What the study found on its model, asked of the bundled one. Each could come out otherwise.


def items(study: Study, written: str) -> pd.DataFrame:
    onsets = study.entropy_onset()
    return onsets[(onsets["role"] == "item") & (onsets["written"] == written)]


def test_entropy_rises_along_short_lists_and_stays_flatter_with_the_word_swapped(study: Study) -> None:
    found = rises(items(study, "clean")).set_index("run")
    assert (found["n_pairs"] == 30).all()
    assert found.loc["clean", "low"] > 0
    # List by list, the same text under either request.
    assert found.loc["difference", "low"] > 0
    assert abs(found.loc["corrupted", "median"]) < 0.1 * found.loc["clean", "median"]


def test_the_requests_part_within_the_list_and_not_at_its_first_item(study: Study) -> None:
    own = items(study, "clean")
    assert (own["step"] > 0).all()
    low, high = (float(one[0]) for one in median_interval(own["onset"].to_numpy()[None]))
    assert 2 < low <= high < 8
    # Shorter lists cannot be told from chance one by one, whatever they do.
    testable = own["n_spans"] >= TESTABLE_FROM
    assert testable.any()
    assert (own.loc[testable, "p_value"] <= 0.05).mean() > 0.5
    assert (own.loc[~testable, "p_value"] > 0.05).all()


@pytest.mark.parametrize("direction", ["end-vs-continue", "blank-vs-newline"])
def test_the_lens_shows_where_a_direction_appears(study: Study, direction: str) -> None:
    """The clean run ends apart from the corrupted one at the last position, and in the first layer it is not yet."""
    lens = study.logit_lens()
    found = lens_onsets(lens[lens["direction"] == direction], group="all").set_index("contrast").loc["runs"]
    assert found["n_pairs"] == 30
    assert found["separation_low"] > 0
    assert 0 <= found["begins_low"] <= found["complete_high"] <= 5
    assert found["begins_high"] < found["complete_low"] + 1
    assert found["apart_from"] <= found["complete_high"]


def test_before_the_first_layer_both_runs_say_the_same(study: Study) -> None:
    first = study.logit_lens().query("layer == -1")
    assert len(first)
    assert (first["clean"] - first["corrupted"]).abs().max() < 1e-5


# That the numbers are of what they say they are of.


@torch.no_grad()
def test_long_lists_are_read_behind_both_requests(study: Study, lm: LanguageModel, plain_model: Any) -> None:
    """Prompts built here: the long list as it was sampled, and its answer behind the short request."""
    sampled = sample_lists(lm, "animals", Sampling(10, length="long"))[3]
    answer = sampled.token_ids[sampled.prompt_length :]
    rows = study.entropy("animals")
    rows = rows[(rows["written"] == "corrupted") & (rows["pair_id"] == sampled.list_id) & (rows["role"] == "item")]
    assert len(rows) == 2 * len(sampled.parsed.items) > 40
    cells: list[tuple[str, Length]] = [("corrupted", "long"), ("clean", "short")]
    for read, length in cells:
        prompt = prompt_ids(lm.tokenizer, "animals", length)
        log_p = plain_model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0].double().log_softmax(1)
        shift = len(prompt) - sampled.prompt_length
        expected = [-(p.exp() * p).sum() for p in (log_p[item.end - 1 + shift] for item in sampled.parsed.items)]
        found = rows[rows["read"] == read].sort_values("number")["entropy"]
        assert found.tolist() == pytest.approx([float(one) for one in expected], abs=3e-5)


def test_the_lens_of_the_last_layer_is_the_models_own_metric(study: Study, lm: LanguageModel, plain_model: Any) -> None:
    pair = study.pairs("colors").iloc[2]
    lens = study.logit_lens("colors").query("direction == 'end-vs-continue' and layer == 5")
    own = lens[lens["pair_id"] == pair["pair_id"]].set_index("number")
    logits = plain_model(input_ids=torch.tensor([list(pair["clean_ids"])])).logits[0].detach()
    breaks = [at for at, role in enumerate(pair["roles"]) if role == "newline"]
    assert len(own) == len(breaks)
    end, hyphen = (int(pair[side][0][0]) for side in ("wanted", "unwanted"))
    for number, at in enumerate(breaks, start=1):
        assert own.loc[number, "clean"] == pytest.approx(float(logits[at, end] - logits[at, hyphen]), abs=2e-4)


def test_lists_of_other_temperatures_stand_beside_the_studys_own(small: Study, lm: LanguageModel) -> None:
    rows = small.logit_lens()
    assert set(rows["temperature"]) == {0.1, 0.8, 1.5}
    assert set(small.lens_onset()["temperature"]) == {0.1, 0.8, 1.5}
    hot = sample_lists(lm, "cities", Sampling(2, temperature=1.5, max_new_tokens=60))
    read = rows[(rows["temperature"] == 1.5) & (rows["role"] == "item") & (rows["layer"] == 0)]
    assert read.groupby("pair_id")["number"].max().to_dict() == {one.list_id: len(one.parsed.items) for one in hot}
    assert sorted(path.name for path in (small.folder.root / "lists_at").iterdir()) == ["0.1", "1.5"]
    assert set(small.lists()["temperature"]) == {0.8}


# The study folder.


def test_the_same_call_again_changes_nothing_and_attribution_goes_on_in_the_folder(
    small: Study, tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(small.folder.root, tmp_path / "s")
    before = tables(tmp_path / "s")
    again = saeattr.lens(["cities"], out=tmp_path / "s", temperatures=[0.1, 1.5], **SMALL)
    saeattr.entropy(["cities"], out=tmp_path / "s", **SMALL)
    assert tables(tmp_path / "s") == before
    done = saeattr.attribute(["cities"], out=tmp_path / "s", sites=["resid_post.2"], validate_top=0, **SMALL)
    after = tables(tmp_path / "s")
    assert {name: after[name] for name in before} == before
    assert len(done.features())
    pd.testing.assert_frame_equal(again.logit_lens(), load_study(tmp_path / "s").logit_lens())


def test_an_interrupted_study_ends_with_the_same_tables(small: Study, tmp_path: Path) -> None:
    def stop(group: str, stage: str, done: int, total: int) -> None:
        if stage == "entropy" and done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        saeattr.entropy(["cities"], out=tmp_path / "s", on_progress=stop, **SMALL)
    assert not list((tmp_path / "s").glob("entropy*"))
    saeattr.entropy(["cities"], out=tmp_path / "s", **SMALL)
    whole = tables(small.folder.root)
    assert {name: whole[name] for name in tables(tmp_path / "s")} == tables(tmp_path / "s")


def test_directions_stand_side_by_side_and_one_at_other_roles_is_another(tmp_path: Path) -> None:
    asked = {"out": tmp_path / "s", **SMALL}
    saeattr.lens("cities", direction="end-vs-continue", **asked)
    saeattr.lens("cities", direction="end-vs-continue", at=["item"], **asked)
    study = saeattr.lens("cities", tokens=("-", "\\n"), at=["item", "newline"], **asked)
    found = study.logit_lens("cities").groupby("direction", sort=False)["role"].unique().map(set).to_dict()
    assert found == {
        "end-vs-continue": {"newline"},
        "end-vs-continue at item": {"item"},
        "'-' against '\\\\n' at item, newline": {"item", "newline"},
    }
    assert study.lens_onset()["label"].nunique() == 2
    named = {path.name for path in (tmp_path / "s" / "lens").iterdir()}
    assert "end-vs-continue" in named
    assert len(named) == 3


def test_facts_are_read_by_role_at_their_own_metric(tmp_path: Path) -> None:
    saeattr.entropy(behaviour="facts", out=tmp_path / "s", **QUICK)
    study = saeattr.lens(behaviour="facts", out=tmp_path / "s", **QUICK)
    assert set(study.logit_lens()["direction"]) == {"metric"}
    assert {"entity", "decision"} <= set(study.logit_lens()["role"]) & set(study.entropy()["role"])
    assert set(study.entropy()["written"]) == {"clean"}
    assert study.logit_lens()["temperature"].isna().all()
    row = study.lens_onset().set_index("role").loc["decision"]
    assert row["separation_low"] > 0


def test_requests_of_unequal_length_are_read_where_tokens_have_partners(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"swap": "few", "unequal": "zero", "out": tmp_path / "s", **SMALL}
    study = saeattr.entropy("cities", at=["length", "item"], **asked)
    counts = study.entropy().groupby(["written", "role", "read"]).size()
    assert counts["clean", "item", "clean"] == counts["clean", "item", "corrupted"]
    lens = saeattr.lens("cities", direction="end-vs-continue", at=["length"], **asked).logit_lens()
    assert lens["clean"].notna().all()


def test_what_cannot_be_used_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    for said, asked in (
        ("is not a direction here: choose one of end-vs-continue, blank-vs-newline, metric", {"direction": "up"}),
        ("leave out --direction", {"direction": "metric", "tokens": ("a", "b")}),
        ("must be exactly one token", {"tokens": (" Paris Tokyo", "-")}),
        ("a temperature cannot be -1", {"temperatures": [-1]}),
        ("here it writes none", {"temperatures": [0.5], "behaviour": "facts"}),
    ):
        with pytest.raises(UserError, match=said):
            saeattr.lens(out=tmp_path / "s", **asked, **QUICK)  # pyright: ignore[reportArgumentType]
    assert not (tmp_path / "s").exists()
    with pytest.raises(UserError, match=r"has the role verb: its roles are .*item"):
        saeattr.entropy("cities", at=["verb"], out=tmp_path / "s", **SMALL)


def test_a_stages_fields_decide_whether_it_is_done(small: Study) -> None:
    stage = Lens("end-vs-continue", temperatures=(0.1, 1.5))
    assert stage.is_done(small.folder, "cities")
    assert not dataclasses.replace(stage, temperatures=(0.1,)).is_done(small.folder, "cities")
    assert not dataclasses.replace(stage, at=("item",)).is_done(small.folder, "cities")


def test_the_commands_say_what_was_found(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    flags = [part for topic in TOPICS for part in ("--topic", topic)]
    for command in ("entropy", "lens"):
        with pytest.raises(SystemExit) as stopped:
            main([command, *flags, "--out", str(study.folder.root), "--no-figures", "--device", "cpu"])
        assert not stopped.value.code
    out = " ".join(capsys.readouterr().out.split())
    assert "cities, item: short lists: entropy rises by +0.0" in out
    assert "the requests part from item 5" in out
    row = study.lens_onset("animals").query("direction == 'end-vs-continue' and contrast == 'runs'").iloc[0]
    assert f"10 % and 90 % of {row['separation']:+.2f} [{row['separation_low']:+.2f}" in out


def test_all_four_cells_are_there_with_every_list(study: Study) -> None:
    rows = study.entropy("cities")
    assert rows.groupby(["written", "read"])["pair_id"].nunique().tolist() == [10] * 4
    # A distribution over V tokens has between 0 and log V nats.
    assert rows["entropy"].between(-1e-5, np.log(1873)).all()
    assert rows["probability"].dropna().between(0, 1 + 1e-6).all()
