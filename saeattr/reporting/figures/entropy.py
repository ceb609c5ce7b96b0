"""How open the next token is along the prompts, under both requests, and where each list's ending sets in."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from saeattr.reading.endings import SIGNIFICANT, TESTABLE_FROM
from saeattr.reading.entropy import CLEAN, CORRUPTED
from saeattr.reporting.figures.style import CLEAN as BLUE
from saeattr.reporting.figures.style import CORRUPTED as ORANGE
from saeattr.reporting.figures.style import figure_text, house_style, new_figure
from saeattr.reporting.readings import ending_text, main_role, n_pairs_of, rise_lines
from saeattr.stats import mean_interval
from saeattr.tables import PAIR

#: The request that is read under has a colour, the one that was written to a line.
COLOURS, LINES = {CLEAN: BLUE, CORRUPTED: ORANGE}, {CLEAN: "-", CORRUPTED: (0, (4, 1.5))}
#: A position is drawn where at least so many pairs reach it.
FEWEST_PAIRS = 2
#: More pairs than this are counted, not drawn one by one.
ONE_BY_ONE = 40


def entropy_figure(rows: pd.DataFrame, onsets: pd.DataFrame, name: str, words: Mapping[str, str]) -> Figure | None:
    """Entropy by number of the span, from the start and from the end, and where the two requests part, pair by pair.

    Pairs whose roles come once have no course: theirs is drawn role by role.

    Args:
        rows, onsets: ``tables.ENTROPY`` and ``tables.ENTROPY_ONSET`` of one group or of several together.
        words: what a reader calls the clean and the corrupted request.
    """
    if rows.empty:
        return None
    role = main_role(rows)
    own, known = rows[rows["role"] == role], onsets[onsets["role"] == role]
    course = int(own["number"].max()) > 2 and len(known) > 0
    with house_style():
        figure = _courses(own, known, role, words) if course else _by_role(rows, words)
        written = known[known["written"] == CLEAN]
        lines = [*rise_lines(written, words), ending_text(written)] if course else [_by_role_text(rows, words)]
        title = textwrap.fill(f"{name}: {'; '.join(filter(None, lines))}", int(13 * figure.get_figwidth()))
        figure.suptitle(figure_text(title), x=0.01, ha="left", fontsize=10)
    return figure


def _courses(rows: pd.DataFrame, onsets: pd.DataFrame, role: str, words: Mapping[str, str]) -> Figure:
    figure = new_figure(11.4, 3.9)
    start, end, ending = figure.subplots(1, 3, width_ratios=[1, 1, 0.85])
    end.sharey(start)
    for axes, column in ((start, "number"), (end, "from_end")):
        for (written, read), cell in rows.groupby(["written", "read"], sort=False):
            label = figure_text(f"{words[str(written)]} {words['unit']}s, read under {words[str(read)]}")
            _course(axes, cell, column, COLOURS[str(read)], LINES[str(written)], label)
        axes.set_ylim(bottom=0)
    start.set_xlabel(f"{role}, from the start")
    start.set_ylabel(f"entropy of the next token\nat the {role}'s last token (nats)")
    end.set_xlabel(f"{role}s before the last (0 = last)")
    end.invert_xaxis()
    highest = max(np.asarray(line.get_ydata(), dtype=float).max() for line in start.get_lines())
    start.set_ylim(0, 1.15 * highest or 1.0)
    over = f"mean over {_counts(rows)}, 95 % bands:"
    handles, labels = start.get_legend_handles_labels()
    nothing = Line2D([], [], linestyle="")
    figure.legend([nothing, *handles], [over, *labels], loc="outside lower left", ncols=5, frameon=False, fontsize=7)
    _endings(ending, onsets[(onsets["written"] == CLEAN) & onsets["onset"].notna()], role)
    return figure


def _counts(rows: pd.DataFrame) -> str:
    """``10 and 10 pairs``, by request written to."""
    counts = [str(n_pairs_of(own)) for _, own in rows.groupby("written", sort=False)]
    return f"{' and '.join(counts)} pairs"


def _course(axes: Axes, cell: pd.DataFrame, column: str, colour: str, line: object, label: str) -> None:
    """Mean with Student's band over the pairs that reach each position."""
    grid = cell.pivot(index=column, columns=PAIR, values="entropy").sort_index()
    counts = grid.notna().sum(axis=1)
    reached = grid[counts >= min(FEWEST_PAIRS, int(counts.max()))]
    ends = [mean_interval(values.dropna().to_numpy(dtype=float)[None]) for _, values in reached.iterrows()]
    at = reached.index.to_numpy()
    axes.plot(at, reached.mean(axis=1), color=colour, linestyle=line, linewidth=1.4, label=label)  # pyright: ignore[reportArgumentType]
    axes.fill_between(at, [low[0] for low, _ in ends], [high[0] for _, high in ends], color=colour, alpha=0.18, lw=0)


