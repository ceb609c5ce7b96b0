"""The intercept of an MLP's regression as a task function: does it point from the entity to the answer?

Lv et al. 2024 (arXiv 2403.19521) take the intercept for an implicit function ("the capital of"): the same vector for
every fact, which leads from the entity that heads have moved to the answer. Here it is always judged by facts that it
was not fitted to, and beside random directions of the same length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from saeattr.model.direct import held_scales
from saeattr.model.loading import LanguageModel
from saeattr.model.unembed import unembedding, vocabulary_slices
from saeattr.recall.facts.answers import read_answers
from saeattr.recall.mlps.fits import MlpFit, Scope
from saeattr.recall.mlps.writes import Writes
from saeattr.runs.lens import as_final
from saeattr.tables import RECALL_MLP_FACTS, RECALL_MLP_INTERCEPT, RECALL_MLP_TOKENS

#: Random directions beside the intercept, tokens on either side, and rows whose logits are held at once.
RANDOM, TOKENS, ROWS = 1000, 10, 64
#: In place of a fold: none is left out.
NO_FOLD = -1
#: Whose ranks are read, by column.
WHAT = ((0, "entity"), (1, "answer"))


def answer_directions(lm: LanguageModel, writes: Writes) -> Float[ndarray, "facts d_model"]:
    """W_U[answer] - W_U[entity] of each fact through the final norm, whose scale is that of the fact's prompt."""
    weight = unembedding(lm)
    answer, entity = (torch.tensor(ids, device=weight.device) for ids in (writes.answer, writes.entity))
    contrast = weight[answer].float() - weight[entity].float()
    stream = writes.final.clone().to(contrast.device, lm.dtype).requires_grad_()
    with torch.enable_grad(), held_scales(lm):
        passed = as_passed(lm, stream).float()
        (found,) = torch.autograd.grad((passed * contrast.to(passed.device)).sum(), stream)
    return found.double().cpu().numpy()


def as_passed(lm: LanguageModel, stream: Float[Tensor, "rows d_model"]) -> Float[Tensor, "rows d_model"]:
    """The final norm's output, with a gradient."""
    return lm.final_norm(stream[None])[0]


def intercept_rows(fits: Sequence[MlpFit], directions: Float[ndarray, "facts d_model"], seed: int) -> pd.DataFrame:
    """``tables.RECALL_MLP_INTERCEPT``: every MLP with each fold left out and with none, of all and by relation."""
    random = np.random.default_rng(seed).standard_normal((RANDOM, directions.shape[1]))
    rows = [
        {"layer": fit.layer, "category": category, **row}
        for fit in fits
        for category, scope in (("", fit.every), *fit.within.items())
        for row in _cosine_rows(scope, directions[scope.which], random)
    ]
    table = pd.DataFrame(rows)
    best = table.groupby(["category", "fold"])["cosine"].transform("max")
    return RECALL_MLP_INTERCEPT.frame(table.assign(chosen=table["cosine"] == best))


def _cosine_rows(
    scope: Scope, directions: Float[ndarray, "some d_model"], random: Float[ndarray, "random d_model"]
) -> Iterator[dict[str, Any]]:
    """The intercepts of one MLP against what their facts, and the facts left out, ask for."""
    for fold, one in [*enumerate(scope.held.fits), (NO_FOLD, scope.whole)]:
        seen = directions[scope.held.folds != fold].mean(0)
        judge = seen if fold == NO_FOLD else directions[scope.held.folds == fold].mean(0)
        cosine, held = (float(cosines(one.intercept[None], other)[0]) for other in (seen, judge))
        chance = cosines(random, judge)
        yield {
            "fold": fold,
            "norm": np.linalg.norm(one.intercept),
            "cosine": cosine,
            "cosine_held": np.nan if fold == NO_FOLD else held,
            "random_95": np.quantile(chance, 0.95),
            "above": (chance < held).mean(),
        }


def cosines(rows: Float[ndarray, "rows d"], with_one: Float[ndarray, " d"]) -> Float[ndarray, " rows"]:
    """The cosine of each row with a vector."""
    return rows @ with_one / (np.linalg.norm(rows, axis=1) * np.linalg.norm(with_one))


