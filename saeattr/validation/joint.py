"""Many features patched at once, across layers: later sites are encoded anew in the run that is already edited.

Layer by layer over all edited copies at once, so each SAE is opened once a sweep and no more are held than one layer
has (and the next, which is being read).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saeattr.model.loading import LanguageModel
from saeattr.model.recompute import Span, layer_input, run_layer
from saeattr.runs.base import Base, SiteMeans, base_activation, site_means, token_chunks
from saeattr.runs.batch import BatchRuns, effect_tokens
from saeattr.runs.effects import decision_slots, metric_change
from saeattr.runs.metric import Metric
from saeattr.saes.loading import SaeFile, stream_saes
from saeattr.saes.sae import SparseAutoencoder, take_features
from saeattr.sites import Site

#: Hidden states of edited copies held at a time; more copies take another sweep over the layers.
HELD_BYTES = 2**28

#: Called with the layers done and those there are, as a sweep goes on.
OnLayer = Callable[[int, int], None]


@torch.no_grad()
def joint_effects(
    lm: LanguageModel,
    batches: Sequence[BatchRuns],
    files: Sequence[SaeFile],
    sets: Sequence[FeatureSet],
    metric: Metric,
    base: Base,
    batch_size: int,
    on_layer: OnLayer = lambda done, total: None,
) -> Float[Tensor, "sets lists"]:
    """The exact change of the metric when all features of a set are patched to their base values together.

    At every site of ``files``, in the order in which the model computes them, x becomes
    x + sum_i (f_i^base - f_i^now) W_dec[i] at the tokens that can have an effect, where f^now is encoded from the
    edited run: what earlier patches already changed is not changed twice, and a feature that they switch on is switched
    off again. The error terms of the edited run are kept, unless the set patches them too. As for single features,
    a mean is set only where the feature is active.

    Args:
        files: the SAEs of the sites; a set may name features of these sites only.
        batch_size: copies in one forward.
    """
    files = sorted(files, key=lambda file: file.site.order)
    layer = files[0].site.layer
    counts = [len(batch.pairs) for batch in batches]
    a_set = sum(n * batch.clean.calls.inputs[layer][0].nbytes for n, batch in zip(counts, batches, strict=True))
    at_once = max(1, HELD_BYTES // a_set)
    # Sets that need every feature of an SAE stand together, so that the others need a few of its rows only.
    order = sorted(range(len(sets)), key=lambda at: sets[at].needs_all)
    effects = torch.empty(len(sets), sum(counts), device=lm.device)
    for start in range(0, len(order), at_once):
        numbers = order[start : start + at_once]

        def report(done: int, total: int, sweep: int = start // at_once) -> None:
            on_layer(sweep * total + done, total * -(-len(order) // at_once))

        effects[numbers] = _sweep(lm, batches, files, [sets[at] for at in numbers], metric, base, batch_size, report)
    return effects


def _sweep(
    lm: LanguageModel,
    batches: Sequence[BatchRuns],
    files: Sequence[SaeFile],
    sets: Sequence[FeatureSet],
    metric: Metric,
    base: Base,
    batch_size: int,
    on_layer: OnLayer,
) -> Float[Tensor, "sets lists"]:
    """All copies of all batches, from the first site's layer to the metric."""
    first, device = files[0].site.layer, lm.device
    spans = [effect_span(batch, base) for batch in batches]
    # Copies stand in the order of (set, list).
    rows = [torch.arange(len(batch.pairs), device=device).repeat(len(sets)) for batch in batches]
    number = [torch.arange(len(sets), device=device).repeat_interleave(len(batch.pairs)) for batch in batches]
    hidden = [layer_input(batch.clean, first, own, span) for batch, own, span in zip(batches, rows, spans, strict=True)]
    opened = stream_saes(files, device)
    for layer in range(first, lm.n_layers):
        on_layer(layer - first, lm.n_layers - first)
        patches = [
            SitePatch.of(next(opened), batches, sets, base) for _ in range(sum(f.site.layer == layer for f in files))
        ]
        for at, batch in enumerate(batches):
            for start in range(0, len(rows[at]), batch_size):
                part = slice(start, start + batch_size)
                own = rows[at][part]
                hooks = [
                    (patch.site.hook_name, patch.hook(batch, own, number[at][part], spans[at])) for patch in patches
                ]
                with lm.bridge.hooks(fwd_hooks=hooks):  # pyright: ignore[reportArgumentType]
                    hidden[at][part] = run_layer(lm, batch.clean, layer, hidden[at][part], own, spans[at])
    on_layer(lm.n_layers - first, lm.n_layers - first)
    effects = []
    for at, batch in enumerate(batches):
        positions = decision_slots(batch)[0].to(device) - spans[at].first
        parts = []
        for start in range(0, len(rows[at]), batch_size):
            part = slice(start, start + batch_size)
            own = rows[at][part]
            final = lm.bridge.ln_final(hidden[at][part][torch.arange(len(own), device=device)[:, None], positions[own]])
            parts.append(metric_change(lm, batch, metric, final, own, spans[at].first))
        effects.append(torch.cat(parts).view(len(sets), -1))
    return torch.cat(effects, dim=1)


