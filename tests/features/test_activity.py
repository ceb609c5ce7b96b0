"""Where features fire: the same from the tables, from the model, and from plain hooks on the Hugging Face model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from saeattr.features.activity import keep_used, table_activities
from saeattr.features.firing import firing_activity, most_active, pair_contexts, read_firings
from saeattr.saes.loading import load_sae
from saeattr.sites import Site
from tests.plain import read

SITE = Site("resid_post", 3)


def rows(values: list[tuple]) -> pd.DataFrame:
    """group, pair_id, position, token, role, feature, act_clean, act_base."""
    names = ["group", "pair_id", "position", "token", "role", "feature", "act_clean", "act_base"]
    return pd.DataFrame(values, columns=names).assign(layer=3, kind="resid_post")


def stored_pairs(values: list[tuple]) -> pd.DataFrame:
    """group, pair_id and the lists clean_tokens, corrupted_tokens, roles of pairs.parquet."""
    return pd.DataFrame(values, columns=["group", "pair_id", "clean_tokens", "corrupted_tokens", "roles"])


def test_tables_tell_where_a_feature_fires() -> None:
    table = rows(
        [
            ("cities", "000", 7, " short", "length", 5, 0.0, 1.5),
            ("cities", "000", 8, " list", "request", 6, 1.0, 1.0),
            ("cities", "000", 9, "\n", "newline", 5, 2.0, 0.0),
            ("cities", "001", 7, " short", "length", 6, 1.0, 0.0),
            ("cities", "001", 9, "\n", "newline", 5, 4.0, 3.0),
        ]
    )
    before, behind = ["<bos>", *"abcdef"], ["-", "x"]
    clean, corrupted = ([*before, word, " list", "\n", *behind] for word in (" short", " long"))
    roles = ["bos", *["request"] * 6, "length", "request", "newline", "item", "item"]
    stored = stored_pairs([("cities", name, clean, corrupted, roles) for name in ("000", "001")])
    chosen = pd.DataFrame({"layer": [3], "kind": ["resid_post"], "feature": [5]})
    contexts, found = table_activities([(table, stored)], chosen, "corrupted")
    # Position 8 of the second pair has no row of any feature, but the pair's tokens are known.
    assert [context.tokens for context in contexts] == [(" short", " list", "\n")] * 2
    assert [context.roles for context in contexts] == [("length", "request", "newline")] * 2
    assert [(context.start, context.swaps) for context in contexts] == [(7, {0: " long"})] * 2
    activity = found[3, "resid_post", 5]
    assert (activity.n_tokens, activity.active_clean, activity.active_corrupted) == (6, 2, 2)
    assert [(one.context, one.position, one.clean, one.corrupted) for one in activity.firings] == [
        (1, (2,), (4.0,), (3.0,)),
        (0, (0, 2), (0.0, 2.0), (1.5, 0.0)),
    ]
    assert activity.roles == (("newline", 1.0),)
    assert sum(activity.counts_clean) == 2
    zero = table_activities([(table, stored)], chosen, "zero")[1][3, "resid_post", 5]
    assert zero.active_corrupted is None
    assert zero.firings[0].corrupted is None


def test_only_contexts_that_are_shown_are_kept() -> None:
    table = rows([("a", f"{at:03}", 1, "x", "item", 5, float(at), 0.0) for at in range(20)])
    chosen = pd.DataFrame({"layer": [3], "kind": ["resid_post"], "feature": [5]})
    stored = stored_pairs([("a", f"{at:03}", ["<bos>", "x"], [], ["bos", "item"]) for at in range(20)])
    contexts, found = keep_used(*table_activities([(table, stored)], chosen, "zero"))
    assert [context.pair_id for context in contexts] == ["014", "015", "016", "017", "018", "019"]
    assert [contexts[one.context].pair_id for one in found[3, "resid_post", 5].firings][:2] == ["019", "018"]


def test_the_model_fires_as_plain_hooks_see_it(lm, saes, pairs, plain_model) -> None:
    sae = load_sae(saes[SITE])
    x = torch.cat([read(plain_model, SITE, pair.clean_ids)[1:] for pair in pairs])
    changed = torch.cat([read(plain_model, SITE, pair.corrupted_ids)[1:] for pair in pairs])
    expected, other = sae.encode(x).numpy(), sae.encode(changed).numpy()
    ids = np.argsort(-expected.max(0))[:4]
    kept = {SITE: sae.take_features(torch.tensor(ids.copy()))}
    firings = read_firings(lm, pairs, kept, batch_size=2)
    np.testing.assert_allclose(firings.clean[SITE], expected[:, ids], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(firings.corrupted[SITE], other[:, ids], rtol=1e-3, atol=1e-3)
    contexts = pair_contexts(lm, pairs)
    activity = firing_activity(firings, SITE, 0, contexts)
    assert activity.n_tokens == len(expected)
    assert activity.active_clean == int((expected[:, ids[0]] > 0).sum())
    best = activity.firings[0]
    top = max(max(best.clean), max(best.corrupted or ()))
    assert np.isclose(top, max(expected[:, ids[0]].max(), other[:, ids[0]].max()), rtol=1e-3)
    pair, position = most_active(firings, SITE, 0) or (-1, -1)
    lengths = np.cumsum([0, *(len(one.clean_ids) - 1 for one in pairs)])
    assert lengths[pair] + position - 1 == expected[:, ids[0]].argmax()


def test_contexts_show_the_swapped_word(lm, pairs) -> None:
    context = pair_contexts(lm, pairs)[0]
    assert context.start == 1
    ((at, word),) = context.swaps.items()
    assert (context.tokens[at], word, context.roles[at]) == (" short", " long", "length")


@pytest.mark.parametrize("bare", [(1, 2), (0, 1, 2, 3, 4)])
@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_where_a_pair_has_no_corrupted_prompt_the_clean_runs_alone_are_told(
    lm, saes, pairs, bare: tuple[int, ...], batch_size: int
) -> None:
    sae = load_sae(saes[SITE])
    mixed = [replace(pair, corrupted_ids=None) if at in bare else pair for at, pair in enumerate(pairs)]
    kept = {SITE: sae.take_features(torch.arange(40))}
    whole, found = (read_firings(lm, some, kept, batch_size) for some in (pairs, mixed))
    np.testing.assert_allclose(found.clean[SITE], whole.clean[SITE], rtol=0, atol=1e-4)
    assert found.corrupted == {}
    busy = int(found.clean[SITE].max(0).argmax())
    activity = firing_activity(found, SITE, busy, pair_contexts(lm, mixed))
    assert activity.active_corrupted is None
    assert activity.active_clean == int((found.clean[SITE][:, busy] > 0).sum()) > 0
    assert all(one.corrupted is None for one in activity.firings)
