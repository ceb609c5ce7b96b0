"""One group from pairs to tables: runs, then one SAE at a time past the cached activations and gradients."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from saeattr.attribution.methods import find_method
from saeattr.attribution.rows import (
    active_features,
    attribution_rows,
    feature_means,
    metric_rows,
    rank_features,
    site_effect_rows,
)
from saeattr.attribution.site import SiteEffects, attribute_site
from saeattr.runs.base import SiteBase, token_chunks
from saeattr.runs.batch import BatchRuns, clean_tokens, effect_tokens, site_tokens
from saeattr.runs.effects import total_effect
from saeattr.runs.task import Task, run_pairs
from saeattr.saes.loading import stream_saes
from saeattr.saes.sae import SparseAutoencoder


@dataclass(frozen=True)
class GroupTables:
    """The tables of one group, columns as in docs/study-folder.md."""

    attributions: pd.DataFrame
    features: pd.DataFrame
    active: pd.DataFrame
    site_effects: pd.DataFrame
    metric_by_point: pd.DataFrame


def attribute_group(task: Task) -> GroupTables:
    """Attribute the metric to every active feature of every SAE, for the pairs of one group.

    1. Run the pairs once: x and g of the clean prompts at every site, x of the corrupted ones (``run_pairs``).
    2. For each SAE, one in memory at a time: base values (``SiteBase``), effects of entries (``attribute_site``), the
       exact effect of patching the whole site and of its reconstruction.
    3. Effects summed over positions and averaged over pairs, features ranked (``rank_features``); of all of them
       in how many pairs they are active (``active_features``).

    Memory holds the captured runs and one SAE: it does not grow with the number of SAEs.
    """
    method = find_method(task.question.method)
    batches = run_pairs(task, [file.site for file in task.saes], gradients=True, rules=method.rules)
    rows, effects = [], []
    for done, sae in enumerate(stream_saes(task.saes, task.lm.device)):
        task.on_step("attribution", done, len(task.saes))
        site_rows, site_effects = _attribute_sae(sae, batches, task)
        rows.append(site_rows)
        effects.append(site_effects)
    task.on_step("attribution", len(task.saes), len(task.saes))
    means = [feature_means(own, task.times) for own in rows]
    return GroupTables(
        pd.concat(rows, ignore_index=True),
        rank_features(means),
        active_features(means),
        pd.concat(effects, ignore_index=True),
        # All clean runs before the corrupted ones, however many pairs a batch has.
        pd.concat(map(metric_rows, batches)).sort_values("run", kind="stable", ignore_index=True),
    )


def _attribute_sae(sae: SparseAutoencoder, batches: list[BatchRuns], task: Task) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Attribution rows and site effects of one SAE over all batches of a group."""
    base = SiteBase.of(sae, batches)
    centre = clean_tokens(batches, sae.site).float().mean(0)
    token_text = functools.cache(lambda token_id: str(task.lm.tokenizer.decode([token_id])))
    rows, effects = [], []
    for batch in batches:
        measured = attribute_batch(base, batch, task.pace.batch_size)
        rows.append(attribution_rows(sae.site, batch.pairs, measured.tokens, measured.found, token_text))
        effects.append(site_effect_rows(sae.site, batch, measured, centre))
    return pd.concat(rows, ignore_index=True), pd.concat(effects, ignore_index=True)


def attribute_batch(base: SiteBase, batch: BatchRuns, batch_size: int) -> SiteEffects:
    """Attribute one SAE on one batch by the question's method, and measure what patching the whole site really does."""
    site, chosen = base.sae.site, effect_tokens(batch, base.name)
    tokens = site_tokens(batch, site, chosen)
    x_base = batch.clean.x[site].float().clone()
    x_base[chosen] = base.activation(tokens.clean, tokens.corrupted)
    g = find_method(batch.question.method).slope(batch, site, x_base, batch_size)
    tokens = dataclasses.replace(tokens, g=g[chosen].float())
    found = attribute_site(base, tokens)
    return SiteEffects(tokens, found, total_effect(batch, site, x_base), reconstruction_effect(base.sae, batch))


@torch.no_grad()
def reconstruction_effect(sae: SparseAutoencoder, batch: BatchRuns) -> Float[Tensor, " batch"]:
    """The exact change of the clean runs' metric when x becomes x_hat at every real token but BOS.

    0 for a perfect SAE. SAEs made on a base model are a transfer on an instruction-tuned one, so this is measured on
    the prompts at hand. SAEs are not trained to reconstruct BOS, whose activation is of another size.
    """
    x_hat = batch.clean.x[sae.site].float().clone()
    tokens = x_hat[batch.usable]
    for chunk in token_chunks(sae, len(tokens)):
        x = tokens[chunk]
        tokens[chunk] = sae.decode(sae.encode(x)) + sae.rest(x)
    x_hat[batch.usable] = tokens
    return total_effect(batch, sae.site, x_hat)
