"""A finished study opened again with the model and the SAEs it was made with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from saeattr import bundle
from saeattr.errors import UserError
from saeattr.model.loading import find_model, load_model, site_widths, widths_of
from saeattr.progress import OnStep, quiet
from saeattr.runs.task import Task
from saeattr.saes.formats import SaeFile
from saeattr.settings import recorded_settings
from saeattr.sites import Site, parse_site
from saeattr.study.pairs import stored_given, stored_pairs
from saeattr.study.passed import NOTHING, Passed, check_passed
from saeattr.study.prepare import chosen_saes, prepare
from saeattr.study.results import Study, load_study


def opened(study: str | Path | Study) -> Study:
    """A study by its folder, or as it is.

    Raises:
        UserError: the folder holds none.
    """
    return study if isinstance(study, Study) else load_study(study)


def study_task(study: Study, on_step: OnStep = quiet, device: str = "auto", passed: Passed = NOTHING) -> Task:
    """The model, the SAEs, all pairs and the question of a study, ready to be worked on.

    Raises:
        UserError: model or SAEs have changed, or are no longer where they were.
    """
    check_passed(study.record, passed)
    on_step("loading the model", 0, 1)
    settings, model = recorded_settings(study.record), passed.model
    saes = study_saes(study, passed)
    lm = model.lm if model is not None else load_model(settings.model, device=device, dtype=settings.dtype or "float32")
    on_step("loading the model", 1, 1)
    question = prepare(settings, weights=False, given=stored_given(study.folder), passed=passed).question
    return Task(lm, stored_pairs(study.folder, study.groups), saes, question, on_step=on_step)


def study_saes(study: Study, passed: Passed = NOTHING) -> list[SaeFile]:
    """The SAEs of a study's sites, in the order of sites.

    Raises:
        UserError: model or SAEs have changed, or are no longer where they were.
    """
    settings, model = recorded_settings(study.record), passed.model
    widths = widths_of(model.lm.hf.config) if model is not None else site_widths(find_model(settings.model))
    found = chosen_saes(settings, passed, widths)
    saes = {site: found[site] for site in sorted(map(parse_site, study.record.get("saes", {}))) if site in found}
    check_same(study.record, saes)
    return list(saes.values())


def check_same(record: Mapping[str, Any], saes: Mapping[Site, SaeFile]) -> None:
    """Pages of another model or other SAEs would show other features under the same numbers.

    Raises:
        UserError: the model or an SAE is not the one in study.yaml.
    """
    recorded = record["model"]["sha256"]
    passed = record["model"].get("passed")
    if recorded is not None and not passed and bundle.fingerprint(find_model(record["settings"]["model"])) != recorded:
        raise UserError(
            f"the model {record['model']['name']} has changed since the study was made: make the study again with --out"
        )
    for site, file in saes.items():
        known = record.get("saes", {}).get(str(site))
        if known is not None and file.sha256 != known:
            raise UserError(f"the SAE for {site} has changed since the study was made: make the study again with --out")
