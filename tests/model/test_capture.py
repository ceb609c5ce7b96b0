"""Activations and gradients of a padded batch against the plain model."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from saeattr.behaviours.pair import Pair, pad_pairs
from saeattr.model.capture import capture, final_hidden
from saeattr.model.loading import LanguageModel
from saeattr.model.prompts import Prompts
from saeattr.runs.metric import LOGIT_DIFFERENCE, per_prompt, plan_reads, read_values
from saeattr.sites import KINDS, Site
from tests import plain

SITES = [Site(kind, layer) for layer in (0, 2, 5) for kind in KINDS]


def test_activations_equal_those_of_the_plain_model(lm: LanguageModel, pairs: list[Pair], plain_model: Any) -> None:
    padded = pad_pairs(pairs, lm.pad_id)
    run = capture(lm, padded.clean, SITES)
    assert set(run.x) == set(SITES)
    for row, pair in enumerate(pairs):
        for site in SITES:
            expected = plain.read(plain_model, site, pair.clean_ids)
            torch.testing.assert_close(run.x[site][row, : len(pair.clean_ids)], expected, rtol=1e-4, atol=1e-5)


def test_gradients_equal_those_of_the_plain_model_without_padding(
    lm: LanguageModel, pairs: list[Pair], plain_model: Any
) -> None:
    reads = plan_reads(pairs, "last")
    padded = pad_pairs(pairs, lm.pad_id)
    run = capture(
        lm,
        padded.clean,
        SITES,
        lambda hidden: per_prompt(LOGIT_DIFFERENCE, reads, read_values(lm, LOGIT_DIFFERENCE, reads, hidden)),
        keep=("g",),
    )
    assert run.metric is not None
    for row, pair in enumerate(pairs):
        last = pair.points[-1]
        for site in SITES:
            x = plain.read(plain_model, site, pair.clean_ids).requires_grad_()
            with plain.edited(plain_model, site, lambda _, x=x: x[None]):
                value = plain.metric(plain_model, pair.clean_ids, last.position, last.wanted[0], last.unwanted[0])
            (expected,) = torch.autograd.grad(value, [x])
            got = run.g[site][row, : len(pair.clean_ids)]
            scale = expected.abs().max()
            torch.testing.assert_close(got / scale, expected / scale, rtol=1e-4, atol=1e-5)
            assert float(run.metric[row]) == pytest.approx(float(value), abs=1e-4)


def test_padding_has_no_gradient_and_leaves_no_trace(lm: LanguageModel, pairs: list[Pair]) -> None:
    reads = plan_reads(pairs, "last")
    padded = pad_pairs(pairs, lm.pad_id)
    other = padded.clean.tokens.masked_fill(~padded.clean.mask, 7)

    def read(hidden: torch.Tensor) -> torch.Tensor:
        return per_prompt(LOGIT_DIFFERENCE, reads, read_values(lm, LOGIT_DIFFERENCE, reads, hidden))

    mask, both = padded.clean.mask, (padded.clean.tokens, other)
    runs = [capture(lm, Prompts(tokens, mask), SITES, read, keep=("g",)) for tokens in both]
    for site in SITES:
        assert float(runs[0].g[site][~padded.clean.mask].abs().max()) == 0
        torch.testing.assert_close(runs[0].g[site], runs[1].g[site], rtol=0, atol=0)


def test_no_logits_of_the_whole_vocabulary_are_computed(lm: LanguageModel, pairs: list[Pair]) -> None:
    reads = plan_reads(pairs, "last")
    padded = pad_pairs(pairs, lm.pad_id)
    called: list[int] = []
    unembedding: Any = lm.hf.get_output_embeddings()
    handle = unembedding.register_forward_hook(lambda *_: called.append(1))
    try:
        capture(
            lm,
            padded.clean,
            SITES,
            lambda h: per_prompt(LOGIT_DIFFERENCE, reads, read_values(lm, LOGIT_DIFFERENCE, reads, h)),
        )
        assert called == []
        lm.hf(padded.clean.tokens[:1])
        assert called == [1]
    finally:
        handle.remove()


def test_capturing_leaves_the_model_as_it_was(lm: LanguageModel, pairs: list[Pair]) -> None:
    padded = pad_pairs(pairs, lm.pad_id)
    before = final_hidden(lm, padded.clean)
    capture(lm, padded.clean, SITES, keep=("calls",))
    torch.testing.assert_close(final_hidden(lm, padded.clean), before, rtol=0, atol=0)
    assert not any(parameter.requires_grad for parameter in lm.hf.parameters())
