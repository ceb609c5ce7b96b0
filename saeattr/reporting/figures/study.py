"""The figures of a study: each as a function for a notebook, and all of them as files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from saeattr.features.recurrence import largest_features
from saeattr.files import read_table, slug
from saeattr.neuronpedia.links import FILE, read_links
from saeattr.reporting.figures import clustermap, heatmaps, validation
from saeattr.reporting.figures import lines as metric_curve
from saeattr.reporting.figures import recurrence as jaccard
from saeattr.reporting.figures import recurrence as overlap_figures
from saeattr.reporting.figures.generation import generation_figure
from saeattr.reporting.figures.style import label_texts, save_figure
from saeattr.study.attribution import Attribution
from saeattr.study.folder import StudyFolder
from saeattr.study.generation import Generating
from saeattr.study.results import Study, load_study
from saeattr.study.selection import WHOLE, Choosing
from saeattr.study.sets import study_overlap
from saeattr.study.validation import Validation
from saeattr.tables import ATTRIBUTIONS, FEATURE, LAYER_SCORES, LENS, PAIR, ROLE_EFFECTS

#: From so many figures of single groups on, two processes draw.
MANY = 24

Draw = Callable[[], "Figure | None"]


def feature_by_pair(
    study: Study, group: str, kind: str, top: int = 30, labels: Mapping[str, str] | None = None
) -> Figure | None:
    """Effect of a group's top features of one kind, pair by pair.

    Args:
        labels: from ``kind.layer/feature`` to its words; by default those in the study's neuronpedia.json.
    """
    # The group's own part: the joined table of many groups takes gigabytes to read.
    path = Attribution.folder(study.folder, group) / "attributions.parquet"
    attributions = read_table(path, ATTRIBUTIONS, [*PAIR, *FEATURE, "effect"])
    words = study_labels(study) if labels is None else labels
    return heatmaps.feature_by_pair(attributions, study.features(group), group, kind, top, words)


def feature_by_group(
    study: Study, kind: str, depth: int = 30, top: int = 40, labels: Mapping[str, str] | None = None
) -> Figure | None:
    """Mean effect by group of the features that several groups share; ``labels`` as for ``feature_by_pair``."""
    words = study_labels(study) if labels is None else labels
    return heatmaps.feature_by_group(study.features(), kind, depth, top, words)


def study_labels(study: Study) -> dict[str, str]:
    """The labels that the study's neuronpedia.json knows, by feature address."""
    return label_texts(read_links(study.folder).labels)


def feature_presence(study: Study, kind: str, depth: int = 30) -> Figure | None:
    """In which groups' sets each feature is; None with one group."""
    return overlap_figures.feature_presence(study.features(), kind, depth)


def jaccard_by_layer(study: Study, kind: str, depth: int = 30) -> Figure | None:
    """Group by group overlap in each layer; None with one group."""
    return jaccard.jaccard_by_layer(study_overlap(study.folder, depth), kind)


def overlap_by_layer(study: Study, depth: int = 30) -> Figure | None:
    """Overlap of groups as a function of layer, by kind; None with one group."""
    return overlap_figures.overlap_by_layer(study_overlap(study.folder, depth))


def activation_clusters(study: Study, kind: str, top: int = 60) -> Figure | None:
    """Activation of the top features of one kind in every pair, clustered."""
    features = study.features()
    chosen = largest_features(features[features["kind"] == kind], top)
    return clustermap.activation_clusters(pair_activations(study, chosen), kind)


def pair_activations(study: Study, chosen: pd.DataFrame) -> pd.DataFrame:
    """Largest activation of each chosen feature in each pair, read group by group to hold little in memory."""
    parts = []
    for group in study.groups:
        path = Attribution.folder(study.folder, group) / "attributions.parquet"
        table = read_table(path, ATTRIBUTIONS, [*PAIR, *FEATURE, "act_clean"])
        parts.append(clustermap.pair_activations(table, chosen))
    return pd.concat(parts, axis=1).fillna(0.0)


def metric_by_point(study: Study, group: str | None = None) -> Figure:
    """The metric by item, clean against corrupted, of one group or of all together."""
    name = group or f"{len(study.groups)} groups"
    return metric_curve.metric_by_point(study.metric_by_point(group), name, study.metric_label)


def forest(study: Study, group: str) -> Figure | None:
    """Exact effects of a group's top features with intervals, beside controls and attributions."""
    return validation.forest(study.validation(group), group, study.metric_label)


def effect_scatter(study: Study, group: str) -> Figure | None:
    """Attribution against exact effect of every feature patched in a group, layer by layer."""
    return validation.effect_scatter(study.compared(group), study.agreement(group), group)


def cumulative(study: Study, group: str) -> Figure | None:
    """What patching, and keeping, a group's first features does together."""
    return validation.cumulative(study.curves(group), group)


