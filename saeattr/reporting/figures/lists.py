"""What lists are like: how many items, where blanks stand, blanks against temperature, names of one token."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from saeattr.reporting.figures.style import PALETTE, effect_map, figure_text, house_style, new_figure, show_token

#: A request has its colour in every figure.
COLOURS = {
    "short": PALETTE[0],
    "few": PALETTE[9],
    "plain": PALETTE[2],
    "long": PALETTE[1],
    "many": PALETTE[3],
    "": "0.5",
}
#: Items from the end that have a column.
FROM_END = 10
#: Topics with a row of their own.
MOST_TOPICS = 40
#: Letters of a title in an inch.
LETTERS = 14
EXCEPTION = PALETTE[3]


def items_by_topic(summary: pd.DataFrame) -> Figure | None:
    """Items of a list by topic, requests side by side; mean with its interval, and the shortest and longest list.

    ``summary``: ``tables.LIST_SUMMARY``; of several temperatures or sources each has its own mark.
    """
    summary = summary[summary["n_lists"] > 0]
    if summary.empty:
        return None
    topics = list(dict.fromkeys(summary["group"]))[:MOST_TOPICS]
    series = _all_series(summary)
    with house_style():
        figure = new_figure(7.4, 1.4 + (0.14 + 0.13 * len(series)) * len(topics))
        axes = figure.subplots()
        for nth, (key, own) in enumerate(series):
            rows = own.set_index("group").reindex(topics)
            at = np.arange(len(topics)) + 0.7 * ((nth + 0.5) / len(series) - 0.5)
            mean = rows["n_items"].to_numpy(dtype=float)
            colour = COLOURS.get(str(key[0]), "0.5")
            axes.hlines(at, rows["fewest"], rows["most"], color=colour, alpha=0.25, linewidth=4)
            reach = np.stack([mean - rows["n_items_low"], rows["n_items_high"] - mean])
            axes.errorbar(mean, at, xerr=reach, fmt="o", markersize=4, color=colour, label=_series(key, summary))
        _topic_axis(axes, topics)
        axes.set_xlim(left=0)
        axes.set_xlabel("items of a list: mean and 95 % interval; pale: shortest to longest list")
        _legend(figure, axes, len(series))
        _title(figure, _items_title(summary))
    return figure


def blanks_by_position(blanks: pd.DataFrame) -> Figure | None:
    """In what share of ended lists a blank follows the k-th item from the end: a row a topic and request.

    ``blanks``: ``tables.LIST_BLANKS``.
    """
    if blanks.empty:
        return None
    keys = ["group", *_varying(blanks)]
    sums = blanks[blanks["from_end"] <= FROM_END].groupby([*keys, "from_end"], sort=False, dropna=False)
    counts = sums[["n_blank", "n_lists"]].sum()
    grid = (counts["n_blank"] / counts["n_lists"]).unstack("from_end").sort_index(axis=1)
    grid = grid.reindex(list(dict.fromkeys(tuple(key[:-1]) if len(keys) > 1 else key[0] for key in counts.index)))
    grid = grid.head(MOST_TOPICS)
    with house_style():
        figure = new_figure(6.8, 1.5 + 0.24 * len(grid))
        axes = figure.subplots()
        values = grid.to_numpy(dtype=float)
        axes.imshow(np.ma.masked_invalid(values), cmap=effect_map(), vmin=-1, vmax=1, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            if not math.isnan(value):
                colour = "white" if value > 0.6 else "0.15"
                axes.text(column, row, f"{value:.0%}", ha="center", va="center", fontsize=7, color=colour)
        axes.set_xticks(range(grid.shape[1]), ["last" if k == 1 else str(k) for k in grid.columns])
        axes.set_yticks(range(len(grid)), [figure_text(_row_name(key)) for key in grid.index])
        axes.tick_params(length=0)
        axes.set_xlabel("k-th item from the end")
        for side in axes.spines.values():
            side.set_visible(False)
        last = ", ".join(
            f"{own['n_blank'].sum()} of {own['n_lists'].sum()} {request}"
            for request, own in _by_request(blanks[blanks["from_end"] == 1])
        )
        _title(
            figure, f"share of ended lists with a blank after the k-th item from the end; after the last: {last} lists"
        )
    return figure


def blanks_by_temperature(summary: pd.DataFrame, blanks: pd.DataFrame) -> Figure | None:
    """Blanks after the last item, and after any, against temperature: a line a topic, and their mean; None with one.

    ``summary``, ``blanks``: ``tables.LIST_SUMMARY`` and ``tables.LIST_BLANKS``.
    """
    heats = sorted(set(summary["temperature"].dropna()))
    if len(heats) < 2:
        return None
    last = blanks[blanks["from_end"] == 1]
    panels = (
        (last, "share", "ended lists with a blank after the last item"),
        (summary, "blank_item", "share of all items with a blank"),
    )
    with house_style():
        figure = new_figure(7.8, 3.4)
        for axes, (table, column, label) in zip(figure.subplots(1, 2), panels, strict=True):
            for request, own in _by_request(table.dropna(subset=["temperature"])):
                colour = COLOURS.get(request, "0.5")
                lines = own.pivot_table(index="temperature", columns=["group", "source"], values=column)
                axes.plot(lines.index, lines, color=colour, alpha=0.25, linewidth=0.8)
                axes.plot(lines.index, lines.mean(axis=1), "o-", color=colour, label=request or "unknown request")
            axes.set_xlabel("temperature")
            axes.set_ylabel(label)
            axes.set_xticks(heats, [f"{heat:g}" for heat in heats])
            axes.set_ylim(-0.03, 1.03)
            axes.yaxis.set_major_formatter(PercentFormatter(1))
            axes.grid(axis="y", color="0.92")
        figure.axes[1].legend(frameon=False, fontsize=8, title="mean of topics", title_fontsize=8)
        ends = "; ".join(_ends(request, own) for request, own in _by_request(last.dropna(subset=["temperature"])))
        _title(figure, f"blank after the last item: {ends} (mean of {len(set(summary['group']))} topics; pale: each)")
    return figure


def _ends(request: str, last: pd.DataFrame) -> str:
    """``short 100% at 0.1, 93% at 1.3``."""
    means = last.groupby("temperature")["share"].mean()
    parts = (f"{means.loc[heat]:.0%} at {heat:g}" for heat in (means.index[0], means.index[-1]))
    return f"{request or 'unknown request'} {', '.join(parts)}"


def _by_request(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each request, shorter ones first."""
    found = {str(request): own for request, own in table.groupby("request", sort=False)}
    return sorted(found.items(), key=lambda item: list(COLOURS).index(item[0]) if item[0] in COLOURS else len(COLOURS))


