"""Figures for a notebook: each function takes a table and returns Axes (the whole figure is ``axes.figure``).

The tables are those of a ``Study`` (``study.features()``, ``study.validation("cities")``, ...) or of its Parquet files.
A figure of several panels returns the first; the others are ``axes.figure.axes``.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saeattr.errors import UserError
from saeattr.features.texts import Look
from saeattr.reporting.figures import agreement as _agreement
from saeattr.reporting.figures import curves as _curves
from saeattr.reporting.figures import entropy as _entropy
from saeattr.reporting.figures import firing as _firing
from saeattr.reporting.figures import forest as _forest
from saeattr.reporting.figures import generation as _generation
from saeattr.reporting.figures import generation_grid as _grid
from saeattr.reporting.figures import heatmaps as _heatmaps
from saeattr.reporting.figures import lens as _lens
from saeattr.reporting.figures import lens_map as _lens_map
from saeattr.reporting.figures import lists as _lists
from saeattr.reporting.figures import metric as _metric
from saeattr.reporting.figures import overlap as _overlap
from saeattr.reporting.figures import patching as _patching
from saeattr.reporting.figures import presence as _presence
from saeattr.reporting.figures import recall as _recall
from saeattr.reporting.figures import recall_facts as _recall_facts
from saeattr.reporting.figures import recall_maps as _recall_maps
from saeattr.reporting.figures import recall_patch as _recall_patch
from saeattr.tables import address


def metric_by_point(table: pd.DataFrame, metric_label: str = "metric") -> Axes:
    """The metric at each decision point, clean against corrupted; of metric_by_point.parquet."""
    return _axes(_metric.metric_by_point(table, _name(table), metric_label))


def feature_by_pair(attributions: pd.DataFrame, features: pd.DataFrame, kind: str, top: int = 30) -> Axes:
    """Effect of one group's top features of a kind, pair by pair; of attributions.parquet and features.parquet."""
    groups = features["group"].unique()
    if len(groups) != 1:
        raise UserError(f"feature_by_pair draws one group, not {len(groups)}: filter the tables by group first")
    return _axes(_heatmaps.feature_by_pair(attributions, features, str(groups[0]), kind, top))


def feature_by_group(features: pd.DataFrame, kind: str, depth: int = 30, top: int = 40) -> Axes:
    """Mean effect by group of the features that several groups share; of features.parquet."""
    return _axes(_heatmaps.feature_by_group(features, kind, depth, top))


def feature_presence(features: pd.DataFrame, kind: str, depth: int = 30) -> Axes:
    """In which groups' top sets each feature is; of features.parquet."""
    return _axes(_presence.feature_presence(features, kind, depth))


def jaccard_by_layer(overlap: pd.DataFrame, kind: str) -> Axes:
    """Group by group overlap in each layer; of overlap.parquet, or ``saeattr.overlap(...).pairs``."""
    return _axes(_overlap.jaccard_by_layer(overlap, kind))


def overlap_by_layer(overlap: pd.DataFrame) -> Axes:
    """Overlap of groups as a function of layer, by kind; of overlap.parquet, or ``saeattr.overlap(...).pairs``."""
    return _axes(_overlap.overlap_by_layer(overlap))


def effect_scatter(compared: pd.DataFrame, agreement: pd.DataFrame, n_pairs: int | None = None) -> Axes:
    """Attribution against exact effect, one panel a site; of one group's compared and agreement tables.

    ``n_pairs``: how many distinct pairs ranked (``len(study.pairs(group))``), to be said in the figure.
    """
    return _axes(_agreement.effect_scatter(compared, agreement, _group(compared), n_pairs))


def forest(validation: pd.DataFrame, metric_label: str = "metric") -> Axes:
    """Exact effects of one group's tested features, with intervals and their controls' band; of validation.parquet."""
    return _axes(_forest.forest(validation, _group(validation), metric_label))


def cumulative(curves: pd.DataFrame, n_pairs: int | None = None) -> Axes:
    """What patching, and keeping, the first features of each order does together; of one group in curves.parquet.

    ``n_pairs``: on how many distinct pairs (``len(study.test_pairs(group))``), to be said in the figure.
    """
    return _axes(_curves.cumulative(curves, _group(curves), n_pairs))


def generation(table: pd.DataFrame) -> Axes:
    """What lists become when features are ablated while they are generated; of generation.parquet."""
    return _axes(_generation.generation_figure(table) if len(table) else None)


def entropy(rows: pd.DataFrame, onsets: pd.DataFrame, clean: str = "clean", corrupted: str = "corrupted") -> Axes:
    """Entropy by position under both requests, and where they part; of entropy.parquet and entropy_onset.parquet.

    ``clean``, ``corrupted``: what the requests are called, such as short and long.
    """
    words = {"clean": clean, "corrupted": corrupted, "unit": "prompt"}
    return _axes(_entropy.entropy_figure(rows, onsets, _name(rows), words))


def logit_lens(rows: pd.DataFrame, labels: Mapping[str, str] | None = None) -> Axes:
    """The logit lens over layers, a line a position; of logit_lens.parquet, at one temperature.

    ``labels``: of the directions, in words.
    """
    return _axes(_lens.lens_figure(rows, labels or {}, _name(rows)))


def logit_lens_map(rows: pd.DataFrame, labels: Mapping[str, str] | None = None) -> Axes:
    """The logit lens layer by position; of logit_lens.parquet, at one temperature."""
    return _axes(_lens_map.lens_map(rows, labels or {}, _name(rows)))


def logit_lens_by_temperature(rows: pd.DataFrame, labels: Mapping[str, str] | None = None) -> Axes:
    """The logit lens of the clean run, a panel a temperature; of logit_lens.parquet."""
    return _axes(_lens.lens_by_temperature(rows, labels or {}, _name(rows)))


