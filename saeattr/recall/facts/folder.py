"""The folder of a triage: its tables as Parquet and CSV, the selected facts as a file of pairs, and what was asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from saeattr.behaviours.given.rows import RowFault
from saeattr.behaviours.given.source import GivenRows
from saeattr.errors import UserError
from saeattr.files import check_whole, disk_errors, read_table, write_sums, write_tables, write_text
from saeattr.recall.facts.triage import SELECTIONS, Selection
from saeattr.settings.yaml_files import FAULTS
from saeattr.tables import FACT_SPREAD, PHRASINGS, TRIAGE, UNASKED

RECORD, SELECTED = "recall.yaml", "selected.jsonl"


@dataclass(frozen=True)
class Checked:
    """What a model can be asked of a battery.

    Attributes:
        model, battery: their names.
        facts: ``tables.TRIAGE``: rows that can be asked, known or not, the largest swing first.
        unasked: ``tables.UNASKED``: rows that are left out, each with its reason.
        notes: what a reader should know, one line each.
        pairs: the rows of ``facts`` as rows of ``--pairs``.
    """

    model: str
    battery: str
    facts: pd.DataFrame
    unasked: pd.DataFrame
    notes: tuple[str, ...]
    pairs: GivenRows

    @property
    def known(self) -> pd.DataFrame:
        """The facts that the model knows."""
        return self.facts[self.facts["known"]]


@dataclass(frozen=True)
class Triage:
    """A battery asked of a model, and the facts that were selected.

    Attributes:
        checked: what could be asked; ``facts`` of it are marked (``selected``).
        selection: which facts are marked.
        spread: ``tables.FACT_SPREAD``; phrasings: ``tables.PHRASINGS``.
        folder: where all of it is written; None where it is not.
    """

    checked: Checked
    selection: Selection
    spread: pd.DataFrame
    phrasings: pd.DataFrame
    folder: Path | None

    @property
    def facts(self) -> pd.DataFrame:
        return self.checked.facts

    @property
    def selected(self) -> pd.DataFrame:
        """The selected facts, the largest swing first."""
        return self.facts[self.facts["selected"]].reset_index(drop=True)

    @property
    def pairs(self) -> GivenRows:
        """The selected facts as rows of ``--pairs``."""
        wanted = set(self.selected["row"])
        return GivenRows(SELECTED, tuple(row for row in self.checked.pairs.rows if row.row in wanted))

    @property
    def figures(self) -> list[Path]:
        """The figures' PNG files."""
        return [] if self.folder is None else sorted(self.folder.glob("*.png"))


def unasked_table(faults: list[RowFault]) -> pd.DataFrame:
    """``tables.UNASKED`` in the order of rows."""
    rows = [(fault.row, fault.group, fault.pair_id, fault.reason, fault.mend) for fault in faults]
    return UNASKED.frame(pd.DataFrame(sorted(rows), columns=pd.Index(UNASKED.names)))


def check_folder(folder: Path) -> None:
    """Refuse a folder with something else in it.

    Raises:
        UserError: it holds no triage, but other files.
    """
    # Hidden files are no content: the lock of a run that begins is one.
    if folder.exists() and not (
        folder.is_dir() and ((folder / RECORD).exists() or all(path.name[0] == "." for path in folder.iterdir()))
    ):
        raise UserError(f"{folder} exists and holds no triage: give another folder with --out")


def write_triage(found: Triage, record: dict[str, Any]) -> None:
    """Write a triage into its folder, in place of an earlier one.

    Args:
        record: what identifies model and battery.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    folder = found.folder
    assert folder is not None
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # Figures of an earlier triage.
        for old in (*folder.glob("triage-*.png"), *folder.glob("triage-*.svg")):
            old.unlink()
    checked = found.checked
    tables = {TRIAGE: checked.facts, UNASKED: checked.unasked, FACT_SPREAD: found.spread, PHRASINGS: found.phrasings}
    write_tables(folder, tables)
    write_text(folder / SELECTED, found.pairs.to_text())
    about = {"selection": found.selection, "selected": SELECTIONS[found.selection], "notes": list(checked.notes)}
    write_text(folder / RECORD, yaml.safe_dump({**record, **about}, sort_keys=False, allow_unicode=True))
    write_sums(folder, [RECORD, SELECTED, *(f"{table.name}.{kind}" for table in tables for kind in ("parquet", "csv"))])


def load_facts(folder: str | Path) -> tuple[str, pd.DataFrame]:
    """The model's name and ``tables.TRIAGE`` of a triage's folder.

    Raises:
        UserError: it is none, or damaged.
    """
    path = Path(folder) / RECORD
    check_whole(path)
    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
        name = str(record["model"]["name"])
    except FileNotFoundError as error:
        raise UserError(f"{folder} holds no triage: make one with saeattr recall triage --out {folder}") from error
    except (OSError, *FAULTS) as error:
        raise UserError(f"{path} cannot be read: make the triage again") from error
    return name, read_table(Path(folder) / f"{TRIAGE.name}.parquet", TRIAGE)
