"""What localisation found: its tables, and the folder ``recall`` of a study that they are written into."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from saeattr.files import disk_errors, write_table, write_text
from saeattr.recall.curves import releases, worst_counts
from saeattr.tables import RECALL_CURVES, RECALL_RELEASE, RECALL_WORST


@dataclass(frozen=True)
class Localisation:
    """Facts patched in every layer, at the entity and at the final position.

    Attributes:
        model: its name.
        folder: ``recall`` in the study's folder.
        n_layers: of the model.
        under: a fact is released where the damage stays under this share of its maximum.
        curves: ``tables.RECALL_CURVES``.
    """

    model: str
    folder: Path
    n_layers: int
    under: float
    curves: pd.DataFrame

    @property
    def releases(self) -> pd.DataFrame:
        """``tables.RECALL_RELEASE``."""
        return releases(self.curves, self.under)

    @property
    def worst(self) -> pd.DataFrame:
        """``tables.RECALL_WORST``."""
        return worst_counts(self.curves)

    @property
    def figures(self) -> list[Path]:
        """The figures' PNG files."""
        return sorted(self.folder.glob("*.png"))


def write_localisation(found: Localisation) -> None:
    """Write the tables, each as Parquet and CSV, in place of earlier ones.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    with disk_errors(found.folder):
        found.folder.mkdir(parents=True, exist_ok=True)
        # Figures of other facts, or of another share.
        for old in (*found.folder.glob("recall-*.png"), *found.folder.glob("recall-*.svg")):
            old.unlink()
    tables = {RECALL_CURVES: found.curves, RECALL_RELEASE: found.releases, RECALL_WORST: found.worst}
    for table, rows in tables.items():
        write_table(found.folder / f"{table.name}.parquet", rows)
        write_text(found.folder / f"{table.name}.csv", rows.to_csv(index=False))
