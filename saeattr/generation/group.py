"""Ablation while generating for a topic: at each site its top features, controls of equal length, and steering."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from saeattr.generation.ablation import Ablation, Sampling, generate_conditions, mean_difference
from saeattr.progress import counting
from saeattr.runs.base import SiteBase
from saeattr.runs.batch import BatchRuns
from saeattr.runs.task import Task, run_pairs
from saeattr.saes.loading import stream_saes
from saeattr.tables import GENERATED, at_site
from saeattr.validation.controls import draw_stand_ins, profile_site

#: Features ablated together at a site, and sets of as many controls.
TOP_FEATURES, CONTROL_SETS = 5, 3


@dataclass(frozen=True)
class GenerationPlan:
    """What to ablate.

    Attributes:
        top: the sites are those of so many top features of a group.
        n_features: a site's first features by |mean effect| are ablated together.
        n_sets: sets of as many controls.
    """

    top: int = 20
    n_features: int = TOP_FEATURES
    n_sets: int = CONTROL_SETS


def generate_group(task: Task, features: pd.DataFrame, wanted: GenerationPlan, sampling: Sampling) -> pd.DataFrame:
    """Generate under ablation of each site's top features, one site after the other.

    Args:
        task: its pairs are of one topic: means, active features and the steering direction come from them; its SAEs
            are those of the sites to be ablated.
        features: the topic's rows of features.parquet; a site's features are its first by |mean effect|.

    Returns:
        the rows of ``generate_conditions`` for every site that has features; empty if none has.

    Raises:
        UserError: as ``generate_conditions``.
    """
    batches = run_pairs(task, [file.site for file in task.saes])
    on_site = counting(task.on_step, "ablation while generating")
    tables = [GENERATED.empty()]
    for done, sae in enumerate(stream_saes(task.saes, task.lm.device)):
        on_site(done, len(task.saes))
        top = at_site(features, sae.site).sort_values("rank")["feature"].head(wanted.n_features).astype(int).tolist()
        if top:
            ablated = controlled_ablation(SiteBase.of(sae, batches), batches, top, wanted.n_sets, task.pace.seed)
            tables.append(generate_conditions(task.lm, task.group, ablated, sampling))
    on_site(len(task.saes), len(task.saes))
    return pd.concat(tables[1:] or tables, ignore_index=True)


def controlled_ablation(
    base: SiteBase, batches: Sequence[BatchRuns], features: Sequence[int], n_sets: int = CONTROL_SETS, seed: int = 0
) -> Ablation:
    """Features with controls of equal length and the steering direction, taken from a topic's runs."""
    controls = draw_stand_ins(base.sae, profile_site(base, batches), features, n_sets, seed)
    return Ablation(base, features, controls, mean_difference(batches, base.sae.site))
