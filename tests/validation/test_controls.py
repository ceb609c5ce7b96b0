"""A site's profile counted token by token with plain hooks, and controls chosen from a profile made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from saeattr.behaviours.pair import Pair
from saeattr.model.loading import LanguageModel
from saeattr.runs.base import BASES, SiteBase, site_means
from saeattr.runs.batch import run_batch
from saeattr.runs.question import Question
from saeattr.saes.loading import SaeFile, load_sae
from saeattr.settings import BaseName
from saeattr.sites import Site
from saeattr.validation.controls import SiteProfile, match_controls, profile_site
from tests.plain import read

SITE = Site("mlp_out", 2)


@pytest.mark.parametrize("base", BASES)
def test_a_change_is_averaged_over_the_tokens_that_have_an_entry(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], plain_model: Any, base: BaseName
) -> None:
    """The frequency and the activation's size are averaged over all tokens that can have an effect."""
    sae = load_sae(saes[SITE])
    batches = [run_batch(lm, part, [SITE], Question(base=base)) for part in (pairs[:2], pairs[2:])]
    means = site_means(sae, torch.cat([batch.clean.x[SITE][batch.usable] for batch in batches]))
    found = profile_site(SiteBase.of(sae, batches), batches)
    changes: list[list[float]] = [[] for _ in range(sae.d_sae)]
    n_tokens, activation = 0, torch.zeros(sae.d_sae)
    for pair in pairs:
        first = min(pair.changed_positions) if base == "corrupted" else 1
        tokens = slice(first, pair.points[-1].position + 1)
        f = sae.encode(read(plain_model, SITE, pair.clean_ids)[tokens])
        n_tokens, activation = n_tokens + len(f), activation + f.sum(0)
        other, entry = torch.zeros_like(f), f > 0
        if base == "corrupted":
            assert pair.corrupted_ids is not None
            other = sae.encode(read(plain_model, SITE, pair.corrupted_ids)[tokens])
            entry = entry | (other > 0)
        elif base == "mean":
            other = means.f.expand_as(f)
        for token, feature in entry.nonzero().tolist():
            changes[feature].append(float((other - f)[token, feature].abs()))
    counts = np.array([len(own) for own in changes])
    length = np.linalg.norm(sae.W_dec.numpy(), axis=1)
    assert ((counts > 0) & (counts < n_tokens)).sum() > 10
    assert (counts == 0).any()
    expected = np.array([np.mean(own) if own else 0.0 for own in changes]) * length
    np.testing.assert_allclose(found.change_norm, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.frequency, counts / n_tokens, atol=1e-12)
    np.testing.assert_allclose(found.activation_norm, activation.numpy() / n_tokens * length, rtol=1e-3, atol=1e-4)


def test_controls_are_the_nearest_in_both_ratios() -> None:
    """Distances from feature 0, in factors of 2: none, 1 + 1, 1, 3; feature 4 never changes, 5 is excluded."""
    change = np.array([1.0, 2.0, 1.0, 8.0, 0.0, 1.0, 1.0])
    frequency = np.array([0.25, 0.5, 0.125, 0.25, 0.5, 0.25, 0.25])
    profile = SiteProfile(change, frequency, change)
    assert match_controls(profile, 0, [5], 10).tolist() == [6, 2, 1, 3]
    assert match_controls(profile, 0, [5, 6], 2).tolist() == [2, 1]
    assert match_controls(profile, 0, [0, 5]).tolist() == [6, 2, 1, 3]
