"""Entropy against a float64 softmax over the full logits of the plain Hugging Face model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from saeattr.behaviours.pair import Pair, Point
from saeattr.model import unembed
from saeattr.model.loading import LanguageModel
from saeattr.reading.entropy import entropy_rows
from saeattr.reading.spans import spans
from saeattr.runs.question import Pace
from saeattr.runs.task import Task
from tests.model.toys import FAMILIES, make_toy

KEYS = ["pair_id", "read", "role", "number"]


@torch.no_grad()
def by_hand(model: Any, ids: tuple[int, ...], position: int) -> tuple[float, float | None]:
    """Entropy in nats and the probability of the token that follows, in float64 from the model's own logits."""
    log_p = model(input_ids=torch.tensor([ids])).logits[0, position].double().log_softmax(0)
    following = float(log_p[ids[position + 1]].exp()) if position + 1 < len(ids) else None
    return float(-(log_p.exp() * log_p).sum()), following


Numbers = dict[tuple[Any, ...], tuple[float, float]]


def at_places(rows: pd.DataFrame) -> Numbers:
    """Entropy and probability by pair, run, role and number."""
    return {key[:4]: key[4:] for key in rows[[*KEYS, "entropy", "probability"]].itertuples(index=False, name=None)}


def by_place(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.set_index(KEYS)[["entropy", "probability"]].sort_index()


def test_it_is_that_of_the_plain_models_softmax_in_both_runs(
    lm: LanguageModel, pairs: list[Pair], plain_model: Any
) -> None:
    rows = entropy_rows(Task(lm, pairs, pace=Pace(batch_size=2)), ["item", "decision"])
    found = at_places(rows)
    n_read = 0
    for pair in pairs:
        for span in spans(pair):
            if span.role not in ("item", "decision"):
                continue
            for run, ids in (("clean", pair.clean_ids), ("corrupted", pair.corrupted_ids)):
                assert ids is not None
                entropy, following = by_hand(plain_model, ids, span.last)
                own = found[pair.pair_id, run, span.role, span.number]
                assert own[0] == pytest.approx(entropy, abs=2e-5)
                assert own[1] == pytest.approx(following, abs=1e-5)
                n_read += 1
    assert n_read == len(rows)
    assert set(rows["written"]) == {"clean"}


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_so_in_every_family_with_the_vocabulary_in_slices(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unembed, "VOCABULARY_SLICE", 10)
    toy, plain = make_toy(family, tmp_path)
    clean, corrupted = (2, 9, 8, 7, 30), (2, 9, 40, 7, 30)
    pair = Pair("g", "p", "p", clean, corrupted, (Point(4, (5,), (6,)),), ("bos", "a", "b", "c", "d"))
    rows = at_places(entropy_rows(Task(toy, [pair])))
    for number, role in enumerate(["a", "b", "c", "d"], start=1):
        for run, ids in (("clean", clean), ("corrupted", corrupted)):
            entropy, following = by_hand(plain, ids, number)
            own = rows["p", run, role, 1]
            assert own[0] == pytest.approx(entropy, rel=1e-4, abs=1e-5)
            assert own[1] == pytest.approx(float("nan") if following is None else following, abs=1e-5, nan_ok=True)


def test_a_token_without_a_partner_is_read_in_the_clean_run_only(lm: LanguageModel, plain_model: Any) -> None:
    clean, corrupted = (2, 30, 40, 50, 60), (2, 30, 45, 46, 50, 60)
    roles = ("bos", "a", "changed", "b", "c")
    points = (Point(4, (5,), (6,)),)
    unequal = Pair("g", "p", "p", clean, corrupted, points, roles, partners=(0, 1, -1, 4, 5))
    alone = Pair("g", "q", "q", clean, None, points, roles)
    rows = entropy_rows(Task(lm, [alone, unequal]), ["changed", "b"])
    known = set(rows[["pair_id", "read", "role"]].itertuples(index=False, name=None))
    assert known == {
        *[("p", "clean", "changed"), ("p", "clean", "b"), ("p", "corrupted", "b")],
        *[("q", "clean", "changed"), ("q", "clean", "b")],
    }
    entropy, following = by_hand(plain_model, corrupted, 4)
    own = at_places(rows)["p", "corrupted", "b", 1]
    assert own == (pytest.approx(entropy, abs=2e-5), pytest.approx(following, abs=1e-5))


def test_of_reversed_pairs_requests_keep_their_names(lm: LanguageModel, pairs: list[Pair]) -> None:
    """Their clean prompt is the study's corrupted request."""
    plain_rows, reversed_rows = (entropy_rows(Task(lm, pairs), ["item"], name) for name in ("clean", "corrupted"))
    assert set(reversed_rows["written"]) == {"corrupted"}
    turned = reversed_rows.assign(read=reversed_rows["read"].map({"clean": "corrupted", "corrupted": "clean"}))
    pd.testing.assert_frame_equal(by_place(plain_rows), by_place(turned))


def test_batches_do_not_change_it(lm: LanguageModel, pairs: list[Pair]) -> None:
    one, together = (by_place(entropy_rows(Task(lm, pairs, pace=Pace(batch_size=size)))) for size in (1, 5))
    pd.testing.assert_frame_equal(one, together, atol=1e-5, rtol=1e-4)
