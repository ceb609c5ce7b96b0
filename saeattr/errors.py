"""The one exception for mistakes a user can mend."""

from __future__ import annotations


class UserError(Exception):
    """Input the program cannot use. The message is one line: what was wrong, what is allowed, what to do.

    The command line prints the message and exits with code 2; a notebook sees the exception.
    """