def draw_layer_scores(study: StudyFolder, metric_label: str) -> None:
    """Write the figure of how the sites were chosen, from the tables of the choice."""
    table, lens, ablation = (Choosing.read(study, one, WHOLE) for one in (LAYER_SCORES, LENS, ROLE_EFFECTS))
    save_figure(metric_curve.layer_scores_figure(table, lens, ablation, metric_label), study.figures, "layer-scores")


def draw_study(study: Study, on_progress: Callable[[str, str, int, int], None]) -> None:
    """Write the figures that are missing or older than their tables; many are shared with a second process."""
    if Choosing.is_there(study.folder, WHOLE) and _is_stale(
        study, [study.folder.table_path("layer_scores")], "layer-scores"
    ):
        draw_layer_scores(study.folder, study.metric_label)
    wanted = [(sources, name, draw) for sources, name, draw in _figures(study) if _is_stale(study, sources, name)]
    # Figures of all groups together stay here, because they share what they compute.
    of_groups = [name for sources, name, _ in wanted if sources[0].parent != study.folder.root]
    shared = set(of_groups[::2]) if len(of_groups) >= MANY and (os.cpu_count() or 1) > 1 else set()
    with _second_process(study, shared):
        _draw(study, [entry for entry in wanted if entry[1] not in shared], on_progress)
    # What the other process could not draw fails here, where the reason is seen.
    _draw(study, [entry for entry in wanted if entry[1] in shared and _is_stale(study, *entry[:2])], on_progress)


def draw_named(study: Study, names: Collection[str]) -> None:
    """Write some figures by their names."""
    _draw(study, [entry for entry in _figures(study) if entry[1] in names], lambda *_: None)


def _draw(
    study: Study, wanted: Sequence[tuple[list[Path], str, Draw]], on_progress: Callable[[str, str, int, int], None]
) -> None:
    for done, (_, name, draw) in enumerate(wanted):
        on_progress("figures", "drawing", done, len(wanted))
        figure = draw()
        if figure is not None:
            save_figure(figure, study.folder.figures, name)
    if wanted:
        on_progress("figures", "drawing", len(wanted), len(wanted))


@contextmanager
def _second_process(study: Study, names: Collection[str]) -> Iterator[None]:
    """While the block runs, another process draws ``names``; then wait for it."""
    if not names:
        yield
        return
    # Its own interpreter: a fork would copy the threads' locks, and multiprocessing would import the user's script.
    command = [sys.executable, "-m", "saeattr.reporting.figures.study", str(study.folder.root)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdin is not None
        process.stdin.write("\n".join(names))
        process.stdin.close()
        yield
        process.wait()
    finally:
        process.kill()
        process.wait()


def _figures(study: Study) -> Iterator[tuple[list[Path], str, Draw]]:
    """The files that a figure is made of, its name, and how to draw it."""
    labels = [study.folder.root / FILE] if study_labels(study) else []
    kinds = sorted(study.features()["kind"].unique())
    for group in study.groups:
        name = slug(group)
        folder = Attribution.folder(study.folder, group)
        yield [folder / "metric_by_point.parquet"], f"metric-{name}", lambda t=group: metric_by_point(study, t)
        for kind in kinds:
            draw = lambda t=group, k=kind: feature_by_pair(study, t, k)  # noqa: E731
            yield [folder / "attributions.parquet", *labels], f"features-{name}-{kind}", draw
        validated = Validation.folder(study.folder, group) / "validation.parquet"
        if validated.exists():
            yield [validated], f"validation-{name}", lambda t=group: forest(study, t)
            yield [validated], f"agreement-{name}", lambda t=group: effect_scatter(study, t)
            yield [validated], f"cumulative-{name}", lambda t=group: cumulative(study, t)
        generated = Generating.folder(study.folder, group) / "generation.parquet"
        if generated.exists():
            yield [generated], f"generation-{name}", lambda t=group: generation_figure(study.generation(t))
    if len(study.groups) > 1:
        joined = [study.folder.table_path("features")]
        yield joined, "metric-all", lambda: metric_by_point(study)
        for kind in kinds:
            yield joined + labels, f"groups-{kind}", lambda k=kind: feature_by_group(study, k)
            yield joined, f"presence-{kind}", lambda k=kind: feature_presence(study, k)
            yield joined, f"jaccard-{kind}", lambda k=kind: jaccard_by_layer(study, k)
            yield joined, f"clusters-{kind}", lambda k=kind: activation_clusters(study, k)
        yield joined, "overlap-layers", lambda: overlap_by_layer(study)


def _is_stale(study: Study, sources: list[Path], name: str) -> bool:
    files = [study.folder.figures / f"{name}.{suffix}" for suffix in ("png", "svg")]
    newest = max(source.stat().st_mtime for source in sources)
    return any(not file.exists() or file.stat().st_mtime < newest for file in files)


if __name__ == "__main__":
    draw_named(load_study(Path(sys.argv[1])), set(sys.stdin.read().split("\n")))
