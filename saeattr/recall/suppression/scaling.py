"""What scaling the suppressors did over facts: a table, and what arXiv 2403.19521 says of the last layers judged."""

from __future__ import annotations

import numpy as np
import pandas as pd

from saeattr.recall.claims import Claim, Side, mean_and_ends
from saeattr.recall.suppression.confidence import calibration_error
from saeattr.recall.suppression.parts import part_names, suppressed_gaps
from saeattr.stats import share_interval
from saeattr.tables import RECALL_SCALING

PART = "suppression"
PAPER = "arXiv 2403.19521, anti-overconfidence"
FACT = ["group", "pair_id"]
#: So many of the facts that were answered rightly must stay so.
KEPT = 0.95


def summarise_scaling(scaled: pd.DataFrame) -> pd.DataFrame:
    """Accuracy, confidence and calibration at each factor: ``tables.RECALL_SCALING``.

    Args:
        scaled: ``tables.RECALL_SCALED``.
    """
    rows = []
    for (chosen, factor), own in scaled.groupby(["chosen", "factor"]):
        right = own["rank"].to_numpy() == 1
        low, high = share_interval(int(right.sum()), len(own))
        accuracy = {"accuracy": right.mean(), "accuracy_low": low, "accuracy_high": high}
        error = calibration_error(own["p_top"].to_numpy(), right)
        means = {name: own[name].mean() for name in ("p_answer", "p_top", "entropy", "log_odds")}
        rows.append(
            {"chosen": chosen, "factor": factor, "n_facts": len(own), **accuracy, "calibration_error": error, **means}
        )
    return RECALL_SCALING.frame(pd.DataFrame(rows))


def suppression_claims(writes: pd.DataFrame, parts: pd.DataFrame, scaled: pd.DataFrame) -> list[Claim]:
    """What is said of the last layers, judged; of removed suppressors nothing where there are none.

    Args:
        writes: ``tables.RECALL_WRITES``; parts: ``tables.RECALL_PARTS``; scaled: ``tables.RECALL_SCALED``.
    """
    if writes.empty:
        return []
    claims = []
    for since, where in (("third", "the last third of the layers lowers"), ("layer", "the last layer lowers")):
        lowered = f"{where} the right answer's probability"
        for column, measure in (
            ("p_answer", "mean change of P(answer), logit lens"),
            ("log_odds", "mean change of the answer's log odds (nats), logit lens"),
        ):
            name = f"{since}-{column.replace('_', '-')}"
            claims.append(_mean_claim(name, lowered, measure, suppressed_gaps(writes, column, since), "below"))
    return [*claims, *_lowest_claim(parts, scaled), *_removal_claims(scaled[scaled["chosen"] == "all"])]


def _lowest_claim(parts: pd.DataFrame, scaled: pd.DataFrame) -> list[Claim]:
    """Whether the part that is lowest in one half of the facts lowers the answers of the other."""
    first = scaled.loc[scaled["chosen"] == "first", [*FACT, "parts"]].drop_duplicates()
    if first.empty:
        return []
    addresses = zip(parts["layer"], parts["head"], strict=True)
    own = parts.assign(parts=[part_names([address]) for address in addresses]).merge(first, on=[*FACT, "parts"])
    return [
        _mean_claim(
            "suppresses",
            "some part of the last third of the layers lowers the right answer",
            f"direct effect on its log odds (nats) of {' or '.join(sorted(set(own['parts'])))}, lowest in other facts",
            own["direct_log_odds"].to_numpy(),
            "below",
        )
    ]


def _removal_claims(scaled: pd.DataFrame) -> list[Claim]:
    """Of the facts whose suppressors the others chose, with these taken out."""
    if scaled.empty:
        return []
    wide = scaled.pivot_table(index=FACT, columns="factor", values=["p_top", "log_odds", "rank"])
    gain = {name: (wide[name][0.0] - wide[name][1.0]).to_numpy() for name in ("p_top", "log_odds")}
    was = wide["rank"][1.0] == 1
    kept = int((wide["rank"][0.0][was] == 1).sum())
    low, high = share_interval(kept, int(was.sum()))
    share = kept / was.sum() if was.any() else np.nan
    raises = "without the suppressors confidence rises"
    return [
        _mean_claim("removed-confidence", raises, "mean change of P(likeliest token)", gain["p_top"], "above"),
        _mean_claim(
            "removed-log-odds",
            "without the suppressors the right answer gains",
            "mean change of its log odds (nats)",
            gain["log_odds"],
            "above",
        ),
        Claim(
            PART,
            "removed-accuracy",
            "without the suppressors accuracy is no lower",
            PAPER,
            "share of facts answered rightly that stay so",
            float(share),
            low,
            high,
            "above",
            KEPT,
            int(was.sum()),
        ),
    ]


def _mean_claim(name: str, statement: str, measure: str, values: np.ndarray, side: Side) -> Claim:
    """A mean over facts against 0, with Student's interval."""
    return Claim(PART, name, statement, PAPER, measure, *mean_and_ends(values), side, 0.0, len(values))
