"""The page's first words: what was asked, what was found, with which settings, memory and time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from saeattr.features.recurrence import SHARED, SHARED_SHARE, TOPIC_SPECIFIC
from saeattr.reporting.numbers import interval_text, pairs_text
from saeattr.reporting.verdicts import count_verdicts
from saeattr.runs.memory import megabytes
from saeattr.study.folder import read_plan
from saeattr.study.results import Study
from saeattr.tables import SITE, sites_of

#: Settings that a reader wants to see; the others are in study.yaml.
SHOWN_SETTINGS = ("behaviour", "method", "base", "decision", "seed", "dtype")
#: Of these, what is asked of features.
OF_FEATURES = ("method", "base")
#: And of the behaviour lists.
LIST_SETTINGS = ("n_pairs", "temperature")

#: What the columns of one group's features hold, and those of a group that was validated.
ESTIMATED = (
    "Effect: estimated, in units of the metric, mean over pairs; median: of the same over distinct pairs, with its "
    "interval."
)
MEASURED = (
    "Exact: measured by patching the feature in pairs that did not rank it, median over them. Of gap: its share of the "
    "clean-corrupted gap. Controls: equally long moves along other features that do as much, of those tried. q: false "
    "discovery rate over all that the study tests. Tested on: distinct pairs."
)

BASES = {
    "corrupted": "its value in the corrupted run",
    "zero": "zero",
    "mean": "its mean over the pairs",
}


def study_name(study: Study) -> str:
    """``bundled, 26 groups``."""
    names = study.groups[0] if len(study.groups) == 1 else f"{len(study.groups)} groups"
    return f"{study.record['model']['name']}, {names}"


def question(study: Study, with_features: bool = True) -> str:
    """What was asked of features, or of the model where none was attributed."""
    if not with_features:
        name = study.record["model"]["name"]
        return f"What makes {name} decide {study.metric_label}? No feature was attributed for it."
    base = BASES[study.record["settings"]["base"]]
    return (
        f"Which SAE features of {study.record['model']['name']} carry {study.metric_label}, and by how much would it "
        f"change if a feature were set to {base}?"
    )


def findings(
    rows: Sequence[dict[str, Any]], groups: Sequence[dict[str, Any]], validation: pd.DataFrame | None = None
) -> list[str]:
    """The largest feature, what the corruption does to the metric, what is causal, how many features are shared."""
    best = rows[0]
    n_pairs = sum(group["n_pairs"] for group in groups)
    clean, corrupted = (_weighted(groups, run) for run in ("clean", "corrupted"))
    # Pairs need not have a corrupted prompt.
    against = "" if math.isnan(corrupted) else f" and {corrupted:+.2f} in the corrupted run"
    found = [
        f"At the last decision point the metric is {clean:+.2f} in the clean run{against} (mean of "
        f"{pairs_text([n_pairs])}).",
        f"Largest estimated effect: {best['address']}, mean {best['effect']:+.2f}, {_spread(best, len(groups))}, "
        f"mostly at {best['role']} tokens.",
    ]
    if validation is not None and not validation.empty:
        found.append(_verdicts(validation, len(groups)))
    if len(groups) > 1:
        shared, single = (sum(row["family"] == name for row in rows) for name in (SHARED, TOPIC_SPECIFIC))
        found.append(
            f"Of the {len(rows)} features below, {shared} are shared (in the top sets of at least {SHARED_SHARE:.0%} "
            f"of {len(groups)} groups) and {single} belong to one group."
        )
    return found


def _verdicts(validation: pd.DataFrame, n_groups: int) -> str:
    """How many features were tested, on how many pairs, and what came of it."""
    where = f" in {validation['group'].nunique()} groups" if n_groups > 1 else ""
    pairs = pairs_text(validation["n_pairs"])
    return (
        f"Of {len(validation)} features tested by exact ablation{where}, each on {pairs} that did not rank it, against "
        f"controls of equal length: {count_verdicts(validation['verdict'])}."
    )


def _spread(best: Mapping[str, Any], n_groups: int) -> str:
    """The range of a feature's mean effect over groups; with one group, its median with the interval."""
    if n_groups > 1:
        return f"{best['low']:+.2f} to {best['high']:+.2f} over groups"
    (own,) = best["by_group"]
    return f"median {own['median']:+.2f} {interval_text(own['low'], own['high'], missing='too few pairs')}"


