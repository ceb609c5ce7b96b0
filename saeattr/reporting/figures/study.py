"""The figures of a study as files: which there are, which are older than their tables, and drawing those, once.

The report shows the same files: ``StudyFigure.section`` says where in it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from saeattr.files import check_whole, fault, slug
from saeattr.neuronpedia.links import FILE
from saeattr.progress import OnProgress, quiet
from saeattr.reporting.figures import of_generation, of_lists, of_patching, of_reading, of_recall, of_study
from saeattr.reporting.figures.figure import GROUPS_IN_FULL, StudyFigure
from saeattr.reporting.figures.layer_scores import layer_scores_figure
from saeattr.reporting.figures.style import save_figure
from saeattr.study.attribution import Attribution
from saeattr.study.folder import StudyFolder
from saeattr.study.results import Study, load_study
from saeattr.study.selection import Choosing
from saeattr.study.stage import WHOLE
from saeattr.study.validation import Validation
from saeattr.tables import LAYER_SCORES, LENS, METRIC_BY_POINT, PAIR_EFFECTS, ROLE_EFFECTS, VALIDATION

#: From so many figures of single groups on, two processes draw.
MANY = 24


def draw_study(study: Study, on_progress: OnProgress = quiet) -> None:
    """Write the figures that are missing or older than their tables; many are shared with a second process."""
    draw_stale(study, list(study_figures(study)), on_progress)


def draw_stale(study: Study, figures: Sequence[StudyFigure], on_progress: OnProgress = quiet) -> None:
    """Write those of some figures that are missing or older than their tables."""
    wanted = [figure for figure in figures if is_stale(study, figure)]
    # Figures of all groups together stay here, because they share what they compute.
    of_groups = [figure.name for figure in wanted if figure.group]
    shared = set(of_groups[::2]) if len(of_groups) >= MANY and (os.cpu_count() or 1) > 1 else set()
    with _second_process(study, shared):
        _draw(study, [figure for figure in wanted if figure.name not in shared], on_progress)
    # What the other process could not draw fails here, where the reason is seen.
    left = [figure for figure in wanted if figure.name in shared and is_stale(study, figure)]
    _draw(study, left, on_progress)


def draw_named(study: Study, names: Collection[str]) -> None:
    """Write some figures by their names."""
    _draw(study, [figure for figure in study_figures(study) if figure.name in names], quiet)


def draw_layer_scores(study: StudyFolder, metric_label: str) -> None:
    """Write the figure of how the sites were chosen, from the tables of the choice."""
    save_figure(_layer_scores(study, metric_label), study.figures, "layer-scores")


def study_figures(study: Study) -> Iterator[StudyFigure]:
    """All figures of a study, in the order in which the report shows them."""
    folder = study.folder
    yield from of_lists.figures(study)
    yield from of_reading.figures(study)
    yield from of_patching.figures(study)
    yield from of_recall.figures(study)
    if Choosing.is_there(folder, WHOLE):
        draw = partial(_layer_scores, folder, study.metric_label)
        yield StudyFigure("layer-scores", (folder.table_path("layer_scores"),), draw, "selection", SCORES)
    labels = (folder.root / FILE,) if of_study.study_labels(study) else ()
    kinds = sorted(study.features()["kind"].unique())
    if len(study.groups) > 1 and folder.table_path("features").exists():
        yield from _figures_of_all(study, kinds, labels)
    for group in study.groups:
        yield from _figures_of_group(study, group, kinds, labels)
    yield from of_generation.figures(study, len(study.groups) <= GROUPS_IN_FULL)


def is_stale(study: Study, figure: StudyFigure) -> bool:
    """Whether a figure is missing, damaged, or older than what it is drawn from.

    Raises:
        UserError: what it is drawn from is damaged.
    """
    for source in figure.sources:
        check_whole(source)
    files = [study.folder.figures / f"{figure.name}.{suffix}" for suffix in ("png", "svg")]
    newest = max(source.stat().st_mtime for source in figure.sources)
    return any(not file.exists() or fault(file) or file.stat().st_mtime < newest for file in files)


def _figures_of_all(study: Study, kinds: Sequence[str], labels: tuple[Path, ...]) -> Iterator[StudyFigure]:
    joined = (study.folder.table_path("features"),)
    yield StudyFigure("metric-all", joined, partial(of_study.metric_by_point, study), "behaviour", METRIC)
    yield StudyFigure("overlap-layers", joined, partial(of_study.overlap_by_layer, study), "overlap", LAYERS)
    for kind in kinds:
        for name, sources, draw, caption in (
            ("groups", joined + labels, of_study.feature_by_group, EFFECTS),
            ("presence", joined, of_study.feature_presence, PRESENCE),
            ("jaccard", joined, of_study.jaccard_by_layer, JACCARD),
            ("clusters", joined, of_study.activation_clusters, CLUSTERS),
        ):
            yield StudyFigure(f"{name}-{kind}", sources, partial(draw, study, kind), "overlap", caption)


def _figures_of_group(
    study: Study, group: str, kinds: Sequence[str], labels: tuple[Path, ...]
) -> Iterator[StudyFigure]:
    if not Attribution.is_there(study.folder, group):
        return
    name, folder = slug(group), study.folder
    single, section = len(study.groups) == 1, "features" if len(study.groups) <= GROUPS_IN_FULL else ""
    metric = partial(of_study.metric_by_point, study, group)
    points = (Attribution.path(folder, group, METRIC_BY_POINT),)
    yield StudyFigure(f"metric-{name}", points, metric, "behaviour" if single else "", METRIC, group)
    for kind in kinds:
        sources = (Attribution.path(folder, group, PAIR_EFFECTS), *labels)
        draw = partial(of_study.feature_by_pair, study, group, kind)
        yield StudyFigure(f"features-{name}-{kind}", sources, draw, section, PAIRS, group)
    validated = (Validation.path(folder, group, VALIDATION),)
    if validated[0].exists():
        for what, draw, caption in (
            ("validation", of_study.forest, FOREST),
            ("agreement", of_study.effect_scatter, SCATTER),
            ("cumulative", of_study.cumulative, CURVES),
        ):
            yield StudyFigure(f"{what}-{name}", validated, partial(draw, study, group), section, caption, group)


SCORES = "Lens: what a layer adds to the clean-corrupted metric. Ablation: exact effects of patching each role there."
METRIC = "Mean over distinct pairs with 95 % bands (Student); with one decision point a pair, a dot is a pair."
LAYERS = "Sets: each group's top features of a site. Chance: sets of the same size and activity, drawn at random."
PRESENCE = "A line is a feature; coloured where it is in the group's top set at its site."
JACCARD = (
    "Groups with like sets stand together. The diagonal (a group with itself) is left out. q: false discovery rate "
    "over all pairs of groups and all sites."
)
CLUSTERS = "A row is a feature, a column a pair. The marks above the matrix say which group a pair is of."
EFFECTS = "Mean effect over a group's pairs. Grey: not among that group's top features."
PAIRS = "Effect of each pair, summed over positions. Grey: not active in that pair."
FOREST = (
    "Each feature set to its base value, error term kept, layers above run again, in pairs that did not rank it. A "
    "control moves the activation as far, at the same tokens, along another feature's direction."
)
SCATTER = "Every feature that was patched by itself where features were ranked: attribution against what was measured."
CURVES = (
    "The first features of each order patched together, across layers, in pairs that did not give the order. Controls "
    "move each site as far as the features of the attribution order would, along other features."
)


def _layer_scores(study: StudyFolder, metric_label: str) -> Figure:
    table, lens, ablation = (Choosing.read(study, one, WHOLE) for one in (LAYER_SCORES, LENS, ROLE_EFFECTS))
    return layer_scores_figure(table, lens, ablation, metric_label)


def _draw(study: Study, wanted: Sequence[StudyFigure], on_progress: OnProgress) -> None:
    for done, figure in enumerate(wanted):
        on_progress("figures", "drawing", done, len(wanted))
        drawn = figure.draw()
        if drawn is not None:
            save_figure(drawn, study.folder.figures, figure.name)
            continue
        # Of an earlier state of the study, which had something to show.
        for suffix in ("png", "svg"):
            (study.folder.figures / f"{figure.name}.{suffix}").unlink(missing_ok=True)
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


if __name__ == "__main__":
    draw_named(load_study(Path(sys.argv[1])), set(sys.stdin.read().split("\n")))
