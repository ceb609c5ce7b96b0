"""docs/generation.md, its figure and its tables in docs/measured/generation.md, from the lists that were written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmarks.generation.claims import judge_places, judge_settings, judge_topics, measures
from benchmarks.generation.figure import draw
from benchmarks.sections import MEASURED, markdown, replace_section

#: How many features are ablated together, in words.
NAMES = {1: "one", 5: "five", 20: "twenty"}


def write_page(rows: pd.DataFrame, out: Path, topics: Sequence[str]) -> None:
    """Both pages and the figure."""
    found = judge_settings(rows)
    replace_section(out / "generation.md", "ablation", page(found, rows, topics))
    replace_section(out / MEASURED / "generation.md", "ablation", tables(found, judge_topics(rows), rows))
    draw(found, out)


def by_attribution(found: pd.DataFrame, n_features: int, base: str = "corrupted") -> pd.DataFrame:
    own = found[(found["ranking"] == "attribution") & (found["base"] == base)]
    return own[own["n_features"] == n_features]


def page(found: pd.DataFrame, rows: pd.DataFrame, topics: Sequence[str]) -> list[str]:
    n_lists = int(rows.groupby("group")["list_id"].nunique().sum())
    n_sets = int(rows["control_set"].max()) + 1
    return [
        "# Ablation while generating",
        "",
        f"Made by `python scripts/benchmark.py generation`. Bundled model, all its SAEs, short lists of {len(topics)} "
        f"topics ({', '.join(topics)}), {n_lists} lists in each condition, temperature 0.8; Student's 95 % intervals "
        "over lists. Features are ranked by |mean effect| (attribution patching, corrupted base) on other lists of "
        "the topic, and held at the named base at every token but BOS and at every step: corrupted is the feature's "
        "activation at the same token of a run with the long request beside it. Controls move x at the same tokens and "
        "steps as far as the features would there, along the directions of as many other features of the site "
        f"({n_sets} sets); length: how far they did, against how far they should. Steering takes the mean "
        "clean-minus-corrupted difference off at every token. Bases, topics and other measures: "
        "[measured/generation.md](measured/generation.md).",
        "",
        "![items added by layer](generation.png)",
        "",
        "## One, five and twenty features",
        "",
        "Times as long as with nothing ablated, features held at their corrupted value, topics together; and the items "
        "that controls of equal length add.",
        "",
        markdown(by_size(found)),
        "",
        *largest(found),
        "",
        *explanation(found, judge_places(rows)),
    ]


def by_size(found: pd.DataFrame) -> pd.DataFrame:
    """A line for each site: for each number of features times as long, what controls add, and their length."""
    lines: dict[str, dict[str, str]] = {}
    for n_features, name in NAMES.items():
        for _, row in by_attribution(found, n_features).iterrows():
            line = lines.setdefault(site(row), {"site": site(row)})
            line[name] = growth(row)
            line[f"controls of {name}"] = interval(row, "controls", "{:+.1f}")
            line[f"length, {name}"] = "" if pd.isna(row["length_ratio"]) else f"{row['length_ratio']:.2f}"
    return pd.DataFrame(list(lines.values())).fillna("")


def largest(found: pd.DataFrame) -> list[str]:
    """The site where each number of features does most, with what its controls do."""
    parts = []
    for n_features, name in NAMES.items():
        own = by_attribution(found, n_features)
        most = own.sort_values("growth").iloc[-1]
        parts.append(
            f"{name} at {site(most)} ({most['nothing']:.1f} to {most['items']:.1f} items, {growth(most)} times as "
            f"long; controls add {interval(most, 'controls', '{:+.1f}')} items)"
        )
    n_sites = len(found[["kind", "layer"]].drop_duplicates())
    return [
        f"The most that any of the {n_sites} sites gives, which is partly the luck of the largest of so many: "
        + "; ".join(parts)
        + "."
    ]


def explanation(found: pd.DataFrame, where: pd.DataFrame) -> list[str]:
    """What five features of the residual stream reach, what the value does, and where length is read."""
    share = found[found["ranking"] == "search"].set_index("layer")["joint"]
    places = where.assign(text=[interval(row, "added", "{:+.1f}") for _, row in where.iterrows()])
    places = places.pivot_table(index="layer", columns="where", values="text", aggfunc="first", sort=False)
    other = pd.concat([by_attribution(found, 5, base) for base in ("zero", "mean")])
    most = other.sort_values("growth").iloc[-1]
    return [
        "**How much five of the residual stream can reach.** A search (there only) adds, one after the other, the "
        "feature that together with those before it lowers the metric most (exact joint effects, among the first 30 "
        "by attribution patching and by integrated gradients). Its five reach "
        f"{', '.join(f'{100 * value:.0f} % (layer {layer})' for layer, value in share.items())} of the effect of "
        "patching the whole site with the corrupted run. The search is greedy and reads one decision, so others may "
        "do more.",
        "",
        "**The value matters.** Zero and mean take away what the short request writes, but do not put in what the long "
        f"one would. The most they do with five features is {growth(most)} times as long, at {site(most)} (base "
        f"{most['base']}).",
        "",
        "**Where length is read.** Items added by the corrupted run's whole residual stream, at some tokens only. At "
        "the length word it is too late even in layer 0: attention has carried it on, to the rest of the prompt in "
        "layer 0, to the answer's own tokens from layer 1 on.",
        "",
        markdown(places.reset_index()),
    ]


def tables(found: pd.DataFrame, topics: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """Every topic, site and base."""
    return [
        "# Ablation while generating: all sites, topics and bases",
        "",
        "How it was measured and what follows from it is in [generation.md](../generation.md).",
        "",
        "## By base",
        "",
        "Times as long with five features held at each base, and the items that their controls add.",
        "",
        markdown(by_base(found[(found["ranking"] == "attribution") & (found["n_features"] == 5)])),
        "",
        "## By topic",
        "",
        "Times as long at the corrupted base, one topic at a time.",
        "",
        markdown(by_topic(topics)),
        "",
        "## What the lists are like",
        "",
        "Lists with nothing ablated, and with five features at the corrupted base.",
        "",
        markdown(measures(rows, by_attribution(found, 5))),
    ]


def by_base(five: pd.DataFrame) -> pd.DataFrame:
    """A line for each site: for each base times as long, and what the controls add."""
    lines: dict[str, dict[str, str]] = {}
    for _, row in five.iterrows():
        line = lines.setdefault(site(row), {"site": site(row)})
        line[f"{row['base']}"] = growth(row)
        line[f"controls, {row['base']}"] = interval(row, "controls", "{:+.1f}")
    return pd.DataFrame(list(lines.values())).fillna("")


def by_topic(topics: pd.DataFrame) -> pd.DataFrame:
    """A line for each site and number of features, a column for each topic."""
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for n_features, name in NAMES.items():
        for _, row in by_attribution(topics, n_features).iterrows():
            line = lines.setdefault((site(row), name), {"site": site(row), "features": name})
            line[str(row["group"])] = growth(row)
    return pd.DataFrame(list(lines.values())).fillna("")


def site(row: pd.Series) -> str:
    return f"{row['kind']}.{row['layer']}"


def growth(row: pd.Series) -> str:
    return interval(row, "growth", "{:.2f}")


def interval(row: pd.Series, name: str, form: str) -> str:
    """The value with its interval; blank where it was not measured."""
    if name not in row or pd.isna(row[name]):
        return ""
    return f"{form.format(row[name])} [{form.format(row[f'{name}_low'])}, {form.format(row[f'{name}_high'])}]"
