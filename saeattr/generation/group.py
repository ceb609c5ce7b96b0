"""Ablation while generating for a topic: sites x numbers of features, with controls of equal length and steering."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from saeattr.behaviours.lists.answers import cached_bytes
from saeattr.behaviours.lists.sampling import Sampling, prompt_ids
from saeattr.generation.ablation import Ablation, Cell, generate_cells
from saeattr.generation.moves import Edit, mean_difference, steering
from saeattr.model.loading import LanguageModel
from saeattr.progress import OnStep
from saeattr.runs.base import SiteBase
from saeattr.runs.batch import BatchRuns
from saeattr.runs.needs import lists_at_once
from saeattr.runs.task import Task, run_pairs
from saeattr.saes.loading import stream_saes
from saeattr.saes.sae import SparseAutoencoder
from saeattr.sites import Site
from saeattr.tables import GENERATED, at_site
from saeattr.validation.controls import draw_stand_ins, profile_site

#: Features ablated together at a site, and sets of as many controls.
TOP_FEATURES, CONTROL_SETS = 5, 3


@dataclass(frozen=True)
class GenerationPlan:
    """What to ablate.

    Attributes:
        top: the sites are those of so many top features of a group, where ``sites`` names none.
        n_features: a site's first features by |mean effect| are ablated together, so many, once for each number.
        n_sets: sets of as many controls.
        sites: addresses or kinds of sites, or ``all``.
    """

    top: int = 20
    n_features: tuple[int, ...] = (TOP_FEATURES,)
    n_sets: int = CONTROL_SETS
    sites: tuple[str, ...] = ()


@dataclass(frozen=True)
class SiteParts:
    """The lists that an interrupted run left, and where those of a site go as soon as they are written.

    Attributes:
        done: rows of ``generate_cells`` by site.
        on_site: given a site and its rows.
    """

    done: Mapping[Site, pd.DataFrame] = field(default_factory=dict)
    on_site: Callable[[Site, pd.DataFrame], None] = lambda site, rows: None


def generate_group(
    task: Task, features: pd.DataFrame, wanted: GenerationPlan, sampling: Sampling, parts: SiteParts | None = None
) -> pd.DataFrame:
    """Generate under ablation of the sites' top features; lists of several sites are rows of the same batches.

    Args:
        task: its pairs are of one topic: means, active features and the steering direction come from them; its SAEs
            are those of the sites to be ablated.
        features: the topic's rows of features.parquet; a site's features are its first by |mean effect|.
        parts: sites that are done already are not done again.

    Returns:
        the rows of ``generate_cells`` for every site that has features; empty if none has.

    Raises:
        UserError: as ``generate_cells``.
    """
    parts = parts or SiteParts()
    done = dict(parts.done)
    top = {file.site: top_features(features, file.site, wanted.n_features) for file in task.saes}
    missing = [file for file in task.saes if top[file.site] and file.site not in done]
    step, n_written = "ablation while generating", 0
    n_lists = sampling.n_lists * len(missing) * (len(wanted.n_features) * (1 + wanted.n_sets) + 1)
    if missing:
        batches = run_pairs(task, [file.site for file in missing])
        saes = stream_saes(missing, task.lm.device)
        of_sites = (site_cells(sae, batches, top[sae.site], wanted, task.pace.seed) for sae in saes)
        sampling = replace(sampling, batch_size=lists_in_batch(task.lm, task.group, sampling, task.pace.copies))
        for cells in together(of_sites, sampling):
            known = next(iter(done.values()), None)
            nothing = None if known is None else known[known["condition"] == "nothing"]
            on_count = functools.partial(_count, task.on_step, step, n_written, n_lists)
            rows = generate_cells(task.lm, task.group, cells, sampling, nothing, on_count)
            for site in dict.fromkeys(cell.site for cell in cells):
                done[site] = at_site(rows, site).reset_index(drop=True)
                parts.on_site(site, done[site])
            n_written += _n_lists(cells, sampling)
    task.on_step(step, n_lists, n_lists)
    tables = [done[file.site] for file in task.saes if file.site in done]
    return pd.concat(tables or [GENERATED.empty()], ignore_index=True)


def _count(on_step: OnStep, step: str, before: int, total: int, done: int, _: int) -> None:
    on_step(step, min(before + done, total), total)


def top_features(features: pd.DataFrame, site: Site, sizes: Sequence[int]) -> list[list[int]]:
    """A site's first features by |mean effect|, for each number the first so many; where it has fewer, all, once."""
    ranked = at_site(features, site).sort_values("rank", kind="stable")["feature"].astype(int).tolist()
    return [ranked[:size] for size in sorted({min(size, len(ranked)) for size in sizes} - {0})]


def site_cells(
    sae: SparseAutoencoder,
    batches: Sequence[BatchRuns],
    top: Sequence[Sequence[int]],
    wanted: GenerationPlan,
    seed: int,
) -> list[Cell]:
    """A cell for each number of features; they share the steering, which does not depend on it."""
    cells: list[Cell] = []
    steered: Edit | None = None
    for features in top:
        ablated = controlled_ablation(SiteBase.of(sae, batches), batches, features, wanted.n_sets, seed)
        assert ablated.steering is not None
        steered = steered or steering(sae.site, ablated.steering)
        cells.append(ablated.cell(steered))
    return cells


def together(of_sites: Iterable[list[Cell]], sampling: Sampling) -> Iterator[list[Cell]]:
    """The cells of as many sites as one batch of lists holds; of one at least."""
    waiting: list[Cell] = []
    for cells in of_sites:
        if waiting and _n_lists([*waiting, *cells], sampling) > sampling.batch_size:
            yield waiting
            waiting = []
        waiting += cells
    if waiting:
        yield waiting


def _n_lists(cells: Sequence[Cell], sampling: Sampling) -> int:
    return sampling.n_lists * len({edit for cell in cells for _, _, edit in cell.edits})


def lists_in_batch(lm: LanguageModel, topic: str, sampling: Sampling, copies: int) -> int:
    """How many lists are written in one batch, which the memory plan counts the same way (``lists_at_once``)."""
    length = len(prompt_ids(lm.tokenizer, topic, sampling.length)) + sampling.max_new_tokens
    return lists_at_once(sampling.batch_size, copies, length * cached_bytes(lm), lm.device.type == "cpu")


def controlled_ablation(
    base: SiteBase, batches: Sequence[BatchRuns], features: Sequence[int], n_sets: int = CONTROL_SETS, seed: int = 0
) -> Ablation:
    """Features with controls of equal length and the steering direction, taken from a topic's runs."""
    controls = draw_stand_ins(base.sae, profile_site(base, batches), features, n_sets, seed)
    return Ablation(base, features, controls, mean_difference(batches, base.sae.site))
