"""The command line: read arguments, call, print. Heavy imports happen inside the commands, so that --help is quick."""

from __future__ import annotations

import os
import sys
from typing import Any

import typer

# The commands register themselves.
from saeattr.cli import ends, lists, look, pairs, patch, reading, recall, study, texts  # noqa: F401
from saeattr.cli.app import Ended, app
from saeattr.errors import UserError, one_line

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
    """Run the command line; a mistake of the user ends with one line and exit code 2, a fault with one line and 1."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    given = sys.argv[1:] if arguments is None else arguments
    ends.print_anything()
    try:
        with ends.ending_on_sigterm():
            status: Any = app(args=arguments, prog_name="saeattr", standalone_mode=False)
            code = status if isinstance(status, int) else 0
            if sys.stdout is not None:
                # What is buffered may find the disk full, or nobody who reads.
                sys.stdout.flush()
    except UserError as error:
        code = _refuse(str(error))
    except _UsageError as error:
        # Without any argument the help is printed, and there is no message.
        code = _refuse(error.format_message()) if error.format_message() else 2
    except SystemExit:
        # The one exit that typer makes by itself is that of a closed pipe.
        code = ends.close_pipe()
    except (Exception, KeyboardInterrupt) as error:
        code = ends.answer(error.__cause__ if isinstance(error, Ended) and error.__cause__ else error, given)
    sys.exit(code)


def _refuse(message: str) -> int:
    # Not every message is of a UserError: typer repeats arguments too.
    ends.say(f"error: {one_line(message)}")
    return 2
