"""Error rates of verdicts, from one tidy table of what was planted, what was measured and what was said.

One row for each model, rule, number of pairs, set of tested features and feature of the SAE:

- model, site, n_pairs, rule (which verdicts), tested_by (``top 20`` by attribution, or ``planted``: those of every kind
  but the background, whatever attribution says);
- setting: crowded (one in six active features of the model moves the metric), few causes, or quiet background (and what
  all others do is little);
- feature, kind, size, share, variation; population and population_median (its mean and median effect over balanced
  pairs), gap and gap_median (corrupted minus clean);
- estimate, exact_mean, exact_low, exact_high, q_value, verdict: of a tested feature; ``NOT_TESTED`` and NaN of others.

Intervals are Clopper and Pearson's, 95 %. They take tests as independent; features of one model share its pairs, so
where that matters a column counts models, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from scipy.stats import binomtest

CAUSAL, NOT_TESTED = "causal", "not tested"
#: What a table is made for each of.
CASE = ["rule", "tested_by", "n_pairs"]
#: Kinds that nothing reads, and kinds whose features alone do something in single pairs.
INERT, READ = ("correlate", "frequent", "dead"), ("driver", "cancelling", "background")
#: A share of the gap under which an effect is called little.
LITTLE = 0.01
#: How a driver's effect varies where it acts in every pair, and in one direction.
IN_EVERY_PAIR = ("constant", "normal", "exponential", "lognormal")


def target(rows: pd.DataFrame) -> pd.Series:
    """What the interval is of: the mean effect over all pairs before, the median now."""
    return rows["population"].where(rows["rule"] == "before", rows["population_median"])


def target_gap(rows: pd.DataFrame) -> pd.Series:
    """What an effect is a share of: the mean gap before, the median gap now."""
    return rows["gap"].where(rows["rule"] == "before", rows["gap_median"])


def share_of(successes: int, n: int) -> dict[str, float]:
    """share, low, high; NaN where nothing was counted."""
    if not n:
        return dict.fromkeys(("share", "low", "high"), float("nan"))
    interval = binomtest(successes, n).proportion_ci(0.95, "exact")
    return {"share": successes / n, "low": interval.low, "high": interval.high}


def called_causal(rows: pd.DataFrame, by: Sequence[str] = ("kind", "size")) -> pd.DataFrame:
    """How many features were planted, tested and called causal; the share of those tested, and recall of all planted.

    Returns:
        ``CASE``, ``by``, planted, tested, causal, share, low, high, recall, models (in how many one was called causal).
    """
    lines = []
    for key, own in rows.groupby([*CASE, *by], sort=True):
        causal = own["verdict"] == CAUSAL
        tested = int((own["verdict"] != NOT_TESTED).sum())
        counts = {"planted": len(own), "tested": tested, "causal": int(causal.sum())}
        more = {"recall": float(causal.mean()), "models": own.loc[causal, "model"].nunique()}
        lines.append({**_key(by, key), **counts, **share_of(counts["causal"], tested), **more})
    return pd.DataFrame(lines)


def inert_causal(rows: pd.DataFrame) -> pd.DataFrame:
    """``called_causal`` of the kinds that nothing reads, together and each."""
    own = rows[rows["kind"].isin(INERT)]
    return pd.concat([called_causal(own.assign(kind="all inert"), ["kind"]), called_causal(own, ["kind"])])


def background_causal(rows: pd.DataFrame) -> pd.DataFrame:
    """``called_causal`` of background features: ``no mean`` ones act in single pairs, and not in the mean over all."""
    return called_causal(rows[rows["kind"] == "background"], ["size"])


def paired_causal(rows: pd.DataFrame) -> pd.DataFrame:
    """``called_causal`` of redundant features, alone without effect, and of cancelling ones, alone true causes."""
    return called_causal(rows[rows["kind"].isin(["redundant", "cancelling"])])


def recall_by_size(rows: pd.DataFrame) -> pd.DataFrame:
    """``called_causal`` of drivers by the size of their share, setting by setting, by how they act."""
    own = rows[rows["kind"] == "driver"]
    every = own["variation"].isin(IN_EVERY_PAIR)
    acts = own["variation"].where(~every, "every pair")
    table = called_causal(own.assign(acts=acts), ["setting", "acts", "size"])
    recall = [share_of(row["causal"], row["planted"]) for row in table.to_dict("records")]
    ends = pd.DataFrame({"recall_low": [one["low"] for one in recall], "recall_high": [one["high"] for one in recall]})
    order = table["size"].str.rstrip(" %").astype(float)
    sort = [*CASE, "setting", "acts", "order"]
    return table.join(ends).assign(order=order).sort_values(sort).drop(columns="order")


def interval_coverage(rows: pd.DataFrame, by: Sequence[str] = ("variation",)) -> pd.DataFrame:
    """How often the interval of a tested feature's exact effect holds its ``target``; kinds that are read.

    Returns:
        ``CASE``, ``by``, intervals, share, low, high, missed_inside (the share whose interval ends nearer to 0 than
        the population effect, or has the other sign), missed_outside (farther from 0).
    """
    own = rows[rows["kind"].isin(READ) & (rows["verdict"] != NOT_TESTED)]
    truth = target(own)
    below, above = own["exact_high"] < truth, own["exact_low"] > truth
    positive = truth > 0
    own = own.assign(
        covered=~(below | above),
        inside=(below & positive) | (above & ~positive),
        outside=(above & positive) | (below & ~positive),
    )
    lines = []
    for key, part in own.groupby([*CASE, *by], sort=True):
        missed = {"missed_inside": part["inside"].mean(), "missed_outside": part["outside"].mean()}
        found = share_of(int(part["covered"].sum()), len(part))
        lines.append({**_key(by, key), "intervals": len(part), **found, **missed})
    return pd.DataFrame(lines)


def little_causal(rows: pd.DataFrame) -> pd.DataFrame:
    """Of the features called causal, the share whose population effect is under ``LITTLE`` of the gap."""
    causal = rows[rows["verdict"] == CAUSAL]
    little = target(causal).abs() < LITTLE * target_gap(causal).abs()
    lines = []
    for key, own in little.groupby([causal[name] for name in CASE], sort=True):
        n_little = int(own.sum())
        lines.append({**_key([], key), "causal": len(own), "little": n_little, **share_of(n_little, len(own))})
    return pd.DataFrame(lines)


def causal_by_chance(rows: pd.DataFrame) -> pd.DataFrame:
    """With the shuffled metric: how often a tested feature is called causal, and in which share of draws one is.

    Args:
        rows: rule, n_pairs, topic, draw, verdict; one row a tested feature.
    """
    lines = []
    for (rule, n_pairs), own in rows.groupby(["rule", "n_pairs"]):
        causal = own["verdict"] == CAUSAL
        in_draw = causal.groupby([own["topic"], own["draw"]]).any()
        found = {"tested": len(own), "causal": int(causal.sum()), **share_of(int(causal.sum()), len(own))}
        of_draws = {f"draws {name}": value for name, value in share_of(int(in_draw.sum()), len(in_draw)).items()}
        lines.append({"rule": rule, "n_pairs": n_pairs, **found, "draws": len(in_draw), **of_draws})
    return pd.DataFrame(lines)


def _key(by: Sequence[str], key: object) -> dict[str, object]:
    assert isinstance(key, tuple)
    return dict(zip([*CASE, *by], key, strict=True))
