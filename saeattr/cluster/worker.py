"""What runs in a worker: a study opened once from its settings, and the pieces that are sent.

Between pieces the model stays open: a worker's process has one, of the last study.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from saeattr.cluster.alike import check_alike, here
from saeattr.cluster.sent import Item, Piece, Place
from saeattr.errors import UserError
from saeattr.model.loading import LanguageModel
from saeattr.model.memory import without_collecting_what_is_there
from saeattr.progress import OnProgress, about
from saeattr.runs.question import Pace
from saeattr.runs.task import Task
from saeattr.settings import StudySettings
from saeattr.study.attribution import Attribution, attribute_parts
from saeattr.study.carry import Carried, carry_at
from saeattr.study.fetching import check_recorded
from saeattr.study.folder import StudyFolder
from saeattr.study.hands import open_model
from saeattr.study.pairs import stored_given, stored_pairs
from saeattr.study.prepare import Prepared, prepare
from saeattr.study.run import TOGETHER
from saeattr.study.stage import Work

#: The working directory and the threads are of the whole process: one piece at a time.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Opened:
    """A study in a worker.

    Attributes:
        prepared: at all sites that the settings allow.
        checked: sites whose SAEs were found to be those of study.yaml.
    """

    study: StudyFolder
    prepared: Prepared
    lm: LanguageModel
    checked: set[tuple[str, ...]] = field(default_factory=set)

    def at_sites(self, sites: tuple[str, ...]) -> Prepared:
        """The study at some sites.

        Raises:
            UserError: an SAE is missing here, or is not the one that the study is made with.
        """
        found = {str(file.site): file for file in self.prepared.saes}
        missing = [site for site in sites if site not in found]
        if missing:
            raise UserError(f"{here()} has no SAE for {missing[0]}: give all workers the same files")
        saes = [found[site] for site in sites]
        if sites not in self.checked:
            check_recorded(self.study, saes)
            self.checked.add(sites)
        return dataclasses.replace(self.prepared, saes=saes)

    def work(self, item: Item, prepared: Prepared, pace: Pace, on_progress: OnProgress) -> Work:
        """The work on one group."""
        pairs = stored_pairs(self.study, item.pairs_of)
        on_step = about(on_progress, item.group)
        task = Task(self.lm, pairs, prepared.saes, prepared.question, pace, on_step)
        return Work(self.study, prepared, item.group, task, about(on_progress, TOGETHER))


#: The last study, by its place and the worker's device.
_OPENED: dict[tuple[str, ...], Opened] = {}


def carry(place: Place, device: str, piece: Piece, on_progress: OnProgress) -> Carried:
    """Do a piece; when this returns, what it makes is stored.

    Raises:
        UserError: this worker does not see what the process that plans sees, or the input cannot be used.
    """
    with _at(place), without_collecting_what_is_there():
        opened = _opened(place, device, on_progress)
        prepared = opened.at_sites(piece.sites)
        works = [opened.work(item, prepared, piece.pace, on_progress) for item in piece.items]
        return _DO[piece.what](piece, works)


def open_study(place: Place, device: str, on_progress: OnProgress) -> str:
    """Check this worker and open the model, for the pieces to come; the type of its device.

    Raises:
        UserError: as ``carry``.
    """
    with _at(place):
        return _opened(place, device, on_progress).lm.device.type


def _whole_groups(piece: Piece, works: list[Work]) -> Carried:
    # What was stored before the worker that had this piece was lost.
    left = [work for work in works if not piece.stage.is_done(work.study, work.group)]
    done = carry_at(piece.stage, left, piece.pace) if left else _nothing(piece)
    return dataclasses.replace(done, told={work.group: done.told.get(work.group, ()) for work in works})


def _shards(piece: Piece, works: list[Work]) -> Carried:
    """Parts of groups, each SAE opened once for all of them."""
    parts = [Attribution.of_group(work) for work in works]
    try:
        attribute_parts(parts, works[0].study.root, works[0].on_all, {item.group: item.shards for item in piece.items})
    finally:
        for one in parts:
            one.store()
    return _nothing(piece)


def _means(piece: Piece, works: list[Work]) -> Carried:
    for item, work in zip(piece.items, works, strict=True):
        Attribution.of_group(work).store_sums(item.shards)
    return _nothing(piece)


def _nothing(piece: Piece) -> Carried:
    """Of a piece that makes no tables."""
    return Carried({}, piece.pace, None)


_DO: dict[str, Callable[[Piece, list[Work]], Carried]] = {"groups": _whole_groups, "shards": _shards, "means": _means}


def _opened(place: Place, device: str, on_progress: OnProgress) -> Opened:
    key = (place.root, place.mark, place.settings, device)
    if key not in _OPENED:
        # The last study's model makes room.
        _OPENED.clear()
        check_alike(place)
        settings = StudySettings.model_validate_json(place.settings)
        settings = settings.model_copy(update={"device": device or settings.device})
        study = StudyFolder(Path(place.root))
        prepared = prepare(settings, weights=False, given=stored_given(study), with_saes=place.with_saes)
        lm = open_model(prepared, here(), on_progress)
        _OPENED[key] = Opened(study, prepared, lm)
    return _OPENED[key]


@contextlib.contextmanager
def _at(place: Place) -> Iterator[None]:
    """While the block runs, relative paths begin where they do in the process that plans; one block at a time."""
    with _ONE_AT_A_TIME:
        before = os.getcwd()
        try:
            os.chdir(place.directory)
        except OSError as error:
            raise UserError(
                f"{here()} does not see the folder {place.directory}: workers share the study's folder and the "
                "working directory"
            ) from error
        try:
            if place.threads is not None:
                # Of this thread: each has its own.
                torch.set_num_threads(place.threads)
            yield
        finally:
            os.chdir(before)
