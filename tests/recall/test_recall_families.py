"""Regression of MLPs and facts behind others in every family: grouped queries, norms behind attention, biases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from saeattr.behaviours.pair import Pair, Point
from saeattr.recall.mlps.fits import find_families, fit_all, fit_rows, weight_rows
from saeattr.recall.mlps.task_function import answer_directions, fact_rows, intercept_rows, token_rows
from saeattr.recall.mlps.writes import final_writes
from saeattr.recall.shots.prompts import ShotPair
from saeattr.recall.shots.rows import shot_rows
from saeattr.runs.task import Task
from tests.model.toys import FAMILIES, make_toy


def facts() -> list[Pair]:
    """Twelve facts of one relation, each with its own answer."""
    generator = torch.Generator().manual_seed(4)
    made = []
    for at in range(12):
        clean = torch.randint(3, 64, (7 + at % 3,), generator=generator).tolist()
        corrupted = [*clean[:2], (clean[2] + 1) % 60 + 3, *clean[3:]]
        roles = ("bos", "common", "entity", *["after"] * (len(clean) - 4), "last")
        points = (Point(len(clean) - 1, (10 + at,), (40 + at,)),)
        made.append(Pair("toys", f"fact {at}", "", tuple(clean), tuple(corrupted), points, roles))
    return made


@pytest.mark.parametrize("family", FAMILIES)
def test_mlps_are_regressed_in_every_family(family: str, tmp_path: Path) -> None:
    lm, plain = make_toy(family, tmp_path)
    writes = final_writes(Task(lm, facts()))
    families = find_families(writes, 0)
    assert families is not None
    fits = list(fit_all(writes, families))
    directions = answer_directions(lm, writes)
    for table in (
        *(fit_rows(one, writes, families, 0, "ridge") for one in fits),
        *(weight_rows(one, writes, families, 0) for one in fits),
        intercept_rows(fits, directions, 0),
        token_rows(lm, fits, writes.answer),
        fact_rows(lm, fits, writes, 0),
    ):
        assert len(table)
    assert [one.data.x.shape[1] for one in fits] == [5, 10, 15]
    # With the scale of its norm held, the contrast of two logits is linear in the stream.
    for at, pair in enumerate(facts()):
        with torch.no_grad():
            logits = plain(torch.tensor([pair.clean_ids])).logits[0, -1]
        cap = getattr(plain.config, "final_logit_softcapping", None)
        logits = logits if cap is None else cap * torch.atanh(logits / cap)
        wanted = float(logits[writes.answer[at]] - logits[writes.entity[at]])
        got = float(writes.final[at].double().numpy() @ directions[at])
        if family == "gpt2":
            weights = dict(plain.named_parameters())
            contrast = weights["transformer.wte.weight"][[writes.answer[at], writes.entity[at]]].detach()
            got += float(weights["transformer.ln_f.bias"].detach() @ (contrast[0] - contrast[1]))
        assert got == pytest.approx(wanted, abs=2e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_movers_and_output_domain_are_read_in_every_family(family: str, tmp_path: Path) -> None:
    lm, plain = make_toy(family, tmp_path)
    shots = [ShotPair(pair, 0, "", ()) for pair in facts()]
    rows, lens = shot_rows(Task(lm, facts()), shots, {"toys": range(10, 22)})
    assert len(rows) == 12
    assert len(lens) == 12 * 4
    assert rows["mover_layer"].dropna().between(0, 2).all()
    with torch.no_grad():
        for row, pair in zip(rows.to_dict("records"), facts(), strict=True):
            p = plain(torch.tensor([pair.clean_ids])).logits[0, -1].softmax(0)
            assert row["domain"] == pytest.approx(float(p[10:22].sum()), abs=1e-4)
            assert row["p_answer"] == pytest.approx(float(p[pair.points[0].wanted[0]]), abs=1e-4)
    assert np.isfinite(rows["ld_clean"]).all()
