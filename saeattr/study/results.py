"""A finished study in Python: its tables, lists and figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from saeattr.behaviours.lists.topics import topic_slug
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
    "compared": ["topic", "layer", "kind", "feature", "effect_mean", "exact_mean", "tested"],
}


@dataclass(frozen=True)
class Study:
    """What a study folder holds.

    Attributes:
        folder: where it lies.
        topics: in the order in which they were asked for.
        warnings: what the last run wants its reader to know, one line each.
    """

    folder: StudyFolder
    topics: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    @property
    def record(self) -> dict[str, Any]:
        """study.yaml: settings, versions and fingerprints."""
        return read_record(self.folder)

    @property
    def metric_label(self) -> str:
        """The metric in words, e.g. ``logit(<end_of_turn>) - logit(-)``."""
        return self.record["metric_label"]

    def features(self, topic: str | None = None) -> pd.DataFrame:
        """Features with their mean effect and interval, rank 1 first (of one topic, or of all)."""
        return self._table("features", topic)

    def attributions(self, topic: str | None = None) -> pd.DataFrame:
        """One row for each active feature and position."""
        return self._table("attributions", topic)

    def site_effects(self, topic: str | None = None) -> pd.DataFrame:
        """Per list and site: sum of feature effects, error term, exact total effect, L0, unexplained variance."""
        return self._table("site_effects", topic)

    def metric_by_item(self, topic: str | None = None) -> pd.DataFrame:
        """The metric at every decision point, clean and corrupted."""
        return self._table("metric_by_item", topic)

    def validation(self, topic: str | None = None) -> pd.DataFrame:
        """The tested features: attribution, exact effect with interval, controls, p and q, verdict; may be empty."""
        return self._validation("validation", topic)

    def curves(self, topic: str | None = None) -> pd.DataFrame:
        """What patching the first features of several orders does together; may be empty."""
        return self._validation("curves", topic)

    def agreement(self, topic: str | None = None) -> pd.DataFrame:
        """How well attributions predicted the exact effects, site by site; may be empty."""
        return self._validation("agreement", topic)

    def compared(self, topic: str) -> pd.DataFrame:
        """Attribution beside exact effect of everything patched in a topic; may be empty."""
        return self._validation("compared", topic)

    def generation(self, topic: str | None = None) -> pd.DataFrame:
        """What lists become under ablation: means of each measure and condition with intervals; may be empty."""
        path = self.folder.table_path("generation")
        if topic is not None:
            path = self.folder.generation_folder(topic_slug(topic)) / "generation.parquet"
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

    def _validation(self, name: str, topic: str | None) -> pd.DataFrame:
        path = self.folder.table_path(name)
        if topic is not None:
            path = self.folder.validation_folder(topic_slug(topic)) / f"{name}.parquet"
        return read_table(path) if path.exists() else pd.DataFrame(columns=TABLE_COLUMNS[name])

    def _table(self, name: str, topic: str | None) -> pd.DataFrame:
        if topic is None:
            return read_table(self.folder.table_path(name))
        # The topic's own part: the joined table of many topics is large.
        part = self.folder.topic_folder(topic_slug(topic)) / f"{name}.parquet"
        if part.exists():
            return read_table(part)
        table = read_table(self.folder.table_path(name))
        return table[table["topic"] == topic].reset_index(drop=True)


def load_study(folder: str | Path) -> Study:
    """Open a study folder that ``attribute`` made.

    Raises:
        UserError: it is not a study folder.
    """
    study = StudyFolder(Path(folder))
    return Study(study, tuple(read_record(study).get("topics", ())))
