"""Every file of a study damaged in every way: what reads says so or shows the same, what made it makes it again."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import saeattr
from saeattr import UserError
from saeattr.files import write_table, write_text
from saeattr.study.folder import read_plan, read_record
from saeattr.study.results import Study, load_study
from saeattr.study.sets import study_overlap

GROUPS = ["cities", "rivers"]
SMALL: dict[str, Any] = {
    **{"lists": 3, "sites": ["resid_post.2", "resid_post.3"], "validate_top": 2, "controls": 19},
    **{"figures": False, "device": "cpu"},
}
READ = ("features", "active", "attributions", "site_effects", "metric_by_point", "validation", "curves", "agreement")


def attribute(out: Path, groups: list[str] | None = None, **settings: Any) -> Study:
    return saeattr.attribute(groups or GROUPS, out=out, **{**SMALL, **settings})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("damage") / "s"
    attribute(root)
    study_overlap(load_study(root).folder)
    return root


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "s")


def flip(path: Path, share: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(share * (len(data) - 1))] ^= 0x10
    path.write_bytes(data)


def of_the_other_group(path: Path) -> None:
    other = Path(str(path).replace("cities", "rivers"))
    path.write_bytes(other.read_bytes() if other != path and other.exists() else b"something else")


HARMS: dict[str, Callable[[Path], Any]] = {
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "flipped early": lambda path: flip(path, 0.1),
    "flipped in the middle": lambda path: flip(path, 0.5),
    "flipped at the end": lambda path: flip(path, 0.98),
    "gone": Path.unlink,
    "another": of_the_other_group,
}


def files_of(root: Path) -> list[str]:
    """All files but those of the second group, which are like the first one's."""
    found = (str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    return sorted(name for name in found if "rivers" not in name)


def shown(root: Path) -> dict[Any, Any]:
    """What reading commands take from a study."""
    study = load_study(root)
    found: dict[Any, Any] = {"groups": study.groups, "label": study.metric_label, "choice": study.choice}
    found |= {(name, group): getattr(study, name)(group) for name in READ for group in (None, *study.groups)}
    found |= {("pairs", group): study.pairs(group) for group in study.groups}
    found |= {("compared", group): study.compared(group) for group in study.groups}
    found |= {("power", group): study.power(group) for group in study.groups}
    found["lists"] = study.lists().to_pandas()
    found["overlap"] = saeattr.overlap([root]).pairs
    found["stored overlap"] = study_overlap(study.folder)
    found["plan"] = read_plan(study.folder)["groups"].keys()
    return found


def differing(one: dict[Any, Any], other: dict[Any, Any]) -> list[Any]:
    def same(a: Any, b: Any) -> bool:
        if not isinstance(a, pd.DataFrame):
            return a == b
        try:
            pd.testing.assert_frame_equal(a, b)
        except AssertionError:
            return False
        return True

    return [key for key in one if key not in other or not same(one[key], other[key])]


def outcome(root: Path) -> tuple[dict[Any, Any], str]:
    """What is shown of a study, or the line that refuses it."""
    try:
        return shown(root), ""
    except UserError as error:
        return {}, str(error)


def tables(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.parquet")}


def test_whatever_is_damaged_is_read_as_it_was_or_refused_in_one_line(whole: Path, copy: Path) -> None:
    before, counts = shown(copy), Counter[str]()
    for number, name in enumerate(files_of(whole)):
        # Every third harm of a file: all of them in turn.
        for harm, harms in list(HARMS.items())[number % 3 :: 3]:
            harms(copy / name)
            found, refusal = outcome(copy)
            assert not differing(before, found or before), (name, harm)
            assert found or ("again" in refusal and "\n" not in refusal), (name, harm, refusal)
            counts["as it was" if found else "refused"] += 1
            shutil.rmtree(copy)
            shutil.copytree(whole, copy)
    assert counts["refused"] > counts["as it was"] > 0, counts


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("SHA256SUMS", "flipped in the middle"),
        ("SHA256SUMS", "gone"),
        ("attribution/cities/attributions.parquet", "flipped in the middle"),
        ("attribution/cities/SHA256SUMS", "gone"),
        ("features.parquet", "half"),
        ("lists/cities.parquet", "another"),
        ("overlap.parquet", "flipped early"),
        ("pairs/cities/pairs.parquet", "flipped at the end"),
        ("plan.json", "half"),
        ("study.yaml", "half"),
        ("study.yaml", "gone"),
        ("test_pairs/cities/test_pairs.parquet", "another"),
        ("validation/cities/exact.parquet", "gone"),
        ("validation.parquet", "empty"),
    ],
)
def test_the_command_that_made_it_says_what_is_damaged_and_makes_it_again(
    whole: Path, copy: Path, name: str, harm: str
) -> None:
    HARMS[harm](copy / name)
    study = attribute(copy)
    assert any("damaged" in line for line in study.warnings)
    study_overlap(study.folder)
    assert tables(copy) == tables(whole)
    assert study.record == read_record(load_study(whole).folder)
    assert not any("damaged" in line or "again" in line for line in attribute(copy).warnings)


