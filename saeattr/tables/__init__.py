"""Every table of a study: its columns with type, meaning and unit.

Writers take their columns from here (``Table.frame``), readers check against it (``Table.check``), and
docs/study-folder.md is printed from it (``scripts/docs/study_folder.py``). What one stage gives stands in one file;
``table`` says what a table is.
"""

from __future__ import annotations

from saeattr.tables.attribution import (
    ACTIVE,
    ATTRIBUTIONS,
    CARRIERS,
    ENTRIES,
    FEATURES,
    METRIC_BY_POINT,
    PAIR_EFFECTS,
    SITE_EFFECTS,
)
from saeattr.tables.comparison import CHANGE_EXACT, CHANGE_TESTS, CHANGES, SITE_CHANGES
from saeattr.tables.features import FIRING, OVERLAP
from saeattr.tables.generation import GENERATED, GENERATION
from saeattr.tables.lists import CONDITION, LIST_BLANKS, LIST_EXCEPTIONS, LIST_STATISTICS, LIST_SUMMARY
from saeattr.tables.pairs import LISTS, PAIRS, TEST_PAIRS
from saeattr.tables.patching import HEAD_MOVES, PATCHING
from saeattr.tables.reading import ENTROPY, ENTROPY_ONSET, LENS_ONSET, LOGIT_LENS
from saeattr.tables.recall import (
    BESIDE,
    FACT_SPREAD,
    PHRASINGS,
    RECALL_CLAIMS,
    RECALL_CURVES,
    RECALL_RELEASE,
    RECALL_WORST,
    TRIAGE,
    UNASKED,
)
from saeattr.tables.recall_mlps import (
    RECALL_MLP_FACTS,
    RECALL_MLP_FIT,
    RECALL_MLP_INTERCEPT,
    RECALL_MLP_TOKENS,
    RECALL_MLP_WEIGHTS,
    RECALL_MLPS,
)
from saeattr.tables.recall_movers import (
    RECALL_ATTENTION,
    RECALL_HEADS,
    RECALL_MOVERS,
    RECALL_REMOVAL,
    RECALL_REMOVED,
)
from saeattr.tables.recall_patches import RECALL_PATCHES, RECALL_RESTORED
from saeattr.tables.recall_phases import (
    ANSWER_LENS,
    RECALL_ANSWERS,
    RECALL_COMPARED,
    RECALL_COMPARED_CURVES,
    RECALL_CONCENTRATION,
    RECALL_JOINT,
    RECALL_ORDERS,
    RECALL_PHASES,
    WINDOW_PATCHES,
)
from saeattr.tables.recall_shots import RECALL_SHOT_LENS, RECALL_SHOTS
from saeattr.tables.recall_steering import RECALL_STEERING, RECALL_WORLDS, STEERED, WORLDS
from saeattr.tables.recall_suppression import (
    RECALL_PARTS,
    RECALL_SCALED,
    RECALL_SCALING,
    RECALL_SUPPRESSORS,
    RECALL_WRITES,
)
from saeattr.tables.selection import LAYER_SCORES, LENS, ROLE_EFFECTS
from saeattr.tables.table import (
    FEATURE,
    GROUP,
    GROUP_FEATURE,
    GROUP_SITE,
    PAIR,
    SITE,
    TYPES,
    Column,
    Feature,
    Table,
    address,
    at_site,
    by_site,
    features_of,
    row_address,
    row_site,
    site_columns,
    sites_of,
)
from saeattr.tables.validation import AGREEMENT, COMPARED, CURVES, EXACT, VALIDATION

