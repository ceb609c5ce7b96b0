"""The one exception for mistakes a user can mend, how its message becomes one line, and what is told of any other."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

#: How a lack of memory is said where no type of error says it.
OUT_OF_MEMORY = ("not enough memory", "out of memory", "cannot allocate memory", "can't allocate memory", "bad_alloc")
OUT_OF_MEMORY += ("can't start new thread",)
#: A message may repeat what was given, which may be anything.
LONGEST_LINE = 2000


class UserError(Exception):
    """Input the program cannot use. The message is one line: what was wrong, what is allowed, what to do.

    The command line prints the message and exits with code 2; a notebook sees the exception.
    """

    def __str__(self) -> str:
        """The message; what it repeats of the input may hold line breaks, and orders to a terminal."""
        message = super().__str__()
        return message if message.isprintable() and len(message) <= LONGEST_LINE else one_line(message)


class Terminated(KeyboardInterrupt):
    """The system asks the program to end (SIGTERM): work ends as if the user had interrupted it."""


@dataclass(frozen=True)
class Circumstances:
    """What is known of work that an exception ended.

    Attributes:
        doing: what was being done, such as ``attribution of cities``; blank where nothing had begun.
        folder: which was written into; kept: what is stored in it, in words.
    """

    doing: str = ""
    folder: Path | None = None
    kept: str = ""


_NAME = "saeattr_circumstances"


def circumstances(error: BaseException) -> Circumstances:
    """What was noted on an exception, or on the one that it was raised from."""
    while not hasattr(error, _NAME) and error.__cause__ is not None:
        error = error.__cause__
    return getattr(error, _NAME, Circumstances())


def note_on(error: BaseException, *, folder: Path | None = None, kept: str = "") -> None:
    """Note where the work that an exception ended was written, unless that is noted already."""
    known = circumstances(error)
    if known.folder is None:
        _attach(error, replace(known, folder=folder, kept=kept))
        if kept and not isinstance(error, UserError):
            _show(error, f"{folder} keeps {kept}; the same call goes on from there")


@contextmanager
def during(doing: str) -> Iterator[None]:
    """Whatever goes wrong in the block says what was being done; inner blocks say it better.

    A ``UserError`` says all that it has to say.
    """
    try:
        yield
    except UserError:
        raise
    except BaseException as error:
        known = circumstances(error)
        if not known.doing:
            _attach(error, replace(known, doing=doing))
            _show(error, f"during {doing}")
        raise


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device or the host has no room, by its type or its words; torch need not be loaded.

    torch raises a RuntimeError, of a card, of Metal and of the CPU.
    """
    if (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    ):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in said for words in OUT_OF_MEMORY)


def _show(error: BaseException, line: str) -> None:
    """Let a traceback show a line, where Python has notes on exceptions (3.11)."""
    if (add_note := getattr(error, "add_note", None)) is not None:
        add_note(f"saeattr: {line}")


def _attach(error: BaseException, told: Circumstances) -> None:
    # Some exceptions of extensions take no attributes.
    with suppress(AttributeError, TypeError):
        setattr(error, _NAME, told)


def one_line(text: str, longest: int = LONGEST_LINE) -> str:
    """A text on one line of at most ``longest`` characters, which a terminal can show and does not obey.

    Line breaks, escape sequences, signs that turn the direction of reading, and halves of surrogate pairs become
    blanks; of a longer text its beginning and its end are left.
    """
    if len(text) > longest:
        half = (longest - 5) // 2
        text = f"{text[:half]} ... {text[-half:]}"
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
