"""Feature sets from study folders, and from CSV, JSON or Parquet files made elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from saeattr.errors import UserError
from saeattr.features.recurrence import overlap_table
from saeattr.files import fault, read_metadata, read_table, write_table
from saeattr.settings.yaml_files import FAULTS
from saeattr.sites import KINDS
from saeattr.study.folder import StudyFolder, read_record
from saeattr.study.marks import made_of
from saeattr.tables import ACTIVE, FEATURE, FEATURES, GROUP, OVERLAP

NEEDED = (*FEATURE, GROUP)
#: ``effect`` is another name for effect_mean; ``model`` says which model the features are of.
OPTIONAL = ("effect", "model")
READERS = {".csv": pd.read_csv, ".json": pd.read_json, ".parquet": pd.read_parquet}


@dataclass(frozen=True)
class FeatureSets:
    """What is compared.

    Attributes:
        features: layer, kind, feature, group and what else the sources say of a feature.
        active: rows of active.parquet, of the groups of study folders; files do not say what else was active.
    """

    features: pd.DataFrame
    active: pd.DataFrame


def read_feature_sets(sources: Sequence[str | Path]) -> FeatureSets:
    """The features of several study folders or files together.

    A file has the columns layer, kind, feature and group, perhaps effect and model, or those of features.parquet. A
    group that several sources have is marked with its source: ``cities (run-a)``.

    Raises:
        UserError: a source cannot be read, has an unknown or missing column, an impossible value or no row, or is of
            another model or other SAEs than the first.
    """
    if not sources:
        raise UserError("overlap needs features: give one study folder or more, or CSV, JSON or Parquet files")
    read: list[FeatureSets] = []
    known: dict[str, tuple[object, Path]] = {}
    for path in map(Path, sources):
        sets, identity = _read_study(path) if path.is_dir() else _read_file(path)
        for what, value in identity.items():
            first, where = known.setdefault(what, (value, path))
            if first != value:
                raise UserError(
                    f"{where} and {path} are of different models or SAEs ({what}: {first} and {value}): "
                    "features can be compared within one model and its SAEs only"
                )
        read.append(sets)
    counts = Counter(group for sets in read for group in sets.features["group"].unique())
    for path, sets in zip(map(Path, sources), read, strict=True):
        mark = {group: f"{group} ({path.stem})" for group in sets.features["group"].unique() if counts[group] > 1}
        for table in (sets.features, sets.active):
            table["group"] = table["group"].replace(mark)
    # Joining tables without rows would change the types of columns.
    active = [sets.active for sets in read if not sets.active.empty]
    return FeatureSets(
        pd.concat([sets.features for sets in read], ignore_index=True),
        pd.concat(active, ignore_index=True) if active else ACTIVE.empty(),
    )


def check_features(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The table with columns of the right types and ``effect`` named effect_mean.

    Raises:
        UserError: a column is unknown or missing, a value impossible, or there is no row.
    """
    if "topic" in table and GROUP not in table:
        # Sets made elsewhere, or by earlier versions.
        table = table.rename(columns={"topic": GROUP})
    allowed = [*NEEDED, *OPTIONAL, *(column for column in FEATURES.names if column not in NEEDED)]
    unknown = [str(column) for column in table.columns if column not in allowed]
    if unknown:
        raise UserError(f"{name} has the unknown column {unknown[0]!r}: the columns are {', '.join(allowed)}")
    missing = [column for column in NEEDED if column not in table.columns]
    if missing:
        raise UserError(f"{name} has no column {', '.join(missing)}: it needs {', '.join(NEEDED)}")
    if table.empty:
        raise UserError(f"{name} holds no feature: run saeattr attribute with more groups or lists first")
    if "effect" in table and "effect_mean" not in table:
        table = table.rename(columns={"effect": "effect_mean"})
    table = table.copy()
    for column in ("layer", "feature"):
        numbers = pd.to_numeric(table[column], errors="coerce")
        bad = table[column][numbers.isna() | (numbers < 0) | (numbers >= 2**31) | (numbers % 1 != 0)]
        if len(bad):
            raise UserError(f"{name} has the {column} {str(bad.iloc[0])!r}: write whole numbers from 0 to 2147483647")
        table[column] = numbers.astype("int64")
    wrong = table["kind"][~table["kind"].isin(KINDS)]
    if len(wrong):
        raise UserError(f"{name} has the kind {wrong.iloc[0]!r}: the kinds are {', '.join(KINDS)}")
    if table["group"].isna().any():
        raise UserError(f"{name} has a row without a group: name one in each row")
    if "effect_mean" in table:
        numbers = pd.to_numeric(table["effect_mean"], errors="coerce")
        if (numbers.isna() & table["effect_mean"].notna()).any():
            raise UserError(f"{name} has an effect that is not a number: leave it blank where it is not known")
        table["effect_mean"] = numbers
    table["group"] = table["group"].astype(str)
    return table.drop(columns="effect", errors="ignore")


def _read_study(folder: Path) -> tuple[FeatureSets, dict[str, object]]:
    study = StudyFolder(folder)
    record = read_record(study)
    identity = {"model": record["model"]["name"], "weights": record["model"]["sha256"][:12]}
    identity |= {f"SAE of {site}": digest[:12] for site, digest in record.get("saes", {}).items()}
    features = check_features(read_table(study.table_path("features"), FEATURES), str(folder))
    return FeatureSets(features, read_table(study.table_path("active"), ACTIVE)), identity


def _read_file(path: Path) -> tuple[FeatureSets, dict[str, object]]:
    if path.suffix.lower() not in READERS:
        raise UserError(f"{path} is neither a study folder nor a table: give a folder, or a .csv, .json or .parquet")
    try:
        table = READERS[path.suffix.lower()](path)
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}: give a study folder, or a .csv, .json or .parquet file") from error
    except (OSError, pa.ArrowException, *FAULTS) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} cannot be read as {path.suffix[1:]}: {reason}") from error
    table = check_features(table, str(path))
    models = list(dict.fromkeys(map(str, table["model"].dropna()))) if "model" in table else []
    if len(models) > 1:
        raise UserError(
            f"{path} has features of {len(models)} models ({', '.join(models[:3])}): "
            "features can be compared within one model only"
        )
    sets = FeatureSets(table.drop(columns="model", errors="ignore"), ACTIVE.empty())
    return sets, {"model": models[0]} if models else {}


_DEPTH, _MADE_OF = "saeattr.overlap_depth", "saeattr.made_of"


def study_overlap(study: StudyFolder, depth: int = 30) -> pd.DataFrame:
    """The overlap table of a study, stored as overlap.parquet; empty (and not stored) with fewer than two groups.

    Raises:
        UserError: the study has no features, or overlap.parquet cannot be written.
    """
    path = study.table_path("overlap")
    sources = [study.table_path("features"), study.table_path("active")]
    # They prove themselves before what was made of them is taken.
    features, active = read_table(sources[0], FEATURES), read_table(sources[1], ACTIVE)
    metadata = {_DEPTH: str(depth), _MADE_OF: made_of(study, (), sources)}
    known = read_metadata(path) if fault(path) is None else {}
    if all(known.get(name) == value for name, value in metadata.items()):
        return read_table(path, OVERLAP)
    if features["group"].nunique() < 2:
        return OVERLAP.empty()
    overlap = overlap_table(features, depth, active=active)
    write_table(path, overlap, metadata)
    return overlap