__all__ = [
    "ACTIVE",
    "AGREEMENT",
    "ANSWER_LENS",
    "ATTRIBUTIONS",
    "BESIDE",
    "CARRIERS",
    "CHANGES",
    "CHANGE_EXACT",
    "CHANGE_TESTS",
    "COMPARED",
    "COMPARISON",
    "CONDITION",
    "CURVES",
    "ENTRIES",
    "ENTROPY",
    "ENTROPY_ONSET",
    "EXACT",
    "FACT_SPREAD",
    "FEATURE",
    "FEATURES",
    "FIRING",
    "GENERATED",
    "GENERATION",
    "GROUP",
    "GROUP_FEATURE",
    "GROUP_SITE",
    "HEAD_MOVES",
    "LAYER_SCORES",
    "LENS",
    "LENS_ONSET",
    "LISTS",
    "LIST_BLANKS",
    "LIST_EXCEPTIONS",
    "LIST_STATISTICS",
    "LIST_SUMMARY",
    "LOGIT_LENS",
    "METRIC_BY_POINT",
    "OVERLAP",
    "PAIR",
    "PAIRS",
    "PAIR_EFFECTS",
    "PATCHING",
    "PHRASINGS",
    "RECALL",
    "RECALLED",
    "RECALL_ANSWERS",
    "RECALL_ATTENTION",
    "RECALL_CLAIMS",
    "RECALL_COMPARED",
    "RECALL_COMPARED_CURVES",
    "RECALL_COMPARISON",
    "RECALL_CONCENTRATION",
    "RECALL_CURVES",
    "RECALL_HEADS",
    "RECALL_JOINT",
    "RECALL_MEASURED",
    "RECALL_MLPS",
    "RECALL_MLP_FACTS",
    "RECALL_MLP_FIT",
    "RECALL_MLP_INTERCEPT",
    "RECALL_MLP_TOKENS",
    "RECALL_MLP_WEIGHTS",
    "RECALL_MOVERS",
    "RECALL_ORDERS",
    "RECALL_PARTS",
    "RECALL_PATCHES",
    "RECALL_PHASES",
    "RECALL_RELEASE",
    "RECALL_REMOVAL",
    "RECALL_REMOVED",
    "RECALL_RESTORED",
    "RECALL_SCALED",
    "RECALL_SCALING",
    "RECALL_SHOTS",
    "RECALL_SHOT_LENS",
    "RECALL_STEERING",
    "RECALL_SUPPRESSORS",
    "RECALL_WORLDS",
    "RECALL_WORST",
    "RECALL_WRITES",
    "ROLE_EFFECTS",
    "SITE",
    "SITE_CHANGES",
    "SITE_EFFECTS",
    "STEERED",
    "TABLES",
    "TEST_PAIRS",
    "TRIAGE",
    "TYPES",
    "UNASKED",
    "VALIDATION",
    "WINDOW_PATCHES",
    "WORLDS",
    "Column",
    "Feature",
    "Table",
    "address",
    "at_site",
    "by_site",
    "features_of",
    "row_address",
    "row_site",
    "site_columns",
    "sites_of",
]

#: Tables of a comparison's folder.
COMPARISON = (CHANGES, SITE_CHANGES, CHANGE_TESTS, CHANGE_EXACT)

#: Tables of the folder of ``saeattr recall triage``; the last one is of two such folders.
RECALL = (TRIAGE, UNASKED, FACT_SPREAD, PHRASINGS, BESIDE)

#: Tables that the parts of ``saeattr recall run`` measure, on top of the study.
RECALL_MEASURED = (
    RECALL_PATCHES,
    *(ANSWER_LENS, WINDOW_PATCHES),
    *(RECALL_ATTENTION, RECALL_HEADS, RECALL_REMOVAL),
    *(RECALL_WRITES, RECALL_PARTS, RECALL_SCALED),
    *RECALL_MLPS,
    *(RECALL_SHOTS, RECALL_SHOT_LENS),
    *(STEERED, WORLDS),
)

#: Tables of the folder ``recall`` in the study that ``saeattr recall run`` makes.
RECALLED = (
    *(RECALL_CURVES, RECALL_RELEASE, RECALL_WORST, RECALL_RESTORED),
    *(RECALL_PHASES, RECALL_CONCENTRATION, RECALL_ORDERS, RECALL_ANSWERS, RECALL_JOINT),
    *(RECALL_MOVERS, RECALL_REMOVED, RECALL_SUPPRESSORS, RECALL_SCALING),
    *(RECALL_STEERING, RECALL_WORLDS),
    RECALL_CLAIMS,
)

#: Tables of the folder of ``saeattr recall compare``.
RECALL_COMPARISON = (RECALL_COMPARED, RECALL_COMPARED_CURVES)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        LISTS,
        PAIRS,
        TEST_PAIRS,
        LIST_STATISTICS,
        LIST_SUMMARY,
        LIST_BLANKS,
        LIST_EXCEPTIONS,
        ENTROPY,
        ENTROPY_ONSET,
        LOGIT_LENS,
        LENS_ONSET,
        PATCHING,
        HEAD_MOVES,
        *RECALL_MEASURED,
        ATTRIBUTIONS,
        ENTRIES,
        PAIR_EFFECTS,
        CARRIERS,
        FEATURES,
        ACTIVE,
        SITE_EFFECTS,
        METRIC_BY_POINT,
        LENS,
        ROLE_EFFECTS,
        LAYER_SCORES,
        VALIDATION,
        CURVES,
        AGREEMENT,
        COMPARED,
        EXACT,
        GENERATION,
        GENERATED,
        OVERLAP,
        *COMPARISON,
        FIRING,
        *RECALL,
        *RECALLED,
        *RECALL_COMPARISON,
    )
}
