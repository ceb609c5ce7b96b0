"""The public operations; the command line calls the same functions.

attribute: pairs, layers, attributions, exact effects. validate: more exact effects, and lists written under ablation.
select: which layers are worth an SAE. plan: what memory it takes. report: one page. overlap: which features recur.
compare: two models on the same pairs. inspect: the features on Neuronpedia. check_recall, triage, triage_beside: which
facts a model knows.
"""

from saeattr.api.attributing import attribute, plan, select, validate
from saeattr.api.checking import check_pairs
from saeattr.api.reading import Overlap, compare, overlap, report
from saeattr.api.recalling import check_recall, triage, triage_beside

__all__ = [
    "Overlap",
    "attribute",
    "check_pairs",
    "check_recall",
    "compare",
    "overlap",
    "plan",
    "report",
    "select",
    "triage",
    "triage_beside",
    "validate",
]
