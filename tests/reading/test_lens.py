"""The lens against the plain model's hidden states, its own final norm and its full unembedding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

from saeattr.behaviours.pair import Pair, Point
from saeattr.model.loading import LanguageModel
from saeattr.reading.lens import LensQuestion, lens_rows
from saeattr.reading.spans import spans
from saeattr.runs.metric import METRICS
from saeattr.runs.question import Pace
from saeattr.runs.task import Task
from tests.model.toys import FAMILIES, make_toy

WANTED, UNWANTED = (30, 31), (40,)


def final_norm(model: Any) -> Any:
    base = model.base_model
    return base.ln_f if hasattr(base, "ln_f") else base.norm


@torch.no_grad()
def by_hand(model: Any, ids: tuple[int, ...], position: int) -> list[Tensor]:
    """All logits at a position, before the first layer and after each: [layers + 1] of [vocab], in float64."""
    done = model(input_ids=torch.tensor([ids]), output_hidden_states=True)
    cap = getattr(model.config, "final_logit_softcapping", None)
    found = []
    # The last of Hugging Face's hidden states is behind the final norm already: there the logits are the model's own.
    for hidden in done.hidden_states[:-1]:
        logits = model.lm_head(final_norm(model)(hidden))[0, position].double()
        found.append(logits if cap is None else cap * torch.tanh(logits / cap))
    return [*found, done.logits[0, position].double()]


def contrast(logits: Tensor, wanted: tuple[int, ...], unwanted: tuple[int, ...]) -> float:
    return float(logits[list(wanted)].logsumexp(0) - logits[list(unwanted)].logsumexp(0))


def at(rows: pd.DataFrame, pair: Pair, role: str, number: int) -> pd.DataFrame:
    own = rows[(rows["pair_id"] == pair.pair_id) & (rows["role"] == role) & (rows["number"] == number)]
    return own.set_index("layer").sort_index()


def test_it_is_final_norm_and_unembedding_of_every_layers_residual_stream(
    lm: LanguageModel, pairs: list[Pair], plain_model: Any
) -> None:
    question = LensQuestion("some", ("item", "newline"), (WANTED, UNWANTED))
    rows = lens_rows(Task(lm, pairs[:3], pace=Pace(batch_size=2)), question)
    n_read = 0
    for pair in pairs[:3]:
        for span in spans(pair):
            if span.role not in ("item", "newline"):
                continue
            found = at(rows, pair, span.role, span.number)
            assert found.index.tolist() == list(range(-1, lm.n_layers))
            for run, ids in (("clean", pair.clean_ids), ("corrupted", pair.corrupted_ids)):
                assert ids is not None
                expected = [contrast(logits, WANTED, UNWANTED) for logits in by_hand(plain_model, ids, span.last)]
                assert found[run].tolist() == pytest.approx(expected, abs=2e-4)
            assert (found["from_end"] == span.from_end).all()
            n_read += len(found)
    assert n_read == len(rows)


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_so_in_every_family(family: str, tmp_path: Path) -> None:
    toy, plain = make_toy(family, tmp_path)
    clean, corrupted = (2, 9, 8, 7, 30), (2, 9, 40, 7, 30)
    pair = Pair("g", "p", "p", clean, corrupted, (Point(4, (5,), (6,)),), ("bos", "a", "b", "c", "d"))
    rows = lens_rows(Task(toy, [pair]), LensQuestion("some", ("c",), (WANTED, UNWANTED)))
    for run, ids in (("clean", clean), ("corrupted", corrupted)):
        expected = [contrast(logits, WANTED, UNWANTED) for logits in by_hand(plain, ids, 3)]
        assert rows[run].tolist() == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_the_metrics_own_tokens_are_read_at_its_points_and_the_last_points_elsewhere(
    lm: LanguageModel, plain_model: Any
) -> None:
    points = (Point(2, (5,), (6,)), Point(4, (7, 8), (9,)))
    pair = Pair("g", "p", "p", (2, 30, 40, 50, 60), (2, 31, 40, 50, 60), points, ("bos", "a", "b", "c", "d"))
    rows = lens_rows(Task(lm, [pair]), LensQuestion("metric"))
    expected = {("decision", 1): (2, points[0]), ("decision", 2): (4, points[1]), ("a", 1): (1, points[1])}
    for (role, number), (position, point) in expected.items():
        values = [
            contrast(logits, point.wanted, point.unwanted) for logits in by_hand(plain_model, pair.clean_ids, position)
        ]
        assert at(rows, pair, role, number)["clean"].tolist() == pytest.approx(values, abs=2e-4)


def test_a_metric_of_probabilities_is_read_too(lm: LanguageModel, plain_model: Any) -> None:
    pair = Pair("g", "p", "p", (2, 30, 40), (2, 31, 40), (Point(2, (7,), ()),), ("bos", "a", "b"))
    rows = lens_rows(Task(lm, [pair]), LensQuestion("metric", (), None, METRICS["log-prob"]))
    # A point that wants a token and refuses none is read where it stands only.
    assert set(rows["role"]) == {"decision"}
    values = [float(logits.log_softmax(0)[7]) for logits in by_hand(plain_model, pair.clean_ids, 2)]
    assert rows["clean"].tolist() == pytest.approx(values, abs=2e-4)


def test_a_token_without_a_partner_has_no_corrupted_value(lm: LanguageModel, plain_model: Any) -> None:
    clean, corrupted = (2, 30, 40, 50, 60), (2, 30, 45, 46, 50, 60)
    roles, points = ("bos", "a", "changed", "b", "c"), (Point(4, (5,), (6,)),)
    unequal = Pair("g", "p", "p", clean, corrupted, points, roles, partners=(0, 1, -1, 4, 5))
    alone = Pair("g", "q", "q", clean, None, points, roles)
    rows = lens_rows(Task(lm, [alone, unequal]), LensQuestion("some", ("changed", "b"), (WANTED, UNWANTED)))
    assert rows["clean"].notna().all()
    known = rows[rows["corrupted"].notna()]
    assert set(known[["pair_id", "role"]].itertuples(index=False, name=None)) == {("p", "b")}
    values = [contrast(logits, WANTED, UNWANTED) for logits in by_hand(plain_model, corrupted, 4)]
    assert known["corrupted"].tolist() == pytest.approx(values, abs=2e-4)


def test_two_continuations_are_read_where_each_would_stand_alone(lm: LanguageModel, plain_model: Any) -> None:
    """A row with branches gives what its prompt with one continuation gives."""
    prompt, one, other = (2, 30, 40), (50, 51), (60,)
    roles = ("bos", "a", "b", "first", "first", "second")
    branched = Pair(
        *("g", "p", "p"),
        clean_ids=(*prompt, *one, *other),
        corrupted_ids=(2, 31, 40, *one, *other),
        points=(Point(2, (5,), (6,)),),
        roles=roles,
        branches=(0, 0, 0, 1, 1, 2),
    )
    rows = lens_rows(Task(lm, [branched]), LensQuestion("some", ("first", "second"), (WANTED, UNWANTED)))
    for role, text in (("first", (*prompt, *one)), ("second", (*prompt, *other))):
        values = [contrast(logits, WANTED, UNWANTED) for logits in by_hand(plain_model, text, len(text) - 1)]
        assert at(rows, branched, role, 1)["clean"].tolist() == pytest.approx(values, abs=2e-4)


def test_batches_do_not_change_it(lm: LanguageModel, pairs: list[Pair]) -> None:
    question = LensQuestion("some", ("item",), (WANTED, UNWANTED))
    one, together = (lens_rows(Task(lm, pairs, pace=Pace(batch_size=size)), question) for size in (1, 5))
    keys = ["pair_id", "role", "number", "layer"]
    merged = one.merge(together, on=keys)
    assert len(merged) == len(one)
    assert (merged["clean_x"] - merged["clean_y"]).abs().max() < 1e-4
