"""Which sparse-autoencoder features make a language model do that, and how do you know?

The command line and these functions are the same operations. They are imported when first used, because torch is slow
to import.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from saeattr.errors import UserError

if TYPE_CHECKING:
    from saeattr import plots
    from saeattr.api import (
        attribute,
        check_pairs,
        check_recall,
        compare,
        compare_recall,
        entropy,
        generate_lists,
        lens,
        list_statistics,
        overlap,
        patch,
        patch_recall,
        plan,
        plan_recall,
        report,
        run_recall,
        run_study,
        select,
        triage,
        triage_beside,
        validate,
    )
    from saeattr.behaviours.lists.topics import TOPICS
    from saeattr.model.loading import load_model
    from saeattr.neuronpedia.inspection import inspect
    from saeattr.saes.loading import find_saes, load_sae
    from saeattr.study.looking import look
    from saeattr.study.results import Study, load_study

__version__ = "0.1.0"

__all__ = [
    "TOPICS",
    "Study",
    "UserError",
    "attribute",
    "check_pairs",
    "check_recall",
    "compare",
    "compare_recall",
    "entropy",
    "find_saes",
    "generate_lists",
    "inspect",
    "lens",
    "list_statistics",
    "load_model",
    "load_sae",
    "load_study",
    "look",
    "overlap",
    "patch",
    "patch_recall",
    "plan",
    "plan_recall",
    "plots",
    "report",
    "run_recall",
    "run_study",
    "select",
    "triage",
    "triage_beside",
    "validate",
]

_HOMES = {
    "TOPICS": "saeattr.behaviours.lists.topics",
    "Study": "saeattr.study.results",
    "attribute": "saeattr.api",
    "check_pairs": "saeattr.api",
    "check_recall": "saeattr.api",
    "compare": "saeattr.api",
    "compare_recall": "saeattr.api",
    "entropy": "saeattr.api",
    "find_saes": "saeattr.saes.loading",
    "generate_lists": "saeattr.api",
    "inspect": "saeattr.neuronpedia.inspection",
    "list_statistics": "saeattr.api",
    "lens": "saeattr.api",
    "load_model": "saeattr.model.loading",
    "load_sae": "saeattr.saes.loading",
    "load_study": "saeattr.study.results",
    "look": "saeattr.study.looking",
    "overlap": "saeattr.api",
    "patch": "saeattr.api",
    "patch_recall": "saeattr.api",
    "plan": "saeattr.api",
    "plan_recall": "saeattr.api",
    "report": "saeattr.api",
    "run_recall": "saeattr.api",
    "run_study": "saeattr.api",
    "select": "saeattr.api",
    "triage": "saeattr.api",
    "triage_beside": "saeattr.api",
    "validate": "saeattr.api",
}


def __getattr__(name: str) -> Any:
    if name == "plots":
        return importlib.import_module("saeattr.plots")
    if name not in _HOMES:
        raise AttributeError(f"module 'saeattr' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
