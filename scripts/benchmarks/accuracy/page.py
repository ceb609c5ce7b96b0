"""The first section of docs/accuracy.md and its tables in docs/measured/accuracy.md, from what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from benchmarks.accuracy.figure import LABELS, draw
from benchmarks.sections import MEASURED, markdown, replace_section
from saeattr.runs.base import BASES

STEPS = {"attribution": 0, "relp": 0, "ig 5": 5, "ig 10": 10}
#: Ranks and signs are compared for the largest exact effects that together make up so much of the total.
TOTAL_SHARE = 0.99
TOP = 20
SITE = ["model", "base", "kind", "layer"]
#: A Pearson under this is named on the page.
POOR = 0.5
MEASURES = ["pearson", "spearman", "top 20", "sign"]


def write_page(rows: pd.DataFrame, out: Path, topics: Sequence[str], deep_layers: int) -> None:
    """Both pages and the figure."""
    layers = {"bundled": 6, "deep": deep_layers}
    sites = pd.DataFrame([one for key, own in rows.groupby(SITE, sort=False) for one in measure(key, own)])
    replace_section(out / "accuracy.md", "methods", page(rows, sites, topics, layers))
    replace_section(out / MEASURED / "accuracy.md", "methods", tables(sites, layers))
    draw(sites, out, layers)


def measure(key: Any, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """One line for each method at one site and base."""
    exact = rows["exact"].to_numpy(dtype=float)
    order = np.argsort(-np.abs(exact), kind="stable")
    reached = np.cumsum(np.abs(exact[order])) / np.abs(exact).sum()
    large = order[: int(np.searchsorted(reached, TOTAL_SHARE)) + 1]
    lines = []
    for method in LABELS:
        found = rows[method].to_numpy(dtype=float)
        lines.append(
            {
                **dict(zip(SITE, key, strict=True)),
                "method": method,
                "pearson": np.corrcoef(found, exact)[0, 1],
                "spearman": np.corrcoef(rankdata(found[large]), rankdata(exact[large]))[0, 1],
                "top 20": np.mean([overlap(own, method) for _, own in rows.groupby("group")]),
                "sign": np.mean(np.sign(found[large]) == np.sign(exact[large])),
                "lists": rows.groupby("group")["pair_id"].nunique().sum(),
                "features a list": len(rows) / rows.groupby("group")["pair_id"].nunique().sum(),
            }
        )
    return lines


def overlap(rows: pd.DataFrame, method: str) -> float:
    """Share of a topic's 20 features with the largest |mean exact effect| that are among the method's own 20."""
    sums = rows.groupby("feature")[["exact", method]].sum().abs()
    first = [set(sums[column].nlargest(TOP).index) for column in ("exact", method)]
    return len(first[0] & first[1]) / min(TOP, len(sums))


def page(rows: pd.DataFrame, sites: pd.DataFrame, topics: Sequence[str], layers: dict[str, int]) -> list[str]:
    lists = sites.groupby("model")["lists"].max().to_dict()
    return [
        "# How good are the estimates?",
        "",
        f"Made by `python scripts/benchmark.py accuracy` on two models: the bundled one ({layers['bundled']} layers, "
        f"d_model 128) and a deep one ({layers['deep']} layers, d_model 64, made by `scripts/build_bundled.py --deep`, "
        f"not shipped). {' and '.join(f'{n} pairs ({model})' for model, n in lists.items())} of {len(topics)} topics "
        f"({', '.join(topics)}); metric end-vs-continue at the last newline; {len(rows)} effects. Every kind of site "
        "and every base: [measured/accuracy.md](measured/accuracy.md).",
        "",
        "For every active feature of every list: the estimated effect of setting it to its base value at all its "
        "positions, against the exact effect (the layers above run again with that one change). pearson: over all "
        "(list, feature). spearman and sign (share of equal signs): over the largest exact effects that together make "
        "up 99 % of the total. top 20: of a topic's 20 features with the largest |mean exact effect|, the share that "
        "is in the method's own 20.",
        "",
        "![correlation with exact effects by layer](accuracy.png)",
        "",
        *conclusion(sites, layers),
        "",
        *failures(rows, sites),
    ]


def tables(sites: pd.DataFrame, layers: dict[str, int]) -> list[str]:
    """Every base and kind of site, and Pearson at every site."""
    lines = [
        "# How good are the estimates: all sites and bases",
        "",
        "What the columns mean and what follows is in [accuracy.md](../accuracy.md). Every line is a mean over the "
        f"sites of that kind that were measured ({measured(sites)}).",
    ]
    for model in layers:
        own = sites[sites["model"] == model]
        lines += ["", f"## The {model} model ({layers[model]} layers)", "", markdown(by_kind(own, layers[model]))]
        lines += ["", "Pearson at every site:", "", markdown(by_site(own))]
    return lines


def conclusion(sites: pd.DataFrame, layers: dict[str, int]) -> list[str]:
    """Which method is best, overall and with depth, and which should be the default."""
    usual = sites[sites["base"] == "corrupted"]
    means = usual.groupby("method")[MEASURES].mean()
    worst = usual.groupby("method")["pearson"].min()
    best = {measure: means[measure].idxmax() for measure in MEASURES}
    votes = pd.Series(list(best.values())).mode()[0]
    table = means.assign(**{"lowest pearson": worst}).loc[list(LABELS)]
    table.insert(0, "method", [LABELS[method] for method in table.index])
    table["forwards a pair"] = [
        np.mean([cost(usual[usual["model"] == model], method, n) for model, n in layers.items()]) for method in LABELS
    ]
    deep = usual[usual["model"] == "deep"].groupby("method")[MEASURES].mean()
    return [
        "**Corrupted base (the default), mean over both models' sites.** forwards a pair: what all measured sites of a "
        "model cost together, in forwards of the whole model (a pass through some layers counts their share; a "
        "backward with frozen weights counts as a forward).",
        "",
        markdown(table.reset_index(drop=True)),
        "",
        f"Best {', '.join(f'by {measure}: {LABELS[method]}' for measure, method in best.items())}. On the deep model "
        f"attribution patching has a mean Pearson of {deep.loc['attribution', 'pearson']:.3f}, relevance patching "
        f"{deep.loc['relp', 'pearson']:.3f}, integrated gradients with 10 steps {deep.loc['ig 10', 'pearson']:.3f}.",
        "",
        f"**The default should be {LABELS[votes]}** for the effects of single features: it is best by most of these "
        "measures. Integrated gradients answer another question, what a feature does when the whole site moves to its "
        "base: of larger sets in the early residual stream theirs are the better ones to ablate together "
        "([generation.md](generation.md)).",
    ]


def failures(rows: pd.DataFrame, sites: pd.DataFrame) -> list[str]:
    """The sites where attribution patching is poor with the default base, and the feature that it is wrong about."""
    own = sites[(sites["method"] == "attribution") & (sites["base"] == "corrupted") & (sites["pearson"] < POOR)]
    where = "one site" if len(own) == 1 else f"{len(own)} sites"
    return [
        f"**Where it fails.** With the corrupted base attribution patching has a Pearson under {POOR:g} at {where}. "
        "A rank correlation does not see this; the exact effects of the top features do, and so does the sum of "
        "a site's estimates beside what patching the site really does, which every run prints.",
        "",
        *[f"- {failure(rows, site)}" for _, site in own.sort_values("pearson").iterrows()],
    ]


def failure(rows: pd.DataFrame, site: pd.Series) -> str:
    own = rows[(rows[SITE] == site[SITE]).all(axis=1)]
    wrong = (own["attribution"] - own["exact"]).abs().groupby(own["feature"]).sum()
    feature = wrong.idxmax()
    means = own[own["feature"] == feature][["exact", *LABELS]].mean()
    rest = own[own["feature"] != feature]
    said = ", ".join(f"{LABELS[method]} {means[method]:+.2f}" for method in LABELS)
    return (
        f"{site['kind']}.{site['layer']} of the {site['model']} model, {site['pearson']:.3f}: one feature makes "
        f"{100 * wrong.max() / wrong.sum():.0f} % of the error, {feature}, with a mean exact effect of "
        f"{means['exact']:+.2f} over {(own['feature'] == feature).sum()} lists ({said}). Without it Pearson is "
        f"{rest['attribution'].corr(rest['exact']):.3f}."
    )


def cost(sites: pd.DataFrame, method: str, n_layers: int) -> float:
    """Forwards of the whole model for one pair and all sites: two runs and a backward, then each site's own steps."""
    places = sites[["kind", "layer"]].drop_duplicates()
    above = (n_layers - places["layer"] - (places["kind"] == "resid_post")) / n_layers
    return 3 + 2 * STEPS[method] * float(above.sum())