def effect_span(batch: BatchRuns, base: Base) -> Span:
    """From the first position of a batch at which a patch can have an effect to the last."""
    positions = effect_tokens(batch, base).any(0).nonzero()
    return Span(int(positions.min()), int(positions.max()) + 1)


@dataclass(frozen=True)
class FeatureSet:
    """What to patch: the named features, or with ``keep`` all features of the patched sites but the named ones.

    ``errors``: the error terms of those sites too.
    """

    features: Mapping[Site, Sequence[int]] = field(default_factory=dict)
    keep: bool = False
    errors: bool = False

    @property
    def needs_all(self) -> bool:
        """Whether every feature of an SAE has to be encoded."""
        return self.keep or self.errors


@dataclass(frozen=True)
class SitePatch:
    """One site's part of patching several sets, each in its own copies of the prompts.

    Attributes:
        wanted: which features each set patches.
        errors: which sets patch the error term.
    """

    sae: SparseAutoencoder
    base: Base
    means: SiteMeans | None
    wanted: Bool[Tensor, "sets d_sae"]
    errors: Bool[Tensor, " sets"]

    @classmethod
    def of(
        cls, sae: SparseAutoencoder, batches: Sequence[BatchRuns], sets: Sequence[FeatureSet], base: Base
    ) -> SitePatch:
        device = sae.W_dec.device
        wanted = torch.zeros(len(sets), sae.d_sae, dtype=torch.bool, device=device)
        for at, one in enumerate(sets):
            wanted[at] = one.keep
            wanted[at, list(one.features.get(sae.site, ()))] = not one.keep
        errors = torch.tensor([one.errors for one in sets], device=device)
        means = None
        if base == "mean":
            means = site_means(sae, torch.cat([batch.clean.x[sae.site][batch.usable] for batch in batches]))
        return cls(sae, base, means, wanted, errors)

    @property
    def site(self) -> Site:
        return self.sae.site

    def hook(
        self, batch: BatchRuns, rows: Int[Tensor, " copies"], number: Int[Tensor, " copies"], span: Span
    ) -> Callable[[Tensor, Any], Tensor]:
        """A forward hook for a span of copies of a batch's ``rows``, copy i patched with set ``number[i]``."""
        chosen = effect_tokens(batch, self.base)[:, span.first : span.stop][rows]
        copy, position = chosen.nonzero(as_tuple=True)
        corrupted = batch.corrupted.x[self.site][:, span.first : span.stop]

        def patch(value: Tensor, hook: Any) -> Tensor:
            x = value.flatten(2).clone()
            for chunk in token_chunks(self.sae, len(copy)):
                at = copy[chunk], position[chunk]
                x_base = corrupted[rows[at[0]], at[1]].float()
                x[at] = self.patched(x[at].float(), x_base, number[at[0]]).to(x.dtype)
            return x.view_as(value)

        return patch

    def patched(
        self,
        x: Float[Tensor, "tokens d_in"],
        corrupted: Float[Tensor, "tokens d_in"],
        number: Int[Tensor, " tokens"],
    ) -> Float[Tensor, "tokens d_in"]:
        """x with the features of set ``number[t]`` at their base value in token t, the error term kept or patched."""
        wanted, errors = self.wanted[number], self.errors[number]
        sae, mean = self.sae, None if self.means is None else self.means.f
        if not errors.any():
            # Features do not depend on each other: encode those only that some token patches.
            columns = self.wanted[number.unique()].any(0).nonzero()[:, 0]
            sae, wanted = take_features(sae, columns), wanted[:, columns]
            mean = None if mean is None else mean[columns]
        f_now = sae.encode(x)
        f_base = torch.zeros_like(f_now)
        active = f_now > 0
        if self.base == "corrupted":
            f_base = sae.encode(corrupted)
            active |= f_base > 0
        elif mean is not None:
            f_base = mean.expand_as(f_now)
        patched = x + torch.where(active & wanted, f_base - f_now, 0.0) @ sae.W_dec
        if errors.any():
            e_base = base_activation(self.base, sae, corrupted, self.means) - sae.decode(f_base)
            patched = patched + torch.where(errors[:, None], e_base - (x - sae.decode(f_now)), 0.0)
        return patched
