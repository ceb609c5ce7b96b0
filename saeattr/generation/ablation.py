"""Ablation while generating: what lists become when features are held at their base value at every step.

At the site x becomes x + (f_base - f) W_dec for the named features, at every token but BOS and at every step with the
key-value cache; nothing else changes, so the error term is kept. With the corrupted base, f_base is the feature's
activation at the same token of a second run that was asked for the corrupted length and reads the same answer.
Compared with nothing; with controls, which at every token and step move x as far as the features would there, along the
directions of others (``stand_in_move``); and with steering: the mean difference between clean and corrupted prompts
taken off at the same site and tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from saeattr.behaviours.lists.sampling import SampledList, Sampling, prompt_ids, sample_lists
from saeattr.behaviours.lists.swap import check_beside
from saeattr.generation.summary import ConditionName, measure_list
from saeattr.model.loading import LanguageModel
from saeattr.progress import OnCount, quiet
from saeattr.runs.base import SiteBase
from saeattr.runs.batch import BatchRuns, CorruptedTokens, effect_tokens
from saeattr.sites import Site
from saeattr.tables import GENERATED, site_columns
from saeattr.validation.controls import stand_in_move

#: From the activation at a site and that of the corrupted run (both [rows, pos, d_in], float32; the second None where
#: there is no such run) to what is added to the first.
Move = Callable[[Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Edit:
    """How x is moved at a site while lists are written.

    Attributes:
        move: what is added to x.
        like: the move that it should be as long as, token by token; None where it has none.
        lengths: how far x was moved so far, and how far ``like`` would have moved it: filled as lists are written.
    """

    move: Move
    like: Move | None = None
    lengths: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))

    def __call__(self, x: Tensor, corrupted: Tensor | None, dtype: torch.dtype) -> Tensor:
        """The moved x, rounded to ``dtype``."""
        moved = (x + self.move(x, corrupted)).to(dtype)
        if self.like is not None:
            wanted = self.like(x, corrupted)
            self.lengths[:] += [float((moved - x).norm(dim=-1).sum()), float(wanted.norm(dim=-1).sum())]
        return moved

    @property
    def length_ratio(self) -> float:
        """How far x was moved against how far it should have been; NaN where nothing says so."""
        return float(self.lengths[0] / self.lengths[1]) if self.lengths[1] else float("nan")


@dataclass(frozen=True)
class Ablation:
    """What is edited at one site while lists are written.

    Attributes:
        base: what the features are held at.
        features: indices into the SAE, ablated together. controls: sets with another feature for each of them.
        steering: subtracted at the site (``mean_difference``); None leaves that condition out.
    """

    base: SiteBase
    features: Sequence[int]
    controls: Sequence[Sequence[int]] = ()
    steering: Float[Tensor, " d_in"] | None = None

    @property
    def site(self) -> Site:
        return self.base.sae.site

    def edits(self) -> list[tuple[ConditionName, int, Edit | None]]:
        """The conditions with the number of their set of controls (-1 but for controls)."""
        features = ablation(self.base, self.features)
        edits: list[tuple[ConditionName, int, Edit | None]] = [("nothing", -1, None), ("features", -1, Edit(features))]
        for number, others in enumerate(self.controls):
            edits.append(("controls", number, Edit(stand_in(self.base, self.features, others), like=features)))
        steering = self.steering
        if steering is not None:
            edits.append(("steering", -1, Edit(lambda x, corrupted: -steering)))
        return edits


def generate_conditions(
    lm: LanguageModel, topic: str, ablated: Ablation, sampling: Sampling, on_condition: OnCount = quiet
) -> pd.DataFrame:
    """Sample lists with nothing ablated, the features, each set of controls, and steered.

    List number n draws the same random numbers in every condition, so that conditions compare list by list.

    Returns:
        one row for each list and condition (``tables.GENERATED``).

    Raises:
        UserError: a setting is out of range, or the two requests have unequally many tokens (corrupted base).
    """
    edits, base = ablated.edits(), ablated.base.name
    tables = []
    for done, (condition, control_set, edit) in enumerate(edits):
        on_condition(done, len(edits))
        corrupted_run = base == "corrupted" and condition in ("features", "controls")
        lists = sample_edited(lm, topic, ablated.site, edit, sampling, corrupted_run=corrupted_run)
        rows = pd.DataFrame([measure_list(one) for one in lists])
        rows = rows.assign(group=topic, base=base, condition=condition, control_set=control_set)
        rows = rows.assign(length_ratio=float("nan") if edit is None else edit.length_ratio)
        tables.append(GENERATED.frame(rows.assign(**site_columns(ablated.site))))
    on_condition(len(edits), len(edits))
    return pd.concat(tables, ignore_index=True)


def ablation(base: SiteBase, features: Sequence[int]) -> Move:
    """(f_base - f) W_dec of the named features; the corrupted base needs the corrupted run's x at each step."""
    few = _few(base, features)

    def move(x: Tensor, corrupted: Tensor | None) -> Tensor:
        return (_change(few, x, corrupted) @ few.sae.W_dec).view_as(x)

    return move