def exact_cost(sites: pd.DataFrame, n_layers: int) -> float:
    places = sites.drop_duplicates(["kind", "layer"])
    above = (n_layers - places["layer"] - (places["kind"] == "resid_post")) / n_layers
    return 2 + float((above * places["features a list"]).sum())


def by_kind(sites: pd.DataFrame, n_layers: int) -> pd.DataFrame:
    lines = []
    for (base, kind), own in sites.groupby(["base", "kind"], sort=False):
        for method in LABELS:
            part = own[own["method"] == method]
            means = part[MEASURES].mean()
            lines.append({"base": base, "kind": kind, "sites": len(part), "method": method, **means.to_dict()})
            lines[-1]["forwards a pair"] = cost(part, method, n_layers)
            lines[-1]["exact would take"] = round(exact_cost(part, n_layers))
    table = pd.DataFrame(lines)
    order = {base: at for at, base in enumerate(BASES)}
    return table.sort_values("base", key=lambda column: column.map(order), kind="stable")


def by_site(sites: pd.DataFrame) -> pd.DataFrame:
    table = sites.pivot_table(index=["base", "kind", "layer"], columns="method", values="pearson")
    return table[list(LABELS)].reset_index()


def measured(sites: pd.DataFrame) -> str:
    parts = []
    for (model, base), own in sites.groupby(["model", "base"], sort=False):
        places = own[["kind", "layer"]].drop_duplicates()
        kinds = [f"{kind} {', '.join(map(str, sorted(part['layer'])))}" for kind, part in places.groupby("kind")]
        parts.append(f"{model}, {base}: {'; '.join(kinds)}")
    return ". ".join(parts)
