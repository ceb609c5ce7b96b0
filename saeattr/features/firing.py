"""Chosen features in every pair of a study: the model runs once clean and once corrupted, all positions are kept."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saeattr.behaviours.pair import BOS, NO_PARTNER, Pair, chunks, pad_pairs
from saeattr.features.activity import Activity, Context, summarise
from saeattr.features.directions import NormScales, inverse_rms, project_heads
from saeattr.model.capture import capture
from saeattr.model.loading import LanguageModel
from saeattr.progress import OnCount, quiet
from saeattr.runs.batch import at_clean_positions
from saeattr.saes.sae import SparseAutoencoder
from saeattr.sites import Site


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
    """Run all pairs; ``chosen`` holds SAEs of the chosen features only (``SparseAutoencoder.take_features``)."""
    last = Site("resid_post", lm.n_layers - 1)
    sites = sorted({*chosen, last})
    where: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    found: dict[str, dict[Site, list[NDArray[np.float32]]]] = {
        run: {site: [] for site in chosen} for run in ("clean", "corrupted")
    }
    final: list[Tensor] = []
    attention: dict[int, list[Tensor]] = {site.layer: [] for site in chosen if site.kind == "attn_z"}
    all_paired = all(pair.corrupted_ids is not None for pair in pairs)
    for nth, batch in enumerate(chunks(pairs, batch_size)):
        start = nth * batch_size
        on_batch(start, len(pairs))
        padded = pad_pairs(batch, lm.pad_id, lm.device)
        keep = padded.clean.mask.clone()
        keep[:, 0] &= torch.tensor([pair.roles[0] != BOS for pair in batch], device=keep.device)
        row, position = (index.cpu().numpy() for index in keep.nonzero(as_tuple=True))
        where.append((row + start, position))
        for run, prompts in (("clean", padded.clean), ("corrupted", padded.corrupted)):
            if prompts is None or (run == "corrupted" and not all_paired):
                continue
            x, there = capture(lm, prompts, sites).x, torch.ones_like(keep)
            if run == "corrupted" and padded.partner is not None:
                x, there = at_clean_positions(x, padded.partner), padded.partner >= 0
            for site, sae in chosen.items():
                found[run][site].append((sae.encode(x[site][keep]) * there[keep][:, None]).cpu().numpy())
            if run == "clean":
                at = _decisions(batch)
                final.append(inverse_rms(x[last][at]))
                for layer, sizes in attention.items():
                    sizes.append(inverse_rms(project_heads(lm, layer, x[Site("attn_z", layer)][at])))
    on_batch(len(pairs), len(pairs))
    pair, position = (np.concatenate(part) for part in zip(*where, strict=True))
    scales = NormScales(
        float(torch.cat(final).mean()), {layer: float(torch.cat(sizes).mean()) for layer, sizes in attention.items()}
    )
    joined = {
        run: {site: np.concatenate(parts) for site, parts in by_site.items() if parts} for run, by_site in found.items()
    }
    return Firings(pair, position, joined["clean"], joined["corrupted"], scales)


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