def stand_in(base: SiteBase, features: Sequence[int], others: Sequence[int]) -> Move:
    """As long as ``ablation`` of the features would move x, along the directions of others, one for each."""
    few = _few(base, features)
    rows = base.sae.W_dec[torch.tensor(list(others), dtype=torch.long, device=base.sae.W_dec.device)]

    def move(x: Tensor, corrupted: Tensor | None) -> Tensor:
        return stand_in_move(_change(few, x, corrupted), few.sae.W_dec, rows).view_as(x)

    return move


def _few(base: SiteBase, features: Sequence[int]) -> SiteBase:
    return base.of_features(torch.tensor(list(features), dtype=torch.long, device=base.sae.W_dec.device))


def _change(few: SiteBase, x: Tensor, corrupted: Tensor | None) -> Float[Tensor, "tokens features"]:
    f = few.sae.encode(x.flatten(0, 1))
    return few.change(f, None if corrupted is None else CorruptedTokens(corrupted.flatten(0, 1)))


def mean_difference(batches: Sequence[BatchRuns], site: Site) -> Float[Tensor, " d_in"]:
    """Mean of clean minus corrupted x, from the first swapped word to the last decision, over tokens with a partner."""
    parts = []
    for batch in batches:
        chosen = effect_tokens(batch, "corrupted")
        corrupted = batch.corrupted_tokens(site, *chosen.nonzero(as_tuple=True))
        assert corrupted is not None
        differences = batch.clean.x[site][chosen].float() - corrupted.x
        parts.append(differences if corrupted.there is None else differences[corrupted.there])
    return torch.cat(parts).mean(0)


def sample_edited(
    lm: LanguageModel,
    topic: str,
    site: Site,
    edit: Edit | None,
    sampling: Sampling,
    *,
    corrupted_run: bool = False,
) -> list[SampledList]:
    """Sample lists while every activation at ``site`` but BOS's passes through ``edit``.

    ``corrupted_run`` runs the corrupted request beside each list, unedited, for an edit that compares with it.

    Raises:
        UserError: a setting is out of range, or clean and corrupted request cannot be read side by side.
    """
    if corrupted_run:
        check_beside(lm.tokenizer, topic, sampling.length, sampling.corrupted)
    first = 1 if prompt_ids(lm.tokenizer, topic, sampling.length)[0] == lm.tokenizer.bos_token_id else 0

    def replace(x: Tensor, hook: Any) -> Tensor | None:
        # Only the prompt is read several tokens at a time, and only it begins with BOS.
        start = first if x.shape[1] > 1 else 0
        if edit is None or start == x.shape[1]:
            return None
        n_clean = x.shape[0] // 2 if corrupted_run else x.shape[0]
        now = x[:, start:].flatten(2).float()
        result = x.clone()
        edited = edit(now[:n_clean], now[n_clean:] if corrupted_run else None, x.dtype)
        result[:n_clean, start:] = edited.view_as(result[:n_clean, start:])
        return result

    with lm.bridge.hooks(fwd_hooks=[(site.hook_name, replace)]):  # pyright: ignore[reportArgumentType]
        return sample_lists(lm, topic, sampling, beside=corrupted_run)
