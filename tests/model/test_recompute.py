"""Running only the layers above an edited site, against a full forward of the plain model with the same edit."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from saeattr.model.capture import capture
from saeattr.model.loading import LanguageModel
from saeattr.model.recompute import recompute
from saeattr.prompts.pairs import Pair, pad_pairs
from saeattr.sites import KINDS, Site
from tests import plain


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer", range(6))
def test_recompute_equals_a_full_forward(
    lm: LanguageModel, pairs: list[Pair], plain_model: Any, kind: Any, layer: int
) -> None:
    """Edited copies of several rows, in any order and more than once, in a padded batch."""
    site = Site(kind, layer)
    padded = pad_pairs(pairs, lm.pad_id)
    run = capture(lm, padded.clean, padded.mask, [site], for_recompute=True)
    rows = torch.tensor([3, 0, 3])
    noise = torch.randn(run.x[site][rows].shape, generator=torch.Generator().manual_seed(layer))
    x = run.x[site][rows] + 0.3 * noise
    with torch.no_grad():
        hidden = recompute(lm, run, site, x, rows)
    for copy, row in enumerate(rows.tolist()):
        ids = pairs[row].clean_ids
        own = x[copy : copy + 1, : len(ids)]
        with torch.no_grad(), plain.edited(plain_model, site, lambda _, own=own: own):
            expected = plain_model.model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        torch.testing.assert_close(hidden[copy, : len(ids)], expected, rtol=1e-4, atol=1e-5)


def test_only_layers_above_the_site_run(lm: LanguageModel, pairs: list[Pair]) -> None:
    padded = pad_pairs(pairs, lm.pad_id)
    site = Site("resid_post", 3)
    run = capture(lm, padded.clean, padded.mask, [site], for_recompute=True)
    ran: list[int] = []
    handles = [
        layer.register_forward_hook(lambda *_, index=index: ran.append(index)) for index, layer in enumerate(lm.layers)
    ]
    try:
        recompute(lm, run, site, run.x[site], torch.arange(len(pairs)))
    finally:
        for handle in handles:
            handle.remove()
    assert ran == [4, 5]
