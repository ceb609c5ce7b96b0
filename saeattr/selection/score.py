"""How much there is to explain at each site, from cheap measurements only: no SAE is loaded for it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd

from saeattr.errors import UserError
from saeattr.runs.roles import DECISION
from saeattr.tables import SITE

SCORE_COLUMNS = [*SITE, "lens_gain", "ablation_effect", "gradient_effect", "discount", "score"]


@dataclass(frozen=True)
class ScoreWeights:
    """How the measurements make one score; the defaults are those of docs/selection.md.

    Attributes:
        lens, ablation, gradient: parts of the score; only their ratios matter.
        last_position: factor on what acts at the position where the metric is read. 1 is no discount; 0 asks where
            the answer comes from rather than where it stands ready.
        last_layers: factor on the whole score of the last layer, where every patch trivially works. 1 is no discount.
        last_share: the share of the layers, counted from the last, over which that factor goes from 1 to
            ``last_layers`` in equal steps.
        doubling: what twice the SAE's width adds to the score, as a part of it. An assumption, not a measurement.

    Raises:
        UserError: a weight is negative, a factor is not between 0 and 1, or all three parts are 0.
    """

    lens: float = 0.0
    ablation: float = 0.25
    gradient: float = 0.75
    last_position: float = 1.0
    last_layers: float = 1.0
    last_share: float = 0.25
    doubling: float = 0.05

    def __post_init__(self) -> None:
        for name in ("lens", "ablation", "gradient", "doubling"):
            if not getattr(self, name) >= 0:
                raise UserError(f"the score weight {name} is {getattr(self, name)}: it must be 0 or more")
        for name in ("last_position", "last_layers", "last_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"the score weight {name} is {getattr(self, name)}: it must be between 0 and 1")
        if self.lens + self.ablation + self.gradient == 0:
            raise UserError("the score weights lens, ablation and gradient are all 0: one must be above 0")

    def layer_factor(self, layer: pd.Series, n_layers: int) -> pd.Series:
        """1 up to the last layers, then down to ``last_layers`` at the last."""
        discounted = max(1, round(self.last_share * n_layers))
        into = (layer - (n_layers - 1 - discounted)).clip(lower=0) / discounted
        return 1 - (1 - self.last_layers) * into


DEFAULT_WEIGHTS = ScoreWeights()


def score_sites(
    lens: pd.DataFrame, ablation: pd.DataFrame, first_order: pd.DataFrame, n_layers: int, weights: ScoreWeights
) -> pd.DataFrame:
    """One score for each site of ``first_order``, in the order in which the model computes the sites.

    Lists are averaged with their signs within a group; sizes are then averaged over groups. Each measurement is divided
    by its largest value, weighted, added and discounted.

    Args:
        lens, ablation, first_order: of the same pairs, as ``logit_lens``, ``positional_ablation`` and
            ``first_order_sizes`` return them.

    Returns:
        layer, kind;
        lens_gain: what the site adds to the lens' (clean - corrupted), absolute;
        ablation_effect: exact effects of patching each role's positions, absolute, summed over roles;
        gradient_effect: sum of the first-order sizes;
        discount: what is left of the score after the discounts, 0 to 1;
        score: 0 to 1.
    """
    n_pairs = lens.groupby("group")["pair_id"].nunique()
    roles = ablation.groupby(["group", *SITE, "role"])["effect"].sum()
    # Lists that have no position of a role have no row, and count as 0.
    roles = (roles / n_pairs.reindex(roles.index.get_level_values("group")).to_numpy()).abs().reset_index()
    roles["at_decision"] = roles["role"] == DECISION
    patched = roles.rename(columns={"effect": "size"})
    gains = lens.groupby(["group", *SITE])["gain"].mean().abs().groupby(SITE).mean()

    def combined(kept: ScoreWeights) -> pd.DataFrame:
        table = pd.DataFrame({"gradient_effect": _discounted(first_order, kept.last_position)})
        table["ablation_effect"] = _discounted(patched, kept.last_position)
        table["lens_gain"] = gains.reindex(table.index)
        return table.fillna(0.0)

    raw = combined(replace(weights, last_position=1.0))
    left = combined(weights)
    parts = pd.Series(
        {"lens_gain": weights.lens, "ablation_effect": weights.ablation, "gradient_effect": weights.gradient}
    )
    largest = raw.max().where(raw.max() > 0, 1.0)
    undiscounted = (raw / largest * parts).sum(axis=1) / parts.sum()
    score = (left / largest * parts).sum(axis=1) / parts.sum()
    table = raw.reset_index()
    table["score"] = score.to_numpy() * weights.layer_factor(table["layer"], n_layers).to_numpy()
    # A site without any effect has nothing to discount.
    table["discount"] = (table["score"] / undiscounted.to_numpy()).fillna(1.0)
    return table[SCORE_COLUMNS]


def _discounted(sizes: pd.DataFrame, last_position: float) -> pd.Series:
    """By site: sizes summed, those at the decision position with their factor; the mean over groups."""
    factor = sizes["at_decision"].map({True: last_position, False: 1.0})
    by_group = (sizes["size"] * factor).groupby([sizes["group"], sizes["layer"], sizes["kind"]], sort=False).sum()
    return by_group.groupby(SITE, sort=False).mean()
