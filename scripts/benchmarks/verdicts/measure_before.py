"""The verdicts that the rule of ``before`` gives on a task: attributed, ranked and tested on the same pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from benchmarks.verdicts.before import judge_before, match_controls
from saeattr.attribution.site import attribute_site
from saeattr.runs.base import SiteBase
from saeattr.runs.batch import BatchRuns, effect_tokens, site_tokens
from saeattr.runs.effects import feature_effects
from saeattr.runs.task import Task, run_pairs
from saeattr.saes.loading import load_sae, stream_saes
from saeattr.tables import Feature, by_site

#: Columns of ``judge_before`` that every rule has.
MEASURED = ["estimate", "exact_mean", "exact_low", "exact_high", "q_value", "verdict"]
#: Features tested in a group, those of the largest |mean attribution|.
TOP = 20


def run_for_before(task: Task) -> list[BatchRuns]:
    """The runs that all below needs, with gradients."""
    return run_pairs(task, [file.site for file in task.saes], gradients=True)


def mean_attributions(task: Task, batches: Sequence[BatchRuns]) -> pd.Series:
    """Mean attribution over the pairs of every feature that has an entry, the largest |mean| first, by feature."""
    found: dict[Feature, float] = {}
    for sae in stream_saes(task.saes, task.lm.device):
        base = SiteBase.of(sae, batches)
        total, entries = torch.zeros(sae.d_sae), torch.zeros(sae.d_sae)
        for batch in batches:
            own = attribute_site(base, site_tokens(batch, sae.site, effect_tokens(batch, base.name)))
            total.index_add_(0, own.feature, own.effect)
            entries.index_add_(0, own.feature, torch.ones_like(own.effect))
        for feature in entries.nonzero()[:, 0].tolist():
            found[sae.site, feature] = float(total[feature]) / len(task.pairs)
    return _by_feature(found).sort_values(key=lambda values: -values.abs(), kind="stable")


def verdicts_before(
    task: Task, batches: Sequence[BatchRuns], estimates: pd.Series, chosen: Sequence[Feature]
) -> pd.DataFrame:
    """``judge_before`` of the chosen features, all tested together."""
    controls: dict[Feature, list[Feature]] = {}
    effects: dict[Feature, np.ndarray] = {}
    available = {file.site: file for file in task.saes}
    for site, tested in by_site(chosen).items():
        base = SiteBase.of(load_sae(available[site], task.lm.device), batches)
        change_norm, frequency = change_profile(base, batches)
        for feature in tested:
            controls[site, feature] = [
                (site, int(one)) for one in match_controls(change_norm, frequency, feature, tested)
            ]
        patched = sorted({*tested, *(one for feature in tested for _, one in controls[site, feature])})
        ids = torch.tensor(patched, device=task.lm.device)
        exact = torch.cat([feature_effects(batch, base, ids, task.pace.copies) for batch in batches], dim=1)
        effects |= dict(zip([(site, one) for one in patched], exact.cpu().double().numpy(), strict=True))
    table = pd.DataFrame(list(effects.values()), index=_as_index(list(effects)))
    return judge_before(table, controls, estimates, task.pace.seed)  # pyright: ignore[reportArgumentType]


@torch.no_grad()
def change_profile(base: SiteBase, batches: Sequence[BatchRuns]) -> tuple[np.ndarray, np.ndarray]:
    """Change norm and frequency of every feature of an SAE, as ``match_controls`` takes them."""
    sae = base.sae
    change, entries = (torch.zeros(sae.d_sae, dtype=torch.float64) for _ in range(2))
    n_tokens = 0
    for batch in batches:
        row, position = effect_tokens(batch, base.name).nonzero(as_tuple=True)
        f_clean = sae.encode(batch.clean.x[sae.site][row, position])
        entry, f_base = base.entries(f_clean, batch.corrupted_tokens(sae.site, row, position))
        change += torch.where(entry, (f_base - f_clean).abs(), 0.0).sum(0).cpu()
        entries += entry.sum(0).cpu()
        n_tokens += len(row)
    change_norm = change / entries.clamp(min=1) * sae.W_dec.norm(dim=1).cpu()
    return change_norm.numpy(), (entries / n_tokens).numpy()


def _by_feature(values: dict[Feature, float]) -> pd.Series:
    return pd.Series(list(values.values()), index=_as_index(list(values)), dtype=float)


def _as_index(features: Sequence[Feature]) -> pd.Index:
    index = np.empty(len(features), dtype=object)
    # Assigned one by one, tuples stay tuples.
    for at, feature in enumerate(features):
        index[at] = feature
    return pd.Index(index, tupleize_cols=False)  # pyright: ignore[reportArgumentType, reportCallIssue]
