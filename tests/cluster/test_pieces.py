"""A worker's side without Dask: pieces give the bytes of one process, and each opens every SAE once."""

from __future__ import annotations

import functools
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import saeattr
from saeattr import UserError
from saeattr.cluster import worker
from saeattr.cluster.pieces import attribution_pieces
from saeattr.cluster.sent import Piece, Place
from saeattr.digests import file_sha256
from saeattr.files import write_text
from saeattr.model.loading import LanguageModel
from saeattr.progress import quiet
from saeattr.runs.question import Pace
from saeattr.runs.task import Task
from saeattr.settings import recorded_settings
from saeattr.study import attribution
from saeattr.study.attribution import Attribution
from saeattr.study.folder import StudyFolder
from saeattr.study.pairs import stored_pairs
from saeattr.study.prepare import Prepared, prepare
from saeattr.study.results import Study
from saeattr.study.site_parts import GroupParts
from saeattr.study.stage import Work

SITES = ("mlp_out.4", "resid_post.2")
GROUPS = ("animals", "cities", "fruits", "rivers", "sports")


@pytest.fixture(scope="module", autouse=True)
def shards() -> Any:
    """Of two pairs: the groups of three have two."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attribution, "GroupParts", functools.partial(GroupParts, shard_pairs=2))
        yield


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Attributed by one process."""
    asked: dict[str, Any] = {"lists": 3, "max_new_tokens": 30, "sites": SITES, "batch_size": 2, "base": "mean"}
    out = tmp_path_factory.mktemp("pieces") / "s"
    return saeattr.attribute(GROUPS, out=out, validate_top=0, figures=False, device="cpu", seed=3, **asked)


@pytest.fixture
def copy(study: Study, tmp_path: Path) -> StudyFolder:
    """The pairs alone."""
    root = tmp_path / "copy"
    shutil.copytree(study.folder.root / "pairs", root / "pairs")
    write_text(root / "study.yaml", study.folder.record_path.read_text(encoding="utf-8"))
    (root / "mark").touch()
    return StudyFolder(root)


def prepared_again(study: StudyFolder) -> Prepared:
    return prepare(recorded_settings(Study(study, GROUPS).record).model_copy(update={"batch_size": 2, "device": "cpu"}))


def place_of(study: StudyFolder, prepared: Prepared) -> Place:
    return Place(
        *(str(study.root), os.getcwd(), str(study.root / "mark"), prepared.settings.model_dump_json(), True),
        model_sha256=prepared.record["model"]["sha256"],
        versions=prepared.record["versions"],
    )


def rounds_of(study: StudyFolder, prepared: Prepared, lm: LanguageModel, n_workers: int) -> list[list[Piece]]:
    works = [
        Work(study, prepared, group, Task(lm, stored_pairs(study, [group]), prepared.saes, prepared.question))
        for group in GROUPS
    ]
    return list(attribution_pieces(Attribution(), works, Pace(batch_size=2), n_workers))


def tables(study: StudyFolder) -> dict[str, str]:
    root = study.root / Attribution.name
    return {str(path.relative_to(root)): file_sha256(path) for path in root.rglob("*.parquet")}


def test_pieces_give_the_bytes_of_one_process_and_each_opens_every_sae_once(
    study: Study, copy: StudyFolder, lm: LanguageModel, opened: Counter[str]
) -> None:
    prepared = prepared_again(copy)
    place = place_of(copy, prepared)
    means, parts, last = rounds_of(copy, prepared, lm, 2)
    assert {piece.what for piece in means} == {"means"}
    assert {piece.what for piece in parts} == {"shards"}
    assert [item.group for piece in last for item in piece.items] == list(GROUPS)
    assert len(parts) == 4
    for piece in means:
        worker.carry(place, "cpu", piece, quiet)
    for piece in parts:
        opened.clear()
        worker.carry(place, "cpu", piece, quiet)
        assert opened == dict.fromkeys(SITES, 1)
    opened.clear()
    for piece in last:
        worker.carry(place, "cpu", piece, quiet)
    assert not opened
    assert tables(copy) == tables(study.folder)
    assert not list(copy.root.rglob(".partial*"))


def test_what_a_lost_worker_stored_is_not_done_again(
    study: Study, copy: StudyFolder, lm: LanguageModel, opened: Counter[str]
) -> None:
    prepared = prepared_again(copy)
    place = place_of(copy, prepared)
    means, parts, last = rounds_of(copy, prepared, lm, 1)
    for piece in [*means, *parts, *parts[:1], *means[:1]]:
        opened.clear()
        worker.carry(place, "cpu", piece, quiet)
    assert not opened
    kept = sorted(copy.root.glob(f"attribution/.partial-*/*{SITES[0]}*"))
    shutil.rmtree(kept[0])
    opened.clear()
    for piece in parts:
        worker.carry(place, "cpu", piece, quiet)
    assert opened == {SITES[0]: 1}
    for piece in last:
        worker.carry(place, "cpu", piece, quiet)
    assert tables(copy) == tables(study.folder)


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"mark": "/nowhere/mark"}, "does not see the study's folder"),
        ({"versions": {"torch": "0.1"}}, "has torch .*, and the process that hands out the work 0.1"),
        ({"model_sha256": "0" * 64}, "has other files of the model bundled"),
        ({"directory": "/nowhere"}, "does not see the folder /nowhere"),
    ],
)
def test_a_worker_that_would_give_other_numbers_says_why(
    copy: StudyFolder, lm: LanguageModel, changed: dict[str, Any], match: str
) -> None:
    prepared = prepared_again(copy)
    fields = {**vars(place_of(copy, prepared)), **changed}
    _, parts, _ = rounds_of(copy, prepared, lm, 1)
    with pytest.raises(UserError, match=match) as refusal:
        worker.carry(Place(**fields), "cpu", parts[0], quiet)
    assert "\n" not in str(refusal.value)
    assert not (copy.root / "attribution").exists()


def test_saes_other_than_the_studys_are_refused(copy: StudyFolder, lm: LanguageModel) -> None:
    prepared = prepared_again(copy)
    record = copy.record_path.read_text(encoding="utf-8")
    (digest,) = {file.sha256 for file in prepared.saes if str(file.site) == SITES[0]}
    write_text(copy.record_path, record.replace(digest, "0" * 64))
    _, parts, _ = rounds_of(copy, prepared, lm, 1)
    with pytest.raises(UserError, match=f"holds a study with other SAEs .saes.{SITES[0]}"):
        worker.carry(place_of(copy, prepared), "cpu", parts[0], quiet)


def carried(pieces: Sequence[Piece]) -> list[str]:
    return [str(piece) for piece in pieces]


def test_a_piece_is_named_by_its_stage_and_groups(copy: StudyFolder, lm: LanguageModel) -> None:
    (_, _, last) = rounds_of(copy, prepared_again(copy), lm, 1)
    assert carried(last)[:2] == ["attribution of animals", "attribution of cities"]
    items = tuple(item for piece in last for item in piece.items)
    assert str(Piece(Attribution(), items, Pace())) == "attribution of animals, cities, fruits and 2 more"
