"""Exact effects in parts, so that an interrupted validation measures none of them twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pandas as pd

from saeattr.tables import EXACT, at_site
from saeattr.validation.site import SiteTest

#: Given exact effects (``tables.EXACT``) as soon as they are measured.
OnPart = Callable[[pd.DataFrame], None]


@dataclass(frozen=True)
class Parts:
    """The exact effects that an interrupted validation left, and where new ones go.

    Attributes:
        done: the parts that an earlier run gave to ``on_part``, joined; they are not measured again.
        on_part: called with each part, so that it can be stored.
    """

    done: pd.DataFrame = field(default_factory=EXACT.empty)
    on_part: OnPart = lambda part: None

    def natural(self, test: SiteTest, features: Sequence[int]) -> pd.DataFrame:
        """``test.natural``, taken over or measured and given on."""
        known = self._known(test)
        own = known[known["feature"].isin(features) & (known["along"] == known["feature"])]
        return own if len(own) == len(features) * test.n_pairs else self._give(test.natural(features))

    def along(self, test: SiteTest, feature: int, directions: Sequence[int]) -> pd.DataFrame:
        """``test.along``, taken over or measured and given on."""
        known = self._known(test)
        own = known[known["feature"] == feature]
        return own if len(own) == len(directions) * test.n_pairs else self._give(test.along(feature, directions))

    def _known(self, test: SiteTest) -> pd.DataFrame:
        """What is done of a site's measures in the same pairs."""
        here = at_site(self.done, test.base.sae.site)
        return here[(here["evidence"] == test.evidence) & here["pair_id"].isin(test.pair_ids)]

    def _give(self, part: pd.DataFrame) -> pd.DataFrame:
        self.on_part(part)
        return part