@pytest.mark.parametrize("stage", ["attribution", "lists"])
def test_swapped_groups_are_made_again(whole: Path, copy: Path, stage: str) -> None:
    suffix = ".parquet" if stage == "lists" else ""
    one, other = (copy / stage / f"{group}{suffix}" for group in GROUPS)
    one.rename(copy / "kept")
    other.rename(one)
    (copy / "kept").rename(other)
    with pytest.raises(UserError, match="cities"):
        shown(copy)
    study = attribute(copy)
    assert any("again" in line for line in study.warnings)
    assert tables(copy) == tables(whole)


def test_lists_that_were_cut_and_written_as_a_whole_file_are_sampled_again(whole: Path, copy: Path) -> None:
    path = copy / "lists" / "cities.parquet"
    cut = pd.read_parquet(path).tail(2)
    # With a sum of its own, too.
    write_table(path, cut)
    study = attribute(copy)
    assert "lists/cities.parquet" not in " ".join(study.warnings)
    assert tables(copy) == tables(whole)


def test_tables_of_another_study_are_not_taken(whole: Path, copy: Path, tmp_path: Path) -> None:
    attribute(tmp_path / "other", ["cities"], seed=1, validate_top=0)
    shutil.rmtree(copy / "attribution" / "cities")
    shutil.copytree(tmp_path / "other" / "attribution" / "cities", copy / "attribution" / "cities")
    with pytest.raises(UserError, match=r"is not what belongs there \(of another study\)"):
        load_study(copy).attributions("cities")
    assert "attribution/cities is of another group or study: done again" in attribute(copy).warnings
    assert tables(copy) == tables(whole)


def test_a_group_that_is_not_asked_for_is_made_again_where_it_is_damaged(whole: Path, copy: Path) -> None:
    """All groups are joined, so its damage would stop every command."""
    HARMS["half"](copy / "attribution" / "cities" / "features.parquet")
    HARMS["half"](copy / "features.parquet")
    assert any(
        "attribution/cities/features.parquet is damaged" in line for line in attribute(copy, ["rivers"]).warnings
    )
    assert tables(copy) == tables(whole)


def test_a_damaged_record_is_not_written_anew_for_other_settings(copy: Path) -> None:
    HARMS["half"](copy / "study.yaml")
    before = (copy / "study.yaml").read_bytes()
    with pytest.raises(UserError, match="its tables are of other settings") as refusal:
        attribute(copy, seed=1)
    assert "\n" not in str(refusal.value)
    assert (copy / "study.yaml").read_bytes() == before


@pytest.mark.parametrize("field", ["settings", "model", "groups", "metric_label", "versions", "saes"])
def test_a_part_of_the_record_of_a_wrong_type_is_named(copy: Path, field: str) -> None:
    text = "".join(f"{name}: 7.5\n" if name == field else f"{name}: {{}}\n" for name in ("settings", "model"))
    write_text(copy / "study.yaml", f"format: 5\n{text}" + ("" if field in text else f"{field}: 7.5\n"))
    with pytest.raises(UserError, match=f"has {field} as float"):
        load_study(copy)


def test_a_study_whose_choice_was_deleted_keeps_its_sites_for_new_topics(tmp_path: Path) -> None:
    """What a damaged choice once led to: topics at different sites."""
    root, chosen = tmp_path / "s", {"sites": None, "max_sites": 2, "validate_top": 0}
    sites = list(attribute(root, ["rivers"], **chosen).record["saes"])
    scores = tables(root)["selection/study/layer_scores.parquet"]
    shutil.rmtree(root / "selection")
    study = attribute(root, ["cities"], **chosen)
    assert list(study.record["saes"]) == sites
    effects = study.site_effects()
    assert effects.groupby("group")[["layer", "kind"]].apply(lambda rows: len(rows.drop_duplicates())).eq(2).all()
    # The choice itself is there again, by the topic that made it.
    assert tables(root)["selection/study/layer_scores.parquet"] == scores
