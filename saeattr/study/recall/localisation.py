"""Localisation: facts patched in every layer and both directions, by role, token by token, and head by head."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from saeattr.recall.curves import STREAM, recall_curves, releases, worst_counts
from saeattr.study.patching import DIRECTIONS, Patching, patching_stages
from saeattr.study.recall.part import Reading, RecallPart
from saeattr.study.results import Study
from saeattr.tables import RECALL_CURVES, RECALL_RELEASE, RECALL_WORST, Table


def stages(groups: tuple[str, ...] = ()) -> list[Patching]:
    """What is patched, in both directions: the stream by role and by token, and z by head and role."""
    return [
        stage
        for direction in DIRECTIONS
        for components, by in ((STREAM, "role"), (STREAM, "token"), (("z",), "head-role"))
        # Of each category all that were selected.
        for stage in patching_stages(components, by, direction, most_pairs=10**6)
    ]


def derive(study: Study, reading: Reading) -> Mapping[Table, pd.DataFrame]:
    """Curves, layers of release, and which layers and heads move most."""
    curves = recall_curves(_patched(study))
    return {
        RECALL_CURVES: curves,
        RECALL_RELEASE: releases(curves, reading.under),
        RECALL_WORST: worst_counts(curves),
    }


def _patched(study: Study) -> pd.DataFrame:
    """What these stages measured; the study's folder may hold other patches."""
    table = study.patching()
    names = ["component", "by", "direction", "method"]
    wanted = pd.DataFrame([[getattr(stage, name) for name in names] for stage in stages()], columns=pd.Index(names))
    return table.merge(wanted, on=names)


PART = RecallPart(
    "localisation",
    "in which layers facts sit at their entity, and from which on at the final position",
    stages,
    derive,
)
