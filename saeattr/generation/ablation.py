"""Ablation while generating: what lists become when features are held at their base value at every step.

At the site x becomes x + (f_base - f) W_dec for the named features, at every token but BOS and at every step with the
key-value cache; nothing else changes, so the error term is kept. With the corrupted base, f_base is the feature's
activation at the same token of a second run that was asked for the corrupted length and reads the same answer.
Compared with nothing; with controls, which at every token and step move x as far as the features would there, along the
directions of others (``stand_in_move``); and with steering: the mean difference between clean and corrupted prompts
taken off at the same site and tokens.

All conditions, of one site or of several, are rows of the same batches: each edit touches the rows of its own lists.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from saeattr.behaviours.lists.answers import Live
from saeattr.behaviours.lists.sampling import SampledList, Sampling, prompt_ids, sample_variants
from saeattr.behaviours.lists.swap import check_beside
from saeattr.generation.moves import Edit, ablation, stand_in, steering
from saeattr.generation.summary import ConditionName, measure_list
from saeattr.model.loading import LanguageModel
from saeattr.progress import OnCount, quiet
from saeattr.runs.base import SiteBase
from saeattr.settings import BaseName
from saeattr.sites import Site
from saeattr.tables import GENERATED, site_columns


@dataclass(frozen=True)
class Cell:
    """So many features of one site, ablated together, and what they are compared with.

    Attributes:
        base: what the features are held at.
        edits: the conditions (but nothing) with the number of their set of controls (-1 but for controls). It holds
            the rows of an SAE that they need, and not the SAE.
    """

    site: Site
    base: BaseName
    n_features: int
    edits: Sequence[tuple[ConditionName, int, Edit]]


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

    def cell(self, steered: Edit | None = None) -> Cell:
        """The edits; ``steered`` is that of another cell of the same site, so that it is sampled once for both."""
        site, features = self.base.sae.site, ablation(self.base, self.features)
        edits: list[tuple[ConditionName, int, Edit]] = [("features", -1, Edit(site, features))]
        for number, others in enumerate(self.controls):
            move = stand_in(self.base, self.features, others)
            edits.append(("controls", number, Edit(site, move, like=features)))
        if self.steering is not None:
            edits.append(("steering", -1, steered or steering(site, self.steering)))
        return Cell(site, self.base.name, len(self.features), edits)


def generate_conditions(lm: LanguageModel, topic: str, ablated: Ablation, sampling: Sampling) -> pd.DataFrame:
    """``generate_cells`` of one site and one number of features."""
    return generate_cells(lm, topic, [ablated.cell()], sampling)


def generate_cells(
    lm: LanguageModel,
    topic: str,
    cells: Sequence[Cell],
    sampling: Sampling,
    nothing: pd.DataFrame | None = None,
    on_count: OnCount = quiet,
) -> pd.DataFrame:
    """Sample lists with nothing ablated, the features, each set of controls, and steered, for each cell.

    List number n draws the same random numbers in every condition, so that conditions compare list by list. An edit
    that several cells share, and nothing, is sampled once; its rows stand in each cell.

    Args:
        cells: all with the same base.
        sampling: lists of all conditions together make up its batches.
        nothing: rows of lists with nothing ablated, of the same topic and sampling; None samples them.
        on_count: told, after each step, how many lists are finished, and how many there are.

    Returns:
        one row for each list and condition (``tables.GENERATED``), in the order of the cells.

    Raises:
        UserError: a setting is out of range, or the two requests have unequally many tokens (corrupted base).
    """
    wanted: list[Edit | None] = [None] if nothing is None else []
    wanted += dict.fromkeys(edit for cell in cells for _, _, edit in cell.edits)
    corrupted_run = cells[0].base == "corrupted"
    sampled = sample_edited(lm, topic, wanted, sampling, corrupted_run=corrupted_run, on_count=on_count)
    rows = {edit: pd.DataFrame(map(measure_list, lists)) for edit, lists in zip(wanted, sampled, strict=True)}
    if nothing is not None:
        rows[None] = nothing.head(sampling.n_lists)
    tables = []
    for cell in cells:
        where = {**site_columns(cell.site), "group": topic, "base": cell.base, "n_features": cell.n_features}
        conditions: list[tuple[ConditionName, int, Edit | None]] = [("nothing", -1, None), *cell.edits]
        for condition, control_set, edit in conditions:
            ratio = float("nan") if edit is None else edit.length_ratio
            told = {"condition": condition, "control_set": control_set, "length_ratio": ratio}
            tables.append(GENERATED.frame(rows[edit].assign(**where, **told)))
    return pd.concat(tables, ignore_index=True)


def sample_edited(
    lm: LanguageModel,
    topic: str,
    edits: Sequence[Edit | None],
    sampling: Sampling,
    *,
    corrupted_run: bool = False,
    on_count: OnCount = quiet,
) -> list[list[SampledList]]:
    """Sample lists under each of several edits: every activation at an edit's site but BOS's passes through it.

    ``corrupted_run`` runs the corrupted request beside each list, unedited, for edits that compare with it.

    Returns:
        for each edit its lists; None edits nothing.

    Raises:
        UserError: a setting is out of range, or clean and corrupted request cannot be read side by side.
    """
    if corrupted_run:
        check_beside(lm.tokenizer, topic, sampling.length, sampling.corrupted)
    first = 1 if prompt_ids(lm.tokenizer, topic, sampling.length)[0] == lm.tokenizer.bos_token_id else 0
    rows = _EditedRows(first)
    hooks = []
    for site in dict.fromkeys(edit.site for edit in edits if edit is not None):
        own = {at: edit for at, edit in enumerate(edits) if edit is not None and edit.site == site}
        hooks.append((site.hook_name, functools.partial(rows.replace, own)))
    with lm.hooks(hooks):
        return sample_variants(
            lm, topic, sampling, len(edits), beside=corrupted_run, on_forward=rows.watch, on_count=on_count
        )


class _EditedRows:
    """Which rows of the present forward are whose, and their edits.

    ``first``: tokens of the prompt that are left alone, BOS.
    """

    def __init__(self, first: int) -> None:
        self.first = first
        self._rows: dict[int, list[int]] = {}
        self._beside: Sequence[int] | None = None

    def watch(self, live: Live) -> None:
        """Note the rows of the forward that follows."""
        self._rows, self._beside = {}, live.beside
        for row, variant in enumerate(live.variants):
            self._rows.setdefault(variant, []).append(row)

    def replace(self, edits: Mapping[int, Edit], x: Tensor, hook: Any) -> Tensor | None:
        """What a site's activation becomes, each edit in the rows of its variant."""
        # Only the prompt is read several tokens at a time, and only it begins with BOS.
        start = self.first if x.shape[1] > 1 else 0
        live = {at: self._rows[at] for at in edits if at in self._rows}
        if not live or start == x.shape[1]:
            return None
        now, result = x[:, start:].flatten(2).float(), x.clone()
        for at, rows in live.items():
            corrupted = None if self._beside is None else now[[self._beside[row] for row in rows]]
            edited = edits[at](now[rows], corrupted, x.dtype)
            result[rows, start:] = edited.view_as(result[rows, start:])
        return result
