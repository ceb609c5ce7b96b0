"""The public operations; the command line calls the same functions.

attribute: pairs, layers, attributions, exact effects. validate: more exact effects, and lists written under ablation.
select: which layers are worth an SAE. plan: what memory it takes. report: one page. overlap: which features recur.
patch: components between clean and corrupted runs. compare: two models on the same pairs. inspect: the features on
Neuronpedia.
"""

from saeattr.api.attributing import attribute, plan, select, validate
from saeattr.api.checking import check_pairs
from saeattr.api.exploring import patch
from saeattr.api.reading import Overlap, compare, overlap, report

__all__ = ["Overlap", "attribute", "check_pairs", "compare", "overlap", "patch", "plan", "report", "select", "validate"]
