"""Chosen features in every pair of a study: the model runs once clean and once corrupted, all positions are kept."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saeattr.behaviours.pair import BOS, NO_PARTNER, Pair, pad_pairs
from saeattr.features.activity import Activity, Context, summarise
from saeattr.features.directions import NormScales, inverse_rms, project_heads
from saeattr.model.capture import capture
from saeattr.model.loading import LanguageModel
from saeattr.progress import OnCount, quiet
from saeattr.runs.batch import at_clean_positions
from saeattr.runs.halving import batches_that_fit
from saeattr.saes.sae import SparseAutoencoder
from saeattr.sites import Site

#: What to do where the model does not fit beside one pair or one feature.
WITHOUT_MODEL = "use a machine with more of it, or leave the model out of a report with --no-model"


@dataclass(frozen=True)
class Firings:
    """Activations of the chosen features at every position but BOS of every pair.

    Attributes:
        pair, position: where each token stands.
        clean, corrupted: by site, [tokens, features], the features in the order of the site's chosen ones; corrupted is
            empty where a pair has no corrupted prompt.
        scales: sizes that the direct logits are divided by.
    """

    pair: NDArray[np.int64]
    position: NDArray[np.int64]
    clean: dict[Site, NDArray[np.float32]]
    corrupted: dict[Site, NDArray[np.float32]]
    scales: NormScales


@torch.no_grad()
def read_firings(
    lm: LanguageModel,
    pairs: Sequence[Pair],
    chosen: Mapping[Site, SparseAutoencoder],
    batch_size: int,
    on_batch: OnCount = quiet,
) -> Firings:
    """Run all pairs; ``chosen`` holds SAEs of the chosen features only (``SparseAutoencoder.take_features``).

    Args:
        batch_size: pairs in one forward; half as many where memory runs out.

    Raises:
        UserError: one pair at a time does not fit.
    """
    all_paired = all(pair.corrupted_ids is not None for pair in pairs)
    parts: list[_Batch] = []

    def attempt(batch: Sequence[Pair]) -> _Batch:
        on_batch(sum(part.n_pairs for part in parts), len(pairs))
        return _read_batch(lm, batch, chosen, all_paired)

    for part in batches_that_fit(lm.device, pairs, batch_size, attempt, mend=WITHOUT_MODEL):
        parts.append(part)
    on_batch(len(pairs), len(pairs))
    starts = np.cumsum([0, *(part.n_pairs for part in parts)])
    pair = np.concatenate([part.row + start for part, start in zip(parts, starts, strict=False)])
    position = np.concatenate([part.position for part in parts])
    attention = {
        layer: float(torch.cat([part.attention[layer] for part in parts]).mean()) for layer in parts[0].attention
    }
    scales = NormScales(float(torch.cat([part.final for part in parts]).mean()), attention)
    joined = {
        run: {site: np.concatenate([part.found[run][site] for part in parts]) for site in parts[0].found[run]}
        for run in ("clean", "corrupted")
    }
    return Firings(pair, position, joined["clean"], joined["corrupted"], scales)


@dataclass(frozen=True)
class _Batch:
    """What is read of one batch.

    Attributes:
        row, position: of each token; found: by run and site as in ``Firings``.
        final, attention: 1 / rms at the decision points; attention by layer.
    """

    n_pairs: int
    row: NDArray[np.int64]
    position: NDArray[np.int64]
    found: dict[str, dict[Site, NDArray[np.float32]]]
    final: Tensor
    attention: dict[int, Tensor]


def _read_batch(
    lm: LanguageModel, batch: Sequence[Pair], chosen: Mapping[Site, SparseAutoencoder], all_paired: bool
) -> _Batch:
    last = Site("resid_post", lm.n_layers - 1)
    padded = pad_pairs(batch, lm.pad_id, lm.device)
    keep = padded.clean.mask.clone()
    keep[:, 0] &= torch.tensor([pair.roles[0] != BOS for pair in batch], device=keep.device)
    row, position = (index.cpu().numpy() for index in keep.nonzero(as_tuple=True))
    found: dict[str, dict[Site, NDArray[np.float32]]] = {"clean": {}, "corrupted": {}}
    final, attention, at = torch.empty(0), dict[int, Tensor](), _decisions(batch)
    for run, prompts in (("clean", padded.clean), ("corrupted", padded.corrupted)):
        if prompts is None or (run == "corrupted" and not all_paired):
            continue
        x, there = capture(lm, prompts, sorted({*chosen, last})).x, torch.ones_like(keep)
        if run == "corrupted" and padded.partner is not None:
            x, there = at_clean_positions(x, padded.partner), padded.partner >= 0
        for site, sae in chosen.items():
            found[run][site] = (sae.encode(x[site][keep]) * there[keep][:, None]).cpu().numpy()
        if run == "clean":
            final = inverse_rms(x[last][at])
            for layer in (site.layer for site in chosen if site.kind == "attn_z"):
                attention[layer] = inverse_rms(project_heads(lm, layer, x[Site("attn_z", layer)][at]))
    return _Batch(len(batch), row, position, found, final, attention)


def pair_contexts(lm: LanguageModel, pairs: Sequence[Pair]) -> list[Context]:
    """Each pair's tokens without BOS, with the corrupted run's tokens where they differ."""
    text = functools.cache(lambda token_id: NO_PARTNER if token_id is None else str(lm.tokenizer.decode([token_id])))
    contexts = []
    for pair in pairs:
        start = 1 if pair.roles[0] == BOS else 0
        other = pair.partner_ids
        swaps = {position - start: text(other[position]) for position in pair.changed_positions}
        tokens = tuple(text(token) for token in pair.clean_ids[start:])
        contexts.append(Context(pair.group, pair.pair_id, start, tokens, tuple(pair.roles[start:]), swaps))
    return contexts


def firing_activity(firings: Firings, site: Site, nth: int, contexts: Sequence[Context]) -> Activity:
    """The activity of the ``nth`` chosen feature of a site."""
    clean = firings.clean[site][:, nth]
    corrupted = firings.corrupted[site][:, nth] if site in firings.corrupted else None
    active = clean > 0 if corrupted is None else (clean > 0) | (corrupted > 0)
    pair = firings.pair[active]
    start = np.array([contexts[at].start for at in pair], dtype=np.int64)
    values = (clean[active].astype(np.float64), None if corrupted is None else corrupted[active].astype(np.float64))
    return summarise(pair, firings.position[active] - start, *values, contexts, len(firings.pair))


def most_active(firings: Firings, site: Site, nth: int) -> tuple[int, int] | None:
    """The pair and position at which a feature is most active in the clean run; None where it never is."""
    clean = firings.clean[site][:, nth]
    at = int(clean.argmax())
    return (int(firings.pair[at]), int(firings.position[at])) if clean[at] > 0 else None


def _decisions(batch: Sequence[Pair]) -> tuple[Tensor, Tensor]:
    """Row and position of every decision point of a batch."""
    points = [(row, point.position) for row, pair in enumerate(batch) for point in pair.points]
    rows, positions = zip(*points, strict=True)
    return torch.tensor(rows), torch.tensor(positions)
