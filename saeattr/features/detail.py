"""Everything that a feature's page shows: where it fires, what it writes, what it is near to, what makes it active."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from saeattr.errors import UserError
from saeattr.features.activity import Activity, Context
from saeattr.features.directions import direct_logits, nearest_features
from saeattr.features.firing import WITHOUT_MODEL, Firings, firing_activity, most_active, pair_contexts, read_firings
from saeattr.features.upstream import Target, Upstream, upstream_features
from saeattr.model.loading import LanguageModel
from saeattr.progress import counting
from saeattr.runs.halving import batches_that_fit
from saeattr.runs.task import Task
from saeattr.saes.loading import SaeFile, stream_saes
from saeattr.saes.sae import SparseAutoencoder
from saeattr.sites import Site
from saeattr.tables import Feature, features_of

LOGITS = 10
NEIGHBOURS = 8
LOGIT_BINS = 50


@dataclass(frozen=True)
class FeatureDetail:
    """One feature's page.

    Attributes:
        top_logits, bottom_logits: tokens and the change of their logit by one unit of activation.
        logit_edges, logit_counts: histogram of that change over all tokens.
        neighbours: features of the same SAE and the cosine of their decoder directions, the largest first.
        target: where the upstream attribution was made (index of the pair, position); None where it never fires.
        upstream: what adds to its activation there.
    """

    site: Site
    feature: int
    activity: Activity
    top_logits: tuple[tuple[str, float], ...]
    bottom_logits: tuple[tuple[str, float], ...]
    logit_edges: tuple[float, ...]
    logit_counts: tuple[int, ...]
    neighbours: tuple[tuple[int, float], ...]
    target: tuple[int, int] | None
    upstream: Upstream | None


def feature_details(
    task: Task, chosen: pd.DataFrame, *, with_upstream: bool = True
) -> tuple[list[Context], list[FeatureDetail]]:
    """The details of chosen features over all pairs.

    SAEs are opened one at a time, three times each at most; of the chosen features alone the weights stay.

    Args:
        task: the pairs of all groups, and the study's SAEs; upstream features are looked for in all of those at earlier
            sites.
        chosen: layer, kind, feature.
        with_upstream: False leaves out the upstream features, which take a backward pass each.

    Returns:
        the pairs' tokens, and the details in the order of ``chosen``.

    Raises:
        UserError: there is no SAE for a site, or it has no such feature.
    """
    lm, pairs, files = task.lm, task.pairs, {file.site: file for file in task.saes}
    ids = _by_site(chosen, files)
    wanted = [files[site] for site in ids]
    kept = {}
    for sae in stream_saes(wanted, lm.device):
        kept[sae.site] = sae.take_features(ids[sae.site].to(lm.device))
    firings = read_firings(lm, pairs, kept, task.pace.batch_size, counting(task.on_step, "activations"))
    contexts = pair_contexts(lm, pairs)
    targets = _targets(firings, kept, ids) if with_upstream else {}
    ups = upstream_features(task, list(targets.values()))
    upstream = dict(zip(targets, ups, strict=True))
    details: dict[tuple[Site, int], FeatureDetail] = {}
    for done, sae in enumerate(stream_saes(wanted, lm.device)):
        task.on_step("feature pages", done, len(wanted))
        found = _Found(firings, contexts, targets, upstream)
        attempt = functools.partial(_site_details, lm, sae, ids[sae.site], found)
        numbers = range(len(ids[sae.site]))
        # All logits of these features are held at once.
        for part in batches_that_fit(lm.device, numbers, len(numbers), attempt, "one feature", WITHOUT_MODEL):
            details |= {(detail.site, detail.feature): detail for detail in part}
    task.on_step("feature pages", len(wanted), len(wanted))
    return contexts, [details[key] for key in features_of(chosen)]


@dataclass(frozen=True)
class _Found:
    """What is known of the chosen features of all sites."""

    firings: Firings
    contexts: list[Context]
    targets: Mapping[Feature, Target]
    upstream: Mapping[Feature, Upstream]


def _site_details(
    lm: LanguageModel, sae: SparseAutoencoder, ids: Tensor, found: _Found, numbers: Sequence[int]
) -> list[FeatureDetail]:
    """Of those among a site's chosen features that have these numbers."""
    some = ids[list(numbers)]
    on_device = some.to(lm.device)
    near, cosines = (part.cpu().tolist() for part in nearest_features(sae, on_device, NEIGHBOURS))
    logits = direct_logits(lm, sae, on_device, found.firings.scales)
    top_values, top_tokens = logits.topk(min(LOGITS, logits.shape[1]))
    low_values, low_tokens = (-logits).topk(min(LOGITS, logits.shape[1]))
    details = []
    for nth, (number, feature) in enumerate(zip(numbers, some.tolist(), strict=True)):
        key = (sae.site, feature)
        target = found.targets.get(key)
        details.append(
            FeatureDetail(
                sae.site,
                feature,
                firing_activity(found.firings, sae.site, number, found.contexts),
                _named(lm, top_tokens[nth], top_values[nth]),
                _named(lm, low_tokens[nth], -low_values[nth]),
                *_histogram(logits[nth]),
                tuple(zip(near[nth], cosines[nth], strict=True)),
                None if target is None else (target.pair, target.position),
                found.upstream.get(key),
            )
        )
    return details


def _histogram(values: Float[Tensor, " vocab"]) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Edges and counts of ``LOGIT_BINS`` bins."""
    counts, edges = np.histogram(values.cpu().numpy(), LOGIT_BINS)
    return tuple(edges.tolist()), tuple(counts.tolist())


def _by_site(chosen: pd.DataFrame, files: Mapping[Site, SaeFile]) -> dict[Site, Tensor]:
    """The chosen features of each site, in the order of sites."""
    found: dict[Site, list[int]] = {}
    for site, feature in features_of(chosen):
        if site not in files:
            raise UserError(f"there is no SAE for {site}: open the report with the SAEs that the study was made with")
        if feature >= files[site].d_sae:
            raise UserError(f"the SAE of {site} has {files[site].d_sae} features, so none is numbered {feature}")
        found.setdefault(site, []).append(feature)
    return {site: torch.tensor(found[site]) for site in sorted(found)}


def _targets(
    firings: Firings, kept: Mapping[Site, SparseAutoencoder], ids: Mapping[Site, Tensor]
) -> dict[tuple[Site, int], Target]:
    """Each feature at its most active position in the clean runs."""
    targets = {}
    for site, features in ids.items():
        for nth, feature in enumerate(features.tolist()):
            at = most_active(firings, site, nth)
            if at is not None:
                alone = kept[site].take_features(torch.tensor([nth], device=kept[site].W_dec.device))
                targets[site, feature] = Target(alone, feature, *at)
    return targets


def _named(lm: LanguageModel, ids: Tensor, values: Tensor) -> tuple[tuple[str, float], ...]:
    return tuple(
        (str(lm.tokenizer.decode([token])), value) for token, value in zip(ids.tolist(), values.tolist(), strict=True)
    )
