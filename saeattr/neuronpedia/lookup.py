"""What is known of features: from exports first, then from the cache and the site, and whether each is there at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

import pandas as pd

from saeattr.neuronpedia.answers import Example, FeatureAnswer
from saeattr.neuronpedia.client import Client, NoAnswer, Wanted
from saeattr.neuronpedia.links import FeatureLink
from saeattr.neuronpedia.source import NoSource, Source, index_text
from saeattr.sites import Site


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


COLUMNS = ["model_id", "source_id", "index", "url", "embed_url", "label", "doubtful", "exists", "density"]
COLUMNS += ["top_tokens", "example", "note"]
#: Tokens shown before and after the largest activation.
AROUND = 8


def feature_table(
    keys: Sequence[tuple[Site, int]],
    sources: Mapping[Site, Source | NoSource],
    found: Mapping[Wanted, Found],
    links: Mapping[str, FeatureLink],
) -> pd.DataFrame:
    """One row a feature, in order: model_id, source_id, index, url, embed_url, label, doubtful, exists (None where that
    was not found out), density, top_tokens, example (the text before, at and after its largest activation), note.

    Args:
        found: the answer for each feature whose SAE has a source.
        links: by feature address, with labels; a feature outside them has a link without one.
    """
    rows = [_row(site, feature, sources[site], found, links) for site, feature in keys]
    # As objects: a missing text stays None, which pandas would make not-a-number.
    return pd.DataFrame(rows, dtype=object).astype({"density": float, "doubtful": bool})


def _row(
    site: Site,
    feature: int,
    source: Source | NoSource,
    on_neuronpedia: Mapping[Wanted, Found],
    links: Mapping[str, FeatureLink],
) -> dict[str, Any]:
    empty = {**dict.fromkeys(COLUMNS), "doubtful": False, "note": source.note}
    if isinstance(source, NoSource):
        return empty
    found, link = on_neuronpedia[source, feature], links.get(f"{site}/{feature}") or FeatureLink(site, feature, source)
    row = {
        **empty,
        **{"model_id": source.model, "source_id": source.source, "index": index_text(feature), "exists": found.exists},
        **{"url": link.url, "embed_url": link.embed_url, "label": link.label, "doubtful": link.doubtful, "note": ""},
    }
    if isinstance(found.answer, NoAnswer):
        return {**row, "note": found.answer.note}
    return {
        **row,
        "density": found.answer.density,
        "top_tokens": tuple(_blanks(token) for token, _ in found.answer.top_logits),
        "example": _around(found.answer.examples[0]) if found.answer.examples else None,
        "note": _label_note(found.answer, source),
    }


def _label_note(answer: FeatureAnswer, source: Source) -> str:
    """Why there is no label, or why it is doubtful."""
    if answer.label is None:
        return "no explanation on Neuronpedia so far"
    if answer.is_about(source):
        return ""
    named = " ".join(filter(None, (answer.repo, answer.path))) or "no weights"
    return f"Neuronpedia's answer names {named}; the study used {source.repo} {source.path}"


def _around(example: Example) -> tuple[str, str, str]:
    """The text before, at and after the largest activation."""
    at = example.peak_at
    parts = (example.tokens[max(0, at - AROUND) : at], example.tokens[at : at + 1], example.tokens[at + 1 :][:AROUND])
    before, here, after = (_blanks("".join(part)) for part in parts)
    return before, here, after


def _blanks(token: str) -> str:
    """Neuronpedia writes the blank before a word as the tokenizer's vocabulary does."""
    return token.replace("\u2581", " ")


def gap_notes(on_neuronpedia: Mapping[Wanted, Found]) -> list[str]:
    """Why some features are not in the quick lists."""
    missing = sum(found.exists is False for found in on_neuronpedia.values())
    unchecked = sum(found.exists is None for found in on_neuronpedia.values())
    notes = []
    if missing:
        notes.append(f"not on Neuronpedia, so in no quick list or list: {_features(missing)}")
    if unchecked:
        notes.append(
            f"not checked, so in no quick list or list (one that Neuronpedia lacks breaks the whole page): "
            f"{_features(unchecked)}"
        )
    return notes


def _features(count: int) -> str:
    return "1 feature" if count == 1 else f"{count} features"
