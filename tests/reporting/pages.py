"""Small reports and tables to draw and write pages from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from saeattr.reporting.page.write import Report

BAD = "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 1'>"


def random_features(n_groups: int, n_features: int, n_layers: int, kind: str = "resid_post") -> pd.DataFrame:
    """A features table in which a third of the features matter to every group."""
    generator = np.random.default_rng(3)
    tables = []
    for group in range(n_groups):
        for layer in range(n_layers):
            effects = generator.normal(size=n_features) * np.where(np.arange(n_features) % 3, 0.3, 2)
            tables.append(
                pd.DataFrame(
                    {
                        "group": f"t{group}",
                        "layer": layer,
                        "kind": kind,
                        "feature": np.arange(n_features),
                        "effect_mean": effects,
                        "effect_median": effects * 0.9,
                        "effect_low": effects - 0.1,
                        "effect_high": effects + 0.1,
                        "n_pairs": generator.integers(1, 11, n_features),
                    }
                )
            )
    table = pd.concat(tables, ignore_index=True)
    rank = table["effect_mean"].abs().groupby(table["group"]).rank(ascending=False, method="first")
    return table.assign(rank=rank.astype(int), top_role="newline", top_token="\n")


def small_report(name: str = "cities", n_features: int = 12) -> Report:
    """Two groups and a few features; ``name`` is the first group, a token, a label and more."""
    pairs = {"n_pairs": 2, "tests": "", "verdicts": ""}
    return Report(
        title=f"saeattr: {name}",
        question=f"What does {name} do?",
        findings=[name],
        facts=[("model", name)],
        notes=[name],
        groups=[
            {"name": name, **pairs, "points": 7.5, "clean": 3.0, "corrupted": -9.0},
            {"name": "animals", **pairs, "points": 6.0, "clean": 2.0, "corrupted": -8.0},
        ],
        features=[_row(number, name) for number in range(n_features)],
        contexts=[
            {
                "group": 0,
                "pair_id": "000",
                "start": 1,
                "tokens": [name, " short", " ", "\n", "-" * 90],
                "roles": ["item", "length", "blank", "newline", "other"],
                "swaps": {1: " long"},
            }
        ],
        checks=[
            {
                "site": "resid_post.3",
                "ratio": 0.9,
                "low": 0.8,
                "high": 1.0,
                "n_pairs": 3,
                "error_share": 0.1,
                "l0": 12.0,
                "unexplained": 0.02,
            }
        ],
        figures=[],
        table_note=name,
    )


#: What the page knows of a tested feature, beside what it knows of any.
CHECKED: dict[str, Any] = {
    **{"effect": -12.345, "median": -12.5, "low": -13.25, "high": -11.75, "n_pairs": 2},
    **{"exact": -12.25, "exact_low": -13.5, "exact_high": -11.5, "share": 0.256, "as_strong": 3, "controls": 39},
    **{"q": 0.0341, "tests": 10, "verdict": "opposite sign"},
}


def checked_report(**changes: Any) -> Report:
    """One feature, tested in two groups with long names; ``changes`` to what is known of it in the first."""
    report = small_report()
    names = ("household items", "vegetables")
    groups = [
        {**group, "name": name, "tests": "10", "verdicts": "1 opposite sign"}
        for group, name in zip(report.groups, names, strict=True)
    ]
    by_group = [{"group": 0, **CHECKED, **changes}, {"group": 1, **CHECKED}]
    row = {**report.features[0], "by_group": by_group, "verdict": "opposite sign"}
    return replace(report, groups=groups, features=[row], evidence=["10 distinct pairs test 1 feature"])


def _row(number: int, name: str) -> dict[str, Any]:
    kind, effect = ("mlp_out" if number % 2 else "resid_post"), (number - 5) / 4
    own = {"effect": effect, "median": effect + 0.125, "low": effect - 1, "high": effect + 1, "n_pairs": 2}
    by_group = [{"group": at, **own} for at in (0, 1)]
    return {
        "address": f"{kind}.{number % 4}/{100 + number}",
        "layer": number % 4,
        "kind": kind,
        "feature": 100 + number,
        "effect": effect,
        "low": effect - 1,
        "high": effect + 1,
        "n_groups": 2 if number < 6 else 1,
        "family": "shared" if number < 6 else "group-specific",
        "role": "newline",
        "token": name,
        "by_group": by_group[: 2 if number < 6 else 1],
        "verdict": "",
        "label": name if number == 0 else None,
        "url": "javascript:window.pwned=1" if number == 0 else None,
        "embed_url": None,
        "doubtful": None,
        "detail": {
            "firings": [{"context": 0, "position": [1, 3], "clean": [0.5, 2.0], "corrupted": [0.0, 1.0]}],
            "histogram": {"edges": [0.0, 1.0, 2.0], "clean": [1, 1], "corrupted": [0, 1]},
            "density": name,
            "top_logits": [(name, 1.5)],
            "bottom_logits": [("x", -1.5)],
            "neighbours": [("resid_post.0/100", 0.8), ("resid_post.0/7", 0.2)],
            "upstream": [("mlp_out.1/101", 0.7, name)],
            "upstream_sites": [("mlp_out.1", 0.9, 0.1)],
            "upstream_at": name,
        },
    }
