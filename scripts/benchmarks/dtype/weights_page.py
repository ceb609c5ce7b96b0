"""The section of docs/accuracy.md on SAEs held in bfloat16, and its tables in docs/measured/accuracy.md."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from benchmarks.sections import MEASURED, markdown, replace_section

SECTION = "weights"


def write_page(table: pd.DataFrame, out: Path, pairs: str, tolerance: tuple[float, int]) -> None:
    """Both sections.

    Args:
        table: one row for each site, base, and what is held in bfloat16.
        pairs: how many, in words. tolerance: the largest change allowed, and how many features keep their order.
    """
    replace_section(out / "accuracy.md", SECTION, page(table, pairs, *tolerance))
    replace_section(out / MEASURED / "accuracy.md", SECTION, rows(table))


def page(table: pd.DataFrame, pairs: str, most: float, top: int) -> list[str]:
    within = table["largest change"] <= most
    ordered = table["same order"]
    kept = table.assign(within=within, ordered=ordered, both=within & ordered)
    summary = [
        {
            "SAEs": saes,
            "base": base,
            "in bfloat16": held,
            "sites": len(own),
            f"within {100 * most:g} %": int(own["within"].sum()),
            f"same top {top}": int(own["ordered"].sum()),
            "both": int(own["both"].sum()),
            "median change": own["largest change"].median(),
            "largest change": own["largest change"].max(),
            "switched": f"{own['switched'].max():.5f}",
            "x_hat": own["x_hat"].max(),
        }
        for (saes, base, held), own in kept.groupby(["SAEs", "base", "in bfloat16"], sort=False)
    ]
    failing = int((~kept["both"]).sum())
    verdict = f"{failing} of {len(kept)} rows do not keep to it, so SAEs stay in float32 on every device."
    alone = kept[kept["in bfloat16"] == "W_dec"]
    changes = f"{100 * alone['largest change'].max():.2f} %"
    return [
        "# May SAEs be held in bfloat16?",
        "",
        f"Made by `python scripts/benchmark.py weights`: {pairs}, attribution patching, the model in float32. W_enc, "
        "W_dec or both are rounded to bfloat16 and used in float32; thresholds and biases are not touched. Half the "
        "memory and half the transfer would be saved.",
        "",
        f"The tolerance, stated before anything was measured: no effect (list, feature) moves by more than "
        f"{100 * most:g} % of the largest of its site, and the {top} features with the largest |mean effect| are the "
        f"same in the same order. {verdict if failing else 'Every row keeps to it.'}",
        "",
        markdown(pd.DataFrame(summary)),
        "",
        f"**What differs.** With W_enc rounded up to {100 * kept['switched'].max():.1f} % of a site's active (token, "
        "feature) are on with one and off with the other, each with its whole activation. With W_dec alone rounded "
        f"none is, and the largest change is {changes}, but features whose effects lie that close change places: the "
        f"top {top} keep their order in {int(alone['ordered'].sum())} of {len(alone)} rows.",
        "",
        "change: the largest of a site, as a share of its largest effect; the median and the largest over sites. "
        "switched: share of active (token, feature) that are active with one only, the most of a site. x_hat: |change| "
        "/ |x_hat|, likewise. Every site: [measured/accuracy.md](measured/accuracy.md).",
    ]


def rows(table: pd.DataFrame) -> list[str]:
    """Every site and base."""
    lines = [
        "# May SAEs be held in bfloat16: all sites",
        "",
        "largest change: of an effect (list, feature), as a share of the site's largest. of the mean: the same of the "
        "mean over lists. top shared: features in both tops by |mean effect|. in one only: share of (list, feature) "
        "with an effect with one and none with the other. switched, x_hat: as in accuracy.md.",
    ]
    for saes, own in table.groupby("SAEs", sort=False):
        ordered = own.drop(columns="SAEs").sort_values(["in bfloat16", "base"], kind="stable")
        lines += ["", f"## {str(saes)[0].upper()}{str(saes)[1:]}", "", markdown(ordered)]
    return lines
