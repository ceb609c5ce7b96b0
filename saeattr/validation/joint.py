"""Many features patched at once, across layers: later sites are encoded anew in the run that is already edited.

Layer by layer over all edited copies at once, so each SAE is opened once a sweep and no more are held than one layer
has (and the next, which is being read).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from saeattr.model.recompute import Span, layer_input, run_layer
from saeattr.progress import OnCount, quiet
from saeattr.runs.base import SiteBase, token_chunks
from saeattr.runs.batch import BatchRuns, CorruptedTokens, effect_tokens
from saeattr.runs.effects import decision_slots, metric_change
from saeattr.runs.unedited import forwards, with_unedited
from saeattr.saes.formats import SaeFile
from saeattr.saes.loading import stream_saes
from saeattr.saes.sae import SparseAutoencoder
from saeattr.sites import Site
from saeattr.validation.controls import stand_in_move

#: Hidden states of edited copies held at a time; more copies take another sweep over the layers.
HELD_BYTES = 2**28

#: In place of a set's number: the copy is patched with none.
UNEDITED = -1


@dataclass(frozen=True)
class FeatureSet:
    """What to patch: the named features, or with ``keep`` all features of the patched sites but the named ones.

    Attributes:
        errors: the error terms of those sites too.
        stand_ins: by site another feature for each named one; x is then moved along their directions, as far as
            patching the named features there would move it (``stand_in_move``).
    """

    features: Mapping[Site, Sequence[int]] = field(default_factory=dict)
    keep: bool = False
    errors: bool = False
    stand_ins: Mapping[Site, Sequence[int]] = field(default_factory=dict)

    @property
    def needs_all(self) -> bool:
        """Whether every feature of an SAE has to be encoded."""
        return self.keep or self.errors


@dataclass(frozen=True)
class SitePatch:
    """One site's part of patching several sets, each in its own copies of the prompts.

    Attributes:
        wanted: which features each set patches; none of a set with stand-ins.
        errors: which sets patch the error term.
        stand_ins: by the number of a set, its features here and those that stand in for them.
        lengths: by the number of such a set, how far x was moved in all, and how far it was to be: filled as it goes.
    """

    base: SiteBase
    wanted: Bool[Tensor, "sets d_sae"]
    errors: Bool[Tensor, " sets"]
    stand_ins: Mapping[int, tuple[Int[Tensor, " features"], Int[Tensor, " features"]]]
    lengths: dict[int, NDArray[np.float64]] = field(default_factory=dict)

    @classmethod
    def of(cls, sae: SparseAutoencoder, batches: Sequence[BatchRuns], sets: Sequence[FeatureSet]) -> SitePatch:
        device = sae.W_dec.device
        wanted = torch.zeros(len(sets), sae.d_sae, dtype=torch.bool, device=device)
        for at, one in enumerate(sets):
            wanted[at] = one.keep
            if not one.stand_ins:
                wanted[at, list(one.features.get(sae.site, ()))] = not one.keep
        errors = torch.tensor([one.errors for one in sets], device=device)
        stand_ins = {
            at: (torch.tensor(one.features[sae.site], device=device), torch.tensor(others, device=device))
            for at, one in enumerate(sets)
            if len(others := list(one.stand_ins.get(sae.site, ())))
        }
        return cls(SiteBase.of(sae, batches), wanted, errors, stand_ins)

    @property
    def site(self) -> Site:
        return self.base.sae.site

    def hook(
        self, batch: BatchRuns, rows: Int[Tensor, " copies"], number: Int[Tensor, " copies"], span: Span
    ) -> Callable[[Tensor, Any], Tensor]:
        """A forward hook for a span of copies of a batch's ``rows``, copy i patched with set ``number[i]``."""
        chosen = effect_tokens(batch, self.base.name)[:, span.first : span.stop][rows]
        copy, position = (chosen & (number != UNEDITED)[:, None]).nonzero(as_tuple=True)

        def patch(value: Tensor, hook: Any) -> Tensor:
            # The layer may lie on another card than the SAE.
            x = value.flatten(2).to(rows.device, copy=True)
            for chunk in token_chunks(self.base.sae, len(copy)):
                at = copy[chunk], position[chunk]
                corrupted = batch.corrupted_tokens(self.site, rows[at[0]], at[1] + span.first)
                was, numbers = x[at].float(), number[at[0]]
                x[at] = self.patched(was, corrupted, numbers).to(x.dtype)
                for nth in self.stand_ins:
                    mine = numbers == nth
                    own = None if corrupted is None else corrupted.take(mine)
                    x[at[0][mine], at[1][mine]] = self._stood_in(nth, was[mine], own, x.dtype)
            return x.to(value.device).view_as(value)

        return patch

    def patched(
        self,
        x: Float[Tensor, "tokens d_in"],
        corrupted: CorruptedTokens | None,
        number: Int[Tensor, " tokens"],
    ) -> Float[Tensor, "tokens d_in"]:
        """x with the features of set ``number[t]`` at their base value in token t, the error term kept or patched."""
        wanted, errors, base = self.wanted[number], self.errors[number], self.base
        if not errors.any():
            # Features do not depend on each other: encode those only that some token patches.
            columns = self.wanted[number.unique()].any(0).nonzero()[:, 0]
            base, wanted = base.of_features(columns), wanted[:, columns]
        sae = base.sae
        f_now = sae.encode(x)
        entry, f_base = base.entries(f_now, corrupted)
        patched = x + torch.where(entry & wanted, f_base - f_now, 0.0) @ sae.W_dec
        if errors.any():
            e_base = base.activation(x, corrupted) - sae.decode(f_base)
            patched = patched + torch.where(errors[:, None], e_base - (x - sae.decode(f_now)), 0.0)
        return patched

    def _stood_in(
        self,
        nth: int,
        x: Float[Tensor, "tokens d_in"],
        corrupted: CorruptedTokens | None,
        dtype: torch.dtype,
    ) -> Float[Tensor, "tokens d_in"]:
        """x moved by the stand-ins of one set and rounded to ``dtype``; the lengths are noted."""
        features, others = self.stand_ins[nth]
        few = self.base.of_features(features)
        change = few.change(few.sae.encode(x), corrupted)
        moved = (x + stand_in_move(change, few.sae.W_dec, self.base.sae.W_dec[others])).to(dtype)
        wanted = (change @ few.sae.W_dec).norm(dim=1)
        both = np.array([float((moved.float() - x).norm(dim=1).sum()), float(wanted.sum())])
        self.lengths[nth] = self.lengths.get(nth, np.zeros(2)) + both
        return moved


