"""The rows of the page, as plain values, from a study's tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from saeattr.features.recurrence import feature_families
from saeattr.reporting.checks import site_checks
from saeattr.reporting.numbers import span_text
from saeattr.reporting.verdicts import LOOKS, count_verdicts
from saeattr.tables import FEATURE, GROUP_FEATURE, row_address

#: What the page shows of a tested feature, from columns of ``tables.VALIDATION``.
MEASURED = {
    "exact": "exact_median",
    "exact_low": "exact_low",
    "exact_high": "exact_high",
    "share": "share",
    "as_strong": "n_as_strong",
    "controls": "n_controls",
    "q": "q_value",
    "tests": "n_pairs",
    "verdict": "verdict",
}


def group_rows(
    metric_by_point: pd.DataFrame, groups: tuple[str, ...], validation: pd.DataFrame | None = None
) -> list[dict[str, Any]]:
    """What the page says of each group.

    name, n_pairs, points (mean), clean and corrupted (mean metric at the last decision point), tests (how many distinct
    pairs test a feature) and verdicts (counted), both in words and blank where nothing was tested.
    """
    last = metric_by_point[metric_by_point["point"] == metric_by_point["n_points"]]
    means = last.groupby(["group", "run"])["metric"].mean()
    rows = []
    for group in groups:
        own = last[(last["group"] == group) & (last["run"] == "clean")]
        both = {run: float(means.get((group, run), float("nan"))) for run in ("clean", "corrupted")}
        tested = None if validation is None else validation[validation["group"] == group]
        rows.append(
            {
                "name": group,
                "n_pairs": own["pair_id"].nunique(),
                "points": float(own["n_points"].mean()),
                **both,
                "tests": "" if tested is None else span_text(tested["n_pairs"]),
                "verdicts": "" if tested is None else count_verdicts(tested["verdict"]),
            }
        )
    return rows


def feature_rows(
    features: pd.DataFrame,
    chosen: pd.DataFrame,
    groups: tuple[str, ...],
    depth: int,
    labels: Mapping[str, Mapping[str, Any]] | None = None,
    validation: pd.DataFrame | None = None,
) -> list[dict[str, Any]]:
    """One row a chosen feature, in the order of ``chosen``.

    Each has address, layer, kind, feature, effect (mean over the groups that have it), low and high (its range over
    groups), n_groups and family (by the groups' top ``depth`` sets at its site), role, token, by_group (group number,
    effect, median with its interval low and high, n_pairs, and where it was tested the fields of ``MEASURED``), verdict
    (of all groups) and, where given, label, url, embed_url, doubtful, note.
    """
    families = feature_families(features, depth).set_index(FEATURE)
    numbers = {group: at for at, group in enumerate(groups)}
    own = features.merge(chosen[FEATURE], on=FEATURE)
    by_feature = dict(iter(own.groupby(FEATURE)))
    checked = _measured(validation)
    rows = []
    for key in chosen[FEATURE].itertuples(index=False, name=None):
        mine = by_feature[key]
        entries = [
            {
                "group": numbers[row["group"]],
                "effect": row["effect_mean"],
                "median": row["effect_median"],
                "low": row["effect_low"],
                "high": row["effect_high"],
                "n_pairs": row["n_pairs"],
                **checked.get((row["group"], *key), {}),
            }
            for row in mine.to_dict("records")
        ]
        known = families.loc[key] if key in families.index else None
        name = "in no top set" if known is None else known["family"]
        address = row_address(dict(zip(FEATURE, key, strict=True)))
        label = (labels or {}).get(address, {})
        rows.append(
            {
                "address": address,
                **dict(zip(FEATURE, key, strict=True)),
                **_effects(mine),
                "n_groups": 0 if known is None else known["n_groups"],
                "family": "" if len(groups) == 1 else name,
                "by_group": entries,
                "verdict": _all_verdicts(entries),
                **{name: label.get(name) for name in ("label", "url", "embed_url", "doubtful", "note")},
            }
        )
    return rows


def _effects(mine: pd.DataFrame) -> dict[str, Any]:
    """A feature's effect over its groups, and where the group of the largest effect has it."""
    best = mine.iloc[int(mine["effect_mean"].abs().to_numpy().argmax())]
    return {
        "effect": mine["effect_mean"].mean(),
        "low": mine["effect_mean"].min(),
        "high": mine["effect_mean"].max(),
        "role": best["top_role"],
        "token": best["top_token"],
    }


def check_rows(site_effects: pd.DataFrame) -> list[dict[str, Any]]:
    """Each site's ``SiteCheck`` as the page's table takes it; None for what is not known."""
    return [
        {
            name: str(value) if name == "site" else None if value != value else value
            for name, value in vars(check).items()
        }
        for check in site_checks(site_effects)
    ]


def verdict_rows() -> list[dict[str, str]]:
    """name, colour and meaning of each verdict, the strongest first."""
    return [{"name": name, "colour": look.colour, "meaning": look.meaning} for name, look in LOOKS.items()]


def _measured(validation: pd.DataFrame | None) -> dict[tuple, dict[str, Any]]:
    if validation is None:
        return {}
    return {
        tuple(row[name] for name in GROUP_FEATURE): {key: row[name] for key, name in MEASURED.items()}
        for row in validation.to_dict("records")
    }


def _all_verdicts(entries: list[dict[str, Any]]) -> str:
    """One verdict where all groups agree, else how many groups have which."""
    given = [entry["verdict"] for entry in entries if "verdict" in entry]
    return given[0] if len(set(given)) == 1 else count_verdicts(given)