def facts(study: Study, layer_choice: str | None, neuronpedia: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Name and value of what a reader must know to make the numbers again."""
    record = study.record
    settings = record["settings"]
    known = [
        ("model", f"{record['model']['name']} ({record['model']['sha256'][:12]})"),
        ("metric", record["metric_label"]),
        *([("pairs", f"{record['source']} ({record['pairs']['sha256'][:12]})")] if "pairs" in record else []),
        ("groups", ", ".join(study.groups)),
    ]
    given = study.given()
    if "chat" in given and given["chat"].any():
        known.append(("prompts", "user's turns in the model's chat template"))
    sites = _attributed_sites(study)
    if sites:
        known.append(("sites", _sites(sites)))
    if layer_choice:
        known.append(("why these layers", layer_choice))
    shown = SHOWN_SETTINGS + (LIST_SETTINGS if settings["behaviour"] == "lists" else ())
    shown = [name for name in shown if name in settings and (sites or name not in OF_FEATURES)]
    known += [(name.replace("_", " "), str(settings[name])) for name in shown]
    known += _memory(study)
    known += [("Neuronpedia", note) for note in neuronpedia]
    versions = record.get("versions", {})
    known.append(("versions", ", ".join(f"{name} {number}" for name, number in versions.items())))
    return known


def table_note(n_groups: int, n_rows: int, depth: int, tested: bool = False) -> str:
    """What the columns of the table of features hold."""
    one_group = f"{ESTIMATED} {MEASURED}" if tested else ESTIMATED
    if n_groups == 1:
        return f"The {n_rows} features of largest absolute mean effect. {one_group}"
    return (
        f"The {n_rows} features of largest absolute mean effect, averaged over groups. Effect: mean over the groups in "
        f"which the feature is active, in units of the metric. Groups: in whose top {depth} at its site the feature "
        f"is. Shared: in at least {SHARED_SHARE:.0%} of the groups; group-specific: in one. With one group "
        f"chosen: {one_group}"
    )


def _weighted(groups: Sequence[dict[str, Any]], run: str) -> float:
    total = sum(group["n_pairs"] for group in groups)
    return sum(group[run] * group["n_pairs"] for group in groups) / max(1, total)


def _attributed_sites(study: Study) -> list[str]:
    return [str(site) for site in sites_of(study.site_effects()[SITE].drop_duplicates().sort_values(SITE))]


def _sites(sites: list[str]) -> str:
    """``resid_post 0, 1, 2; mlp_out 3``."""
    layers: dict[str, list[str]] = {}
    for site in sites:
        kind, _, layer = site.partition(".")
        layers.setdefault(kind, []).append(layer)
    return "; ".join(f"{kind} {', '.join(numbers)}" for kind, numbers in sorted(layers.items()))


def _memory(study: Study) -> list[tuple[str, str]]:
    """Predicted and measured peak of the group that took the most, where plan.json knows them."""
    known_groups = read_plan(study.folder).get("groups", {})
    groups = [known for name, known in known_groups.items() if name in study.groups]
    # Of a group in which no SAE was opened nothing was predicted.
    groups = [known for known in groups if "peak" in known]
    if not groups:
        return []
    words = f"predicted peak {megabytes(max(group['peak'] for group in groups))}"
    measured = [peak for group in groups for peak in group["measured_peak"].values() if peak is not None]
    if measured:
        words += f", measured {megabytes(max(measured))}"
    return [("memory", words)]