@dataclass(frozen=True)
class Copies:
    """Copies of a batch's rows, forward by forward; in each the edited ones, then unedited ones where they are needed.

    Attributes:
        row: of the batch.
        number: of the set that each is patched with, or ``UNEDITED``; the others stand in order (set, pair).
        forwards: which copies run together.
    """

    row: Int[Tensor, " copies"]
    number: Int[Tensor, " copies"]
    forwards: list[slice]

    @classmethod
    def of(cls, batch: BatchRuns, n_sets: int, copies: int) -> Copies:
        n_pairs, device = len(batch.pairs), batch.lm.device
        edited = torch.arange(n_pairs, device=device).repeat(n_sets)
        of_set = torch.arange(n_sets, device=device).repeat_interleave(n_pairs)
        rows, numbers, parts, start = [], [], [], 0
        for part in forwards(batch, edited, copies):
            rows.append(with_unedited(batch, edited[part]))
            beside = of_set.new_full((len(rows[-1]) - len(edited[part]),), UNEDITED)
            numbers.append(torch.cat([of_set[part], beside]))
            parts.append(slice(start, start + len(rows[-1])))
            start = parts[-1].stop
        return cls(torch.cat(rows), torch.cat(numbers), parts)


@dataclass(frozen=True)
class JointEffects:
    """What patching sets of features did.

    Attributes:
        effects: the exact change of the metric.
        length_ratio: of a set with stand-ins, how far x was moved over all sites and tokens, against how far patching
            its own features there would have moved it; NaN for the others.
    """

    effects: Float[Tensor, "sets pairs"]
    length_ratio: NDArray[np.float64]


