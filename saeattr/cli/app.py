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
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        given = [
            param for param in order if param.param_type_name == "option" and not getattr(param, "multiple", False)
        ]
        for param in given:
            if given.count(param) > 1:
                names = " or ".join(name for name in (*param.opts, *param.secondary_opts) if name.startswith("--"))
                raise UserError(f"{names} is given twice: give it once")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Carry the command out; interruptions and closed pipes are answered by ``main``, and not by typer."""
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, OSError) as error:
            raise Ended from error


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
