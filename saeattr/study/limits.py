"""The limits that a study's settings set to the choice of its sites, and what they let the hub be asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from saeattr.errors import UserError
from saeattr.runs.memory import parse_bytes
from saeattr.selection.limits import Limits
from saeattr.settings import StudySettings

if TYPE_CHECKING:
    from saeattr.saes.formats import SaeFile

#: Of SAEs from the hub, where ``download`` says nothing else; and the word for no limit.
DOWNLOAD, ALL = "4GiB", "all"


def asked_limits(settings: StudySettings, saes: Sequence[SaeFile]) -> Limits:
    """What the settings ask for where ``saes`` are offered; what memory leaves for SAEs is not known yet.

    Raises:
        UserError: an amount is none.
    """
    vram = None if settings.vram is None else parse_bytes(settings.vram)
    return Limits(most=settings.max_sites, download_bytes=_download(settings, saes), vram_bytes=vram)


def unusual_limits(settings: StudySettings, saes: Sequence[SaeFile]) -> dict[str, str]:
    """Limits that are not the default, by setting; none where sites are named, so that nothing is chosen."""
    if settings.names_sites or not saes:
        return {}
    usual = asked_limits(StudySettings(), saes).texts
    return {name: text for name, text in asked_limits(settings, saes).texts.items() if text != usual[name]}


def may_leave_out(settings: StudySettings, saes: Sequence[SaeFile]) -> bool:
    """Whether the limits may leave out some of the sites on offer."""
    limits = asked_limits(settings, saes)
    total = sum(file.n_bytes for file in saes)
    return limits.vram_bytes is not None or any(limits.exceeded(len(saes), total))


def most_download(settings: StudySettings, saes: Sequence[SaeFile]) -> int:
    """Bytes of SAEs that are still to be fetched from the hub, at most: of those named, or of the largest allowed."""
    missing = sorted((file.download for file in saes), reverse=True)
    if settings.names_sites:
        return sum(missing)
    limits = asked_limits(settings, saes)
    allowed = sum(missing[: limits.most])
    return allowed if limits.download_bytes is None else min(allowed, limits.download_bytes)


def check_amounts(settings: StudySettings) -> None:
    """Refuse what is no amount.

    Raises:
        UserError: ``vram`` or ``download`` is none.
    """
    if settings.vram is not None:
        parse_bytes(settings.vram)
    download_limit(settings)


def download_limit(settings: StudySettings) -> int | None:
    """Bytes of SAEs that may be fetched from the hub; None is no limit.

    Raises:
        UserError: ``download`` is no amount.
    """
    text = settings.download or DOWNLOAD
    if text.strip().lower() == ALL:
        return None
    try:
        return parse_bytes(text)
    except UserError as error:
        raise UserError(f"--download cannot be {text!r}: write an amount such as {DOWNLOAD}, or {ALL}") from error


def _download(settings: StudySettings, saes: Sequence[SaeFile]) -> int | None:
    """Only SAEs from the hub are downloaded, so that the setting says nothing of others."""
    published = any(file.published is not None for file in saes)
    return download_limit(settings) if published else None
