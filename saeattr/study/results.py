"""A finished study in Python: its tables, lists and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from saeattr.behaviours.given.export import ExportedPairs
from saeattr.errors import UserError
from saeattr.features.texts import TOP, Chat, FeatureNames
from saeattr.files import is_stored, read_table, stored_files
from saeattr.patching.summary import patching_agreement
from saeattr.study.attribution import Attribution
from saeattr.study.entropy import Entropy
from saeattr.study.export import export_study
from saeattr.study.folder import StudyFolder, read_record
from saeattr.study.generation import Generating
from saeattr.study.lens import Lens
from saeattr.study.notes import stored_notes
from saeattr.study.pairs import MakingPairs, MakingTestPairs, stored_given
from saeattr.study.patching import HeadMoves, Patching
from saeattr.study.selection import Choosing, stored_lines
from saeattr.study.validation import Validation, power_of
from saeattr.tables import (
    ACTIVE,
    AGREEMENT,
    ATTRIBUTIONS,
    COMPARED,
    CURVES,
    ENTROPY,
    ENTROPY_ONSET,
    FEATURES,
    GENERATION,
    HEAD_MOVES,
    LAYER_SCORES,
    LENS_ONSET,
    LISTS,
    LOGIT_LENS,
    METRIC_BY_POINT,
    PAIRS,
    PATCHING,
    RECALL_MEASURED,
    RECALLED,
    SITE_EFFECTS,
    TEST_PAIRS,
    VALIDATION,
    Table,
)

if TYPE_CHECKING:
    import datasets


#: What is derived of a recall study's stages lies in this folder of it.
RECALL_FOLDER = "recall"


@dataclass(frozen=True)
class Study:
    """What a study folder holds.

    Attributes:
        folder: where it lies.
        groups: in the order in which they were asked for.
        warnings: what a reader should know, one line each: what is stored of every stage (``study.notes``) and, of what
            an operation returns, what concerned that run alone.
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
        return Attribution.read(self.folder, FEATURES, group)

    def active(self, group: str | None = None) -> pd.DataFrame:
        """Every active feature of each site, and in how many pairs; what chance sets are drawn from."""
        return Attribution.read(self.folder, ACTIVE, group)

    def attributions(self, group: str | None = None) -> pd.DataFrame:
        """One row for each active feature and position."""
        return Attribution.read(self.folder, ATTRIBUTIONS, group)

    def site_effects(self, group: str | None = None) -> pd.DataFrame:
        """Per pair and site: sum of feature effects, error term, exact total effect, L0, unexplained variance."""
        return Attribution.read(self.folder, SITE_EFFECTS, group)

    def metric_by_point(self, group: str | None = None) -> pd.DataFrame:
        """The metric at every decision point, clean and corrupted."""
        return Attribution.read(self.folder, METRIC_BY_POINT, group)

    def validation(self, group: str | None = None) -> pd.DataFrame:
        """The tested features: attribution, exact effect with interval, controls, p and q, verdict; may be empty."""
        return Validation.read(self.folder, VALIDATION, group)

    def curves(self, group: str | None = None) -> pd.DataFrame:
        """What patching the first features of several orders does together; may be empty."""
        return Validation.read(self.folder, CURVES, group)

    def agreement(self, group: str | None = None) -> pd.DataFrame:
        """How well attributions predicted the exact effects, site by site; may be empty."""
        return Validation.read(self.folder, AGREEMENT, group)

    def compared(self, group: str) -> pd.DataFrame:
        """Attribution beside exact effect of everything patched in a group; may be empty."""
        return Validation.read(self.folder, COMPARED, group)

    def generation(self, group: str | None = None) -> pd.DataFrame:
        """What lists become under ablation: means of each measure and condition with intervals; may be empty."""
        return Generating.read(self.folder, GENERATION, group)

    def entropy(self, group: str | None = None) -> pd.DataFrame:
        """Next-token entropy (nats) at the last token of each span, run by run; may be empty."""
        return Entropy.read(self.folder, ENTROPY, group)

    def entropy_onset(self, group: str | None = None) -> pd.DataFrame:
        """Where an ending sets in, pair by pair, and how fast the entropy rises under either request; may be empty."""
        return Entropy.read(self.folder, ENTROPY_ONSET, group)

    def logit_lens(self, group: str | None = None) -> pd.DataFrame:
        """The logit lens of each direction after every layer, at the last token of each span; may be empty."""
        return Lens.read(self.folder, LOGIT_LENS, group)

    def lens_onset(self, group: str | None = None) -> pd.DataFrame:
        """In which layers each direction appears, with intervals over pairs; may be empty."""
        return Lens.read(self.folder, LENS_ONSET, group)

    def patching(self, group: str | None = None) -> pd.DataFrame:
        """Effects of patching components between clean and corrupted runs, pair by pair; may be empty.

        ``saeattr.patching.summary.patching_summary`` makes means and normalised effects with intervals of it.
        """
        return Patching.read(self.folder, PATCHING, group)

    def patching_agreement(self, group: str | None = None) -> pd.DataFrame:
        """How well effects by gradient predict exact ones, by component; empty without both methods."""
        return patching_agreement(self.patching(group))

    def head_moves(self, group: str | None = None) -> pd.DataFrame:
        """Which heads carry what differs between the prompts to where the metric is read; may be empty."""
        return HeadMoves.read(self.folder, HEAD_MOVES, group)

    def recall(self, table: Table | str) -> pd.DataFrame:
        """A table of a recall study, such as ``recall_curves`` or ``recall_claims``; may be empty.

        Raises:
            UserError: it is damaged, or there is no such table.
        """
        known = {one.name: one for one in (*RECALL_MEASURED, *RECALLED)}
        name = table if isinstance(table, str) else table.name
        if name not in known:
            raise UserError(f"{name!r} is not a table of recall: choose from {', '.join(known)}")
        path = self.recall_path(known[name])
        return read_table(path, known[name]) if is_stored(path) else known[name].empty()

    def recall_path(self, table: Table) -> Path:
        """Where a table of a recall study lies: what is derived in the folder ``recall``, what was measured on top."""
        return (
            self.folder.root / RECALL_FOLDER / f"{table.name}.parquet"
            if table in RECALLED
            else self.folder.table_path(table.name)
        )

    def layer_scores(self) -> pd.DataFrame:
        """The score of every site, and which were chosen; empty where sites were named."""
        return Choosing.read(self.folder, LAYER_SCORES)

    @property
    def choice(self) -> list[str]:
        """How the sites were chosen, in lines: which, within which limits, what was left out; empty if named."""
        return stored_lines(self.folder)

    def pairs(self, group: str | None = None) -> pd.DataFrame:
        """The pairs of prompts, token by token."""
        return MakingPairs.read(self.folder, PAIRS, group)

    def given(self) -> pd.DataFrame:
        """The user's own rows with all their columns, and group and pair_id to join them by; empty without any."""
        rows = stored_given(self.folder)
        listed = [] if rows is None else [{**row.model_dump(), "pair_id": row.pair_id} for row in rows.rows]
        return pd.DataFrame(listed).drop(columns=["id", "row"], errors="ignore")

    def export_pairs(self, out: str | Path) -> ExportedPairs:
        """Write the pairs as a file of pairs (JSON lines), which ``attribute(pairs=...)`` reads back.

        Raises:
            UserError: the file cannot be written, or the model's tokenizer is gone.
        """
        return export_study(self.folder, self.groups, Path(out))

    def test_pairs(self, group: str | None = None) -> pd.DataFrame:
        """The pairs that test what the others ranked; empty where each half of the pairs tests the other."""
        return MakingTestPairs.read(self.folder, TEST_PAIRS, group)

    def activations(
        self,
        texts: str | Chat | Sequence[str | Chat],
        features: FeatureNames = None,
        *,
        chat: bool = False,
        top: int = TOP,
        device: str = "auto",
    ) -> pd.DataFrame:
        """Which features fire where in texts of your own, at every token but BOS (``tables.FIRING``).

        The study's model and SAEs are opened for it. ``saeattr.look(texts, study=study)`` can be printed and written
        as a page.

        Args:
            texts: a text, a conversation (a list of turns with role and content), or several of these.
            features: addresses such as ``resid_post.3/423``, indices where the study has one site, or a table with the
                columns layer, kind and feature; None for the ``top`` of each site that fire most.
            chat: each text is a user's turn, put into the model's chat template.

        Raises:
            UserError: a text or feature cannot be used, or model or SAEs have changed.
        """
        # It opens studies, so it imports this module.
        from saeattr.study.looking import look

        return look(texts, study=self, features=features, chat=chat, top=top, device=device).table

    def power(self, group: str) -> str:
        """What the group's tests could show, as it was said before they were made; blank without a validation."""
        return power_of(self.folder, group)

    def lists(self) -> datasets.Dataset:
        """The sampled lists as a Hugging Face dataset."""
        import datasets

        return datasets.Dataset.from_pandas(
            pd.concat([read_table(path, LISTS) for path in stored_files(self.folder.lists)]),
            preserve_index=False,
        )

    @property
    def figures(self) -> list[Path]:
        """The figures' PNG files."""
        return sorted(self.folder.figures.glob("*.png"))


def load_study(folder: str | Path) -> Study:
    """Open a study folder that ``attribute`` made, with what a reader should know of it (``warnings``).

    Raises:
        UserError: it is not a study folder.
    """
    study = StudyFolder(Path(folder))
    return Study(study, tuple(read_record(study).get("groups", ())), stored_notes(study))
