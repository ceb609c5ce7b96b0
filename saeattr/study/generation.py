"""The stage that ablates while generating: what a topic's lists become without its top features, site by site."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd

from saeattr.behaviours.lists.sampling import Sampling
from saeattr.behaviours.lists.swap import check_beside
from saeattr.behaviours.lists.topics import SWAPS
from saeattr.errors import UserError
from saeattr.files import fault, read_table, remove_stored, write_table
from saeattr.generation.group import GenerationPlan, SiteParts, generate_group, top_features
from saeattr.generation.summary import summarise
from saeattr.runs.task import Task
from saeattr.settings import StudySettings
from saeattr.sites import Site
from saeattr.study.attribution import Attribution
from saeattr.study.folder import StudyFolder
from saeattr.study.pairs import fresh_seed
from saeattr.study.prepare import Prepared
from saeattr.study.stage import Outcome, Stage, Work
from saeattr.tables import FEATURES, GENERATED, GENERATION, Table, sites_of


@dataclass(frozen=True)
class Generating(Stage):
    """Lists written while a site's top features are held at their base value, with controls and steering."""

    plan: GenerationPlan = dataclasses.field(default_factory=GenerationPlan)

    name: ClassVar[str] = "generation"
    joined: ClassVar[tuple[Table, ...]] = (GENERATION,)
    kept: ClassVar[tuple[Table, ...]] = (GENERATED,)
    made_from: ClassVar[tuple[str, ...]] = ("pairs", "attribution")

    def run(self, work: Work) -> Outcome:
        check_generation(work.prepared)
        features = Attribution.read(work.study, FEATURES, work.group)
        sites = generated_sites(self.plan, features, [file.site for file in work.task.saes])
        task = dataclasses.replace(work.task, saes=[file for file in work.task.saes if file.site in sites])
        sampling = sampling_of(work)
        parts = stored_parts(self.partial(work.study, work.group), task, features, self.plan, sampling)
        rows = generate_group(task, features, self.plan, sampling, parts)
        if rows.empty:
            return Outcome()
        return Outcome({"generation": summarise(rows), "generated": rows})

    def write(self, study: StudyFolder, group: str, outcome: Outcome) -> None:
        super().write(study, group, outcome)
        remove_stored(self.partial(study, group))


def sampling_of(work: Work) -> Sampling:
    """Lists as those on which the study's features are tested."""
    settings = work.prepared.settings
    clean, corrupted = SWAPS[settings.swap]
    return Sampling(
        n_lists=settings.n_pairs,
        length=clean,
        corrupted=corrupted,
        temperature=settings.temperature,
        top_p=settings.top_p,
        max_new_tokens=settings.max_new_tokens,
        batch_size=work.task.pace.batch_size,
        seed=fresh_seed(settings),
    )


def generated_sites(plan: GenerationPlan, features: pd.DataFrame, sites: Sequence[Site]) -> set[Site]:
    """The sites at which features are ablated: those that the plan names, or those of the group's top features.

    Raises:
        UserError: a name is none of the study's sites, nor a kind of one.
    """
    if not plan.sites:
        return set(sites_of(features.sort_values("rank", kind="stable").head(plan.top)))
    named: set[Site] = set()
    for name in plan.sites:
        found = {site for site in sites if name in ("all", site.kind, str(site))}
        if not found:
            known = dict.fromkeys(["all", *(site.kind for site in sites), *map(str, sites)])
            raise UserError(f"--generate-sites cannot be {name!r} in this study: write {', '.join(known)}")
        named |= found
    return named


def stored_parts(
    partial: Path, task: Task, features: pd.DataFrame, plan: GenerationPlan, sampling: Sampling
) -> SiteParts:
    """The sites whose lists an interrupted run left in ``partial``, written under the same conditions."""
    key = _key(task, plan, sampling)
    paths = {}
    for file in task.saes:
        top = top_features(features, file.site, plan.n_features)
        own = hashlib.sha256(repr((key, file.name, top)).encode()).hexdigest()[:16]
        paths[file.site] = partial / f"{file.site}-{own}.parquet"
    # What is damaged is written again.
    whole = {site: path for site, path in paths.items() if path.exists() and fault(path) is None}
    done = {site: read_table(path, GENERATED) for site, path in whole.items()}
    return SiteParts(done, lambda site, rows: write_table(paths[site], rows))


def _key(task: Task, plan: GenerationPlan, sampling: Sampling) -> str:
    """Changes with everything that lists depend on, whatever the site."""
    parts = [
        task.lm.name,
        [(pair.pair_id, *pair.evidence) for pair in task.pairs],
        (task.question.metric.name, task.question.decision, task.question.base),
        (plan.n_sets, task.pace.seed),
        dataclasses.astuple(dataclasses.replace(sampling, batch_size=1)),
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def generation_plan(settings: StudySettings) -> GenerationPlan:
    """What the settings ask for."""
    sizes = tuple(sorted(set(settings.generate_features)))
    return GenerationPlan(settings.validate_top, sizes, sites=settings.generate_sites or ())


def check_generation(prepared: Prepared) -> None:
    """Refuse a study whose prompts the model does not go on from, or whose base it cannot be held at meanwhile.

    Raises:
        UserError: its behaviour is not lists, its requests have unequally many tokens (corrupted base), or sites are
            named that it has no SAE for.
    """
    settings = prepared.settings
    if settings.behaviour != "lists":
        raise UserError(f"--generate writes lists, and this study is of {settings.behaviour}: leave it out")
    if settings.base == "corrupted":
        for topic in prepared.groups:
            check_beside(prepared.tokenizer, topic, *SWAPS[settings.swap])
    if settings.generate_sites:
        generated_sites(generation_plan(settings), pd.DataFrame(), [file.site for file in prepared.saes])
