"""overlap.parquet of a study: computed when it is missing, older than the features, or of another depth."""

from __future__ import annotations

import pandas as pd
import pyarrow.parquet as pq

from saeattr.analysis.overlap import OVERLAP_COLUMNS, overlap_table
from saeattr.store import StudyFolder, read_table, write_table

_DEPTH = "saeattr.overlap_depth"


def study_overlap(study: StudyFolder, depth: int = 30) -> pd.DataFrame:
    """The overlap table of a study, stored as overlap.parquet; empty (and not stored) with fewer than two topics.

    Raises:
        UserError: the study has no features, or overlap.parquet cannot be written.
    """
    path = study.table_path("overlap")
    features = study.table_path("features")
    if path.exists() and path.stat().st_mtime >= features.stat().st_mtime:
        known = (pq.read_schema(path).metadata or {}).get(_DEPTH.encode())
        if known == str(depth).encode():
            return read_table(path)
    table = read_table(features)
    if table["topic"].nunique() < 2:
        return pd.DataFrame(columns=OVERLAP_COLUMNS)
    overlap = overlap_table(table, depth)
    write_table(path, overlap, {_DEPTH: str(depth)})
    return overlap