def _name(table: pd.DataFrame) -> str:
    groups = list(dict.fromkeys(table["group"]))
    return str(groups[0]) if len(groups) == 1 else f"{len(groups)} groups"


def generation_grid(table: pd.DataFrame, max_new_tokens: int | None = None) -> Axes:
    """Items added over layers x number of features, beside controls of equal length; of one group's generation.parquet.

    ``max_new_tokens``: where lists were cut off, to be said in the figure.
    """
    if len(set(table["group"])) > 1:
        raise UserError("generation_grid draws one group: filter the table by group first")
    return _axes(_grid.generation_grid(table, max_new_tokens) if len(table) else None)


def patching(table: pd.DataFrame) -> Axes:
    """Normalised effects of patching, a panel for each component; of patching.parquet, one variant of one group.

    Filter ``study.patching("cities")`` to one ``by``, ``direction`` and ``method`` first.
    """
    variants = table[["group", "by", "direction", "method"]].drop_duplicates()
    if len(variants) > 1:
        raise UserError(
            f"patching draws one group, by, direction and method, not {len(variants)} of them: filter the table first"
        )
    return _axes(_patching.effect_maps(table, _group(table)))


def head_moves(table: pd.DataFrame) -> Axes:
    """Which heads carry what differs between the prompts to the decision; of one group in head_moves.parquet."""
    return _axes(_patching.heads_figure(table, _group(table)))


def items_by_topic(summary: pd.DataFrame) -> Axes:
    """Items of a list by topic, request, temperature and source; of list_summary.parquet."""
    return _axes(_lists.items_by_topic(summary))


def blanks_by_position(blanks: pd.DataFrame) -> Axes:
    """In what share of lists a blank follows the k-th item from the end; of list_blanks.parquet."""
    return _axes(_lists.blanks_by_position(blanks))


def blanks_by_temperature(summary: pd.DataFrame, blanks: pd.DataFrame) -> Axes:
    """Blanks against temperature; of list_summary.parquet and list_blanks.parquet."""
    return _axes(_lists.blanks_by_temperature(summary, blanks))


def one_token_items(summary: pd.DataFrame, exceptions: pd.DataFrame) -> Axes:
    """Share of names of one token by topic, exceptions circled; of list_summary and list_exceptions.parquet."""
    return _axes(_lists.one_token_items(summary, exceptions))


def recall_ld(facts: pd.DataFrame) -> Axes:
    """LD after the clean prompt against LD after the corrupted one; of triage.parquet, or ``triage(...).facts``."""
    return _axes(_recall.ld_figure(facts))


def recall_categories(facts: pd.DataFrame) -> Axes:
    """The swing of every row by category; of triage.parquet, or ``triage(...).facts``."""
    return _axes(_recall.category_figure(facts))


def recall_facts(selected: pd.DataFrame) -> Axes:
    """LD after both prompts, fact by fact; of ``triage(...).selected``, or any rows of triage.parquet."""
    return _axes(_recall.fact_figure(selected))


def recall_positions(curves: pd.DataFrame, releases: pd.DataFrame) -> Axes:
    """Share of the swing at the entity and at the final position by layer; of recall_curves and recall_release."""
    return _axes(_recall_patch.position_figure(curves, releases))


def recall_damage(curves: pd.DataFrame, releases: pd.DataFrame) -> Axes:
    """Largest damage against the swing and the release layer; of recall_curves and recall_release."""
    return _axes(_recall_patch.damage_figure(curves, releases))


def recall_components(curves: pd.DataFrame) -> Axes:
    """What each part of a layer moves at the entity and at the final position; of recall_curves."""
    return _axes(_recall_patch.component_figure(curves))


def recall_heads(curves: pd.DataFrame) -> Axes:
    """What every head's z moves; of recall_curves."""
    return _axes(_recall_patch.head_figure(curves))


def recall_top(curves: pd.DataFrame) -> Axes:
    """The five facts of the largest swing by layer, normalised LD; of recall_curves."""
    return _axes(_recall_facts.top_figure(curves))


def recall_spread(releases: pd.DataFrame) -> Axes:
    """Release layer and largest damage by category; of recall_release."""
    return _axes(_recall_facts.spread_figure(releases))


def recall_worst(worst: pd.DataFrame) -> Axes:
    """Which layers and heads move most in how many facts; of recall_worst."""
    return _axes(_recall_facts.worst_figure(worst))


def recall_restored(table: pd.DataFrame) -> Axes:
    """Restored LD and probability by layer and role, mean over facts; of recall_restored."""
    return _axes(_recall_maps.roles_figure(table))


def recall_tokens(table: pd.DataFrame) -> Axes:
    """The same token by token, of three facts; of recall_restored (filter it for one fact)."""
    return _axes(_recall_maps.facts_figure(table))


def feature_picture(look: Look, feature: str | None = None, label: str = "") -> Axes:
    """Where a feature fires, token by token; of ``saeattr.look(...)``.

    Args:
        feature: its address, such as ``resid_post.3/423``; None where the look is of one.
    """
    named = {address(*one): one for one in look.features}
    if feature is None and len(named) == 1:
        return _axes(_firing.feature_picture(look, label=label))
    if feature not in named:
        raise UserError(f"{feature!r} is none of the look's features: name one of {', '.join(named) or 'none'}")
    return _axes(_firing.feature_picture(look, named[feature], label))


def _group(table: pd.DataFrame) -> str:
    return str(table["group"].iloc[0]) if len(table) else ""


def _axes(figure: Figure | None) -> Axes:
    if figure is None:
        raise UserError("there is nothing to draw: the table has no rows for this figure, or too few groups")
    return figure.axes[0]
