"""One group from pairs to tables: runs, then one SAE at a time past the cached activations and gradients."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from saeattr.attribution.methods import integrated_gradients
from saeattr.attribution.rows import attribution_rows, feature_means, metric_rows, rank_features, site_effect_rows
from saeattr.attribution.site import SiteAttribution, attribute_site
from saeattr.behaviours.pair import Pair
from saeattr.model.loading import LanguageModel
from saeattr.runs.base import Base, SiteMeans, base_activation, site_means, token_chunks
from saeattr.runs.batch import BatchRuns, SiteTokens, effect_tokens, run_batch, site_tokens
from saeattr.runs.effects import total_effect
from saeattr.runs.metric import Decision, Metric
from saeattr.saes.loading import SaeFile, stream_saes
from saeattr.saes.sae import SparseAutoencoder

Method = Literal["attribution", "ig", "relp"]
METHODS: tuple[Method, ...] = get_args(Method)

#: Called with a stage's name, what is done and what there is.
OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class AttributionPlan:
    """What to attribute and how.

    Attributes:
        metric, decision: the number to explain and where it is read.
        base: what a feature is patched to.
        method: where g comes from: the clean run's gradient, its mean on the line to the base (``ig_steps``), or
            relevance patching's coefficients.
        batch_size: prompts in one forward; it changes speed and memory, not results.
        seed: of the bootstrap.
    """

    metric: Metric
    decision: Decision = "last"
    base: Base = "corrupted"
    method: Method = "attribution"
    ig_steps: int = 10
    batch_size: int = 16
    seed: int = 0


@dataclass(frozen=True)
class GroupTables:
    """The tables of one group, columns as in docs/study-folder.md."""

    attributions: pd.DataFrame
    features: pd.DataFrame
    site_effects: pd.DataFrame
    metric_by_point: pd.DataFrame


def attribute_group(
    lm: LanguageModel,
    pairs: Sequence[Pair],
    saes: Sequence[SaeFile],
    plan: AttributionPlan,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> GroupTables:
    """Attribute the metric to every active feature of every SAE, for the pairs of one group.

    Memory holds the captured runs and one SAE: it does not grow with the number of SAEs.
    """
    sites = [file.site for file in saes]
    batches = []
    for start in range(0, len(pairs), plan.batch_size):
        on_progress("forward and backward", start, len(pairs))
        chunk = pairs[start : start + plan.batch_size]
        relevance = plan.method == "relp"
        batches.append(run_batch(lm, chunk, sites, plan.metric, plan.decision, relevance=relevance))
    on_progress("forward and backward", len(pairs), len(pairs))
    per_site = []
    for done, sae in enumerate(stream_saes(saes, lm.device)):
        on_progress("attribution", done, len(saes))
        per_site.append(_attribute_sae(lm, sae, batches, plan))
    on_progress("attribution", len(saes), len(saes))
    pair_ids = [pair.pair_id for pair in pairs]
    return GroupTables(
        pd.concat([rows for rows, _ in per_site], ignore_index=True),
        rank_features([feature_means(rows, pair_ids, plan.seed) for rows, _ in per_site]),
        pd.concat([effects for _, effects in per_site], ignore_index=True),
        pd.concat([metric_rows(batch) for batch in batches], ignore_index=True),
    )


def _attribute_sae(
    lm: LanguageModel, sae: SparseAutoencoder, batches: list[BatchRuns], plan: AttributionPlan
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Attribution rows and site effects of one SAE over all batches of a group."""
    x = torch.cat([batch.clean.x[sae.site][batch.usable] for batch in batches])
    means = site_means(sae, x) if plan.base == "mean" else None
    centre = x.float().mean(0)
    token_text = functools.cache(lambda token_id: str(lm.tokenizer.decode([token_id])))
    rows, effects = [], []
    for batch in batches:
        tokens, found, exact = attribute_site_tokens(lm, sae, batch, plan, means)
        rows.append(attribution_rows(sae.site, batch.pairs, tokens, found, token_text))
        rebuilt = reconstruction_effect(lm, sae, batch, plan.metric)
        effects.append(site_effect_rows(sae.site, batch, tokens, found, exact, rebuilt, centre))
    return pd.concat(rows, ignore_index=True), pd.concat(effects, ignore_index=True)


def attribute_site_tokens(
    lm: LanguageModel,
    sae: SparseAutoencoder,
    batch: BatchRuns,
    plan: AttributionPlan,
    means: SiteMeans | None = None,
) -> tuple[SiteTokens, SiteAttribution, Float[Tensor, " batch"]]:
    """Attribute one SAE on one batch by the plan's method, and measure what patching the whole site really does.

    Returns:
        the tokens, their attributions, and the exact total effect of each prompt.
    """

    def read(hidden: Tensor) -> Tensor:
        return batch.read_metric(lm, plan.metric, hidden)

    chosen = effect_tokens(batch, plan.base)
    tokens = site_tokens(batch, sae.site, chosen)
    x_base = batch.clean.x[sae.site].float().clone()
    x_base[chosen] = base_activation(plan.base, sae, tokens.corrupted, means)
    if plan.method == "ig":
        g = integrated_gradients(lm, batch.clean, sae.site, x_base, read, plan.ig_steps, plan.batch_size)
        tokens = dataclasses.replace(tokens, g=g[chosen])
    found = attribute_site(sae, tokens, plan.base, means)
    return tokens, found, total_effect(lm, batch.clean, sae.site, x_base, read)


@torch.no_grad()
def reconstruction_effect(
    lm: LanguageModel, sae: SparseAutoencoder, batch: BatchRuns, metric: Metric
) -> Float[Tensor, " batch"]:
    """The exact change of the clean runs' metric when x becomes x_hat at every real token but BOS.

    0 for a perfect SAE. SAEs are not trained to reconstruct BOS, whose activation is of another size.
    """
    x_hat = batch.clean.x[sae.site].float().clone()
    tokens = x_hat[batch.usable]
    for chunk in token_chunks(sae, len(tokens)):
        tokens[chunk] = sae.decode(sae.encode(tokens[chunk]))
    x_hat[batch.usable] = tokens
    return total_effect(lm, batch.clean, sae.site, x_hat, lambda hidden: batch.read_metric(lm, metric, hidden))
