"""Running only the layers above an edited site, against a full forward of the plain model with the same edit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from saeattr.behaviours.lists.pairs import make_pairs
from saeattr.behaviours.lists.sampling import Sampling, sample_lists
from saeattr.behaviours.pair import Pair, pad_pairs
from saeattr.model.capture import capture, final_hidden
from saeattr.model.loading import LanguageModel, load_model
from saeattr.model.prompts import Prompts
from saeattr.model.recompute import Span, recompute
from saeattr.sites import KINDS, Site
from tests import plain
from tests.model.toys import FAMILIES, WINDOW, make_toy, toy_batch


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer", range(6))
def test_recompute_equals_a_full_forward(
    lm: LanguageModel, pairs: list[Pair], plain_model: Any, kind: Any, layer: int
) -> None:
    """Edited copies of several rows, in any order and more than once, in a padded batch."""
    site = Site(kind, layer)
    padded = pad_pairs(pairs, lm.pad_id)
    run = capture(lm, padded.clean, [site], keep=("calls",))
    rows = torch.tensor([3, 0, 3])
    noise = torch.randn(run.x[site][rows].shape, generator=torch.Generator().manual_seed(layer))
    x = run.x[site][rows] + 0.3 * noise
    with torch.no_grad():
        hidden = recompute(run, site, x, rows)
    for copy, row in enumerate(rows.tolist()):
        ids = pairs[row].clean_ids
        own = x[copy : copy + 1, : len(ids)]
        with torch.no_grad(), plain.edited(plain_model, site, lambda _, own=own: own):
            expected = plain_model.model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        torch.testing.assert_close(hidden[copy, : len(ids)], expected, rtol=1e-4, atol=1e-5)


def test_only_layers_above_the_site_run(lm: LanguageModel, pairs: list[Pair]) -> None:
    padded = pad_pairs(pairs, lm.pad_id)
    site = Site("resid_post", 3)
    run = capture(lm, padded.clean, [site], keep=("calls",))
    ran: list[int] = []
    handles = [
        layer.register_forward_hook(lambda *_, index=index: ran.append(index)) for index, layer in enumerate(lm.layers)
    ]
    try:
        recompute(run, site, run.x[site], torch.arange(len(pairs)))
    finally:
        for handle in handles:
            handle.remove()
    assert ran == [4, 5]


@pytest.mark.parametrize("family", FAMILIES)
def test_positions_before_an_edit_are_not_computed_again(family: str, tmp_path: Path) -> None:
    """Every family, layer and kind, edits from a position on, behind the sliding window too, in a padded batch.

    Nor, in the last layer, positions that nobody asks for.
    """
    lm, _ = make_toy(family, tmp_path)
    tokens, mask = toy_batch()
    rows, span = torch.tensor([2, 0, 2]), Span(WINDOW + 1, 9)
    for site in [Site(kind, layer) for layer in range(3) for kind in KINDS]:
        run = capture(lm, Prompts(tokens, mask), [site], keep=("calls",))
        x = run.x[site][rows]
        x[:, span.first :] += torch.randn(x[:, span.first :].shape, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            whole = recompute(run, site, x, rows)
            part = recompute(run, site, x[:, span.first : span.stop], rows, span)
            at = torch.tensor([[8, 7], [7, 7], [8, 8]])
            some = recompute(run, site, x[:, span.first : span.stop], rows, span, at)
            put_in = [(site.hook_name, lambda value, hook, x=x: x.view_as(value))]
            with lm.bridge.hooks(fwd_hooks=put_in):  # pyright: ignore[reportArgumentType]
                hooked = final_hidden(lm, Prompts(tokens[rows], mask[rows]))
        inside = slice(span.first, span.stop)
        torch.testing.assert_close(whole[:, inside], hooked[:, inside], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(part, hooked[:, inside], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(some, hooked[torch.arange(3)[:, None], at], rtol=1e-5, atol=1e-5)
        assert (hooked - final_hidden(lm, Prompts(tokens[rows], mask[rows])))[:, inside].abs().max() > 1e-2


def test_bfloat16_agrees_to_its_precision() -> None:
    """1e-2 of the size of the hidden state, with and without reuse of the positions before."""
    lm = load_model("bundled", device="cpu", dtype="bfloat16")
    found, _ = make_pairs(lm.tokenizer, sample_lists(lm, "animals", Sampling(3, seed=1)))
    padded = pad_pairs(found, lm.pad_id)
    span = Span(20, int(padded.clean.mask.sum(1).min()))
    rows = torch.tensor([2, 0, 1])
    for site in (Site("attn_z", 0), Site("mlp_out", 2), Site("resid_post", 4)):
        run = capture(lm, padded.clean, [site], keep=("calls",))
        x = run.x[site][rows].float()
        x[:, span.first :] *= 1.2
        with torch.no_grad():
            part = recompute(run, site, x[:, span.first : span.stop], rows, span)
            put_in = [(site.hook_name, lambda value, hook, x=x: x.to(value.dtype).view_as(value))]
            with lm.bridge.hooks(fwd_hooks=put_in):  # pyright: ignore[reportArgumentType]
                hooked = final_hidden(lm, padded.clean.take(rows))[:, span.first : span.stop]
        assert (part - hooked).float().norm() < 1e-2 * hooked.float().norm()


def test_keys_and_values_of_a_run_are_made_once(lm: LanguageModel, pairs: list[Pair]) -> None:
    padded = pad_pairs(pairs, lm.pad_id)
    site, span = Site("resid_post", 3), Span(10, 20)
    run = capture(lm, padded.clean, [site], keep=("calls",))
    rows = torch.arange(len(pairs))
    first = recompute(run, site, run.x[site][:, 10:20], rows, span)
    kept = {layer: id(both[0]) for layer, both in run.calls.keys_values.items()}
    assert sorted(kept) == [4, 5]
    again = recompute(run, site, run.x[site][:, 10:20], rows, span)
    assert {layer: id(both[0]) for layer, both in run.calls.keys_values.items()} == kept
    assert torch.equal(first, again)
