"""docs/generation.md, its figure and its tables in docs/measured/generation.md, from the lists that were written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmarks.generation.claims import (
    CONTROL_SHARE,
    GROWTH,
    RANKINGS,
    ablated,
    judge_places,
    judge_settings,
    judge_topics,
    measures,
)
from benchmarks.generation.figure import draw
from benchmarks.sections import MEASURED, markdown, replace_section

CLAIM = (
    "The claim: the top five of an early layer (corrupted-base ranking) at least double short lists, and controls add "
    "less than a fifth of that."
)
FIVES = ("attribution", "ig", "exact")
TRIED = (*((ranking, 5) for ranking in RANKINGS), ("attribution", 10), ("attribution", 20), ("ig", 20))


def write_page(rows: pd.DataFrame, out: Path, topics: Sequence[str]) -> None:
    """Both pages and the figure."""
    claims, topic_claims = judge_settings(rows), judge_topics(rows)
    replace_section(out / "generation.md", "ablation", page(claims, topic_claims, rows, topics))
    replace_section(out / MEASURED / "generation.md", "ablation", tables(claims, topic_claims, rows))
    draw(claims, out)


def five(claims: pd.DataFrame, ranking: str = "attribution") -> pd.DataFrame:
    return claims[(claims["ranking"] == ranking) & (claims["n_features"] == 5)]


def page(claims: pd.DataFrame, topic_claims: pd.DataFrame, rows: pd.DataFrame, topics: Sequence[str]) -> list[str]:
    n_lists = int(rows.groupby("group")["list_id"].nunique().sum())
    return [
        "# Ablation while generating",
        "",
        f"Made by `python scripts/benchmark.py generation`. Bundled model, all its SAEs, short lists of {len(topics)} "
        f"topics ({', '.join(topics)}), {n_lists} lists in each condition, temperature 0.8; 95 % bootstrap intervals "
        "over lists. Features are ranked by |mean effect| with the corrupted base on the topic's own lists, and held "
        "at the named base at every token but BOS and at every step: corrupted is the feature's activation at the same "
        "token of a run with the long request beside it. Controls are as many other features of the site, matched on "
        "the size of the change and on frequency (three sets for five features, two for twenty). Steering takes the "
        "mean clean-minus-corrupted difference off at every token. Exact effects are measured of the first 30 of the "
        "other two rankings. Every site, topic and way: [measured/generation.md](measured/generation.md).",
        "",
        "![items added by layer](generation.png)",
        "",
        "## The claim",
        "",
        CLAIM,
        "",
        *verdict(claims),
        "",
        by_topic(topic_claims),
        "",
        *explanation(claims, judge_places(rows)),
    ]


def tables(claims: pd.DataFrame, topic_claims: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """Every topic, site, base and ranking."""
    shown = claims[claims["holds"].eq(True) | ((claims["growth"] >= 1.5) & (claims["n_features"] == 5))]
    return [
        "# Ablation while generating: all sites, topics and ways",
        "",
        "How it was measured and what follows from it is in [generation.md](../generation.md).",
        "",
        "## By topic",
        "",
        "Times as long where five features by attribution patching make the claim hold for a topic, by means at least; "
        "bold: with whole intervals.",
        "",
        topic_table(topic_claims),
        "",
        "## By base",
        "",
        "Times as long with five by attribution patching held at each base, and the items that their controls add; "
        "bold: at least double and controls under a fifth of that, with whole intervals.",
        "",
        markdown(by_base(five(claims))),
        "",
        "## The top five by each ranking",
        "",
        'All topics together. holds: "yes" where both whole intervals are on the right side of the marks (at least '
        f'{GROWTH:g} times as long, a share under {CONTROL_SHARE:g}), "by means" where only the means are. Controls\' '
        "share of what the features add is left out where lists do not grow by half: there it divides by next to "
        "nothing.",
        *[line for ranking in FIVES for line in ("", f"Top five by {RANKINGS[ranking]}:", "", table(claims, ranking))],
        "",
        "## More features, and other ways",
        "",
        "Times as long at the corrupted base; bold: with whole intervals.",
        "",
        markdown(ways(claims[claims["base"] == "corrupted"])),
        "",
        "## What the lists are like",
        "",
        "Lists with nothing ablated, and with the corrupted base: every setting in which lists double with whole "
        "intervals, and five features where lists grow by half.",
        "",
        markdown(measures(rows, shown[shown["base"] == "corrupted"])),
    ]


def verdict(claims: pd.DataFrame) -> list[str]:
    """Where the claim holds, all topics together, for the first five of each of three rankings."""
    paragraphs = []
    for ranking in FIVES:
        own = five(claims, ranking)
        early, clear = own[own["layer"] <= 1], own[own["holds"].eq(True)]
        near = own[own["by mean"].eq(True) & own["holds"].eq(False)]
        text = f"**Five by {RANKINGS[ranking]}**, topics together ({len(own)} sites and bases, {len(early)} of them in "
        text += f"the early layers 0 and 1): with both whole intervals it holds at {named(clear) or 'no site'}"
        text += f", by means alone at {named(near)}. " if len(near) else ", and by means alone at no other. "
        best = early.sort_values("growth").iloc[-1]
        text += f"The most that five do in an early layer is at {named(best.to_frame().T)}."
        paragraphs += [text, ""]
    return paragraphs[:-1]


def topics_where(topics: pd.DataFrame) -> pd.DataFrame:
    """Five features by attribution patching and one topic: where the claim holds, by means at least."""
    return five(topics)[five(topics)["by mean"].eq(True)]


def by_topic(topics: pd.DataFrame) -> str:
    found = "; ".join(
        f"{row['group']} at {row['kind']}.{row['layer']} (base {row['base']}: "
        f"{interval(row, 'growth', '{:.2f}')} times as long, controls' share {interval(row, 'share', '{:.2f}')}, "
        f"{'with both whole intervals' if row['holds'] else 'by means, not with whole intervals'})"
        for _, row in topics_where(topics).iterrows()
    )
    return (
        "**Topics differ**, and an interval over lists does not say how other topics would do. One topic at a time "
        f"({len(five(topics))} tries of 10 lists each), five by attribution patching do it for {found or 'none'}."
    )


def topic_table(topics: pd.DataFrame) -> str:
    """Sites and bases where five features make the claim hold, by means at least, for one topic or more."""
    lines: list[dict[str, str]] = []
    places = {(row["kind"], row["layer"], row["base"]) for _, row in topics_where(topics).iterrows()}
    for kind, layer, base in sorted(places):
        here = topics[(topics["kind"] == kind) & (topics["layer"] == layer) & (topics["base"] == base)]
        for ranking, n_features in TRIED:
            own = here[(here["ranking"] == ranking) & (here["n_features"] == n_features)]
            if len(own):
                name = ablated({"ranking": ranking, "n_features": n_features})
                lines.append({"site": f"{kind}.{layer}", "base": base, "ablated": name})
                lines[-1] |= {str(row["group"]): growth(row) for _, row in own.iterrows()}
    return markdown(pd.DataFrame(lines))


def named(rows: pd.DataFrame) -> str:
    """Sites and bases with their numbers."""
    parts = [
        f"{row['kind']}.{row['layer']} (base {row['base']}: {row['nothing']:.1f} to {row['items']:.1f} items, "
        f"{interval(row, 'growth', '{:.2f}')} times as long; controls add {interval(row, 'controls', '{:+.1f}')} items)"
        for _, row in rows.iterrows()
    ]
    return ", ".join(parts)


def by_base(claims: pd.DataFrame) -> pd.DataFrame:
    """A line for each site: for each base times as long, and what the controls add."""
    lines: dict[str, dict[str, str]] = {}
    for _, row in claims.iterrows():
        site = f"{row['kind']}.{row['layer']}"
        line = lines.setdefault(site, {"site": site})
        line[f"{row['base']}"] = growth(row)
        line[f"controls, {row['base']}"] = interval(row, "controls", "{:+.1f}")
    return pd.DataFrame(list(lines.values()))


def sites(rows: pd.DataFrame) -> list[str]:
    return [f"{row['kind']}.{row['layer']}" for _, row in rows.iterrows()]


def table(claims: pd.DataFrame, ranking: str) -> str:
    rows = []
    for _, row in five(claims, ranking).iterrows():
        rows.append(
            {
                "kind": row["kind"],
                "base": row["base"],
                "layer": int(row["layer"]),
                "items": f"{row['nothing']:.1f} to {row['items']:.1f}",
                "added": interval(row, "added", "{:+.1f}"),
                "times as long": interval(row, "growth", "{:.2f}"),
                "controls add": interval(row, "controls", "{:+.1f}"),
                "controls' share": interval(row, "share", "{:.2f}") if row["growth"] >= 1.5 else "",
                "holds": "yes" if row["holds"] else "by means" if row["by mean"] else "no",
            }
        )
    return markdown(pd.DataFrame(rows))


def explanation(claims: pd.DataFrame, where: pd.DataFrame) -> list[str]:
    """Why five do not do it in the residual stream, and what does."""
    corrupted = claims[claims["base"] == "corrupted"]
    share = corrupted[corrupted["ranking"] == "search"].set_index("layer")["joint"]
    places = where.assign(text=[interval(row, "added", "{:+.1f}") for _, row in where.iterrows()])
    places = places.pivot_table(index="layer", columns="where", values="text", aggfunc="first", sort=False)
    return [
        "## Why, and what does",
        "",
        "**In the residual stream length is spread over more than five features.** The search (there only) adds, one "
        "after the other, the feature that together with those before it lowers the metric most (exact joint effects, "
        "among the first 30 of both rankings). Its five features reach "
        f"{100 * share.min():.0f} to {100 * share.max():.0f} % of the effect of patching the whole site with the "
        "corrupted run "
        f"({', '.join(f'layer {layer}: {100 * value:.0f} %' for layer, value in share.items())}), and lists grow "
        "little. The search is greedy and reads one decision, so it is no proof, but five that do much more are "
        "unlikely.",
        "",
        *value_matters(claims[claims["n_features"] == 5]),
        "",
        "**More features.** Alone, each feature of an early layer of the residual stream does little, because the "
        "others still say short; on the line to the corrupted run, where all of them move, the gradient is another. "
        f"With whole intervals, lists at least double and controls add less than a fifth of that {more(corrupted)}. "
        "Twenty, and integrated gradients, were settled on after trying 5, 10, 20 and 50 features by four rankings on "
        "the lists of cities in the residual stream; cities are among the four topics here. The other kinds of site, "
        "the exact order and ten features were added later and not tuned.",
        "",
        "**Where length is read.** Items added by the corrupted run's whole residual stream, at some tokens only. At "
        "the length word it is too late even in layer 0: attention has carried it on, to the rest of the prompt in "
        "layer 0, to the answer's own tokens from layer 1 on.",
        "",
        markdown(places.reset_index()),
    ]


def value_matters(top5: pd.DataFrame) -> list[str]:
    most = top5[top5["base"] != "corrupted"].sort_values("growth").iloc[-1]
    return [
        "**The value matters.** Zero and mean take away what the short request writes, but do not put in what the long "
        f"one would. The most they do with five features is {interval(most, 'growth', '{:.2f}')} times as long, at "
        f"{most['kind']}.{most['layer']} (base {most['base']})."
    ]


def more(corrupted: pd.DataFrame) -> str:
    """The sites where ten or twenty do it."""
    parts = []
    for ranking, n_features in TRIED[-3:]:
        own = corrupted[(corrupted["ranking"] == ranking) & (corrupted["n_features"] == n_features)]
        name = ablated({"ranking": ranking, "n_features": n_features})
        parts.append(f"with {name} at {', '.join(sites(own[own['holds'].eq(True)])) or 'no site'}")
    return "; ".join(parts)


def ways(corrupted: pd.DataFrame) -> pd.DataFrame:
    """Times as long by site and by what is ablated."""
    order = [ablated({"ranking": ranking, "n_features": n_features}) for ranking, n_features in TRIED]
    lines: dict[str, dict[str, str]] = {}
    for _, row in corrupted.iterrows():
        site = f"{row['kind']}.{row['layer']}"
        lines.setdefault(site, {"site": site})[ablated(row)] = growth(row)
    table = pd.DataFrame(list(lines.values())).fillna("")
    return table[["site", *[name for name in order if name in table]]]


def growth(row: pd.Series) -> str:
    text = interval(row, "growth", "{:.1f}")
    return f"**{text}**" if row["holds"] is True else text


def interval(row: pd.Series, name: str, form: str) -> str:
    return f"{form.format(row[name])} [{form.format(row[f'{name}_low'])}, {form.format(row[f'{name}_high'])}]"
