"""Only the SAEs of a study's sites are fetched, checked and hashed, and study.yaml says which they were."""

from __future__ import annotations

from collections.abc import Sequence

from saeattr.errors import UserError
from saeattr.progress import OnStep, quiet
from saeattr.saes.formats import SaeFile
from saeattr.saes.loading import check_weights
from saeattr.study.bare import forget_partial, holds_saes_work
from saeattr.study.folder import StudyFolder, read_record, write_record


def fetch_saes(study: StudyFolder, saes: Sequence[SaeFile], on_step: OnStep = quiet) -> None:
    """Download what is not here, check it, and note the digests in study.yaml; what is noted already is compared.

    Raises:
        UserError: an SAE cannot be had, is damaged, or is not the one that the study was made with.
    """
    before, found = recorded_saes(study), {}
    # Such as turned out to be damaged may be replaced while nothing was completed with them.
    known = before if holds_saes_work(study) else {}
    for done, file in enumerate(saes):
        on_step("fetching SAEs", done, len(saes))
        if str(file.site) not in known:
            check_weights(file)
        found[str(file.site)] = file.sha256
    on_step("fetching SAEs", len(saes), len(saes))
    _compare(study, known, found)
    if found != before:
        if not known:
            forget_partial(study)
        write_record(study, {**read_record(study), "saes": found})


def check_fetched(study: StudyFolder, saes: Sequence[SaeFile]) -> None:
    """Refuse SAEs that are here already and are not those that the study was made with; nothing is fetched.

    Raises:
        UserError: one is another.
    """
    # Such as turned out to be damaged may be replaced while nothing was completed with them.
    if holds_saes_work(study):
        check_recorded(study, saes)


def check_recorded(study: StudyFolder, saes: Sequence[SaeFile]) -> None:
    """Refuse SAEs that are here already and are not those of study.yaml; nothing is fetched.

    Raises:
        UserError: one is another.
    """
    known = recorded_saes(study)
    here = [file for file in saes if str(file.site) in known and not file.download]
    _compare(study, known, {str(file.site): file.sha256 for file in here})


def recorded_saes(study: StudyFolder) -> dict[str, str]:
    """SHA-256 of the SAEs by site, as study.yaml has them; none where they are not fetched yet."""
    return read_record(study).get("saes", {}) if study.record_path.exists() else {}


def _compare(study: StudyFolder, known: dict[str, str], found: dict[str, str]) -> None:
    changed = [site for site, sha256 in found.items() if known.get(site, sha256) != sha256]
    if changed:
        site = changed[0]
        raise UserError(
            f"{study.root} holds a study with other SAEs (saes.{site} is {known[site]!r} there and {found[site]!r} "
            "here): give the same SAEs, or another folder with --out"
        )
