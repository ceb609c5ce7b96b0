"""docs/verdicts.md: what verdicts rest on, and how often they are wrong."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from benchmarks.sections import MEASURED, markdown, replace_section
from benchmarks.verdicts.figure import draw
from benchmarks.verdicts.population import draw_studies, read_population, summarise_studies
from benchmarks.verdicts.tabulate import (
    IN_EVERY_PAIR,
    called_causal,
    causal_by_chance,
    inert_causal,
    interval_coverage,
    little_causal,
    paired_causal,
    recall_by_size,
)

#: What the models are like, from the emptiest to the fullest.
SETTINGS = ("inert background", "quiet background", "few causes", "crowded")
#: Studies drawn from the population for each number of lists.
DRAWS = 1000
TEN = 10


def write_page(planted: pd.DataFrame, shuffled: pd.DataFrame, population: Path, out: Path) -> None:
    """The page, its long tables in measured/, and the figure."""
    known = read_population(population)
    studies = summarise_studies(pd.concat([draw_studies(known, n, DRAWS) for n in (6, TEN, 20)]))
    n_sites, n_features, n_lists = len(set(known.sites)), len(known.sites), known.effects.shape[1]
    replace_section(
        out / "verdicts.md",
        "verdicts",
        [
            *in_short(planted, studies),
            *planted_page(planted),
            *shuffled_page(shuffled),
            "## Studies drawn from a thousand lists",
            "",
            f"Exact effects of all {n_features:,} features that change anything at {n_sites} sites of the bundled "
            "model in "
            f"{n_lists:,} lists of cities are the population; {DRAWS:,} studies of 6, 10 and 20 lists are drawn "
            "from it, "
            "the twenty of the largest mean effects tested on as many other lists (before: on the same). coverage: how "
            "often an interval of 95 % holds what it is of, the median over all lists (Student, before: the mean); "
            "coverage half: of features that change something in half of the lists or more. wrong sign: of tests "
            "with q "
            "<= 0.05, the share whose feature has no effect in the population, or the other sign. little: of features "
            "shown, the share whose effect is under 1 % of the gap. There are no controls here.",
            "",
            markdown(_named(studies)),
        ],
    )
    replace_section(out / MEASURED / "verdicts.md", "verdicts", long_tables(planted))
    draw(planted, studies, out)


def in_short(rows: pd.DataFrame, studies: pd.DataFrame) -> list[str]:
    """The page's findings, in numbers."""
    inert = _at(inert_causal(rows), tested_by="planted").query("kind == 'all inert'").set_index("rule")
    little = _at(little_causal(rows), tested_by="top 20").query("n_pairs == @TEN").set_index("rule")
    held = _at(interval_coverage(rows, []), tested_by="top 20").set_index(["rule", "n_pairs"])["share"]
    drawn = studies.set_index(["way", "n_lists"])["coverage"]
    recall = _at(recall_by_size(rows), tested_by="planted").query("acts == 'every pair' and size == '5 %'")
    recalls = {rule: own.set_index("setting")["recall"] for rule, own in recall.groupby("rule")}
    pairs = _at(paired_causal(rows), tested_by="planted").query("kind == 'redundant'").groupby("rule")
    redundant = {rule: (own["causal"].sum(), own["tested"].sum()) for rule, own in pairs}
    counts = (6, TEN, 20)

    def of_settings(rule: str) -> str:
        return ", ".join(f"{recalls[rule][setting]:.2f} ({setting})" for setting in SETTINGS)

    return [
        "## In short",
        "",
        f"- Of {inert.loc['after', 'tested']:,} features that nothing reads, {inert.loc['after', 'causal']} are called "
        f"causal (at most {inert.loc['after', 'high']:.2%}; before {inert.loc['before', 'causal']} of "
        f"{inert.loc['before', 'tested']:,}).",
        "- Of the features called causal among the twenty of the highest ranks, with ten pairs, "
        f"{little.loc['after', 'share']:.1%} [{little.loc['after', 'low']:.1%}, {little.loc['after', 'high']:.1%}] "
        f"move the metric by less than 1 % of the gap; before {little.loc['before', 'share']:.1%} "
        f"[{little.loc['before', 'low']:.1%}, {little.loc['before', 'high']:.1%}].",
        "- Intervals of 95 % hold what they are of with 6, 10 and 20 pairs: planted "
        + ", ".join(f"{held['after', n]:.1%}" for n in counts)
        + " (before "
        + ", ".join(f"{held['before', n]:.1%}" for n in counts)
        + "); drawn from a thousand lists "
        + ", ".join(f"{drawn['median', n]:.1%}" for n in counts)
        + " (before "
        + ", ".join(f"{drawn['before', n]:.1%}" for n in counts)
        + ").",
        "- A driver that moves 5 % of the gap in every pair is shown nearly always, and called causal in a share that "
        f"depends on what else there is: {of_settings('after')}. Before: {of_settings('before')}. The rule is "
        "stricter: it asks that a feature stand out among moves of its own length along other active features.",
        f"- Of {redundant['after'][1]:,} redundant causes {redundant['after'][0]} are called causal (before "
        f"{redundant['before'][0]}): patching one alone does nothing.",
        "",
    ]


