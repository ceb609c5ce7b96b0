"""Which figures stand in the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from matplotlib.figure import Figure

from saeattr.report import figures
from saeattr.report.labels import label_texts
from saeattr.report.page.images import inline_figure
from saeattr.report.page.write import InlineFigure
from saeattr.results import Study

#: With more topics than this, the figures of single topics stay in the figures folder: the page would grow too large.
TOPICS_IN_FULL = 2


def report_figures(
    study: Study, depth: int, labels: Mapping[str, Mapping[str, Any]] | None = None
) -> Iterator[InlineFigure]:
    """The figures of the page, in order; ``labels`` as for ``make_report``."""
    for section, caption, figure in _figures(study, depth, label_texts(labels or {})):
        if figure is not None:
            yield inline_figure(figure, section, caption)


def _figures(study: Study, depth: int, labels: dict[str, str]) -> Iterator[tuple[str, str, Figure | None]]:
    several = len(study.topics) > 1
    topic = None if several else study.topics[0]
    yield "behaviour", "Mean over lists with 95 % bootstrap bands.", figures.metric_by_item(study, topic)
    kinds = sorted(study.features()["kind"].unique())
    if several:
        yield "overlap", LAYERS, figures.overlap_by_layer(study, depth)
        for kind in kinds:
            yield "overlap", EFFECTS, figures.feature_by_topic(study, kind, depth, labels=labels)
            yield "overlap", PRESENCE, figures.feature_presence(study, kind, depth)
            yield "overlap", JACCARD, figures.jaccard_by_layer(study, kind, depth)
            yield "overlap", CLUSTERS, figures.activation_clusters(study, kind)
    if len(study.topics) <= TOPICS_IN_FULL:
        for name in study.topics:
            for kind in kinds:
                yield "topic", LISTS, figures.feature_by_list(study, name, kind, labels=labels)
            yield "topic", FOREST, figures.forest(study, name)
            yield "topic", SCATTER, figures.effect_scatter(study, name)
            yield "topic", CURVES, figures.cumulative(study, name)


LAYERS = "Sets: each topic's top features of a site. Chance: sets of the same size and activity, drawn at random."
PRESENCE = "A line is a feature; coloured where it is in the topic's top set at its site."
JACCARD = "Topics with like sets stand together. The diagonal (a topic with itself) is left out."
CLUSTERS = "A row is a feature, a column a list. The marks above the matrix say which topic a list is about."
EFFECTS = "Mean effect over a topic's lists. Grey: not among that topic's top features."
LISTS = "Effect of each list, summed over positions. Grey: not active in that list."
FOREST = "Each feature set to its base value at all its positions, error term kept, layers above run again."
SCATTER = "Every feature that was patched, controls too: what attribution estimated against what was measured."
CURVES = "The first features of each order patched together, across layers; bands: 95 % over lists."
