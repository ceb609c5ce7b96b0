"""neuronpedia.json of a study: its top features with their pages, and the labels that are known without asking."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pandas as pd

from saeattr.analysis.families import largest_features
from saeattr.analysis.overlap import FEATURE
from saeattr.neuronpedia.answers import FeatureAnswer
from saeattr.neuronpedia.client import Client, NoAnswer, Wanted, open_client
from saeattr.neuronpedia.ids import NoSource, Source, study_sources
from saeattr.neuronpedia.study_file import FeatureLink, write_links
from saeattr.results import Study
from saeattr.sites import Site, parse_kind

#: So many features over all topics, and so many of each topic and kind: all that report, heatmaps and terminal show.
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
    sites = sorted({site for site, _ in table_keys(features[FEATURE].drop_duplicates())})
    return study_sources(study.record, sites, _recorded_saes(study))


def top_set(features: pd.DataFrame) -> list[tuple[Site, int]]:
    """The features of neuronpedia.json: the largest over all topics, then the first of each topic and kind."""
    of_topics = features.sort_values("rank").groupby(["topic", "kind"], sort=False).head(OF_TOPIC)
    both = pd.concat([largest_features(features, OVER_TOPICS)[FEATURE], of_topics[FEATURE]])
    return list(table_keys(both.drop_duplicates()))


def with_source(keys: Iterable[tuple[Site, int]], sources: Sources) -> list[Wanted]:
    """Those of the features whose SAE is on Neuronpedia, as it names them."""
    return [(source, feature) for site, feature in keys if isinstance(source := sources[site], Source)]


def table_keys(table: pd.DataFrame) -> Iterator[tuple[Site, int]]:
    """Site and feature of each row."""
    for layer, kind, feature in table[FEATURE].itertuples(index=False, name=None):
        yield Site(parse_kind(kind), int(layer)), int(feature)


def _asked(sources: Sources, answers: Mapping[Wanted, FeatureAnswer]) -> Iterator[tuple[Site, int]]:
    sites = {source: site for site, source in sources.items() if isinstance(source, Source)}
    return ((sites[source], feature) for source, feature in answers)


def _recorded_saes(study: Study) -> dict[str, str]:
    """The name of each site's SAE in plan.json; none where it is missing or damaged."""
    try:
        sites = json.loads((study.folder.root / "plan.json").read_text(encoding="utf-8"))["sites"]
        return {site: str(known["sae"]) for site, known in sites.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
