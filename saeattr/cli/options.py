"""Options made from the settings: a command takes those of the fields whose ``commands`` name it.

    @command()
    @takes_settings("select")
    def select(out: Out = None, **settings: Any) -> None: ...

gives ``select`` an option for each such field, with its help, default and choices; what the user gave arrives in
``settings`` under the fields' names.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from saeattr.attribution.methods import METHODS
from saeattr.behaviours.behaviour import BEHAVIOURS
from saeattr.errors import UserError
from saeattr.settings import SETTINGS, Setting, flag, read_text, taken_by

Config = Annotated[Path | None, typer.Option(help="YAML file with settings; options override it.")]

#: Fields whose values are the names of a registry, with a line of help each.
REGISTRIES: dict[str, Mapping[str, str]] = {
    "behaviour": {name: help for name, (_, help) in BEHAVIOURS.items()},
    "method": {name: method.help for name, method in METHODS.items()},
}


def takes_settings(command: str, other_names: Mapping[str, str] | None = None) -> Callable[[Callable], Callable]:
    """Give a function of ``**settings`` an option for each field that ``command`` takes.

    Args:
        other_names: another name of a field with this command, such as ``{"validate_top": "top"}``.
    """
    other_names = other_names or {}
    names = taken_by(command)

    def decorate(function: Callable) -> Callable:
        own = inspect.signature(function, eval_str=True).parameters.values()
        fixed = [parameter for parameter in own if parameter.kind is not parameter.VAR_KEYWORD]
        made = [_parameter(SETTINGS[name], other_names.get(name)) for name in names]

        def run(**arguments: Any) -> Any:
            given = {name: _value(name, arguments.pop(name)) for name in names}
            return function(**arguments, **{name: value for name, value in given.items() if value is not None})

        run.__name__, run.__doc__ = function.__name__, function.__doc__
        # Typer reads a command's options from its signature.
        run.__signature__ = inspect.Signature([*fixed, *made])  # pyright: ignore[reportFunctionMemberAccess]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in [*fixed, *made]}
        return run

    return decorate


def explain(setting: Setting) -> str:
    """A field's help with its choices, without its default: one line for help, YAML and documents."""
    if setting.name in REGISTRIES:
        choices = (f"{name}: {help}" for name, help in REGISTRIES[setting.name].items())
        return f"{setting.help}. {'; '.join(choices)}"
    if not setting.choices:
        return setting.help
    *most, last = setting.choices
    return f"{setting.help}: {', '.join(most)} or {last}"


def show_default(setting: Setting) -> str:
    """The default as one would write it, or what leaving the setting out means."""
    if setting.form is bool:
        return "yes" if setting.default else "no"
    values = setting.default if isinstance(setting.default, tuple) else (setting.default,)
    return setting.without or ",".join(map(str, values))


def read_numbers(name: str, text: str) -> list[float]:
    """Numbers with commas between them, of an option that is no setting.

    Raises:
        UserError: one of them is no number.
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise UserError(f"{flag(name)} cannot be {text!r}: give numbers with commas, such as 0.1,0.5,0.9") from error


def _parameter(setting: Setting, other: str | None) -> inspect.Parameter:
    names = [flag(name) for name in (setting.name, *setting.others, *([other] if other else []))]
    if setting.form is bool:
        names = [f"{name}/--no-{name[2:]}" for name in names]
    option = typer.Option(
        *names,
        help=f"{explain(setting)}. [default: {show_default(setting)}]",
        metavar=None if setting.form is bool else _metavar(setting),
        rich_help_panel=setting.part[0].upper() + setting.part[1:],
        show_default=False,
    )
    annotation = Annotated[_option_type(setting) | None, option]
    return inspect.Parameter(setting.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _option_type(setting: Setting) -> Any:
    """What typer reads: numbers as such; text for everything else, which the settings check themselves."""
    if setting.name == "group":
        return list[str]
    if setting.n_values == 2:
        return tuple[str, str]
    return setting.form if setting.form in (bool, int, float) else str


def _metavar(setting: Setting) -> str:
    if setting.n_values == 2:
        return "A B"
    if setting.name == "group" or (setting.choices and setting.n_values) or setting.name in REGISTRIES:
        return "NAME"
    return {int: "N", float: "X"}.get(setting.form, "TEXT" if setting.n_values else "A,B")


def _value(name: str, value: Any) -> Any:
    """An option's value as the field's; None where it was not given."""
    if isinstance(value, (list, tuple)):
        return tuple(value) or None
    return read_text(name, value) if isinstance(value, str) else value
