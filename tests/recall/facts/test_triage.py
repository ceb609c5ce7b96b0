"""Triage: LD, probabilities and ranks against the plain Hugging Face model's full logits; selections by hand."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import saeattr
from saeattr import UserError
from saeattr.behaviours.given.behaviour import Given, reading_of
from saeattr.behaviours.given.make import make_pairs
from saeattr.behaviours.given.source import read_source
from saeattr.model.loading import LanguageModel
from saeattr.recall.facts import triage
from saeattr.recall.facts.batteries import named_battery
from saeattr.recall.facts.battery import read_rows
from saeattr.recall.facts.check import align_facts
from saeattr.recall.facts.folder import Triage, load_facts
from saeattr.recall.facts.triage import measure_facts, read_selection, select_facts, unknown_faults
from saeattr.settings import StudySettings
from saeattr.study.folder import StudyFolder
from saeattr.tables import FACT_SPREAD, PHRASINGS, TRIAGE, UNASKED
from tests.recall.facts.test_battery import ROW
from tests.runs.short_of_memory import no_more_than, of_prompts

SOME = [
    ROW,
    {**ROW, "clean_prompt": "The capital of Italy is", "clean_target": " Rome", "entity_token": "Italy"},
    {**ROW, "clean_prompt": "People in France mostly speak", "corrupt_prompt": "People in Germany mostly speak"}
    | {"category": "languages", "clean_target": " French", "corrupt_target": " German"},
    # False on purpose: the capital of France is not Rome, but it is Lima even less.
    {**ROW, "category": "wrong", "clean_target": " Rome"},
    # Both prompts prefer the wrong side of it.
    {**ROW, "category": "swapped", "clean_target": " Lima", "corrupt_target": " Paris"},
]


@pytest.fixture(scope="module")
def measured(lm: LanguageModel) -> pd.DataFrame:
    """Batches of two, so that prompts of different lengths are padded and the last batch is small."""
    facts, faults = align_facts(lm.tokenizer, read_rows(SOME).rows)
    assert not faults
    return measure_facts(lm, facts, batch_size=2)


def plain_answers(model: Any, lm: LanguageModel, prompt: str, targets: list[str]) -> dict[str, Any]:
    """Logits, probabilities and ranks of some answers, from the model's own full logits of one unpadded prompt."""
    ids = [lm.tokenizer.bos_token_id, *lm.tokenizer.encode(prompt, add_special_tokens=False)]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0, -1].double()
    wanted = [lm.tokenizer.encode(target, add_special_tokens=False) for target in targets]
    tokens = [token for (token,) in wanted]
    order = logits.argsort(descending=True).tolist()
    return {
        "logits": [float(logits[token]) for token in tokens],
        "p": [float(logits.softmax(0)[token]) for token in tokens],
        "rank": [1 + order.index(token) for token in tokens],
        "top": lm.tokenizer.decode([order[0]]),
    }


@pytest.mark.parametrize("number", range(1, len(SOME) + 1))
def test_every_number_of_a_row_is_the_plain_models(
    measured: pd.DataFrame, lm: LanguageModel, plain_model: Any, number: int
) -> None:
    (row,) = measured[measured["row"] == number].to_dict("records")
    targets = [row["clean_target"], row["corrupt_target"]]
    clean, corrupted = (
        plain_answers(plain_model, lm, row[name], targets) for name in ("clean_prompt", "corrupt_prompt")
    )
    ld = [one["logits"][0] - one["logits"][1] for one in (clean, corrupted)]
    assert [row["ld_clean"], row["ld_corrupted"]] == pytest.approx(ld, abs=1e-4)
    assert row["swing"] == pytest.approx(ld[0] - ld[1], abs=2e-4)
    assert [row["p_right_clean"], row["p_other_clean"]] == pytest.approx(clean["p"], rel=1e-4)
    assert [row["p_right_corrupted"], row["p_other_corrupted"]] == pytest.approx(corrupted["p"], rel=1e-4)
    assert (row["rank_clean"], row["rank_corrupted"]) == (clean["rank"][0], corrupted["rank"][1])
    assert (row["top_clean"], row["top_corrupted"]) == (clean["top"], corrupted["top"])
    assert row["known"] == (ld[0] > 0 > ld[1])


def test_rows_are_ranked_by_swing(measured: pd.DataFrame) -> None:
    assert measured["swing"].is_monotonic_decreasing
    assert list(measured["rank"]) == [1, 2, 3, 4, 5]
    assert not measured["selected"].any()


def test_a_fact_that_the_model_does_not_know_says_what_it_prefers(measured: pd.DataFrame) -> None:
    (fault,) = unknown_faults(measured)
    rank = measured.set_index("row").loc[5, "rank_clean"]
    assert (fault.row, fault.group) == (5, "swapped")
    assert fault.reason == (
        f"the model does not know it: after the clean prompt it prefers ' Paris' to ' Lima' (rank {rank})"
    )


