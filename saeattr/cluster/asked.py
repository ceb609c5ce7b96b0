"""Whether workers are asked for, and can be had: refused before anything is written."""

from __future__ import annotations

import importlib.util
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager

from saeattr.errors import UserError
from saeattr.model.loading import LanguageModel, spread_over
from saeattr.progress import OnProgress
from saeattr.settings import StudySettings
from saeattr.study.folder import StudyFolder
from saeattr.study.hands import Hands, Here
from saeattr.study.passed import NOTHING
from saeattr.study.prepare import Prepared

INSTALL = "pip install 'saeattr[cluster]'"


def asks_for_workers(settings: StudySettings) -> bool:
    return settings.workers is not None or settings.scheduler is not None


def check_workers(prepared: Prepared) -> None:
    """Refuse workers that could not do the work.

    Raises:
        UserError: Dask is not installed, objects were passed from Python, workers are asked for in two ways or within
            a worker, or a model is to be spread over the cards that the workers share.
    """
    settings = prepared.settings
    if not asks_for_workers(settings):
        return
    asked = "--workers" if settings.scheduler is None else "--scheduler"
    if settings.workers is not None and settings.scheduler is not None:
        raise UserError("--scheduler names a cluster that has its workers: leave out --workers")
    if importlib.util.find_spec("distributed") is None:
        raise UserError(f"{asked} needs Dask, which is not installed: {INSTALL}")
    if prepared.passed != NOTHING:
        raise UserError(
            f"{asked} opens model and SAEs in every worker, and objects passed from Python stay in this process: give "
            f"their names or folders, or leave out {asked}"
        )
    if spread_over(settings.device) > 1:
        raise UserError(f"{asked} gives each worker a card, and {settings.device} takes several: leave out one of them")
    if settings.workers is not None and multiprocessing.parent_process() is not None:
        raise UserError(
            "workers import the script that starts them: put its call of saeattr under if __name__ == '__main__'"
        )


@contextmanager
def hands_for(
    prepared: Prepared, study: StudyFolder, on_progress: OnProgress, lm: LanguageModel | None = None
) -> Iterator[Hands]:
    """Who does the study's work: the workers that its settings ask for, else this process.

    Args:
        lm: the study's model, where it is open here.
    """
    if not asks_for_workers(prepared.settings):
        yield Here(lm)
        return
    # Dask takes half a second, and is an extra.
    from saeattr.cluster.hands import Workers

    with Workers(study, on_progress) as workers:
        yield workers