def planted_page(rows: pd.DataFrame) -> list[str]:
    models = rows.groupby("setting")["model"].nunique()
    return [
        "## Planted truth",
        "",
        f"{models.sum()} small models of Gemma 2's architecture whose weights were written so that the truth is known "
        "(`scripts/benchmarks/verdicts`); random prompts stand for lists. 100 of 128 features are active. In "
        f"{models['crowded']} crowded models 18 of them move the metric alone; in the others (few causes) 4. What all "
        "other active features do from pair to pair (standard deviation): in crowded models and in "
        f"{models['few causes']} with few causes 0.2 to 4 % of the gap; in {models['quiet background']} with a quiet "
        f"background 0.05 to 1 %; in {models['inert background']} with an inert one nothing. planted: in all models; "
        "tested: chosen for a test; share: of those tested, called causal, with Clopper and Pearson's 95 % interval.",
        "",
        "**Called causal though nothing reads them** (features that change whenever a cause does; frequent ones that "
        "change as much as causes; dead ones), tested whatever their rank, ten pairs. A feature without an entry "
        "has no "
        "estimate now, and is not tested:",
        "",
        markdown(
            _named(_at(inert_causal(rows), tested_by="planted").query("tested > 0").drop(columns=["recall", "models"]))
        ),
        "",
        "**Single drivers called causal**, of all that were planted, ten pairs, by the share of the gap that "
        "they move. "
        "Those that act in every pair, in one direction:",
        "",
        markdown(_recall(rows, "every pair")),
        "",
        "What is said of them now:",
        "",
        markdown(_said(rows)),
        "",
        "So nearly all that move 2 % or more are shown; whether they are called causal depends on what else "
        "there is. A "
        "feature is `within controls` if moving x as far along two of 39 other features' directions does as "
        "much: where "
        "one direction in six is a cause, or many others are read half as strongly, being a cause is not enough "
        "to stand "
        "out. Drivers that act in 4 of 10 pairs (`in part`), or against themselves in a third of them (`either sign`), "
        "have no effect in the typical pair that ten pairs could show:",
        "",
        markdown(pd.concat([_recall(rows, name).assign(acts=name) for name in ("in part", "either sign")])),
        "",
        "**What one feature alone cannot show.** Of redundant pairs either suffices, so patching one does "
        "nothing: single "
        "ablation cannot see them. Sets can (the cumulative curves). Of cancelling pairs each is a cause alone, "
        "and both "
        "together do nothing:",
        "",
        markdown(_named(_at(paired_causal(rows), tested_by="planted").drop(columns=["recall", "models"]))),
        "",
        "**Coverage** of the intervals of exact effects, the twenty of the highest ranks tested, all kinds of "
        "variation "
        "together (before: of the mean, on the pairs that ranked; now: of the median, on fresh ones). missed "
        "inside: the "
        "interval ends nearer to 0 than the truth:",
        "",
        markdown(_named(_at(interval_coverage(rows, []), tested_by="top 20"))),
        "",
        "**Little called causal**: of the features called causal, those whose effect over all pairs is under 1 % "
        "of the "
        "gap:",
        "",
        markdown(_named(_at(little_causal(rows), tested_by="top 20"))),
        "",
    ]


def _said(rows: pd.DataFrame) -> pd.DataFrame:
    """How often each verdict is given now to drivers that act in every pair, by setting and size."""
    own = rows[(rows["rule"] == "after") & (rows["tested_by"] == "planted") & (rows["kind"] == "driver")]
    own = own[own["variation"].isin(IN_EVERY_PAIR)]
    order = own["size"].str.rstrip(" %").astype(float)
    counts = (
        own.assign(order=order).groupby(["setting", "order", "size"])["verdict"].value_counts().unstack(fill_value=0)
    )
    return counts.reset_index().drop(columns="order")


def shuffled_page(rows: pd.DataFrame) -> list[str]:
    return [
        "## A metric that means nothing",
        "",
        f"The bundled model's lists of {rows['topic'].nunique()} topics; each pair's metric contrasts two random "
        "tokens, so "
        "that no feature has a direction. The twenty of the highest ranks are tested:",
        "",
        markdown(_named(causal_by_chance(rows[rows["n_pairs"] == TEN]))),
        "",
    ]


def long_tables(rows: pd.DataFrame) -> list[str]:
    """Everything by kind, size, variation, number of pairs and set of tested features."""
    tables = {
        "Called causal, by kind and size": called_causal(rows),
        "Drivers": recall_by_size(rows),
        "Coverage by variation": interval_coverage(rows),
        "Called causal with little effect": little_causal(rows),
    }
    lines = [
        "# Verdicts: all tables",
        "",
        "What the columns mean and what follows is in [verdicts.md](../verdicts.md).",
    ]
    for title, table in tables.items():
        lines += ["", f"**{title}**", "", markdown(_named(table))]
    return lines


def _recall(rows: pd.DataFrame, acts: str) -> pd.DataFrame:
    table = _at(recall_by_size(rows), tested_by="planted")
    table = table[table["acts"] == acts]
    wide = table.assign(
        recall=[
            f"{row['recall']:.2f} [{row['recall_low']:.2f}, {row['recall_high']:.2f}] of {row['planted']}"
            for row in table.to_dict("records")
        ],
    )
    found = wide.pivot(index=["setting", "size"], columns="rule", values="recall").reset_index()
    order = found["size"].str.rstrip(" %").astype(float)
    found = found.assign(order=order).sort_values(["setting", "order"], ascending=[False, True]).drop(columns="order")
    return found.rename(columns={"after": "now"})


def _at(table: pd.DataFrame, tested_by: str) -> pd.DataFrame:
    """One set of tested features; with the planted set ten pairs are all there is."""
    return table[table["tested_by"] == tested_by].drop(columns="tested_by")


def _named(table: pd.DataFrame) -> pd.DataFrame:
    """Columns and rules as a reader reads them."""
    named = table.rename(columns=lambda name: str(name).replace("_", " "))
    for column in ("rule", "way"):
        if column in named:
            named[column] = named[column].replace({"after": "now", "median": "now"})
    return named