def test_a_preference_is_relative_and_only_the_rank_shows_a_false_fact(measured: pd.DataFrame) -> None:
    rows = measured.set_index("row")
    assert rows.loc[4, "known"]
    assert rows.loc[4, "rank_clean"] > 1
    assert (rows.loc[[1, 2, 3], "rank_clean"] == 1).all()


def planted() -> pd.DataFrame:
    """Twenty facts of four categories in two phrasings; the second swings more, the first is unknown at times."""
    rows = []
    for number in range(40):
        fact, phrasing = number % 20, number // 20
        known = not (phrasing == 0 and fact % 7 == 0) and fact != 3
        swing = 100.0 - fact + 0.5 * phrasing
        rows.append({"row": number + 1, "category": f"c{fact % 4}", "fact": f"f{fact}", "swing": swing, "known": known})
    table = pd.DataFrame(rows).sort_values("swing", ascending=False, ignore_index=True)
    return table.assign(rank=range(1, 41), selected=False)


def test_a_selection_takes_each_known_fact_once_in_the_first_phrasing_that_is_known() -> None:
    table = planted()
    everything = select_facts(table, "C")
    taken = everything[everything["selected"]]
    # By hand: fact 3 is known in no phrasing; facts 0, 7 and 14 are in the second alone (rows 21, 28 and 35).
    expected = {fact + 1 + 20 * (fact % 7 == 0) for fact in range(20) if fact != 3}
    assert set(taken["row"]) == expected
    assert taken["fact"].is_unique


def test_selection_a_is_the_fifteen_of_the_largest_swing_and_b_the_best_of_each_category() -> None:
    table = planted()
    known = [fact for fact in range(20) if fact != 3]
    first = select_facts(table, "A")
    assert set(first.loc[first["selected"], "fact"]) == {f"f{fact}" for fact in known[:15]}
    best = select_facts(table, "B")
    assert set(best.loc[best["selected"], "fact"]) == {"f0", "f1", "f2", "f7"}


def test_a_selection_is_named_by_its_letter() -> None:
    assert [read_selection(name) for name in ("A", "b", " c ")] == ["A", "B", "C"]
    with pytest.raises(UserError, match="'D' is not a selection: choose one of A: the 15 known facts"):
        read_selection("D")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Triage:
    out = tmp_path_factory.mktemp("recall") / "t"
    bad = {**ROW, "clean_target": " New York", "category": "bad"}
    return saeattr.triage([*SOME, bad, {"category": "worse"}], selection="B", out=out, device="cpu")


def test_a_folder_holds_the_tables_the_pairs_and_what_was_asked(written: Triage) -> None:
    folder = written.folder
    assert folder is not None
    tables = {TRIAGE: written.facts, UNASKED: written.checked.unasked}
    tables |= {FACT_SPREAD: written.spread, PHRASINGS: written.phrasings}
    for table, rows in tables.items():
        pd.testing.assert_frame_equal(pd.read_parquet(folder / f"{table.name}.parquet"), rows)
        assert list(pd.read_csv(folder / f"{table.name}.csv")["category"]) == list(rows["category"])
    assert list(written.checked.unasked["row"]) == [5, 6, 7]
    assert [path.name for path in written.figures] == ["triage-categories.png", "triage-facts.png", "triage-ld.png"]
    assert (folder / "recall.yaml").read_text(encoding="utf-8").startswith("model:\n  name: bundled\n")


