"""Whether a worker would give the numbers that any other gives: the same folder, packages and model."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from saeattr import bundle
from saeattr.cluster.sent import Place
from saeattr.errors import UserError
from saeattr.model.loading import find_model
from saeattr.settings import StudySettings
from saeattr.study.prepare import package_versions


def here() -> str:
    """This process, as messages and progress name it."""
    return f"worker {os.getpid()} on {socket.gethostname()}"


def check_alike(place: Place) -> None:
    """Refuse a worker whose numbers might be others; called in the worker, from the directory of the plan.

    Raises:
        UserError: the study's folder is another one or not there, or packages or model differ.
    """
    if not Path(place.mark).exists():
        raise UserError(
            f"{here()} does not see the study's folder {place.root}: workers share it through the file system, under "
            "the same path"
        )
    found = package_versions()
    for package, wanted in place.versions.items():
        if found.get(package) != wanted:
            raise UserError(
                f"{here()} has {package} {found.get(package)}, and the process that hands out the work {wanted}: give "
                "all the same environment"
            )
    model = StudySettings.model_validate_json(place.settings).model
    if place.model_sha256 is not None and bundle.fingerprint(find_model(model)) != place.model_sha256:
        raise UserError(
            f"{here()} has other files of the model {model} than the process that hands out the work: give all the same"
        )
