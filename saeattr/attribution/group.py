"""Pairs to tables: runs of all groups, then one SAE at a time past the cached activations and gradients.

A group of many pairs is attributed in shards: what is summed over pairs is added up, and of single entries the small
ones are left out.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from saeattr.attribution.methods import find_method
from saeattr.attribution.rows import (
    active_features,
    attribution_rows,
    carriers,
    metric_rows,
    pair_effects,
    rank_features,
    site_effect_rows,
    summarise_features,
)
from saeattr.attribution.site import SiteEffects, attribute_site
from saeattr.progress import OnStep
from saeattr.runs.base import SiteBase, SiteMeans, token_chunks
from saeattr.runs.batch import BatchRuns, clean_tokens, effect_tokens, site_tokens
from saeattr.runs.effects import total_effect
from saeattr.runs.kept import RunStore, at_site
from saeattr.runs.task import Task, iter_runs
from saeattr.saes.loading import stream_saes
from saeattr.saes.sae import SparseAutoencoder
from saeattr.sites import Site
from saeattr.tables import GROUP_SITE

#: Of one site, from its site to ``pair_effects`` and ``carriers`` over all pairs of a group.
ReadSums = Callable[[Site], tuple[pd.DataFrame, pd.DataFrame]]


@dataclass(frozen=True)
class SiteTables:
    """What attributing one site gave for some pairs of a group; columns as in docs/study-folder.md."""

    attributions: pd.DataFrame
    entries: pd.DataFrame
    pair_effects: pd.DataFrame
    carriers: pd.DataFrame
    site_effects: pd.DataFrame


@dataclass(frozen=True)
class GroupTables(SiteTables):
    """The tables of one group, over all sites."""

    metric_by_point: pd.DataFrame
    features: pd.DataFrame
    active: pd.DataFrame


@dataclass(frozen=True, eq=False)
class Unit:
    """Pairs of one group that are run, kept and attributed together: all of the group, or a shard of it.

    Attributes:
        task: the pairs; its SAEs are of the sites that are wanted.
        checked: ids of the pairs in which whole sites are patched.
        keep_from: entries are left out whose |effect| is under this share of their site's sum of |effect| in the pair.
        means: over the whole group, where the task's pairs are some of it.
        number: of the shard, from 0.
    """

    task: Task
    checked: frozenset[str]
    keep_from: float = 0.0
    means: Mapping[Site, SiteMeans] | None = None
    number: int = 0


def attribute_group(task: Task, keep_from: float = 0.0) -> GroupTables:
    """Attribute the metric to every active feature of every SAE, for the pairs of one group.

    1. Run the pairs once: x and g of the clean prompts at every site, x of the corrupted ones (``run_pairs``).
    2. For each SAE, one in memory at a time: base values (``SiteBase``), effects of entries (``attribute_site``); in a
       few pairs the exact effect of patching the whole site and of its reconstruction.
    3. Effects summed over positions and averaged over pairs, features ranked (``rank_features``); of all of them
       in how many pairs they are active (``active_features``).

    Memory holds the captured runs and one SAE: it does not grow with the number of SAEs.

    Args:
        keep_from: as in ``Unit``.
    """
    found: dict[Site, SiteTables] = {}
    points: list[pd.DataFrame] = []
    attribute_units(
        [Unit(task, first_pairs(task), keep_from)],
        RunStore(),
        lambda unit, table: points.append(table),
        lambda unit, site, tables: found.update({site: tables}),
    )
    features, active = group_features(
        list(found), lambda site: (found[site].pair_effects, found[site].carriers), task.times
    )
    names = [field.name for field in dataclasses.fields(SiteTables)]
    tables = {name: pd.concat([getattr(one, name) for one in found.values()], ignore_index=True) for name in names}
    return GroupTables(**tables, metric_by_point=points[0], features=features, active=active)


def group_features(
    sites: Sequence[Site], read: ReadSums, times: Mapping[str, int]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """features.parquet and active.parquet of a group, one site at a time."""
    summed = [summarise_features(*read(site), times) for site in sites]
    return rank_features(summed), active_features(summed)


def first_pairs(task: Task) -> frozenset[str]:
    """Ids of the first pairs of a group, in which whole sites are patched (``Question.check_pairs``)."""
    return frozenset(pair.pair_id for pair in task.pairs[: task.question.check_pairs])


def attribute_units(
    units: Sequence[Unit],
    store: RunStore,
    on_points: Callable[[Unit, pd.DataFrame], None],
    on_site: Callable[[Unit, Site, SiteTables], None],
    on_step: OnStep | None = None,
) -> None:
    """The first two steps of ``attribute_group`` for many pairs of any groups: every SAE is opened once for all.

    Args:
        units: all of one model and one question.
        store: where the runs wait for the SAEs.
        on_points: given a unit's ``metric_by_point`` when it has run.
        on_site: given the tables of a unit at a site as soon as they are made.
        on_step: told of the SAEs; by default the first unit's.
    """
    waiting = []
    for unit in units:
        batches = _waiting_runs(unit, store)
        # All clean runs before the corrupted ones, however many pairs a batch has.
        points = pd.concat(map(metric_rows, batches)).sort_values("run", kind="stable", ignore_index=True)
        on_points(unit, points)
        waiting.append((unit, batches))
    on_step = on_step or units[0].task.on_step
    files = list({file.site: file for unit in units for file in unit.task.saes}.values())
    for done, sae in enumerate(stream_saes(files, units[0].task.lm.device)):
        on_step("attribution", done, len(files))
        for unit, batches in waiting:
            if any(file.site == sae.site for file in unit.task.saes):
                here = [at_site(batch, sae.site) for batch in batches]
                on_site(unit, sae.site, _attribute_sae(sae, here, unit))
    on_step("attribution", len(files), len(files))


def waiting_values(task: Task) -> int:
    """Numbers that a waiting run keeps of a token: x and g of the clean run, x of the corrupted one, at each site."""
    return 3 * sum(file.d_in for file in task.saes)


def _waiting_runs(unit: Unit, store: RunStore) -> list[BatchRuns]:
    """The runs of a unit, with what the method and the checks compute again."""
    task, method = unit.task, find_method(unit.task.question.method)
    sites = [file.site for file in task.saes]
    inside = {site.layer for site in sites if site.lies != "output"}
    batches = []
    for batch in iter_runs(task, sites, gradients=True, rules=method.rules):
        again = method.recomputes or any(pair.pair_id in unit.checked for pair in batch.pairs)
        batches.append(store.keep(batch, inside if again else ()))
    return batches


def _large_entries(rows: pd.DataFrame, keep_from: float) -> pd.DataFrame:
    if not keep_from:
        return rows
    size = rows["effect"].abs().astype(float)
    return rows[size >= keep_from * size.groupby(rows["pair_id"]).transform("sum")]


def _count_entries(rows: pd.DataFrame, kept: pd.DataFrame) -> pd.DataFrame:
    """``tables.ENTRIES`` of one site."""
    if rows.empty:
        return pd.DataFrame()
    sizes = [float(one["effect"].abs().astype(float).sum()) for one in (rows, kept)]
    counts = {"n_entries": len(rows), "n_kept": len(kept), "size": sizes[0], "size_kept": sizes[1]}
    return pd.DataFrame([{**rows.iloc[0][GROUP_SITE].to_dict(), **counts}])


def _attribute_sae(sae: SparseAutoencoder, batches: Sequence[BatchRuns], unit: Unit) -> SiteTables:
    """The tables of one SAE over all batches of a unit."""
    task, site = unit.task, sae.site
    means = None if unit.means is None else unit.means[site]
    name = task.question.base
    base = SiteBase.of(sae, batches) if means is None else SiteBase(name, sae, means if name == "mean" else None)
    centre = clean_tokens(batches, site).float().mean(0) if means is None else means.x
    token_text = functools.cache(lambda token_id: str(task.lm.tokenizer.decode([token_id])))
    found, effects = [], []
    for batch in batches:
        of_batch = [row for row, pair in enumerate(batch.pairs) if pair.pair_id in unit.checked]
        measured = attribute_batch(base, batch, task.pace.batch_size, of_batch)
        found.append(attribution_rows(site, batch.pairs, measured.tokens, measured.found, token_text))
        effects.append(site_effect_rows(site, batch, measured, centre))
    rows, site_effects = pd.concat(found, ignore_index=True), pd.concat(effects, ignore_index=True)
    kept = _large_entries(rows, unit.keep_from)
    return SiteTables(kept, _count_entries(rows, kept), pair_effects(rows), carriers(rows), site_effects)


def attribute_batch(
    base: SiteBase, batch: BatchRuns, batch_size: int, checked: Sequence[int] | None = None
) -> SiteEffects:
    """Attribute one SAE on one batch by the question's method, and measure what patching the whole site really does.

    Args:
        checked: the rows of the batch in which that is measured; all by default.
    """
    site, chosen = base.sae.site, effect_tokens(batch, base.name)
    tokens = site_tokens(batch, site, chosen)
    x_base = batch.clean.x[site].float().clone()
    x_base[chosen] = base.activation(tokens.clean, tokens.corrupted)
    g = find_method(batch.question.method).slope(batch, site, x_base, batch_size)
    tokens = dataclasses.replace(tokens, g=g[chosen].float())
    found = attribute_site(base, tokens)
    rows = torch.tensor(range(len(batch.pairs)) if checked is None else list(checked), device=x_base.device).long()
    total, rebuilt = x_base.new_full((2, len(batch.pairs)), torch.nan)
    if patches_to_corrupted_run(batch, site):
        assert batch.corrupted is not None
        assert batch.corrupted.metric is not None
        assert batch.clean.metric is not None
        total = batch.corrupted.metric - batch.clean.metric
    elif len(rows):
        total[rows] = total_effect(batch, site, x_base[rows], rows)
    if len(rows):
        rebuilt[rows] = reconstruction_effect(base.sae, batch, rows)
    return SiteEffects(tokens, found, total, rebuilt)


def patches_to_corrupted_run(batch: BatchRuns, site: Site) -> bool:
    """Whether patching a whole site to its base makes the clean run the corrupted one, which was run already.

    So it does where all that later layers read passes the site, and each token has its partner there.
    """
    return site.lies == "output" and batch.question.base == "corrupted" and batch.has_partner is None


@torch.no_grad()
def reconstruction_effect(
    sae: SparseAutoencoder, batch: BatchRuns, rows: Int[Tensor, " rows"] | None = None
) -> Float[Tensor, " rows"]:
    """The exact change of the clean runs' metric when x becomes x_hat at every real token but BOS.

    0 for a perfect SAE. SAEs made on a base model are a transfer on an instruction-tuned one, so this is measured on
    the prompts at hand. SAEs are not trained to reconstruct BOS, whose activation is of another size.

    Args:
        rows: of the batch; all by default.
    """
    rows = torch.arange(len(batch.pairs), device=batch.usable.device) if rows is None else rows
    x_hat, usable = batch.clean.x[sae.site][rows].float(), batch.usable[rows]
    tokens = x_hat[usable]
    for chunk in token_chunks(sae, len(tokens)):
        x = tokens[chunk]
        tokens[chunk] = sae.decode(sae.encode(x)) + sae.rest(x)
    x_hat[usable] = tokens
    return total_effect(batch, sae.site, x_hat, rows)
