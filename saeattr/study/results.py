"""A finished study in Python: its tables, lists and figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from saeattr.behaviours.lists.topics import group_slug
from saeattr.files import read_table
from saeattr.study.folder import StudyFolder, read_record
from saeattr.validation.curves import CURVE_COLUMNS
from saeattr.validation.verdicts import AGREEMENT_COLUMNS, VALIDATION_COLUMNS

if TYPE_CHECKING:
    import datasets


#: Of tables that a study may not have.
TABLE_COLUMNS = {
    "validation": VALIDATION_COLUMNS,
    "curves": CURVE_COLUMNS,
    "agreement": AGREEMENT_COLUMNS,
    "compared": ["group", "layer", "kind", "feature", "effect_mean", "exact_mean", "tested"],
}


@dataclass(frozen=True)
class Study:
    """What a study folder holds.

    Attributes:
        folder: where it lies.
        groups: in the order in which they were asked for.
        warnings: what the last run wants its reader to know, one line each.
    """

    folder: StudyFolder
    groups: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    @property
    def record(self) -> dict[str, Any]:
        """study.yaml: settings, versions and fingerprints."""
        return read_record(self.folder)

    @property
    def metric_label(self) -> str:
        """The metric in words, e.g. ``logit(<end_of_turn>) - logit(-)``."""
        return self.record["metric_label"]

    def features(self, group: str | None = None) -> pd.DataFrame:
        """Features with their mean effect and interval, rank 1 first (of one group, or of all)."""
        return self._table("features", group)

    def attributions(self, group: str | None = None) -> pd.DataFrame:
        """One row for each active feature and position."""
        return self._table("attributions", group)

    def site_effects(self, group: str | None = None) -> pd.DataFrame:
        """Per list and site: sum of feature effects, error term, exact total effect, L0, unexplained variance."""
        return self._table("site_effects", group)

    def metric_by_point(self, group: str | None = None) -> pd.DataFrame:
        """The metric at every decision point, clean and corrupted."""
        return self._table("metric_by_point", group)

    def validation(self, group: str | None = None) -> pd.DataFrame:
        """The tested features: attribution, exact effect with interval, controls, p and q, verdict; may be empty."""
        return self._validation("validation", group)

    def curves(self, group: str | None = None) -> pd.DataFrame:
        """What patching the first features of several orders does together; may be empty."""
        return self._validation("curves", group)

    def agreement(self, group: str | None = None) -> pd.DataFrame:
        """How well attributions predicted the exact effects, site by site; may be empty."""
        return self._validation("agreement", group)

    def compared(self, group: str) -> pd.DataFrame:
        """Attribution beside exact effect of everything patched in a group; may be empty."""
        return self._validation("compared", group)

    def generation(self, group: str | None = None) -> pd.DataFrame:
        """What lists become under ablation: means of each measure and condition with intervals; may be empty."""
        path = self.folder.table_path("generation")
        if group is not None:
            path = self.folder.generation_folder(group_slug(group)) / "generation.parquet"
        return read_table(path) if path.exists() else pd.DataFrame()

    def lists(self) -> datasets.Dataset:
        """The sampled lists as a Hugging Face dataset."""
        import datasets

        return datasets.Dataset.from_pandas(
            pd.concat([read_table(path) for path in sorted((self.folder.root / "lists").glob("*.parquet"))]),
            preserve_index=False,
        )

    @property
    def figures(self) -> list[Path]:
        """The figures' PNG files."""
        return sorted(self.folder.figures.glob("*.png"))

    def _validation(self, name: str, group: str | None) -> pd.DataFrame:
        path = self.folder.table_path(name)
        if group is not None:
            path = self.folder.validation_folder(group_slug(group)) / f"{name}.parquet"
        return read_table(path) if path.exists() else pd.DataFrame(columns=TABLE_COLUMNS[name])

    def _table(self, name: str, group: str | None) -> pd.DataFrame:
        if group is None:
            return read_table(self.folder.table_path(name))
        # The group's own part: the joined table of many groups is large.
        part = self.folder.group_folder(group_slug(group)) / f"{name}.parquet"
        if part.exists():
            return read_table(part)
        table = read_table(self.folder.table_path(name))
        return table[table["group"] == group].reset_index(drop=True)


def load_study(folder: str | Path) -> Study:
    """Open a study folder that ``attribute`` made.

    Raises:
        UserError: it is not a study folder.
    """
    study = StudyFolder(Path(folder))
    return Study(study, tuple(read_record(study).get("groups", ())))
