"""Rules that choose sites within a budget, and the share of the oracle that each keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from saeattr.behaviours.lists.topics import TOPICS
from saeattr.selection.score import DEFAULT_WEIGHTS, ScoreWeights, score_sites
from saeattr.sites import KINDS
from saeattr.tables import SITE

#: Weights are chosen on the one half of the topics and judged on the other.
FIT, HELD_OUT = TOPICS[::2], TOPICS[1::2]
OURS = "ours"
LEARNED = {
    OURS: DEFAULT_WEIGHTS,
    "gradient only": ScoreWeights(lens=0, ablation=0, gradient=1),
    "ablation only": ScoreWeights(lens=0, ablation=1, gradient=0),
    "lens only": ScoreWeights(lens=1, ablation=0, gradient=0),
}
RANDOM_DRAWS = 200
#: Kinds of site on offer, and budgets in sites.
OFFERS: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
    "all 18 sites": (tuple(KINDS), (1, 3, 6, 9, 12)),
    "6 residual sites": (("resid_post",), (1, 2, 3, 4, 5)),
    "12 attention and MLP sites": (("attn_z", "mlp_out"), (1, 2, 4, 6, 8)),
}
ALL, STREAM, WRITES = OFFERS
HALF = {offer: budgets[3 if offer != STREAM else 2] for offer, (_, budgets) in OFFERS.items()}
#: Rules that a person could follow without our score. "gradient only" is a part of it and stands apart.
SIMPLE = ("ablation only", "lens only", "evenly spaced", "last layers", "random")
RESAMPLES = 10_000


def scored_sites(rows: pd.DataFrame, topic: str, kinds: Sequence[str], weights: ScoreWeights) -> pd.DataFrame:
    """The topic's sites as ``score_sites`` scores them, in the model's order, with value: sum of |exact effect|."""
    own = rows[(rows["group"] == topic) & rows["kind"].isin(kinds)]
    part = {str(name): table for name, table in own.groupby("table")}
    n_layers = int(own["layer"].max()) + 1
    table = score_sites(part["lens"], part["ablation"], part["first_order"], n_layers, weights)
    values = part["exact"]["exact"].abs().groupby([part["exact"][name] for name in SITE]).sum().rename("value")
    return table.merge(values.reset_index(), on=SITE, validate="one_to_one")


def rule_shares(
    rows: pd.DataFrame, topics: Sequence[str], learned: Mapping[str, ScoreWeights] = LEARNED
) -> pd.DataFrame:
    """offer, rule, group, n_sites, share; one row for each of ``learned`` and of the rules that look at nothing."""
    lines = []
    for offer, (kinds, budgets) in OFFERS.items():
        for topic in topics:
            for rule, weights in learned.items():
                kept = shares(scored_sites(rows, topic, kinds, weights), budgets)
                lines += [(offer, rule, topic, n, share) for n, share in zip(budgets, kept, strict=True)]
            sites = scored_sites(rows, topic, kinds, DEFAULT_WEIGHTS)
            values = sites["value"].to_numpy()
            for n in budgets:
                best = np.sort(values)[::-1][:n].sum()
                lines += [(offer, rule, topic, n, values[s].sum(-1).mean() / best) for rule, s in blind(sites, n)]
    return pd.DataFrame(lines, columns=["offer", "rule", "group", "n_sites", "share"])


def shares(sites: pd.DataFrame, budgets: Sequence[int]) -> list[float]:
    """For each budget: the value of the sites of the highest scores, as a part of the oracle's.

    With SAEs of one size the best set within a budget is the sites of the highest scores; no knapsack is needed.
    """
    values = sites["value"].to_numpy()
    by_score = values[np.argsort(-sites["score"].to_numpy(), kind="stable")]
    best = np.sort(values)[::-1]
    return [float(by_score[:n].sum() / best[:n].sum()) for n in budgets]


def blind(sites: pd.DataFrame, n: int) -> Iterator[tuple[str, np.ndarray]]:
    """Rules that look at nothing; each as sets [draws, n] of row numbers of ``sites``."""
    total = len(sites)
    yield "evenly spaced", evenly(total, n)[None]
    yield "last layers", np.arange(total - n, total)[None]
    generator = np.random.default_rng(n)
    yield "random", np.stack([generator.permutation(total)[:n] for _ in range(RANDOM_DRAWS)])
    stream = np.flatnonzero(sites["kind"] == "resid_post")
    if 0 < len(stream) < total:
        rest = np.setdiff1d(np.arange(total), stream)
        first = min(n, len(stream))
        spread = [stream[evenly(len(stream), first)], rest[evenly(len(rest), n - first)]]
        yield "residual first, evenly spaced", np.concatenate(spread)[None]
        yield "residual first, last layers", np.concatenate([stream[::-1], rest[::-1]])[:n][None]


def evenly(total: int, n: int) -> np.ndarray:
    """n of ``total`` numbers from the first to the last; one alone is the middle."""
    return np.array([total // 2]) if n == 1 else np.linspace(0, total - 1, n).round().astype(int)


def fit_weights(rows: pd.DataFrame, topics: Sequence[str] = FIT) -> pd.DataFrame:
    """Parts in eighths that add up to 1, with the mean share that they keep over offers, topics and budgets."""
    lines = []
    for lens in range(9):
        for ablation in range(9 - lens):
            weights = ScoreWeights(lens / 8, ablation / 8, (8 - lens - ablation) / 8)
            kept = {
                offer: np.mean([shares(scored_sites(rows, topic, kinds, weights), budgets) for topic in topics])
                for offer, (kinds, budgets) in OFFERS.items()
            }
            parts = {"lens": weights.lens, "ablation": weights.ablation, "gradient": weights.gradient}
            lines.append({**parts, **kept, "mean": np.mean(list(kept.values()))})
    return pd.DataFrame(lines).sort_values("mean", ascending=False, kind="stable").reset_index(drop=True)


def difference(kept: pd.DataFrame, offers: Sequence[str], rule: str) -> str:
    """Ours less the rule, on average over budgets and offers, with the bootstrap interval over topics."""
    by_topic = kept[kept["offer"].isin(offers)].groupby(["rule", "group"])["share"].mean()
    ahead = 100 * (by_topic[OURS] - by_topic[rule]).to_numpy()
    low, high = bootstrap(ahead)
    return f"Ours less that: {ahead.mean():+.1f} points ({low:+.1f} to {high:+.1f})."


def mean_shares(kept: pd.DataFrame, offer: str) -> pd.Series:
    return kept[kept["offer"] == offer].groupby("rule")["share"].mean()


def interval(kept: pd.DataFrame, offer: str, rule: str, n_sites: int) -> tuple[float, float, float]:
    """The mean over topics, and its bootstrap interval."""
    chosen = (kept["offer"] == offer) & (kept["rule"] == rule) & (kept["n_sites"] == n_sites)
    own = kept[chosen]["share"].to_numpy()
    return (float(own.mean()), *bootstrap(own))


def bootstrap(values: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean; the same draws for the same number of values."""
    draws = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[draws].mean(1), [0.025, 0.975])
    return float(low), float(high)


def best_simple(means: pd.Series) -> str:
    """The simple rule of the largest mean share."""
    return max(SIMPLE, key=lambda rule: means[rule])
