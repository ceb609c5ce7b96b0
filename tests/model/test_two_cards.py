"""A model whose layers lie on two cards gives what it gives on one; pretended cards refuse what real ones would."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from saeattr.model.capture import capture
from saeattr.model.prompts import Prompts
from saeattr.model.recompute import Span, recompute
from saeattr.sites import KINDS, Site
from tests.model.cards import FIRST, SECOND, Mixed, on_two_cards
from tests.model.toys import FAMILIES, WINDOW, make_toy, toy_batch

#: Of three layers the first card has this many.
ON_FIRST = 1


def test_pretended_cards_refuse_what_real_ones_would(tmp_path: Path) -> None:
    lm, _ = make_toy("llama", tmp_path)
    with on_two_cards(lm, ON_FIRST):
        here, there = (torch.arange(3, device=card) for card in (FIRST, SECOND))
        assert (here.device, there.device) == (FIRST, SECOND)
        assert (here + here).tolist() == [0, 2, 4]
        assert here[torch.tensor([2])].tolist() == [2]
        for mix in (lambda: here + there, lambda: here[there], lambda: here + torch.arange(3)):
            with pytest.raises(Mixed):
                mix()
        assert (here + there.to(FIRST)).device == FIRST


@pytest.mark.parametrize("family", FAMILIES)
def test_edited_layers_run_on_two_cards_as_on_one(family: str, tmp_path: Path) -> None:
    lm, _ = make_toy(family, tmp_path)
    tokens, mask = toy_batch()
    rows, span, at = torch.tensor([2, 0, 2]), Span(WINDOW + 1, 9), torch.tensor([[8, 7], [7, 7], [8, 8]])
    sites = [Site(kind, layer) for layer in range(3) for kind in KINDS]
    run = capture(lm, Prompts(tokens, mask), sites, keep=("calls",))
    noise = torch.randn(3, span.stop - span.first, 32, generator=torch.Generator().manual_seed(0))
    inside = slice(span.first, span.stop)
    with torch.no_grad():
        expected = [recompute(run, site, run.x[site][rows][:, inside] + noise, rows, span, at) for site in sites]
    with on_two_cards(lm, ON_FIRST), torch.no_grad():
        there = capture(lm, Prompts(tokens.to(FIRST), mask.to(FIRST)), sites, keep=("calls",))
        rows, at, noise = rows.to(FIRST), at.to(FIRST), noise.to(FIRST)
        for site, one_card in zip(sites, expected, strict=True):
            x = there.x[site]
            assert x.device == FIRST
            torch.testing.assert_close(x.cpu(), run.x[site])
            found = recompute(there, site, x[rows][:, inside] + noise, rows, span, at)
            assert found.device == SECOND
            torch.testing.assert_close(found.cpu(), one_card)
