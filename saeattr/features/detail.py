"""Everything that a feature's page shows: where it fires, what it writes, what it is near to, what makes it active."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from saeattr.behaviours.pair import Pair
from saeattr.errors import UserError
from saeattr.features.activity import Activity, Context
from saeattr.features.directions import direct_logits, nearest_features
from saeattr.features.firing import Firings, firing_activity, most_active, pair_contexts, read_firings
from saeattr.features.upstream import Target, Upstream, upstream_features
from saeattr.model.loading import LanguageModel
from saeattr.saes.loading import SaeFile, stream_saes
from saeattr.saes.sae import SparseAutoencoder, take_features
from saeattr.sites import Site, parse_kind

LOGITS = 10
NEIGHBOURS = 8
LOGIT_BINS = 50

#: Told the stage, what is done and what there is.
OnProgress = Callable[[str, int, int], None]


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
    lm: LanguageModel,
    pairs: Sequence[Pair],
    files: Mapping[Site, SaeFile],
    chosen: pd.DataFrame,
    *,
    batch_size: int = 16,
    with_upstream: bool = True,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> tuple[list[Context], list[FeatureDetail]]:
    """The details of chosen features over all pairs.

    SAEs are opened one at a time, three times each at most; of the chosen features alone the weights stay.

    Args:
        files: the study's SAEs; upstream features are looked for in all of those at earlier sites.
        chosen: layer, kind, feature.
        with_upstream: False leaves out the upstream features, which take a backward pass each.

    Returns:
        the pairs' tokens, and the details in the order of ``chosen``.

    Raises:
        UserError: there is no SAE for a site, or it has no such feature.
    """
    ids = _by_site(chosen, files)
    wanted = [files[site] for site in ids]
    kept = {}
    for sae in stream_saes(wanted, lm.device):
        kept[sae.site] = take_features(sae, ids[sae.site].to(lm.device))
    firings = read_firings(lm, pairs, kept, batch_size, lambda done, total: on_progress("activations", done, total))
    contexts = pair_contexts(lm, pairs)
    targets = _targets(firings, kept, ids) if with_upstream else {}
    ups = upstream_features(lm, pairs, list(targets.values()), list(files.values()), batch_size)
    upstream = dict(zip(targets, ups, strict=True))
    details: dict[tuple[Site, int], FeatureDetail] = {}
    for done, sae in enumerate(stream_saes(wanted, lm.device)):
        on_progress("feature pages", done, len(wanted))
        for detail in _site_details(lm, sae, ids[sae.site], firings, contexts, targets, upstream):
            details[detail.site, detail.feature] = detail
    on_progress("feature pages", len(wanted), len(wanted))
    keys = chosen[["layer", "kind", "feature"]].itertuples(index=False, name=None)
    return contexts, [details[Site(parse_kind(kind), int(layer)), int(feature)] for layer, kind, feature in keys]


def _site_details(
    lm: LanguageModel,
    sae: SparseAutoencoder,
    ids: Tensor,
    firings: Firings,
    contexts: list[Context],
    targets: Mapping[tuple[Site, int], Target],
    upstream: Mapping[tuple[Site, int], Upstream],
) -> list[FeatureDetail]:
    on_device = ids.to(lm.device)
    near, cosines = (part.cpu().tolist() for part in nearest_features(sae, on_device, NEIGHBOURS))
    logits = direct_logits(lm, sae, on_device, firings.scales)
    top_values, top_tokens = logits.topk(min(LOGITS, logits.shape[1]))
    low_values, low_tokens = (-logits).topk(min(LOGITS, logits.shape[1]))
    details = []
    for nth, feature in enumerate(ids.tolist()):
        key = (sae.site, feature)
        target = targets.get(key)
        details.append(
            FeatureDetail(
                sae.site,
                feature,
                firing_activity(firings, sae.site, nth, contexts),
                _named(lm, top_tokens[nth], top_values[nth]),
                _named(lm, low_tokens[nth], -low_values[nth]),
                *_histogram(logits[nth]),
                tuple(zip(near[nth], cosines[nth], strict=True)),
                None if target is None else (target.pair, target.position),
                upstream.get(key),
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
    for layer, kind, feature in chosen[["layer", "kind", "feature"]].itertuples(index=False, name=None):
        site = Site(parse_kind(kind), int(layer))
        if site not in files:
            raise UserError(f"there is no SAE for {site}: open the report with the SAEs that the study was made with")
        if feature >= files[site].d_sae:
            raise UserError(f"the SAE of {site} has {files[site].d_sae} features, so none is numbered {feature}")
        found.setdefault(site, []).append(int(feature))
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
                targets[site, feature] = Target(site, feature, kept[site].W_enc[:, nth], *at)
    return targets


def _named(lm: LanguageModel, ids: Tensor, values: Tensor) -> tuple[tuple[str, float], ...]:
    return tuple(
        (str(lm.tokenizer.decode([token])), value) for token, value in zip(ids.tolist(), values.tolist(), strict=True)
    )