@pytest.mark.parametrize("name", ["recall.yaml", "triage.parquet"])
@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_a_damaged_triage_is_refused(written: Triage, tmp_path: Path, name: str, place: float) -> None:
    assert written.folder is not None
    folder = Path(shutil.copytree(written.folder, tmp_path / "copy"))
    load_facts(folder)
    content = bytearray((folder / name).read_bytes())
    content[int(place * len(content))] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name} is damaged \(its SHA-256 .*: make it again"):
        saeattr.triage_beside(folder, written)
    (folder / name).unlink()
    with pytest.raises(UserError, match=rf"{name} is damaged \(it is missing\)"):
        saeattr.triage_beside(folder, written)


def test_the_selected_facts_are_a_file_of_pairs_that_reads_back_as_the_same_pairs(
    written: Triage, lm: LanguageModel
) -> None:
    assert written.folder is not None
    given = read_source(written.folder / "selected.jsonl")
    assert not given.faults
    behaviour = Given(given)
    assert behaviour.all_groups == ("capitals", "languages", "wrong")
    settings = StudySettings(pairs="selected.jsonl")
    reading = reading_of(lm.tokenizer, settings, behaviour.contrast(lm.tokenizer, settings))
    pairs, faults = make_pairs(lm.tokenizer, given.rows, reading)
    assert not faults
    wanted = [read_rows(SOME).rows[row - 1] for row in sorted(written.selected["row"])]
    assert pairs == [fact.pair for fact in align_facts(lm.tokenizer, wanted)[0]]
    assert all("entity" in pair.roles for pair in pairs)


def test_a_study_runs_on_the_selected_facts(written: Triage, tmp_path: Path) -> None:
    """Selection A and C alike: any stage takes them as pairs."""
    assert written.folder is not None
    more: dict[str, Any] = {"sites": ["resid_post.3"], "validate_top": 0, "figures": False, "device": "cpu"}
    study = saeattr.attribute("all", pairs=written.folder / "selected.jsonl", out=tmp_path / "s", **more)
    assert isinstance(study.folder, StudyFolder)
    gaps = study.metric_by_point().groupby(["group", "run"])["metric"].mean()
    for row in written.selected.to_dict("records"):
        assert gaps[row["category"], "clean"] == pytest.approx(row["ld_clean"], abs=1e-4)
        assert gaps[row["category"], "corrupted"] == pytest.approx(row["ld_corrupted"], abs=1e-4)


def test_the_bundled_model_is_asked_its_own_facts_and_knows_nearly_all(lm: LanguageModel) -> None:
    """Measured: 804 of 804 rows; a rebuilt model may miss a few."""
    checked = saeattr.check_recall(device="cpu")
    assert checked.battery == "facts"
    assert len(checked.facts) == len(named_battery("facts").rows) > 700
    assert len(checked.known) >= 0.98 * len(checked.facts)
    assert len(checked.facts) + len(checked.unasked) == len(checked.facts) + (~checked.facts["known"]).sum()


def test_the_same_model_passed_from_python_gives_the_same_numbers(written: Triage, plain_model: Any) -> None:
    from transformers import AutoTokenizer

    from saeattr import bundle

    tokenizer = AutoTokenizer.from_pretrained(bundle.MODEL_FOLDER)
    found = saeattr.check_recall(
        SOME, model=type(plain_model).from_pretrained(bundle.MODEL_FOLDER), tokenizer=tokenizer
    )
    ours = written.facts.set_index("row")
    assert found.facts.set_index("row")["swing"].to_dict() == pytest.approx(ours["swing"].to_dict(), abs=1e-4)


def test_what_cannot_be_asked_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none of the 1 rows of 1 rows can be asked of this model; row 1 .*2 tokens"):
        saeattr.check_recall([{**ROW, "clean_target": " New York"}], device="cpu")
    with pytest.raises(UserError, match="'layers' is not a setting of recall"):
        saeattr.check_recall(SOME, layers=3)
    (tmp_path / "mine.txt").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="exists and holds no triage: give another folder with --out"):
        saeattr.triage(SOME, out=tmp_path, device="cpu")


def test_one_row_alone_runs(tmp_path: Path) -> None:
    found = saeattr.triage([ROW], out=tmp_path / "t", device="cpu")
    assert list(found.selected["fact"]) == ["France: Paris, not Lima"]
    assert found.spread["swing_sd"].isna().all()
    assert len(found.figures) == 3


def test_a_model_that_knows_none_of_the_facts_selects_none(tmp_path: Path) -> None:
    first = saeattr.triage([ROW], out=tmp_path / "t", device="cpu")
    again = saeattr.triage(SOME[4:], out=tmp_path / "t", device="cpu")
    assert again.selected.empty
    assert len(first.figures) == len(again.figures) == 2
    assert (tmp_path / "t" / "selected.jsonl").read_text(encoding="utf-8") == ""


def test_batches_change_no_number(measured: pd.DataFrame, lm: LanguageModel) -> None:
    facts, _ = align_facts(lm.tokenizer, read_rows(SOME).rows)
    alone = measure_facts(lm, [dataclasses.replace(fact) for fact in facts], batch_size=1)
    numbers = ["ld_clean", "ld_corrupted", "p_right_clean", "p_other_corrupted"]
    assert alone[numbers].to_numpy() == pytest.approx(measured[numbers].to_numpy(), abs=1e-4)
    assert list(alone["row"]) == list(measured["row"])


def test_where_memory_runs_out_facts_are_asked_in_batches_of_half_the_size(
    lm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts, _ = align_facts(lm.tokenizer, read_rows(SOME).rows)
    smaller, seen = measure_facts(lm, facts, batch_size=2), []
    monkeypatch.setattr(triage, "final_hidden", no_more_than(2, triage.final_hidden, of_prompts, seen))
    pd.testing.assert_frame_equal(measure_facts(lm, facts, batch_size=4), smaller)
    # The one batch that was too large, and then both prompts of each fact once.
    assert seen == [4, 2, 2, 2, 2, 1, 1]


def test_where_not_even_one_fact_fits_one_line_says_so_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triage, "final_hidden", no_more_than(0, triage.final_hidden, of_prompts, []))
    with pytest.raises(
        UserError, match="^cpu has too little memory for one fact at a time: use --dtype bfloat16"
    ) as end:
        saeattr.triage(SOME, out=tmp_path / "t", device="cpu")
    assert "\n" not in str(end.value)
    assert not (tmp_path / "t").exists()
