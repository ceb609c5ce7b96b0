"""The public operations; the command line calls the same functions.

run_study: all of what follows, in order, into one folder and one report.
attribute: pairs, layers, attributions, exact effects. validate: more exact effects, and lists written under ablation.
entropy, lens: what the model does along the prompts, before any SAE is opened. patch: components between clean and
corrupted runs.
select: which layers are worth an SAE. plan: what memory and time it takes. report: one page. overlap: which features
recur.
compare: two models on the same pairs. generate_lists, list_statistics: lists by themselves. check_recall, triage,
triage_beside: which facts a model knows. run_recall: how it recalls them, of which patch_recall is
where it holds them; compare_recall: two such studies by depth; plan_recall: what memory it takes. inspect: the
features on Neuronpedia.
"""

from saeattr.api.attributing import attribute, plan, select, validate
from saeattr.api.checking import check_pairs
from saeattr.api.exploring import entropy, lens, patch
from saeattr.api.lists import generate_lists, list_statistics
from saeattr.api.recall_comparison import compare_recall
from saeattr.api.recall_plan import plan_recall
from saeattr.api.recall_study import patch_recall, run_recall
from saeattr.api.recalling import check_recall, triage, triage_beside
from saeattr.api.results import Overlap, compare, overlap, report
from saeattr.api.studying import run_study

__all__ = [
    "Overlap",
    "attribute",
    "check_pairs",
    "check_recall",
    "compare",
    "compare_recall",
    "entropy",
    "generate_lists",
    "lens",
    "list_statistics",
    "overlap",
    "patch",
    "patch_recall",
    "plan",
    "plan_recall",
    "report",
    "run_recall",
    "run_study",
    "select",
    "triage",
    "triage_beside",
    "validate",
]
