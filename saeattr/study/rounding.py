"""What a reader of a validation should be warned of where the model's dtype is not float32."""

from __future__ import annotations

import pandas as pd
import torch

from saeattr.runs.task import Task
from saeattr.saes.loading import load_sae
from saeattr.study.attribution import ROUNDING_PAIRS
from saeattr.tables import at_site, row_site
from saeattr.validation.rounding import exact_warning, measure_exact_rounding

#: Features whose exact effects are measured in float32 too.
ROUNDING_FEATURES = 3


def exact_rounding_warnings(task: Task, features: pd.DataFrame) -> list[str]:
    """A line where the dtype changes exact effects much: those of the top site's first features in a few pairs.

    Args:
        features: ``tables.FEATURES`` of one group.
    """
    pairs = [pair for pair in task.pairs if pair.corrupted_ids is not None][:ROUNDING_PAIRS]
    if task.lm.dtype == torch.float32 or features.empty or not pairs:
        return []
    ranked = features.sort_values("rank", kind="stable")
    site = row_site(ranked.iloc[0].to_dict())
    top = at_site(ranked, site)["feature"].head(ROUNDING_FEATURES).astype(int).tolist()
    sae = load_sae(next(file for file in task.saes if file.site == site), task.lm.device)
    warning = exact_warning([measure_exact_rounding(task.lm, pair, sae, top, task.question) for pair in pairs])
    return [warning] if warning else []
