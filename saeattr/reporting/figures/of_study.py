"""Each figure of a study by what it shows: the tables are read here, and drawn by the other modules."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from saeattr.features.recurrence import largest_features
from saeattr.files import read_rows, read_table
from saeattr.neuronpedia.links import read_links
from saeattr.reporting.evidence import n_ranking, n_testing
from saeattr.reporting.figures import (
    agreement,
    clustermap,
    curves,
    heatmaps,
    metric,
    overlap,
    presence,
)
from saeattr.reporting.figures import forest as forests
from saeattr.reporting.figures.style import label_texts
from saeattr.study.attribution import Attribution
from saeattr.study.results import Study
from saeattr.study.sets import study_overlap
from saeattr.tables import ATTRIBUTIONS, FEATURE, PAIR, PAIR_EFFECTS


def metric_by_point(study: Study, group: str | None = None) -> Figure:
    """The metric at the decision points, clean against corrupted, of one group or of all together."""
    name = group or f"{len(study.groups)} groups"
    return metric.metric_by_point(study.metric_by_point(group), name, study.metric_label)


def feature_by_pair(
    study: Study, group: str, kind: str, top: int = 30, labels: Mapping[str, str] | None = None
) -> Figure | None:
    """Effect of a group's top features of one kind, pair by pair.

    Args:
        labels: from ``kind.layer/feature`` to its words; by default those in the study's neuronpedia.json.
    """
    # The group's own part, and of it these features alone: all of many pairs take gigabytes to read.
    features = study.features(group)
    best = features[features["kind"] == kind].sort_values("rank").head(top)["feature"]
    path = Attribution.stored_path(study.folder, PAIR_EFFECTS, group)
    effects = read_rows(path, kind=kind, feature=best.unique().tolist())
    words = study_labels(study) if labels is None else labels
    return heatmaps.feature_by_pair(effects, features, group, kind, top, words)


def feature_by_group(
    study: Study, kind: str, depth: int = 30, top: int = 40, labels: Mapping[str, str] | None = None
) -> Figure | None:
    """Mean effect by group of the features that several groups share; ``labels`` as for ``feature_by_pair``."""
    words = study_labels(study) if labels is None else labels
    n_pairs = [n_ranking(study, group) for group in study.groups]
    return heatmaps.feature_by_group(study.features(), kind, depth, top, words, n_pairs)


def study_labels(study: Study) -> dict[str, str]:
    """The labels that the study's neuronpedia.json knows, by feature address."""
    return label_texts(read_links(study.folder).labels)


def feature_presence(study: Study, kind: str, depth: int = 30) -> Figure | None:
    """In which groups' sets each feature is; None with one group."""
    return presence.feature_presence(study.features(), kind, depth)


def jaccard_by_layer(study: Study, kind: str, depth: int = 30) -> Figure | None:
    """Group by group overlap in each layer; None with one group."""
    return overlap.jaccard_by_layer(study_overlap(study.folder, depth), kind)


def overlap_by_layer(study: Study, depth: int = 30) -> Figure | None:
    """Overlap of groups as a function of layer, by kind; None with one group."""
    return overlap.overlap_by_layer(study_overlap(study.folder, depth))


def activation_clusters(study: Study, kind: str, top: int = 60) -> Figure | None:
    """Activation of the top features of one kind in every pair, clustered."""
    features = study.features()
    chosen = largest_features(features[features["kind"] == kind], top)
    return clustermap.activation_clusters(pair_activations(study, chosen), kind)


def pair_activations(study: Study, chosen: pd.DataFrame) -> pd.DataFrame:
    """Largest activation of each chosen feature in each pair, read group by group to hold little in memory."""
    parts = []
    for group in study.groups:
        path = Attribution.stored_path(study.folder, ATTRIBUTIONS, group)
        table = read_table(path, ATTRIBUTIONS, [*PAIR, *FEATURE, "act_clean"])
        parts.append(clustermap.pair_activations(table, chosen))
    return pd.concat(parts, axis=1).fillna(0.0)


def forest(study: Study, group: str) -> Figure | None:
    """Median exact effects of a group's top features with intervals, beside controls and attributions."""
    return forests.forest(study.validation(group), group, study.metric_label)


def effect_scatter(study: Study, group: str) -> Figure | None:
    """Attribution against exact effect of every feature patched in a group, layer by layer."""
    return agreement.effect_scatter(study.compared(group), study.agreement(group), group, n_ranking(study, group))


def cumulative(study: Study, group: str) -> Figure | None:
    """What patching, and keeping, a group's first features does together."""
    return curves.cumulative(study.curves(group), group, n_testing(study, group))
