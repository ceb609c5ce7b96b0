"""Settings from what a user gave: keywords, options, a YAML file, or the record of a study."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from saeattr.errors import UserError
from saeattr.settings.described import SETTINGS, flag, taken_by
from saeattr.settings.fields import ALIASES, StudySettings


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
    if name == "layers" and not all(part.isdecimal() for part in parts):
        raise UserError(f"{flag(name)} cannot be {text!r}: write numbers with commas, e.g. 0,3,5, or all")
    if not parts:
        raise UserError(f"{flag(name)} cannot be {text!r}: name at least one, or leave it out")
    return tuple(map(int, parts)) if name == "layers" else parts


class _OnceLoader(yaml.SafeLoader):
    """YAML in which a name stands once: the plain loader lets the last one win without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value]
        for name in names:
            if names.count(name) > 1:
                raise UserError(f"{name!r} is given twice in {self.name}: give it once")
        return super().construct_mapping(node, deep)


def read_config(path: Path) -> dict[str, Any]:
    """The fields of a YAML file.

    Raises:
        UserError: there is no such file, it is not a mapping, or a name stands twice in it.
    """
    try:
        with path.open(encoding="utf-8") as file:
            fields = yaml.load(file, _OnceLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"the settings in {path} cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(fields, dict):
        raise UserError(f"{path} is not a mapping of settings: write lines such as lists: 10")
    return {str(name): value for name, value in fields.items()}


def _one_line(error: ValidationError) -> str:
    first = error.errors()[0]
    if first["type"] == "extra_forbidden":
        return f"{first['loc'][0]!r} is not a setting: the settings are {', '.join(StudySettings.model_fields)}"
    name = flag(str(first["loc"][0])) if first["loc"] else "settings"
    return f"{name} cannot be {first.get('input')!r}: {first['msg'][0].lower() + first['msg'][1:]}"
