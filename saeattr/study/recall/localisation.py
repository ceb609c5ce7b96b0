"""Localisation: facts patched in every layer and both directions, by role, token by token, and head by head."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from saeattr.recall.facts.check import aligned_facts
from saeattr.recall.localisation.curves import recall_curves, releases, worst_counts
from saeattr.recall.localisation.patches import patch_facts
from saeattr.recall.localisation.restoration import restored
from saeattr.study.recall.part import FactStage, Reading, RecallPart
from saeattr.study.results import Study
from saeattr.study.stage import Outcome, Work
from saeattr.tables import RECALL_CURVES, RECALL_PATCHES, RECALL_RELEASE, RECALL_RESTORED, RECALL_WORST, Table


@dataclass(frozen=True)
class FactPatching(FactStage):
    """The stream and its parts by role and by token, and z by head and role, in both directions."""

    name: ClassVar[str] = "recall_patches"
    joined: ClassVar[tuple[Table, ...]] = (RECALL_PATCHES,)

    def run(self, work: Work) -> Outcome:
        facts = aligned_facts(work.task.pairs)
        left = len(work.task.pairs) - len(facts)
        told = [f"{left} pairs are left out of localisation: no entity, or no prompt of as many tokens"] if left else []
        if not facts:
            return Outcome(warnings=told)
        return Outcome({RECALL_PATCHES.name: patch_facts(dataclasses.replace(work.task, pairs=facts))}, told)


def stages(groups: tuple[str, ...] = ()) -> list[FactPatching]:
    return [FactPatching(groups)]


def derive(study: Study, reading: Reading) -> Mapping[Table, pd.DataFrame]:
    """Curves, layers of release, which layers and heads move most, and what each token restores."""
    patches = study.recall(RECALL_PATCHES)
    curves = recall_curves(patches)
    return {
        RECALL_CURVES: curves,
        RECALL_RELEASE: releases(curves, reading.under),
        RECALL_WORST: worst_counts(curves),
        RECALL_RESTORED: restored(patches, study.pairs()),
    }


PART = RecallPart(
    "localisation",
    "in which layers facts sit at their entity, and from which on at the final position",
    stages,
    derive,
)
