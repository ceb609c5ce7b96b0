"""What is known of features: from exports first, then from the cache and the site, and whether each is there at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard

from saeattr.neuronpedia.answers import FeatureAnswer
from saeattr.neuronpedia.client import Client, NoAnswer, Wanted


@dataclass(frozen=True)
class Found:
    """A feature's answer, and whether Neuronpedia has the feature (None where that was not found out)."""

    answer: FeatureAnswer | NoAnswer
    exists: bool | None


def look_up(
    wanted: Sequence[Wanted],
    client: Client,
    exported: Mapping[Wanted, FeatureAnswer | NoAnswer],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[Wanted, Found]:
    """Every wanted feature; what the exports told (``exported``) is not asked for."""
    answers = {one: exported[one] for one in wanted if one in exported}
    rest = [one for one in wanted if not _has_label(answers.get(one))]
    for one, asked in zip(rest, client.answers(rest, on_progress), strict=True):
        answers[one] = _better(answers.get(one), asked)
    gaps = [one for one in wanted if _is_gap(answer := answers[one]) and not answer.unreachable]
    checked = dict(zip(gaps, client.known(gaps), strict=True))
    return {one: Found(answer, _exists(answer, checked.get(one))) for one, answer in answers.items()}


def _has_label(answer: FeatureAnswer | NoAnswer | None) -> bool:
    return isinstance(answer, FeatureAnswer) and answer.label is not None


def _better(exported: FeatureAnswer | NoAnswer | None, asked: FeatureAnswer | NoAnswer) -> FeatureAnswer | NoAnswer:
    """Of what the exports and the site told, what says more."""
    if isinstance(asked, FeatureAnswer) or exported is None:
        return asked
    if isinstance(exported, FeatureAnswer):
        return exported
    return replace(asked, note=f"{exported.note}; {asked.note}")


def _is_gap(answer: FeatureAnswer | NoAnswer) -> TypeGuard[NoAnswer]:
    return isinstance(answer, NoAnswer) and not answer.missing


def _exists(answer: FeatureAnswer | NoAnswer, checked: bool | None) -> bool | None:
    if isinstance(answer, FeatureAnswer):
        return True
    return False if answer.missing else checked
