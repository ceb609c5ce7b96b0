"""What a feature's page holds, and which features are refused."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
import torch

from saeattr import UserError
from saeattr.features import detail, firing, upstream
from saeattr.features.detail import feature_details
from saeattr.runs.question import Pace
from saeattr.runs.task import Task
from saeattr.sites import Site
from tests.runs.short_of_memory import no_more_than, of_prompts


def test_the_first_site_has_nothing_upstream(lm, saes, pairs) -> None:
    chosen = pd.DataFrame({"layer": [0, 1], "kind": ["attn_z", "resid_post"], "feature": [1, 2]})
    task = Task(lm, pairs, [saes[site] for site in (Site("attn_z", 0), Site("resid_post", 1))])
    contexts, details = feature_details(task, chosen)
    _, alone = feature_details(task, chosen, with_upstream=False)
    assert alone == [replace(detail, target=None, upstream=None) for detail in details]
    assert [str(detail.site) for detail in details] == ["attn_z.0", "resid_post.1"]
    assert len(contexts) == len(pairs)
    first = details[0]
    assert first.upstream is None or first.upstream.features == ()
    assert len(first.top_logits) == len(first.bottom_logits) == 10
    values = [value for _, value in first.top_logits]
    assert values == sorted(values, reverse=True)
    assert torch.tensor([cosine for _, cosine in first.neighbours]).abs().max() <= 1 + 1e-5


def test_a_feature_without_an_sae_is_refused(lm, saes, pairs) -> None:
    chosen = pd.DataFrame({"layer": [1], "kind": ["mlp_out"], "feature": [10**6]})
    with pytest.raises(UserError, match="so none is numbered"):
        feature_details(Task(lm, pairs, list(saes.values())), chosen)
    with pytest.raises(UserError, match="there is no SAE for mlp_out.1"):
        feature_details(Task(lm, pairs), chosen)


def chosen_features(saes, pairs, lm) -> tuple[pd.DataFrame, Task]:
    """Some features of two sites, one of them with another upstream, and the task of all pairs."""
    sites = (Site("attn_z", 1), Site("resid_post", 3))
    chosen = pd.DataFrame(
        [
            {"layer": site.layer, "kind": site.kind, "feature": feature}
            for site in sites
            for feature in range(300, 420, 8)
        ]
    )
    return chosen, Task(lm, pairs, [saes[site] for site in sites], pace=Pace(batch_size=4))


@pytest.mark.parametrize(
    ("module", "name", "rows"),
    [
        (firing, "capture", of_prompts),
        (upstream, "final_hidden", of_prompts),
        (upstream, "attribute_site", lambda base, part: len(part.row.unique())),
        (detail, "direct_logits", lambda lm, sae, ids, scales: len(ids)),
    ],
)
def test_where_memory_runs_out_pages_are_made_of_smaller_batches(
    lm, saes, pairs, monkeypatch, module, name: str, rows
) -> None:
    chosen, task = chosen_features(saes, pairs, lm)
    contexts, whole = feature_details(task, chosen)
    assert any(one.upstream is not None and one.upstream.features for one in whole)
    seen: list[int] = []
    monkeypatch.setattr(module, name, no_more_than(2, getattr(module, name), rows, seen))
    again, halved = feature_details(task, chosen)
    assert max(seen) > 2
    assert again == contexts
    for one, other in zip(whole, halved, strict=True):
        assert (one.site, one.feature, one.target) == (other.site, other.feature, other.target)
        (tokens, values), (tokens_again, values_again) = (zip(*of.top_logits, strict=True) for of in (one, other))
        assert tokens == tokens_again
        assert values == pytest.approx(values_again, abs=1e-4)
        assert (one.activity.n_tokens, one.activity.active_clean) == (
            other.activity.n_tokens,
            other.activity.active_clean,
        )
        if one.upstream is not None:
            assert other.upstream is not None
            assert [(up.site, up.feature) for up in one.upstream.features[:3]] == [
                (up.site, up.feature) for up in other.upstream.features[:3]
            ]
            effects, effects_again = ([up.effect for up in of.features] for of in (one.upstream, other.upstream))
            assert effects == pytest.approx(effects_again, abs=1e-3)


def test_where_memory_runs_out_no_batch_is_done_twice(lm, saes, pairs, monkeypatch) -> None:
    chosen, task = chosen_features(saes, pairs, lm)
    seen: list[int] = []
    monkeypatch.setattr(firing, "capture", no_more_than(2, firing.capture, of_prompts, seen))
    feature_details(task, chosen, with_upstream=False)
    assert len(pairs) == 5
    # One that was too large, then the clean and the corrupted prompts of two, two and one.
    assert seen == [4, 2, 2, 2, 2, 1, 1]


def test_where_not_even_one_pair_fits_one_line_says_what_to_do(lm, saes, pairs, monkeypatch) -> None:
    chosen, task = chosen_features(saes, pairs, lm)
    monkeypatch.setattr(firing, "capture", no_more_than(0, firing.capture, of_prompts, []))
    with pytest.raises(UserError, match="^cpu has too little memory for one pair at a time: use a machine with") as end:
        feature_details(task, chosen)
    assert "\n" not in str(end.value)
