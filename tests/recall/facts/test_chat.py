"""A battery asked in a chat template: what is sent, where the entity stands in it, and which form an answer has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import saeattr
from saeattr.model.loading import LanguageModel
from saeattr.recall.facts.batteries import named_battery
from saeattr.recall.facts.battery import read_rows, write_battery
from saeattr.recall.facts.check import INSTRUCTION, AlignedFact, align_facts
from saeattr.tables import RECALL_PATCHES
from tests.recall.facts.test_battery import ROW


def aligned(lm: LanguageModel, **changes: Any) -> AlignedFact:
    facts, faults = align_facts(lm.tokenizer, read_rows([{**ROW, **changes}]).rows, chat=True)
    assert not faults
    return facts[0]


def rendered(lm: LanguageModel, turn: str, start: str = "") -> list[int]:
    """The template's own rendering, tokens and all."""
    text = lm.tokenizer.apply_chat_template(
        [{"role": "user", "content": turn}], add_generation_prompt=True, tokenize=False
    )
    return lm.tokenizer.encode(str(text) + start, add_special_tokens=False)


def test_the_prompts_are_user_turns_and_the_entity_is_found_in_them(lm: LanguageModel) -> None:
    fact = aligned(lm)
    assert fact.pair.clean_ids == tuple(rendered(lm, f"{INSTRUCTION}The capital of France is"))
    assert fact.pair.corrupted_ids == tuple(rendered(lm, f"{INSTRUCTION}The capital of Peru is"))
    assert str(lm.tokenizer.decode([fact.pair.clean_ids[at] for at in fact.positions])).strip() == "France"
    assert fact.entity == "France"
    assert fact.pair.changed_positions == fact.positions
    # What the template writes is no part of the prompt, and the answer is read at its end.
    assert fact.pair.roles[-2] == "turn"
    assert fact.pair.points[0].position == len(fact.pair.clean_ids) - 1


def test_a_rows_own_instruction_and_the_beginning_of_the_answer_are_sent(lm: LanguageModel) -> None:
    fact = aligned(lm, instruction="", start="It is")
    assert fact.pair.clean_ids == tuple(rendered(lm, "The capital of France is", "It is"))
    (wanted,) = fact.pair.points[0].wanted
    assert lm.tokenizer.decode([wanted]) == " Paris"


def test_an_answer_has_no_blank_at_the_start_of_a_turn_if_that_is_one_token(lm: LanguageModel) -> None:
    one_token = {
        text: len(lm.tokenizer.encode(text, add_special_tokens=False)) == 1
        for row in named_battery("facts").rows
        for text in (row.clean_target.strip(), row.corrupt_target.strip())
    }
    seen = set()
    facts, faults = align_facts(lm.tokenizer, named_battery("facts").rows, chat=True)
    assert not faults
    for fact in facts:
        bare = one_token[fact.row.clean_target.strip()] and one_token[fact.row.corrupt_target.strip()]
        seen.add(bare)
        (wanted,), (unwanted,) = fact.pair.points[0].wanted, fact.pair.points[0].unwanted
        words = [fact.row.clean_target, fact.row.corrupt_target]
        expected = [word.strip() for word in words] if bare else words
        assert [lm.tokenizer.decode([wanted]), lm.tokenizer.decode([unwanted])] == expected
    assert seen == {True, False}


def test_what_cannot_be_asked_in_a_chat_is_told_as_of_plain_prompts(lm: LanguageModel) -> None:
    rows = [
        {**ROW, "instruction": "Think of France. "},
        {**ROW, "clean_target": " New York"},
        {**ROW, "corrupt_prompt": "The capital of New York is"},
        {**ROW, "instruction": 3},
    ]
    read = read_rows([ROW, *rows])
    _, faults = align_facts(lm.tokenizer, read.rows, chat=True)
    told = {fault.row: fault.reason for fault in (*faults, *read.faults)}
    assert told[2] == "the entity 'France' is 2 times in the clean prompt"
    assert told[3].endswith("tokens, and must be one")
    assert told[4].startswith("the clean prompt has")
    assert told[5] == "instruction is 3, which is no text"


def test_a_model_without_a_template_is_one_line(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lm.tokenizer, "chat_template", None)
    _, (fault,) = align_facts(lm.tokenizer, read_rows([ROW]).rows, chat=True)
    assert "chat template" in fault.reason


def test_the_fields_of_a_chat_are_read_back_and_are_no_unread_fields(tmp_path: Path) -> None:
    battery = read_rows([{**ROW, "instruction": "Say it.", "start": "It is"}, {**ROW, "category": "other"}])
    assert not battery.notes
    for suffix in (".json", ".jsonl", ".csv"):
        write_battery(battery, tmp_path / f"a{suffix}")
        again = read_rows(tmp_path / f"a{suffix}")
        assert again.rows[0] == battery.rows[0]
        assert again.rows[1].start == ""


def test_triage_says_what_was_sent_and_a_recall_study_goes_on_in_the_template(
    lm: LanguageModel, tmp_path: Path
) -> None:
    # The model was never taught to answer facts in a chat: some row of either order passes.
    rows = [row.as_cells() for row in named_battery("facts").rows[:40]]
    swapped = [{**row, "clean_target": row["corrupt_target"], "corrupt_target": row["clean_target"]} for row in rows]
    found = saeattr.triage(rows + swapped, chat=True, selection="C", out=tmp_path / "t", figures=False, device="cpu")
    (note,) = found.checked.notes
    assert "<start_of_turn>user\\nComplete the sentence with one word.\\nThe capital of France is<end_of_turn>" in note
    assert "chat: true" in (tmp_path / "t" / "recall.yaml").read_text()
    first = found.selected.iloc[0]
    study = saeattr.run_recall(tmp_path / "t", parts="localisation", out=tmp_path / "s", device="cpu")
    patches = study.recall(RECALL_PATCHES).query("direction == 'noising'")
    own = patches[(patches["category"] == first["category"]) & (patches["pair_id"] == first["pair_id"])].iloc[0]
    with torch.no_grad():
        ids = rendered(lm, f"{INSTRUCTION}{first['clean_prompt']}")
        logits = lm.hf(input_ids=torch.tensor([ids])).logits[0, -1].float()
    (pair,) = study.pairs(first["category"]).query("pair_id == @first['pair_id']").to_dict("records")
    (wanted,), (unwanted,) = pair["wanted"][0], pair["unwanted"][0]
    assert own["clean"] == pytest.approx(float(logits[wanted] - logits[unwanted]), abs=1e-3)
    page = (study.folder.root / "report.html").read_text("utf-8")
    assert "user's turns in the model's chat template" in page
