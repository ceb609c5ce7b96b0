"""What makes a feature active: its activation attributed to features of earlier sites.

g is the gradient of the feature's pre-activation (whose slope an active ReLU or JumpReLU passes on unchanged; of an
SAE that encodes its features together it is the activation's own) at one position with respect to an earlier site. An
upstream
feature's effect is f_up * (g . W_dec_up): what it adds to the activation, to first order, so what would go if it were
set to zero. As everywhere, gradients pass through the plain model and SAEs are streamed past the cached (x, g).
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from saeattr.attribution.site import attribute_site
from saeattr.behaviours.pair import BOS, pad_pairs
from saeattr.features.firing import WITHOUT_MODEL
from saeattr.model.capture import final_hidden
from saeattr.runs.base import SiteBase
from saeattr.runs.batch import SiteTokens
from saeattr.runs.halving import batches_that_fit
from saeattr.runs.task import Task
from saeattr.saes.loading import stream_saes
from saeattr.saes.sae import SparseAutoencoder
from saeattr.sites import Site

UPSTREAM_NOTE = (
    "At its most active position in the study's pairs: what each feature of an earlier site adds to its activation, by "
    "one gradient (so what would go if that feature were zero), summed over positions. Sites overlap: what passes "
    "through several layers counts at each."
)


#: The least that is worked on at a time.
ONE = "one feature"


@dataclass(frozen=True)
class Target:
    """A feature at one position: ``sae`` holds it alone, ``pair`` indexes the pairs."""

    sae: SparseAutoencoder
    feature: int
    pair: int
    position: int

    @property
    def site(self) -> Site:
        return self.sae.site


@dataclass(frozen=True)
class UpstreamFeature:
    """An earlier feature, what it adds to the target's activation, and the position of most of that."""

    site: Site
    feature: int
    effect: float
    position: int


@dataclass(frozen=True)
class Upstream:
    """Attribution of one target's activation.

    Attributes:
        features: the largest by |effect|, over all earlier sites.
        sites: for each earlier site, the sum over its features and the error term's effect.
    """

    features: tuple[UpstreamFeature, ...]
    sites: tuple[tuple[Site, float, float], ...]


def upstream_features(task: Task, targets: Sequence[Target], count: int = 10) -> list[Upstream]:
    """Attribute every target's activation to the features of the earlier sites that the task has SAEs for.

    Where memory runs out, half as many targets are worked on at a time.

    Raises:
        UserError: one target at a time does not fit.
    """
    files, batch_size, device = task.saes, task.pace.batch_size, task.lm.device
    sites = sorted(file.site for file in files)
    tokens: dict[Site, list[SiteTokens]] = defaultdict(list)
    by_site: dict[Site, list[int]] = defaultdict(list)
    for at, target in enumerate(targets):
        by_site[target.site].append(at)
    for site, members in by_site.items():
        earlier = [other for other in sites if other < site]
        if not earlier:
            continue
        attempt = functools.partial(_gradients, task, targets, earlier)
        for found in batches_that_fit(device, members, batch_size, attempt, ONE, WITHOUT_MODEL):
            for other, part in found.items():
                tokens[other].append(part)
    features: dict[int, list[UpstreamFeature]] = defaultdict(list)
    sums: dict[int, list[tuple[Site, float, float]]] = defaultdict(list)
    wanted = [file for file in files if file.site in tokens]
    for sae in stream_saes(wanted, task.lm.device):
        for kept in tokens[sae.site]:
            attempt = functools.partial(_of_rows, sae, kept, count)
            rows = kept.row.unique().tolist()
            for found in batches_that_fit(device, rows, batch_size, attempt, ONE, WITHOUT_MODEL):
                for at, (largest, total, error) in found.items():
                    features[at] += largest
                    sums[at].append((sae.site, total, error))
    return [
        Upstream(tuple(sorted(features[at], key=lambda one: -abs(one.effect))[:count]), tuple(sums[at]))
        for at in range(len(targets))
    ]


def _of_rows(
    sae: SparseAutoencoder, kept: SiteTokens, count: int, rows: Sequence[int]
) -> dict[int, tuple[list[UpstreamFeature], float, float]]:
    """By target the ``count`` largest features of one earlier site, the sum over all of them, and the error term's."""
    mine = torch.isin(kept.row, torch.tensor(list(rows), device=kept.row.device))
    # Kept in the model's dtype: (x, g) of all targets and sites are most of what this stage holds.
    part = SiteTokens(kept.row[mine], kept.position[mine], kept.clean[mine].float(), None, kept.g[mine].float())
    found = attribute_site(SiteBase("zero", sae), part)
    # attribute_site gives the change when a feature is set to zero: what it adds is the opposite.
    row, by_target = part.row[found.token], {}
    for at in rows:
        of, own = row == at, part.row == at
        largest = _largest(sae.site, found.feature[of], part.position[found.token[of]], -found.effect[of], count)
        by_target[at] = (largest, -found.features_effect[own].sum().item(), -found.error_effect[own].sum().item())
    return by_target


def _gradients(
    task: Task, every: Sequence[Target], earlier: list[Site], numbers: Sequence[int]
) -> dict[Site, SiteTokens]:
    """x and g at the earlier sites for the targets of these numbers, all of one site; ``row`` is the number."""
    targets = [every[number] for number in numbers]
    lm, batch = task.lm, [task.pairs[target.pair] for target in targets]
    padded = pad_pairs(batch, lm.pad_id, lm.device)
    site = targets[0].site
    seen: dict[Site, Tensor] = {}

    def reader(place: Site) -> Any:
        def read(x: Tensor, hook: Any) -> Tensor:
            if not x.requires_grad:
                x = x.detach().requires_grad_()
            seen[place] = x
            return x

        return read

    hooks = [(place.hook_name, reader(place)) for place in [*earlier, site]]
    with torch.enable_grad(), lm.hooks(hooks):
        final_hidden(lm, padded.clean)
        at_site = seen.pop(site).flatten(2)
        position = torch.tensor([target.position for target in targets], device=lm.device)
        # Each row is its own prompt, so the sum's gradient is each target's own.
        x = at_site[torch.arange(len(targets)), position].float()
        values = [target.sae.pre_activation(row[None]).sum() for target, row in zip(targets, x, strict=True)]
        slopes = torch.autograd.grad(torch.stack(values).sum(), list(seen.values()))
    mask = padded.clean.mask
    keep = mask & (torch.arange(mask.shape[1], device=lm.device) <= position[:, None])
    keep[:, 0] &= torch.tensor([pair.roles[0] != BOS for pair in batch], device=lm.device)
    row, where = keep.nonzero(as_tuple=True)
    number = torch.tensor(numbers, device=lm.device)[row]
    found = {}
    for (place, x), g in zip(seen.items(), slopes, strict=True):
        clean = x.detach().flatten(2)[row, where]
        found[place] = SiteTokens(number, where, clean, None, g.flatten(2)[row, where])
    return found


def _largest(site: Site, feature: Tensor, position: Tensor, effect: Tensor, count: int) -> list[UpstreamFeature]:
    """The ``count`` features of largest |effect| summed over positions."""
    if not len(feature):
        return []
    ids, index = feature.unique(return_inverse=True)
    sums = torch.zeros(len(ids), device=effect.device).index_add(0, index, effect)
    best = sums.abs().topk(min(count, len(ids))).indices
    chosen = []
    for at in best.tolist():
        mine = (index == at).nonzero()[:, 0]
        where = position[mine[effect[mine].abs().argmax()]]
        chosen.append(UpstreamFeature(site, int(ids[at]), float(sums[at]), int(where)))
    return chosen