@torch.no_grad()
def joint_effects(
    batches: Sequence[BatchRuns],
    files: Sequence[SaeFile],
    sets: Sequence[FeatureSet],
    copies: int,
    on_layer: OnCount = quiet,
) -> JointEffects:
    """The exact change of the metric when all features of a set are patched to their base values together.

    At every site of ``files``, in the order in which the model computes them, x becomes
    x + sum_i (f_i^base - f_i^now) W_dec[i] at the tokens that can have an effect, where f^now is encoded from the
    edited run: what earlier patches already changed is not changed twice, and a feature that they switch on is switched
    off again. The error terms of the edited run are kept, unless the set patches them too. As for single features,
    a mean is set only where the feature is active.

    Args:
        files: the SAEs of the sites; a set may name features of these sites only.
        copies: edited copies in one forward.
    """
    lm = batches[0].lm
    files = sorted(files, key=lambda file: file.site.order)
    layer = files[0].site.layer
    counts = [len(batch.pairs) for batch in batches]
    a_set = sum(n * batch.clean.calls.inputs[layer][0].nbytes for n, batch in zip(counts, batches, strict=True))
    at_once = max(1, HELD_BYTES // a_set)
    # Sets that need every feature of an SAE stand together, so that the others need a few of its rows only.
    order = sorted(range(len(sets)), key=lambda at: sets[at].needs_all)
    effects = torch.empty(len(sets), sum(counts), device=lm.device)
    lengths = np.zeros((len(sets), 2))
    for start in range(0, len(order), at_once):
        numbers = order[start : start + at_once]

        def report(done: int, total: int, sweep: int = start // at_once) -> None:
            on_layer(sweep * total + done, total * -(-len(order) // at_once))

        chosen = [sets[at] for at in numbers]
        effects[numbers], lengths[numbers] = _sweep(batches, files, chosen, copies, report)
    with np.errstate(invalid="ignore"):
        return JointEffects(effects, lengths[:, 0] / lengths[:, 1])


def _sweep(
    batches: Sequence[BatchRuns],
    files: Sequence[SaeFile],
    sets: Sequence[FeatureSet],
    copies: int,
    on_layer: OnCount,
) -> tuple[Float[Tensor, "sets pairs"], NDArray[np.float64]]:
    """All copies of all batches, from the first site's layer to the metric; and the lengths that stand-ins moved."""
    lm = batches[0].lm
    first, device = files[0].site.layer, lm.device
    spans = [effect_span(batch) for batch in batches]
    made = [Copies.of(batch, len(sets), copies) for batch in batches]
    hidden = [layer_input(one.clean, first, of.row, span) for one, of, span in zip(batches, made, spans, strict=True)]
    opened = stream_saes(files, device)
    lengths = np.zeros((len(sets), 2))
    for layer in range(first, lm.n_layers):
        on_layer(layer - first, lm.n_layers - first)
        patches = [SitePatch.of(next(opened), batches, sets) for _ in range(sum(f.site.layer == layer for f in files))]
        for at, batch in enumerate(batches):
            for part in made[at].forwards:
                own, number = made[at].row[part], made[at].number[part]
                hooks = [(patch.site.hook_name, patch.hook(batch, own, number, spans[at])) for patch in patches]
                with lm.hooks(hooks):
                    hidden[at][part] = run_layer(batch.clean, layer, hidden[at][part], own, spans[at])
        for patch in patches:
            for nth, both in patch.lengths.items():
                lengths[nth] += both
    on_layer(lm.n_layers - first, lm.n_layers - first)
    read = [_read_changes(*of_batch).view(len(sets), -1) for of_batch in zip(batches, made, hidden, spans, strict=True)]
    return torch.cat(read, dim=1), lengths


def _read_changes(batch: BatchRuns, made: Copies, hidden: Tensor, span: Span) -> Float[Tensor, " edits"]:
    """The change of the metric in every edited copy, from what the last layer made of all copies."""
    positions = decision_slots(batch)[0].to(hidden.device) - span.first
    changes = []
    for part in made.forwards:
        own, edited = made.row[part], made.row[part][made.number[part] != UNEDITED]
        copy = torch.arange(len(own), device=hidden.device)[:, None]
        final = batch.lm.final_norm(hidden[part][copy, positions[own.to(hidden.device)]])
        changes.append(metric_change(batch, final, edited, span.first))
    return torch.cat(changes)


def effect_span(batch: BatchRuns) -> Span:
    """From the first position of a batch at which a patch can have an effect to the last."""
    positions = effect_tokens(batch, batch.question.base).any(0).nonzero()
    return Span(int(positions.min()), int(positions.max()) + 1)
