"""Ablation while generating for one group of a study: what the lists become without its top features."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass

from saeattr.behaviours.lists.topics import group_slug
from saeattr.behaviours.pair import Pair
from saeattr.files import read_metadata, read_table, write_part
from saeattr.generation.ablation import Sampling
from saeattr.generation.group import TOP_FEATURES, generate_group
from saeattr.generation.summary import summarise
from saeattr.model.loading import LanguageModel
from saeattr.sites import Site
from saeattr.study.attribution import attribution_plan
from saeattr.study.folder import StudyFolder
from saeattr.study.prepare import Prepared

#: The table of a study that joins those of its groups; ``generated`` (pair by pair) stays with each group.
GENERATION_TABLES = ("generation",)
_WANTED = "saeattr.generation"


@dataclass(frozen=True)
class GenerationPlan:
    """What to ablate.

    Attributes:
        top: the sites are those of so many top features of a group.
        n_features: a site's first features by |mean effect| are ablated together.
    """

    top: int = 20
    n_features: int = TOP_FEATURES


def is_generated(folder: StudyFolder, slug: str, wanted: GenerationPlan) -> bool:
    """Whether a group's ablations are stored, as they are wanted now."""
    return read_metadata(folder.generation_folder(slug) / "generation.parquet").get(_WANTED) == _described(wanted)


def generate_stage(
    lm: LanguageModel,
    group: str,
    pairs: list[Pair],
    prepared: Prepared,
    folder: StudyFolder,
    wanted: GenerationPlan,
    on_progress: Callable[[str, str, int, int], None],
) -> None:
    """Generate an attributed group's lists under ablation, site by site, and store what they became.

    Raises:
        UserError: as ``generate_conditions``.
    """
    settings, slug = prepared.settings, group_slug(group)
    features = read_table(folder.group_folder(slug) / "features.parquet")
    top = features.sort_values("rank", kind="stable").head(wanted.top)
    sites = {Site(kind, int(layer)) for kind, layer in zip(top["kind"], top["layer"], strict=True)}
    rows = generate_group(
        lm,
        pairs,
        [file for file in prepared.saes if file.site in sites],
        features,
        attribution_plan(prepared, settings.batch_size),
        Sampling(
            temperature=settings.temperature,
            top_p=settings.top_p,
            max_new_tokens=settings.max_new_tokens,
            batch_size=settings.batch_size,
        ),
        n_pairs=settings.lists,
        n_features=wanted.n_features,
        on_progress=lambda done, total: on_progress(group, "ablation while generating", done, total),
    )
    if not rows.empty:
        tables = {"generation": summarise(rows, settings.seed), "generated": rows}
        write_part(folder.generation_folder(slug), tables, {_WANTED: _described(wanted)})


def _described(wanted: GenerationPlan) -> str:
    return json.dumps(dataclasses.asdict(wanted))