@torch.no_grad()
def token_rows(lm: LanguageModel, fits: Sequence[MlpFit], answers: Sequence[int]) -> pd.DataFrame:
    """``tables.RECALL_MLP_TOKENS``: what the intercepts, fitted to all facts, would say alone."""
    rows = []
    for fit in fits:
        intercept = torch.from_numpy(fit.every.whole.intercept).to(lm.device, lm.dtype)
        # The same of the other sign takes away what the norm adds to any stream.
        up, down = as_final(lm, torch.stack([intercept, -intercept])).float()
        weight = unembedding(lm)
        slices = vocabulary_slices(lm, weight.device)
        scores = torch.cat([weight[ids].float() @ ((up - down) / 2).to(weight.device) for ids in slices])
        scores = scores - scores.mean()
        for side, largest in (("towards", True), ("away", False)):
            values, ids = scores.topk(min(TOKENS, len(scores)), largest=largest)
            rows += [
                {
                    "layer": fit.layer,
                    "side": side,
                    "place": place,
                    "token": str(lm.tokenizer.decode([token])),
                    "score": value,
                    "answers": list(answers).count(token),
                }
                for place, (value, token) in enumerate(zip(values.tolist(), ids.tolist(), strict=True), 1)
            ]
    return RECALL_MLP_TOKENS.frame(pd.DataFrame(rows))


def fact_rows(lm: LanguageModel, fits: Sequence[MlpFit], writes: Writes, seed: int) -> pd.DataFrame:
    """``tables.RECALL_MLP_FACTS``: ranks before and after the intercept of a fit that had not seen the fact."""
    generator = np.random.default_rng(seed)
    tables = []
    for fit in fits:
        tables.append(_fact_rows(lm, fit, fit.every, writes, generator).assign(fitted="all"))
        own = [_fact_rows(lm, fit, one, writes, generator).assign(fitted="relation") for one in fit.within.values()]
        tables += own
    return RECALL_MLP_FACTS.frame(pd.concat(tables, ignore_index=True))


def _fact_rows(
    lm: LanguageModel, fit: MlpFit, scope: Scope, writes: Writes, generator: np.random.Generator
) -> pd.DataFrame:
    """Of one MLP and the facts of one fit."""
    held, which = scope.held, scope.which
    targets = torch.tensor([writes.entity, writes.answer]).T[which]
    pairs = [writes.pairs[at] for at in which]
    intercepts = np.stack([held.fits[fold].intercept for fold in held.folds])
    random = generator.standard_normal(intercepts.shape)
    random *= np.linalg.norm(intercepts, axis=1, keepdims=True) / np.linalg.norm(random, axis=1, keepdims=True)
    mids = writes.mids[which, fit.layer]
    added = {
        "before": torch.zeros_like(mids),
        "after": torch.from_numpy(intercepts).float(),
        "random": torch.from_numpy(random).float(),
        "mlp": writes.mlps[which, fit.layer],
    }
    ranks = {name: lens_ranks(lm, mids + more, targets) for name, more in added.items()}
    entity, answer = ({f"{what}_{name}": found[:, at] for name, found in ranks.items()} for at, what in WHAT)
    about = {
        "category": [pair.group for pair in pairs],
        "pair_id": [pair.pair_id for pair in pairs],
        "layer": fit.layer,
        "fold": held.folds,
        "answer": [str(lm.tokenizer.decode([writes.answer[at]])) for at in which],
        "error": held.errors,
        "spread": held.spread,
    }
    return pd.DataFrame({**about, **entity, **answer})


@torch.no_grad()
def lens_ranks(lm: LanguageModel, stream: Float[Tensor, "rows d_model"], targets: Tensor) -> ndarray:
    """The rank of each row's tokens if the stream ended there; few rows' logits are held at once."""
    found = [
        read_answers(
            lm, as_final(lm, stream[start : start + ROWS].to(lm.device, lm.dtype)), targets[start : start + ROWS]
        )
        for start in range(0, len(stream), ROWS)
    ]
    return torch.cat([one.ranks for one in found]).numpy()
