"""The small model of agreement and years: what its training text may hold; its builder runs from end to end."""

from __future__ import annotations

import json
import random
import re
import sys
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
import build_behaviours
from behaviours_model import grammar
from bundled.tokenizer import build_tokenizer

from saeattr.behaviours.ready import agreement, greater_than


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return build_tokenizer({}, [], [grammar.words_of_both()], years=True)


def test_the_tokenizer_has_every_word_whole_and_years_in_two(tokenizer: PreTrainedTokenizerFast) -> None:
    notes = [note for behaviour, _, source in grammar.sources(tokenizer) for note in source.notes]
    assert notes
    for note in notes:
        kept, total = re.findall(r"(\d+) of (\d+)", note)[0]
        assert kept == total
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode(" 1732", add_special_tokens=False)) == ["\u258117", "32"]


def test_years_off_leaves_the_bundled_tokenizer_as_it_is() -> None:
    plain = build_tokenizer({}, [], ["one two"])
    assert plain.convert_ids_to_tokens(plain.encode(" 1732", add_special_tokens=False)) == [
        "\u2581", "1", "7", "3", "2",
    ]  # fmt: skip


def test_what_is_kept_for_the_test_never_comes_in_training(tokenizer: PreTrainedTokenizerFast) -> None:
    singular = {form: noun[0] for noun in agreement.NOUNS for form in noun}
    verb = {form: forms[0] for forms in agreement.VERBS for form in forms}
    rng = random.Random(0)
    seen = set()
    for behaviour, _, source in grammar.sources(tokenizer):
        for _ in range(3000):
            sentence = grammar.draw_sentence(source, rng)
            words = re.findall(r"\w+", sentence.prompt)
            if behaviour is agreement.BEHAVIOUR:
                seen.add((next(singular[word] for word in words if word in singular), verb[sentence.answer.strip()]))
            else:
                seen.add(next(word for word in words if len(word) == 4 and word.isdigit()))
    kept = set()
    for behaviour, group, _ in grammar.sources(tokenizer):
        for row in grammar.kept_rows(behaviour, group, tokenizer, 200, 7):
            assert grammar.is_kept_apart(row)
            words = re.findall(r"\w+", row["clean"])
            if behaviour is agreement.BEHAVIOUR:
                kept.add((next(singular[word] for word in words if word in singular), verb[row["answer"].strip()]))
            else:
                kept.add(next(word for word in words if len(word) == 4 and word.isdigit()))
    assert not seen & kept
    # A fifth of 36 nouns by 12 verbs, and of 7 centuries by 97 years.
    assert 60 < len({one for one in kept if isinstance(one, tuple)}) < 120
    assert 95 < len({one for one in kept if isinstance(one, str)}) < 200
    # All else is seen, and each noun, verb, century and number is.
    assert len({one for one in seen if isinstance(one, tuple)}) > 300
    assert {noun for noun, _ in (one for one in seen if isinstance(one, tuple))} == {
        noun[0] for noun in agreement.NOUNS
    }


def test_training_years_are_later(tokenizer: PreTrainedTokenizerFast) -> None:
    rng = random.Random(1)
    firsts = 0
    for behaviour, _, source in grammar.sources(tokenizer):
        if behaviour is not greater_than.BEHAVIOUR:
            continue
        for _ in range(500):
            sentence = grammar.draw_sentence(source, rng)
            start, century = re.findall(r"\d+", sentence.prompt)
            assert int(century + sentence.answer) > int(start)
            firsts += start.endswith("01")
    assert 40 < firsts < 140


def test_the_builder_runs_from_end_to_end_and_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three steps: the model can do nothing, and its accuracy says so."""
    monkeypatch.setattr(sys, "argv", ["build_behaviours.py", "--out", str(tmp_path / "m"), "--steps", "3"])
    monkeypatch.setattr(build_behaviours, "SITES", build_behaviours.SITES[2:3])
    monkeypatch.setattr(build_behaviours, "SAE", build_behaviours.SaeRecipe(d_sae=16, k=2.0, steps=5, aux_features=4))
    for name in ("TRAIN_BATCHES", "TEST_BATCHES"):
        monkeypatch.setattr(build_behaviours, name, 2)
    monkeypatch.setattr("behaviours_model.training.TEST_ROWS", 10)
    build_behaviours.main()
    figures = json.loads((tmp_path / "m" / "figures.json").read_text(encoding="utf-8"))
    assert [row["group"] for row in figures["held_out"]] == [
        "simple", "across-pp", "across-pp", "across-rc", "across-rc", "lasted", "ended",
    ]  # fmt: skip
    assert all(abs(row["difference"]) < 0.5 for row in figures["held_out"])
    assert list(figures["saes"]) == [str(build_behaviours.SITES[0])]
    assert (tmp_path / "m" / "model" / "model.safetensors").is_file()
    assert "minutes" in capsys.readouterr().out
