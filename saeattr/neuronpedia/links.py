"""neuronpedia.json of a study: where each top feature is on Neuronpedia, with its label as far as it is known."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from saeattr.errors import UserError, one_line
from saeattr.features.recurrence import largest_features
from saeattr.files import check_whole, write_text
from saeattr.neuronpedia.answers import FeatureAnswer
from saeattr.neuronpedia.bounded import read_file, read_json
from saeattr.neuronpedia.client import Client, NoAnswer, Wanted, open_client
from saeattr.neuronpedia.source import NoSource, Source, embed_url, feature_url, index_text, study_sources
from saeattr.sites import Site
from saeattr.study.folder import StudyFolder, read_plan
from saeattr.study.results import Study
from saeattr.tables import FEATURE, features_of

FILE = "neuronpedia.json"
#: Of a label's fields, which are text.
TEXTS = ("label", "url", "embed_url", "note")


@dataclass(frozen=True)
class FeatureLink:
    """A feature of a study on Neuronpedia.

    Attributes:
        label: its first explanation, where one is known.
        doubtful: the label's answer did not name the very weights that the study used.
    """

    site: Site
    feature: int
    source: Source
    label: str | None = None
    doubtful: bool = False

    @property
    def address(self) -> str:
        return f"{self.site}/{self.feature}"

    @property
    def url(self) -> str:
        return feature_url(self.source.model, self.source.source, self.feature)

    @property
    def embed_url(self) -> str:
        return embed_url(self.source.model, self.source.source, self.feature)


@dataclass(frozen=True)
class StudyLinks:
    """What neuronpedia.json says.

    Attributes:
        labels: by feature address: url, embed_url, label (or None), doubtful, note (or None).
        notes: what a reader of all pages should know, one line each.
    """

    labels: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def write_links(
    study: StudyFolder, sites: Mapping[Site, Source | NoSource], links: Sequence[FeatureLink]
) -> tuple[Path, list[FeatureLink]]:
    """Write neuronpedia.json; a label that it held before stays where nothing newer is known.

    Returns:
        its path, and the links with the labels that are in it.

    Raises:
        UserError: the file there is damaged, or the folder cannot be written.
    """
    before = read_links(study).labels
    kept = [_keep_label(link, before.get(link.address)) for link in links]
    value = {
        "notes": list(site_notes(sites)),
        "sites": {str(site): _site_record(sites[site]) for site in sorted(sites)},
        "features": [_feature_record(link) for link in kept],
    }
    path = study.root / FILE
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")
    return path, kept


def read_links(study: StudyFolder) -> StudyLinks:
    """neuronpedia.json; nothing where the study has none.

    Raises:
        UserError: it is damaged.
    """
    path = study.root / FILE
    check_whole(path)
    try:
        value = read_json(read_file(path))
        rows = {f"{row['kind']}.{row['layer']}/{row['feature']}": _label(row) for row in value["features"]}
        return StudyLinks(rows, tuple(one_line(str(note)) for note in value["notes"]))
    except FileNotFoundError:
        return StudyLinks()
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is damaged: delete it and run saeattr inspect again") from error


def site_notes(sites: Mapping[Site, Source | NoSource]) -> tuple[str, ...]:
    """What is to be said of the sites' sources, each thing once."""
    notes = dict.fromkeys(source.note for source in sites.values() if isinstance(source, Source) and source.note)
    without = sorted(site for site, source in sites.items() if isinstance(source, NoSource))
    if without:
        which = str(without[0]) if len(without) == 1 else f"{without[0]} and {len(without) - 1} more of {len(sites)}"
        every = len(without) == len(sites) and len({sites[site].note for site in without}) == 1
        notes[sites[without[0]].note if every else f"{which}: {sites[without[0]].note}"] = None
    return tuple(notes)


def _keep_label(link: FeatureLink, before: Mapping[str, Any] | None) -> FeatureLink:
    if link.label is not None or before is None or before["url"] != link.url:
        return link
    return replace(link, label=before["label"], doubtful=before["doubtful"])