def _endings(axes: Axes, onsets: pd.DataFrame, role: str) -> None:
    """A line for each pair with a dot where the requests part; of many pairs, how many part at which span."""
    filled = onsets["p_value"] <= SIGNIFICANT
    if len(onsets) > ONE_BY_ONE:
        spans = np.arange(2, onsets["onset"].max() + 1)
        counts = [[int((own["onset"] == at).sum()) for at in spans] for own in (onsets[filled], onsets[~filled])]
        axes.bar(spans, counts[0], color=BLUE, label=f"p ≤ {SIGNIFICANT:g}")
        axes.bar(spans, counts[1], bottom=counts[0], color="0.8", label="others")
        axes.set_ylabel("pairs")
        axes.legend(frameon=False, fontsize=7)
    else:
        ordered = onsets.assign(clear=filled).sort_values(["n_spans", "onset"], kind="stable")
        for at, row in enumerate(ordered.to_dict("records")):
            axes.plot([1, row["onset"] + row["from_end"]], [at, at], color="0.8", linewidth=1.2, zorder=1)
            face = BLUE if row["clear"] else "white"
            axes.scatter(row["onset"], at, s=24, color=face, edgecolor=BLUE, linewidth=1, zorder=2)
        axes.set_yticks(range(len(ordered)), ordered["pair_id"].astype(str), fontsize=6)
        axes.set_ylabel("pair, its line from the first to the last")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_xlim(left=0.5)
    axes.set_xlabel(
        f"{role} from which on the requests part\n(filled: p ≤ {SIGNIFICANT:g}, which needs {TESTABLE_FROM} of them)"
    )


def _by_role(rows: pd.DataFrame, words: Mapping[str, str]) -> Figure:
    """Entropy at the last span of each role in either run, with Student's intervals over pairs."""
    last = rows[rows["from_end"] == 0]
    roles = list(dict.fromkeys(last["role"]))
    figure = new_figure(max(4.8, 1.6 + 0.62 * len(roles)), 3.6)
    axes = figure.subplots()
    for shift, (read, own) in zip((-0.12, 0.12), last.groupby("read", sort=False), strict=False):
        for at, role in enumerate(roles):
            values = own.loc[own["role"] == role, "entropy"].to_numpy(dtype=float)
            if not len(values):
                continue
            low, high = mean_interval(values[None])
            axes.plot([at + shift] * 2, [low[0], high[0]], color=COLOURS[str(read)], linewidth=1.4)
            label = f"{words[str(read)]} prompt" if at == 0 else None
            axes.plot(at + shift, values.mean(), "o", color=COLOURS[str(read)], markersize=5, label=label)
    axes.set_xticks(range(len(roles)), [figure_text(role) for role in roles], rotation=40, ha="right")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("entropy of the next token (nats)")
    axes.legend(frameon=False, fontsize=8, title=f"mean of {n_pairs_of(rows)} pairs, 95 %", title_fontsize=8)
    return figure


def _by_role_text(rows: pd.DataFrame, words: Mapping[str, str]) -> str:
    """The mean at the last place of all in either run."""
    last = rows[(rows["from_end"] == 0) & (rows["role"] == rows["role"].iloc[-1])]
    means = last.groupby("read", sort=False)["entropy"].mean()
    parts = [f"{mean:.2f} nats ({words[str(read)]})" for read, mean in means.items()]
    return f"entropy at {last['role'].iloc[0]}: {', '.join(parts)}"
