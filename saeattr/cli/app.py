"""The command line's root: its name, its help, its version; a command whose options are given once each."""

from __future__ import annotations

import atexit
import functools
import gc
from types import ModuleType
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from saeattr.errors import UserError
from saeattr.settings.checks import check_place
from saeattr.settings.reading import shown

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Which sparse-autoencoder features make a language model do that, and how do you know?",
)


class Ended(Exception):
    """A command did not come to its end: why is its cause."""


class OnceCommand(TyperCommand):
    """A command that refuses an option given twice (unless it is one to repeat): the last would silently win."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        written, _, order = self.make_parser(ctx).parse_args(args=list(args))
        given = [
            param for param in order if param.param_type_name == "option" and not getattr(param, "multiple", False)
        ]
        for param in given:
            if given.count(param) > 1:
                names = " or ".join(name for name in (*param.opts, *param.secondary_opts) if name.startswith("--"))
                raise UserError(f"{names} is given twice: give it once")
        for param in self.get_params(ctx):
            _check_texts(param, written.get(param.name))
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Carry the command out; interruptions and closed pipes are answered by ``main``, and not by typer."""
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, OSError) as error:
            raise Ended from error


#: Arguments and options that name a file, a folder, or something on the hub.
PLACES = {
    *["a", "b", "config", "export_dashboard", "exports", "faults", "file", "lists_from", "model", "out", "pairs"],
    *["pairs_of", "picture", "run", "runs", "saes", "source", "sources", "study", "table"],
}


def _check_texts(param: Any, given: Any) -> None:
    """Refuse empty options, and names that no file can have: an empty --out would be the working directory.

    Raises:
        UserError: one is.
    """
    name = param.opts[0] if param.param_type_name == "option" else str(param.name).upper()
    is_place = param.name in PLACES
    for text in given if isinstance(given, (list, tuple)) else (given,):
        if not isinstance(text, str):
            continue
        if not text and (is_place or param.param_type_name == "option"):
            raise UserError(f"{name} cannot be empty: give it a value, or leave it out")
        try:
            check_place(text if is_place else "")
        except ValueError as error:
            raise UserError(f"{name} cannot be {shown(text)}: {error}") from error


#: Registers a function as a command.
command = functools.partial(app.command, cls=OnceCommand)


def load_api() -> ModuleType:
    """The operations; importing them takes seconds.

    What imports make is never garbage: the collector neither runs among them nor looks at them again.
    """
    gc.disable()
    from saeattr import api

    gc.freeze()
    gc.enable()
    # Nor at the end, where it would look through all of them before the process may go.
    atexit.register(gc.freeze)
    return api


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from saeattr import __version__

        typer.echo(__version__)
        raise typer.Exit