def _site_record(source: Source | NoSource) -> dict[str, str | None]:
    if isinstance(source, NoSource):
        return {"model_id": None, "source_id": None, "note": source.note}
    weights = {"hf_repo": source.repo, "hf_path": source.path}
    return {"model_id": source.model, "source_id": source.source, **weights, "note": source.note or None}


def _feature_record(link: FeatureLink) -> dict[str, Any]:
    return {
        "layer": link.site.layer,
        "kind": link.site.kind,
        "feature": link.feature,
        "model_id": link.source.model,
        "source_id": link.source.source,
        "index": index_text(link.feature),
        "url": link.url,
        "embed_url": link.embed_url,
        "label": link.label,
        "doubtful": link.doubtful,
        "note": link.source.note or None,
    }


def _label(row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a row that pages and figures use, as far as they are what they should be."""
    texts = {name: one_line(row[name]) if isinstance(row.get(name), str) else None for name in TEXTS}
    return {**texts, "doubtful": row.get("doubtful") is True}


#: So many features over all groups, and so many of each group and kind: all that report, heatmaps and terminal show.
OVER_TOPICS, OF_TOPIC = 100, 30

Sources = Mapping[Site, Source | NoSource]


def link_study(
    study: Study,
    *,
    client: Client | None = None,
    answers: Mapping[Wanted, FeatureAnswer] | None = None,
) -> tuple[Path, dict[str, FeatureLink]]:
    """Write neuronpedia.json for the top features whose SAE is on Neuronpedia; nothing is asked over the network.

    Args:
        client: whose cache is read; by default the user's.
        answers: newer ones, of features that may lie outside the top set.

    Returns:
        its path, and the links by feature address.

    Raises:
        UserError: the study has no features.parquet, or the folder cannot be written.
    """
    client = client or open_client(network=False)
    features = study.features()
    sources = find_sources(study, features)
    keys = dict.fromkeys([*top_set(features), *_asked(sources, answers or {})])
    links = []
    for site, feature in keys:
        source = sources[site]
        if isinstance(source, Source):
            told = ((answers or {}).get((source, feature)), client.cached(source, feature))
            links.append(_link(site, feature, source, told))
    path, kept = write_links(study.folder, sources, links)
    return path, {link.address: link for link in kept}


def _link(site: Site, feature: int, source: Source, told: Iterable[FeatureAnswer | NoAnswer | None]) -> FeatureLink:
    """The link with the first label that was told."""
    for answer in told:
        if isinstance(answer, FeatureAnswer) and answer.label is not None:
            return FeatureLink(site, feature, source, answer.label, not answer.is_about(source))
    return FeatureLink(site, feature, source)


def find_sources(study: Study, features: pd.DataFrame) -> dict[Site, Source | NoSource]:
    """Where the SAE of each site with a feature is on Neuronpedia."""
    sites = sorted({site for site, _ in features_of(features[FEATURE].drop_duplicates())})
    return study_sources(study.record, sites, _recorded_saes(study))


def top_set(features: pd.DataFrame) -> list[tuple[Site, int]]:
    """The features of neuronpedia.json: the largest over all groups, then the first of each group and kind."""
    of_groups = features.sort_values("rank").groupby(["group", "kind"], sort=False).head(OF_TOPIC)
    both = pd.concat([largest_features(features, OVER_TOPICS)[FEATURE], of_groups[FEATURE]])
    return features_of(both.drop_duplicates())


def with_source(keys: Iterable[tuple[Site, int]], sources: Sources) -> list[Wanted]:
    """Those of the features whose SAE is on Neuronpedia, as it names them."""
    return [(source, feature) for site, feature in keys if isinstance(source := sources[site], Source)]


def _asked(sources: Sources, answers: Mapping[Wanted, FeatureAnswer]) -> Iterator[tuple[Site, int]]:
    sites = {source: site for site, source in sources.items() if isinstance(source, Source)}
    return ((sites[source], feature) for source, feature in answers)


def _recorded_saes(study: Study) -> dict[str, str]:
    """The name of each site's SAE in plan.json; none where it is missing.

    Raises:
        UserError: it is damaged.
    """
    try:
        sites = read_plan(study.folder)["sites"]
        return {site: str(known["sae"]) for site, known in sites.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
