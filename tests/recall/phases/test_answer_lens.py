"""The lens of facts equals norm and unembedding of the Hugging Face model by hand; jumps and onsets by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from saeattr.recall.localisation.curves import NEVER
from saeattr.recall.phases import answer_lens as module
from saeattr.recall.phases.answer_lens import answer_lens
from saeattr.recall.phases.readout import readouts, stays_from
from saeattr.runs.question import Pace
from saeattr.runs.task import Task
from saeattr.tables import ANSWER_LENS
from tests.model.toys import FAMILIES, make_toy
from tests.recall.phases.test_windows import toy_facts


@pytest.mark.parametrize("family", FAMILIES)
def test_every_read_equals_the_hidden_states_of_the_plain_model(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm, plain = make_toy(family, tmp_path)
    # The vocabulary has 64 tokens: three rows at a time.
    monkeypatch.setattr(module, "MOST_LOGITS", 200)
    pairs = toy_facts()
    found = answer_lens(Task(lm, pairs, pace=Pace(batch_size=2)))
    assert set(found["component"]) == {"resid_pre", "resid_mid", "resid_post"}
    for pair in pairs:
        for run, ids in (("clean", pair.clean_ids), ("corrupted", pair.corrupted_ids or ())):
            with torch.no_grad():
                states = plain(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
            entity = [at for at, role in enumerate(pair.roles) if role == "entity"]
            places = {"entity-last": entity[-1], "behind": entity[-1] + 1, "final": len(ids) - 1}
            own = found[(found["pair_id"] == pair.pair_id) & (found["run"] == run)]
            assert len(own) == 3 * (1 + 2 * 3)
            for row in own[own["component"] != "resid_mid"].to_dict("records"):
                assert row["position"] == places[row["place"]]
                depth = row["layer"] + (row["component"] == "resid_post")
                # The last of them is behind the final norm already.
                hidden = states[depth][0, row["position"]]
                logits = head(plain, hidden if depth == 3 else final_norm(plain)(hidden[None, None])[0, 0])
                log_p = torch.log_softmax(logits, dim=0)
                likeliest = max(log_p[ids[at]].item() for at in entity)
                for name, token in (("clean", pair.points[0].wanted[0]), ("corrupt", pair.points[0].unwanted[0])):
                    assert row[f"log_p_{name}"] == pytest.approx(log_p[token].item(), abs=1e-4)
                    assert row[f"rank_{name}"] == 1 + int((logits > logits[token]).sum())
                assert row["log_p_entity"] == pytest.approx(likeliest, abs=1e-4)
                assert row["rank_entity"] == 1 + int((log_p > likeliest + 1e-6).sum())


def final_norm(plain: Any) -> torch.nn.Module:
    base = plain.base_model
    return base.ln_f if hasattr(base, "ln_f") else base.norm


def head(plain: Any, hidden: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        logits = plain.get_output_embeddings()(hidden)
    cap = getattr(plain.config, "final_logit_softcapping", None)
    return logits if cap is None else cap * torch.tanh(logits / cap)


def test_behind_attention_the_stream_has_what_attention_added(tmp_path: Path) -> None:
    lm, plain = make_toy("llama", tmp_path)
    (pair,) = toy_facts()[:1]
    found = answer_lens(Task(lm, [pair]))
    row = found.query("run == 'clean' and place == 'final' and component == 'resid_mid' and layer == 1").iloc[0]
    added: list[torch.Tensor] = []
    base: Any = plain.base_model
    handle = base.layers[1].self_attn.register_forward_hook(lambda *args: added.append(args[2][0]))
    with torch.no_grad():
        states = plain(input_ids=torch.tensor([pair.clean_ids]), output_hidden_states=True).hidden_states
    handle.remove()
    logits = head(plain, final_norm(plain)(states[1] + added[0])[0, -1])
    assert row["log_p_clean"] == pytest.approx(torch.log_softmax(logits, 0)[pair.points[0].wanted[0]].item(), abs=1e-4)


def lens_rows(p: list[float], ranks: list[int], entity: list[int]) -> pd.DataFrame:
    """One fact's clean run at the final position, before layer 0 and behind every layer."""
    rows = []
    for depth, (one, rank, other) in enumerate(zip(p, ranks, entity, strict=True)):
        where = {"component": "resid_post" if depth else "resid_pre", "layer": max(depth - 1, 0)}
        own = {"group": "a", "pair_id": "x", "run": "clean", "place": "final", "position": 5}
        read = {"log_p_clean": np.log(one), "log_p_corrupt": -9.0, "log_p_entity": -9.0}
        rows.append({**own, **where, **read, "rank_clean": rank, "rank_corrupt": 9, "rank_entity": other})
    return ANSWER_LENS.frame(pd.DataFrame(rows[::-1]))


def test_the_answer_jumps_in_the_layer_that_raises_it_most() -> None:
    (row,) = readouts(lens_rows([0.01, 0.05, 0.3, 0.7, 0.8], [50, 9, 1, 2, 1], [1, 2, 3, 4, 5])).to_dict("records")
    assert (row["jump_layer"], row["half_layer"], row["top_layer"], row["outranks_layer"]) == (2, 2, 3, 1)
    assert (row["n_layers"], row["jump"], row["p_final"]) == (4, pytest.approx(0.4), pytest.approx(0.8))
    never = readouts(lens_rows([0.01, 0.5, 0.3], [50, 1, 2], [1, 2, 1])).iloc[0]
    assert (never["jump_layer"], never["half_layer"], never["top_layer"], never["outranks_layer"]) == (0, 0, -1, -1)


def test_what_stays_so_is_so_to_the_end() -> None:
    assert stays_from(np.array([True, False, True, True])) == 2
    assert stays_from(np.array([True, True])) == 0
    assert stays_from(np.array([True, False])) == NEVER