def one_token_items(summary: pd.DataFrame, exceptions: pd.DataFrame) -> Figure | None:
    """Share of names that are one token, by topic; topics unlike the others are marked.

    ``exceptions``: ``tables.LIST_EXCEPTIONS``.
    """
    known = summary.dropna(subset=["single_token"])
    if known.empty:
        return None
    order = known.groupby("group", sort=False)["single_token"].mean().sort_values(kind="stable")
    topics = [str(name) for name in order.index][:MOST_TOPICS]
    marked = exceptions[exceptions["measure"] == "single_token"]
    unlike = list(dict.fromkeys(marked["group"]))
    series = _all_series(known)
    with house_style():
        figure = new_figure(7.4, 1.4 + (0.14 + 0.11 * len(series)) * len(topics))
        axes = figure.subplots()
        for nth, (key, own) in enumerate(series):
            rows = own.set_index("group").reindex(topics)
            at = np.arange(len(topics)) + 0.7 * ((nth + 0.5) / len(series) - 0.5)
            mean = rows["single_token"].to_numpy(dtype=float)
            # A share has no interval beyond 0 and 1.
            low, high = (rows[f"single_token_{end}"].clip(0, 1).to_numpy(dtype=float) for end in ("low", "high"))
            colour = COLOURS.get(str(key[0]), "0.5")
            reach = np.stack([mean - low, high - mean])
            axes.errorbar(mean, at, xerr=reach, fmt="o", markersize=4, color=colour, label=_series(key, summary))
            found = {row["group"] for row in marked.to_dict("records") if _same(row, key)}
            hit = [topic in found for topic in topics]
            axes.scatter(
                mean[hit],
                at[hit],
                s=70,
                facecolors="none",
                edgecolors=EXCEPTION,
                label="exception" if nth == 0 else None,
            )
        _topic_axis(axes, topics)
        axes.set_xlim(-0.03, 1.03)
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.set_xlabel(
            "share of names that are one token: mean over lists, 95 % interval; circled: unlike the other topics"
        )
        _legend(figure, axes, len(series) + 1)
        named = ", ".join(show_token(name, 30) for name in unlike) or "none"
        _title(figure, f"names of one token: {known['single_token'].mean():.0%} over topics; exceptions: {named}")
    return figure


