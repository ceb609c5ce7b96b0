"""What a user can set. A field of ``StudySettings`` has the same name everywhere.

Python's keywords, the YAML file and the command line's options are made from it: ``max_sites``, ``max_sites:``,
``--max-sites``.
"""

from saeattr.settings.described import SETTINGS, Setting, flag, taken_by
from saeattr.settings.fields import (
    PARTS,
    BaseName,
    Decision,
    Positions,
    StudySettings,
    Swap,
    Unequal,
    identifies,
)
from saeattr.settings.reading import changed_settings, make_settings, read_config, read_text, recorded_settings

__all__ = [
    "PARTS",
    "SETTINGS",
    "BaseName",
    "Decision",
    "Positions",
    "Setting",
    "StudySettings",
    "Swap",
    "Unequal",
    "changed_settings",
    "flag",
    "identifies",
    "make_settings",
    "read_config",
    "read_text",
    "recorded_settings",
    "taken_by",
]
