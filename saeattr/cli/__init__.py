"""The command line: read arguments, call, print. Heavy imports happen inside the commands, so that --help is quick."""

from __future__ import annotations

import os
import sys
from typing import Any

import typer

# The commands register themselves.
from saeattr.cli import lists, look, pairs, patch, reading, recall, study, texts  # noqa: F401
from saeattr.cli.app import app
from saeattr.errors import UserError

__all__ = ["app", "main"]

#: In help: what does the work, what looks before SAEs are opened, what prepares, what reads results, what there is.
ORDER = (
    *("study", "attribute", "validate", "entropy", "lens", "patch", "select", "plan"),
    *("report", "overlap", "compare", "look", "inspect", "saes", "topics", "behaviours"),
)
app.registered_commands.sort(key=lambda one: ORDER.index(one.name or getattr(one.callback, "__name__", "")))

#: What a wrong argument raises; typer has a click of its own in some versions, and click's in others.
_UsageError: Any = typer.BadParameter.__base__


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; a mistake of the user ends with one line and exit code 2."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        status: Any = app(args=arguments, prog_name="saeattr", standalone_mode=False)
        code = status if isinstance(status, int) else 0
    except UserError as error:
        code = _fail(str(error))
    except _UsageError as error:
        # Without any argument the help is printed, and there is no message.
        code = _fail(error.format_message()) if error.format_message() else 2
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("interrupted: what is done is kept; the same command goes on from there", err=True)
        code = 130
    sys.exit(code)


def _fail(message: str) -> int:
    typer.echo("error: " + " ".join(message.split("\n")), err=True)
    return 2
