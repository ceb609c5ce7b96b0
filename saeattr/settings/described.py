"""Every setting as help, documents and study records know it, made from the fields of ``StudySettings``."""

from __future__ import annotations

from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from saeattr.settings.fields import ALIASES, StudySettings, known


@dataclass(frozen=True)
class Setting:
    """A field of ``StudySettings`` as help and documents show it.

    Attributes:
        form: its type without None, such as ``int`` or ``tuple[str, ...]``.
        without: what leaving it out means, where the default is no value.
        choices: of a field with a closed list of values.
        part: what it is about (``PARTS``).
        commands: those that take it as an option.
        identifies: whether a study with another value is another study.
        others: other names of it.
    """

    name: str
    form: Any
    default: Any
    help: str
    without: str
    choices: tuple[str, ...]
    part: str
    commands: tuple[str, ...]
    identifies: bool
    others: tuple[str, ...]

    @property
    def flag(self) -> str:
        return flag(self.name)

    @property
    def n_values(self) -> int | None:
        """How many values it holds: 1, 2 for a pair, None for any number."""
        parts = get_args(self.form) if get_origin(self.form) is tuple else ()
        return None if ... in parts else max(1, len(parts))


def _described(name: str, field: FieldInfo) -> Setting:
    extra = known(name)
    forms = [form for form in _alternatives(field.annotation) if form is not type(None)]
    # A second alternative is a word, such as all for the layers; the help names it.
    form = next((form for form in forms if get_origin(form) is tuple), forms[0])
    values = get_args(form)[0] if get_origin(form) is tuple else form
    return Setting(
        name=name,
        form=form,
        default=field.default,
        help=field.description or "",
        without=extra["without"],
        choices=get_args(values) if get_origin(values) is Literal else (),
        part=extra["part"],
        commands=extra["commands"],
        identifies=extra["identifies"],
        others=tuple(other for other, own in ALIASES.items() if own == name),
    )


def _alternatives(form: Any) -> list[Any]:
    """The members of a union, without their limits."""
    if get_origin(form) in (Union, UnionType):
        return [plain for part in get_args(form) for plain in _alternatives(part)]
    return [get_args(form)[0]] if get_origin(form) is Annotated else [form]


#: Every setting by its name, in the order of ``PARTS``.
SETTINGS: dict[str, Setting] = {name: _described(name, field) for name, field in StudySettings.model_fields.items()}


def flag(name: str) -> str:
    """The option of a name: ``--max-sites`` for ``max_sites``."""
    return "--" + name.replace("_", "-")


def taken_by(command: str) -> list[str]:
    """The fields that a command takes as options, in order."""
    return [name for name, setting in SETTINGS.items() if command in setting.commands]
