"""Whether two studies can be compared: the same question, SAEs and pairs, so that only the model differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from saeattr.behaviours.pair import Pair
from saeattr.errors import UserError
from saeattr.settings import flag
from saeattr.study.pairs import stored_pairs, stored_test_pairs
from saeattr.study.results import Study

#: Settings that say what an effect is an effect on, and how it is estimated.
QUESTION = ("decision", "base", "method", "ig_steps", "dtype")
#: With a smaller share of either study's pairs in common, the common ones are no fair sample of a group.
COMMON = 0.5


@dataclass(frozen=True)
class CommonPairs:
    """The pairs of one group that both studies have, token for token.

    Attributes:
        pairs: as study A has them.
        other: by pair_id in A, the pair_id in B.
        n_a, n_b: how many distinct ones each study has.
    """

    group: str
    pairs: list[Pair]
    other: Mapping[str, str]
    n_a: int
    n_b: int

    @property
    def note(self) -> str:
        """Blank where both have all of them."""
        if len(self.pairs) == self.n_a == self.n_b:
            return ""
        of = f"of {self.n_a} in A, {self.n_b} in B"
        return f"{self.group}: only the {len(self.pairs)} pairs in common are compared ({of})"


def check_alike(a: Study, b: Study) -> list[str]:
    """Refuse studies that differ in more than their model.

    Returns:
        what a reader should know, one line each.

    Raises:
        UserError: question, sites or SAEs differ (and where), or they have no group in common.
    """
    one, other = a.record, b.record
    for name, (left, right) in _question(one, other).items():
        if left != right:
            raise UserError(
                f"the studies ask different questions ({name} is {left!r} in A and {right!r} in B): make one of them "
                f"again with the other's"
            )
    _check_saes(one.get("saes", {}), other.get("saes", {}))
    if not set(a.groups) & set(b.groups):
        raise UserError(
            f"the studies have no group in common (A: {', '.join(a.groups)}; B: {', '.join(b.groups)}): make B on the "
            f"pairs of A with --pairs-of {a.folder.root}"
        )
    notes = [
        f"only study {name} has the group {group}: it is left out"
        for name, own, others in (("A", a.groups, b.groups), ("B", b.groups, a.groups))
        for group in own
        if group not in others
    ]
    if one["model"]["sha256"] == other["model"]["sha256"]:
        notes.append("both studies are of the same model: nothing can have changed but by rounding")
    return notes


def common_pairs(a: Study, b: Study, group: str) -> CommonPairs:
    """The pairs of a group that rank features in both studies.

    Raises:
        UserError: they have less than ``COMMON`` of either study's pairs in common.
    """
    found = _matched(group, stored_pairs(a.folder, [group]), stored_pairs(b.folder, [group]))
    if len(found.pairs) < COMMON * max(found.n_a, found.n_b):
        raise UserError(
            f"the studies have {len(found.pairs)} pairs of {group!r} in common (of {found.n_a} in A and {found.n_b} in "
            f"B), and {COMMON:.0%} must be: make B on the pairs of A with --pairs-of {a.folder.root}"
        )
    return found


def common_test_pairs(a: Study, b: Study, group: str) -> CommonPairs | None:
    """The pairs of a group that test in both studies; None where a study has none, or they share too few."""
    one, other = (stored_test_pairs(study.folder, group) for study in (a, b))
    if not one or not other:
        return None
    found = _matched(group, one, other)
    return found if len(found.pairs) >= COMMON * max(found.n_a, found.n_b) else None


def _matched(group: str, one: list[Pair], other: list[Pair]) -> CommonPairs:
    ids = {pair.evidence: pair.pair_id for pair in other}
    shared = [pair for pair in one if pair.evidence in ids]
    return CommonPairs(group, shared, {pair.pair_id: ids[pair.evidence] for pair in shared}, len(one), len(other))


def _question(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    settings = {flag(name): (one["settings"].get(name), other["settings"].get(name)) for name in QUESTION}
    return {"the metric": (one["metric_label"], other["metric_label"]), **settings}


def _check_saes(one: Mapping[str, str], other: Mapping[str, str]) -> None:
    for name, own, others in (("A", one, other), ("B", other, one)):
        missing = [site for site in own if site not in others]
        if missing:
            raise UserError(
                f"only study {name} has the site {missing[0]}: make the other one again with --sites {','.join(own)}"
            )
    for site, digest in one.items():
        if other[site] != digest:
            raise UserError(
                f"the studies have different SAEs at {site}, and features of different SAEs cannot be compared: make B "
                "again with the --saes of A"
            )
