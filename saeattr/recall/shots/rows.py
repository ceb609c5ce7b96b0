"""What changes when other facts come before one: its answer, the output domain, who moves it, and when it is read.

Everything is read at the final position: of facts behind nothing and behind others, the same facts throughout.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from saeattr.behaviours.pair import pad_pairs
from saeattr.model.loading import LanguageModel
from saeattr.model.unembed import token_logits, vocabulary_slices
from saeattr.patching.heads import head_moves
from saeattr.recall.facts.answers import read_answers
from saeattr.recall.facts.check import entity_positions
from saeattr.recall.shots.prompts import ShotPair
from saeattr.runs.lens import EMBEDDING, as_final, residuals_at
from saeattr.runs.task import Task
from saeattr.sites import Site
from saeattr.tables import RECALL_SHOT_LENS, RECALL_SHOTS

KEY = ["category", "pair_id", "shots"]


def shot_rows(
    task: Task, shots: Sequence[ShotPair], domains: Mapping[str, Sequence[int]]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """``tables.RECALL_SHOTS`` and ``tables.RECALL_SHOT_LENS``.

    Args:
        domains: by relation the tokens that are answers of it.

    Raises:
        UserError: the model has no attention patterns or z that could be read.
    """
    answers, lenses, movers = [], [], []
    for count in sorted({one.shots for one in shots}):
        own = [one for one in shots if one.shots == count]
        for start in range(0, len(own), task.pace.batch_size):
            task.on_step(f"behind {count} facts", start, len(own))
            some = own[start : start + task.pace.batch_size]
            streams = _streams(task.lm, some)
            answers.append(_answers(task.lm, some, streams[-1], domains))
            lenses.append(_lens(task.lm, some, streams))
            task.on_step(f"behind {count} facts", start + len(some), len(own))
        movers.append(_movers(dataclasses.replace(task, pairs=[one.pair for one in own])).assign(shots=count))
    rows = pd.concat(answers).merge(pd.concat(movers), on=KEY)
    return RECALL_SHOTS.frame(rows), RECALL_SHOT_LENS.frame(pd.concat(lenses))


def _about(shots: Sequence[ShotPair]) -> dict[str, Any]:
    return {
        "category": [one.pair.group for one in shots],
        "pair_id": [one.pair.pair_id for one in shots],
        "shots": [one.shots for one in shots],
    }


def _streams(lm: LanguageModel, shots: Sequence[ShotPair]) -> list[Float[Tensor, "facts d_model"]]:
    """The stream at the final position of the clean prompts, before layer 0 and after each."""
    prompts = pad_pairs([one.pair for one in shots], lm.pad_id, lm.device).clean
    positions = torch.tensor([one.pair.points[0].position for one in shots])
    names = [EMBEDDING, *(Site("resid_post", layer).hook_name for layer in range(lm.n_layers))]
    kept = residuals_at(lm, prompts, torch.arange(len(shots)), positions, names)
    return [kept[name] for name in names]


def _targets(shots: Sequence[ShotPair]) -> Tensor:
    """Of each fact the entity's first token, as the prompt has it, and the right answer."""
    return torch.tensor(
        [[one.pair.clean_ids[entity_positions(one.pair)[0]], one.pair.points[0].wanted[0]] for one in shots]
    )


@torch.no_grad()
def _answers(
    lm: LanguageModel,
    shots: Sequence[ShotPair],
    last: Float[Tensor, "facts d_model"],
    domains: Mapping[str, Sequence[int]],
) -> pd.DataFrame:
    """What is answered, and how much of the probability is on answers of the relation."""
    hidden = as_final(lm, last)
    slices = vocabulary_slices(lm, hidden.device)
    p = torch.cat([token_logits(lm, hidden, ids) for ids in slices], dim=1).softmax(1).cpu()
    found = read_answers(lm, hidden, _targets(shots))
    of = [list(domains[one.pair.group]) for one in shots]
    return pd.DataFrame(
        {
            **_about(shots),
            "shown": [one.shown for one in shots],
            "p_answer": found.log_probs[:, 1].exp().double().numpy(),
            "rank_answer": found.ranks[:, 1].numpy(),
            "p_shown": [float(p[at, list(set(one.answers))].sum()) for at, one in enumerate(shots)],
            "domain": [float(p[at, ids].sum()) for at, ids in enumerate(of)],
            "n_domain": [len(ids) for ids in of],
        }
    )


@torch.no_grad()
def _lens(
    lm: LanguageModel, shots: Sequence[ShotPair], streams: Sequence[Float[Tensor, "facts d_model"]]
) -> pd.DataFrame:
    """Ranks of entity and answer if the stream ended after each layer."""
    tables = []
    for layer, stream in enumerate(streams, -1):
        ranks = read_answers(lm, as_final(lm, stream), _targets(shots)).ranks.numpy()
        tables.append(
            pd.DataFrame({**_about(shots), "layer": layer, "entity_rank": ranks[:, 0], "answer_rank": ranks[:, 1]})
        )
    return pd.concat(tables)


def _movers(task: Task) -> pd.DataFrame:
    """In which layers heads move the answer to the final position, and where they attend to the entity most."""
    moves = head_moves(task)
    rows = []
    for (category, pair_id), own in moves.groupby(["group", "pair_id"], sort=False):
        lowers = (-own["exact_effect"]).clip(lower=0).to_numpy()
        most = own.sort_values("attention_clean", kind="stable").iloc[-1]
        first = own.iloc[0]
        rows.append(
            {
                "category": category,
                "pair_id": pair_id,
                "ld_clean": first["clean"],
                "ld_corrupted": first["corrupted"],
                "known": first["clean"] > 0 > first["corrupted"],
                "mover_layer": centre(own["layer"].to_numpy(), lowers),
                "attention_layer": most["layer"],
                "attention": most["attention_clean"],
            }
        )
    return pd.DataFrame(rows)


def centre(layers: NDArray[np.int16], weights: NDArray[np.float64]) -> float:
    """The mean layer by weight; NaN where nothing weighs."""
    total = float(weights.sum())
    return float(layers @ weights) / total if total > 0 else float("nan")
