"""The bundled model, and a copy of it that was tuned in one layer only; a study of each on the same pairs."""

from __future__ import annotations

import functools
import runpy
import tempfile
from pathlib import Path
from typing import Any

import saeattr
from saeattr.comparison.results import Comparison
from saeattr.study.results import Study

TUNE = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "tune_layer.py"))["tune"]
#: The one layer whose parameters were tuned.
LAYER = 3
SITES = ["mlp_out.1", "resid_post.2", "attn_z.3", "mlp_out.3", "resid_post.3", "mlp_out.4", "resid_post.4"]
SMALL: dict[str, Any] = {
    **{"lists": 8, "sites": SITES, "device": "cpu", "figures": False, "validate_top": 3, "curves": False},
    **{"controls": 19, "saes": "bundled"},
}
CONTROLS = 19


@functools.cache
def folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="tuned-"))


@functools.cache
def tuned_model() -> Path:
    return TUNE(folder() / "model", LAYER)


@functools.cache
def studies() -> tuple[Study, Study]:
    """Of the bundled model and of the tuned one."""
    base = saeattr.attribute("cities", out=folder() / "base", **SMALL)
    borrowed = {"pairs_of": str(base.folder.root), "model": str(tuned_model())}
    small = {name: value for name, value in SMALL.items() if name != "lists"}
    return base, saeattr.attribute(out=folder() / "tuned", **borrowed, **small)


@functools.cache
def compared() -> Comparison:
    """With the exact effects of twelve features."""
    out = folder() / "comparison"
    return saeattr.compare(*studies(), out=out, exact=12, controls=CONTROLS, device="cpu")
