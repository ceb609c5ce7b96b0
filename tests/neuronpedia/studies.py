"""A small study folder as ``attribute`` leaves it for Gemma 2, without the weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from saeattr.files import write_table, write_text
from saeattr.study.folder import FORMAT, StudyFolder, write_record
from saeattr.study.results import Study, load_study

RES = "gemma-scope-2b-pt-res-canonical"


def gemma_study(
    root: Path,
    features: Sequence[tuple[str, int, int, float]] = (("resid_post", 20, 7, 2.0), ("resid_post", 20, 8, -1.0)),
    *,
    model: str = "gemma-2-2b-it",
    saes: str = RES,
    groups: Sequence[str] = ("cities",),
    used: dict[str, str] | None = None,
) -> Study:
    """A study of ``features`` (kind, layer, feature, effect), the same for every group."""
    settings: dict[str, Any] = {"model": model, "saes": saes, "sae_width": "16k", "sae_l0": None, "base": "corrupted"}
    folder = StudyFolder(root)
    record = {"format": FORMAT, "settings": settings, "model": {"name": model, "sha256": None}}
    sites = dict.fromkeys(f"{kind}.{layer}" for kind, layer, _, _ in features)
    more = {"metric_label": "logit(a) - logit(b)", "saes": dict.fromkeys(sites, "0"), "groups": list(groups)}
    write_record(folder, {**record, **more})
    rows = [
        {"group": group, "layer": layer, "kind": kind, "feature": feature, "effect_mean": effect}
        for group in groups
        for kind, layer, feature, effect in features
    ]
    table = pd.DataFrame(rows)
    table["rank"] = table["effect_mean"].abs().groupby(table["group"]).rank(ascending=False, method="first").astype(int)
    spread = {
        "effect_median": table["effect_mean"],
        "effect_low": table["effect_mean"] - 0.1,
        "effect_high": table["effect_mean"] + 0.1,
    }
    table = table.assign(**spread, n_pairs=3, top_role="newline", top_token="\n")
    write_table(folder.table_path("features"), table)
    plan = {"sites": {site: {"width": 16384, "sae": name} for site, name in (used or {}).items()}, "groups": {}}
    write_text(root / "plan.json", json.dumps(plan))
    return load_study(root)
