"""A study's stages carried out by workers: what is handed out, in which order, and what is noted of it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from saeattr.cluster.crew import Crew, crew_for
from saeattr.cluster.elsewhere import model_elsewhere
from saeattr.cluster.follow import begin_all, follow
from saeattr.cluster.pieces import attribution_pieces, group_pieces, together_pieces
from saeattr.cluster.sent import Piece, Place
from saeattr.errors import UserError
from saeattr.files import disk_errors
from saeattr.model.loading import LanguageModel
from saeattr.progress import OnProgress
from saeattr.runs.memory import MemoryPlan
from saeattr.study.attribution import Attribution
from saeattr.study.carry import Carried, early_plan, note
from saeattr.study.folder import StudyFolder, remove_leftovers
from saeattr.study.prepare import Prepared
from saeattr.study.stage import Stage, Work


class Workers(ExitStack):
    """Others' hands: workers are started, or joined, when there is something to do, and let go of with the block."""

    def __init__(self, study: StudyFolder, on_progress: OnProgress) -> None:
        super().__init__()
        self._study, self._on_progress = study, on_progress
        self._crew: Crew | None = None
        self._place: Place | None = None

    def open_model(self, prepared: Prepared, group: str, on_progress: OnProgress) -> LanguageModel:
        """Have the workers check what they see and open the model.

        Raises:
            UserError: there are no workers to be had, or one of them sees another folder, package or model.
        """
        settings = prepared.settings
        self.callback(remove_leftovers, self._study)
        on_progress("workers", "starting" if settings.scheduler is None else "joining", 0, 1)
        crew = self._crew = self.enter_context(crew_for(settings))
        on_progress("workers", f"dashboard at {crew.client.dashboard_link}", 1, 1)
        many = [address for address, threads in crew.threads_of.items() if threads > 1]
        if many:
            raise UserError(
                f"the worker at {many[0]} would take several pieces at once, each with the model's memory: start it "
                "with dask worker --nthreads 1"
            )
        mark = self.enter_context(_mark(self._study))
        self._place = Place(
            *(str(self._study.root.absolute()), os.getcwd(), str(mark)),
            settings=settings.model_dump_json(),
            with_saes="saes" in prepared.record["settings"],
            model_sha256=prepared.record["model"]["sha256"],
            versions=prepared.record["versions"],
            devices=crew.devices,
            threads=crew.threads,
        )
        device = begin_all(crew, self._place, on_progress)
        return model_elsewhere(prepared, device)

    def carry_out(self, stage: Stage, works: Sequence[Work], plan: MemoryPlan | None) -> list[str]:
        assert self._crew is not None
        plans = [plan or early_plan(work) for work in works]
        paces = [one.pace(stage.name, work.task.pace) for one, work in zip(plans, works, strict=True)]
        n_workers = max(1, len(self._crew.threads_of))
        if isinstance(stage, Attribution):
            means, parts, tables = attribution_pieces(stage, works, paces[0], n_workers)
            self._follow(means)
            carried = {**self._follow(parts), **self._follow(tables)}
        elif stage.together:
            carried = self._follow(together_pieces(stage, works, paces[0], n_workers))
        else:
            carried = self._follow(group_pieces(stage, works, paces))
        return [
            line for work, own in zip(works, plans, strict=True) for line in note(stage, work, own, carried[work.group])
        ]

    def _follow(self, pieces: Sequence[Piece]) -> dict[str, Carried]:
        """What the pieces' whole groups gave."""
        assert self._crew is not None
        assert self._place is not None
        done = follow(self._crew, self._place, pieces, self._on_progress) if pieces else []
        return {group: one for one in done for group in one.told}


@contextmanager
def _mark(study: StudyFolder) -> Iterator[Path]:
    """A file in the study's folder, by which workers see that it is the same; removed with what else is temporary."""
    with disk_errors(study.root):
        handle, name = tempfile.mkstemp(prefix=".workers-", suffix=".tmp", dir=study.root.absolute())
        os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
