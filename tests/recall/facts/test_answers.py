"""Logits, probabilities and ranks of two tokens, on models of several families."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from saeattr.model import unembed
from saeattr.model.capture import final_hidden
from saeattr.model.prompts import Prompts
from saeattr.recall.facts import answers
from tests.model.toys import FAMILIES, make_toy, toy_batch


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("width", [10, 64, 1000], ids="slices of {}".format)
def test_answers_are_those_of_the_full_logits_however_the_vocabulary_is_sliced(
    family: str, width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unembed, "VOCABULARY_SLICE", width)
    lm, model = make_toy(family, tmp_path)
    tokens, mask = toy_batch()
    last = mask.sum(1) - 1
    targets = torch.tensor([[5, 60], [33, 7], [0, 63]])
    with torch.no_grad():
        hidden = final_hidden(lm, Prompts(tokens, mask))[torch.arange(3), last]
        found = answers.read_answers(lm, hidden, targets)
        # One prompt at a time, unpadded, in double precision from there on.
        full = [model(input_ids=row[None, : end + 1]).logits[0, -1] for row, end in zip(tokens, last, strict=True)]
    for row, logits in enumerate(torch.stack(full).double()):
        own = logits[targets[row]]
        assert found.logits[row].double() == pytest.approx(own, abs=1e-4)
        assert found.log_probs[row].double() == pytest.approx(logits.log_softmax(0)[targets[row]], abs=1e-4)
        assert found.ranks[row].tolist() == [1 + int((logits > one).sum()) for one in own]
        assert int(found.top[row]) == int(logits.argmax())


def test_tokens_of_equal_logits_share_the_better_place(tmp_path: Path) -> None:
    lm, _ = make_toy("llama", tmp_path)
    found = answers.read_answers(lm, torch.zeros(1, 32), torch.tensor([[3, 50]]))
    assert found.ranks.tolist() == [[1, 1]]
    assert found.log_probs.exp() == pytest.approx(torch.full((1, 2), 1 / 64))