def _items_title(summary: pd.DataFrame) -> str:
    parts = []
    for request, own in _by_request(summary):
        means = own["n_items"]
        span = f"{means.min():.1f} to {means.max():.1f}" if len(own) > 1 else f"{means.iloc[0]:.1f}"
        ended = (own["ended"] * own["n_lists"]).sum() / own["n_lists"].sum()
        cut = "" if ended == 1 else f" ({1 - ended:.0%} of the lists cut off)"
        parts.append(f"{request or 'unknown request'} {span}{cut}")
    return f"items of a list, means by topic: {'; '.join(parts)}; {summary['n_lists'].sum()} lists"


def _all_series(table: pd.DataFrame) -> list[tuple[tuple, pd.DataFrame]]:
    """The rows of each request, temperature and source, shorter requests first."""
    parts = [own for _, own in _by_request(table)]
    return [
        (key, own)
        for part in parts
        for key, own in part.groupby(["request", "temperature", "source"], sort=False, dropna=False)
    ]


def _series(key: Sequence[Any], table: pd.DataFrame) -> str:
    """A legend's words: the request, and temperature and source where they differ."""
    words = [str(key[0]) or "unknown request"]
    varying = _varying(table)
    if "temperature" in varying:
        words.append("" if pd.isna(key[1]) else f"T {key[1]:g}")
    if "source" in varying:
        words.append(str(key[2]))
    return figure_text(", ".join(word for word in words if word))


def _varying(table: pd.DataFrame) -> list[str]:
    """What else than the topic tells rows apart; the source where a request has several."""
    found = [name for name in ("request", "temperature", "source") if len(table.drop_duplicates(name)) > 1]
    one_each = len(table.drop_duplicates(["request", "source"])) == len(table.drop_duplicates("request"))
    return [name for name in found if name != "source" or not one_each]


def _same(row: dict[Any, Any], key: Sequence[Any]) -> bool:
    pairs = zip((row["request"], row["temperature"], row["source"]), key, strict=True)
    return all(one == other or (pd.isna(one) and pd.isna(other)) for one, other in pairs)


def _row_name(key: Any) -> str:
    parts: tuple[Any, ...] = key if isinstance(key, tuple) else (key,)
    words = (
        f"{part:g}" if isinstance(part, float) else show_token(str(part), 26) for part in parts if not pd.isna(part)
    )
    return "  ".join(words)


def _topic_axis(axes: Axes, topics: Sequence[str]) -> None:
    axes.set_yticks(range(len(topics)), [figure_text(show_token(topic, 26) or "no topic") for topic in topics])
    axes.set_ylim(len(topics) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="0.92")
    axes.set_axisbelow(True)


def _legend(figure: Figure, axes: Axes, entries: int) -> None:
    if entries > 1:
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, entries), frameon=False, fontsize=8)


def _title(figure: Figure, text: str) -> None:
    title = textwrap.fill(text, int(LETTERS * figure.get_figwidth()))
    figure.suptitle(figure_text(title), x=0.01, ha="left", fontsize=10)
