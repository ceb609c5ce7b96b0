"""Which sparse-autoencoder features make a language model do that, and how do you know?

The command line and these functions are the same operations. They are imported when first used, because torch is slow
to import.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from saeattr.errors import UserError

if TYPE_CHECKING:
    from saeattr.model.loading import load_model
    from saeattr.prompts.topics import TOPICS
    from saeattr.results import Study, load_study
    from saeattr.saes.loading import find_saes, load_sae
    from saeattr.study import attribute, plan, select, validate
    from saeattr.study_inspect import inspect
    from saeattr.study_report import overlap, report

__version__ = "0.1.0"

__all__ = [
    "TOPICS",
    "Study",
    "UserError",
    "attribute",
    "find_saes",
    "inspect",
    "load_model",
    "load_sae",
    "load_study",
    "overlap",
    "plan",
    "report",
    "select",
    "validate",
]

_HOMES = {
    "TOPICS": "saeattr.prompts.topics",
    "Study": "saeattr.results",
    "attribute": "saeattr.study",
    "find_saes": "saeattr.saes.loading",
    "inspect": "saeattr.study_inspect",
    "load_model": "saeattr.model.loading",
    "load_sae": "saeattr.saes.loading",
    "load_study": "saeattr.results",
    "overlap": "saeattr.study_report",
    "plan": "saeattr.study",
    "report": "saeattr.study_report",
    "select": "saeattr.study",
    "validate": "saeattr.study",
    "plots": "saeattr.plots",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'saeattr' has no attribute {name!r}")
    home = importlib.import_module(_HOMES[name])
    return home if name == "plots" else getattr(home, name)
