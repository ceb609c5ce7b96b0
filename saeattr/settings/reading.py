"""Settings from what a user gave: keywords, options, a YAML file, or the record of a study."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from saeattr.errors import UserError
from saeattr.settings.described import SETTINGS, flag, taken_by
from saeattr.settings.fields import ALIASES, StudySettings
from saeattr.settings.yaml_files import read_mapping

#: Digits of a number in such a text.
LONGEST_NUMBER = 9
#: Fields of several numbers, and how they are written.
NUMBERS = {"layers": "0,3,5, or all", "generate_features": "1,5,20"}


def recorded_settings(record: Mapping[str, Any]) -> StudySettings:
    """The settings of a study's record, with its groups.

    Raises:
        UserError: the record holds settings that this version does not know.
    """
    fields = {name: value for name, value in record["settings"].items() if value is not None}
    try:
        return StudySettings.model_validate({**fields, "group": tuple(record["groups"])})
    except ValidationError as error:
        raise UserError(f"study.yaml cannot be used by this version: {_one_line(error)}") from error


def make_settings(values: Mapping[str, Any], config: Path | None = None) -> StudySettings:
    """Settings from a YAML file (if any) with ``values`` on top; a value of None counts as not given.

    Raises:
        UserError: a field is unknown, out of range or given twice, or the file cannot be read.
    """
    merged = _plain_names(read_config(config)) if config is not None else {}
    merged.update(_plain_names(values))
    if "sites" in merged and ("layers" in merged or "kinds" in merged):
        raise UserError("--sites names whole sites already: leave out --layers and --kinds")
    if "pairs" in merged and merged.setdefault("behaviour", "pairs") != "pairs":
        raise UserError(f"--pairs is a behaviour of its own: leave out --behaviour {merged['behaviour']}")
    return _valid(merged)


def changed_settings(settings: StudySettings, values: Mapping[str, Any], command: str) -> StudySettings:
    """Settings of a study with those of ``values`` changed, which ``command`` must take; None counts as not given.

    Raises:
        UserError: a field is unknown, out of range or given twice, or the command does not take it.
    """
    given = _plain_names(values)
    for name in given:
        if name not in taken_by(command):
            raise UserError(f"{name!r} is not a setting of {command}, which takes {', '.join(taken_by(command))}")
    return _valid({**settings.model_dump(exclude_none=True), **given})


def _valid(fields: Mapping[str, Any]) -> StudySettings:
    try:
        return StudySettings.model_validate(fields)
    except ValidationError as error:
        raise UserError(_one_line(error)) from error


def _plain_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that are given, under their own names and with texts split where a field holds several values."""
    plain: dict[str, Any] = {}
    for written, value in values.items():
        name = ALIASES.get(written, written)
        if value is None:
            continue
        if isinstance(value, (str, bytes)) and not value:
            raise UserError(f"{flag(name)} cannot be empty: give it a value, or leave it out")
        if name in plain:
            raise UserError(f"{name!r} is given twice, as {' and '.join(_names_among(name, values))}: give it once")
        plain[name] = read_text(name, value) if isinstance(value, str) else value
    return plain


def _names_among(name: str, values: Mapping[str, Any]) -> list[str]:
    return [written for written in values if ALIASES.get(written, written) == name]


def read_text(name: str, text: str) -> Any:
    """What a text means for a field: layers, kinds and sites are split at commas, a group is a list of one.

    Raises:
        UserError: the layers are not numbers, or there is nothing between the commas.
    """
    setting = SETTINGS.get(name)
    if setting is None or setting.n_values is not None:
        return text
    if name == "group":
        return (text,)
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    if name == "layers" and parts == ("all",):
        return "all"
    numbers = name in NUMBERS
    if numbers and not all(part.isdecimal() and len(part) <= LONGEST_NUMBER for part in parts):
        raise UserError(f"{flag(name)} cannot be {shown(text)}: write numbers with commas, e.g. {NUMBERS[name]}")
    if not parts:
        raise UserError(f"{flag(name)} cannot be {shown(text)}: name at least one, or leave it out")
    return tuple(map(int, parts)) if numbers else parts


def read_config(path: Path) -> dict[str, Any]:
    """The fields of a YAML file.

    Raises:
        UserError: there is no such file, it is not a mapping, or a name stands twice in it.
    """
    return read_mapping(path)


def _one_line(error: ValidationError) -> str:
    first = error.errors()[0]
    if first["type"] == "extra_forbidden":
        return f"{shown(first['loc'][0])} is not a setting: the settings are {', '.join(StudySettings.model_fields)}"
    name = flag(str(first["loc"][0])) if first["loc"] else "settings"
    said = first["msg"].removeprefix("Value error, ")
    return f"{name} cannot be {shown(first.get('input'))}: {said[0].lower() + said[1:]}"


def shown(value: Any) -> str:
    """A value as a message shows it: as it would be written in Python, of a long or deep one the beginning."""
    try:
        return _SHOWN.repr(value)
    except ValueError:
        # Python writes no number of more than some thousand digits.
        return "a number of thousands of digits"


_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = 200
_SHOWN.maxlong = 60
