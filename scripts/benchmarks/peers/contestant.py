"""What every contestant is: it opens a model, is given a case, and returns the effects of all features."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.arithmetic import Effects
from benchmarks.peers.case import Case


class Contestant:
    """Opened once, outside the clock, with ``Contestant(case)``; then ``run`` is timed as often as wanted.

    Attributes:
        apart: seconds of the last run that are counted apart, such as opening a model.
    """

    apart = 0.0

    def __init__(self, case: Case) -> None:
        """Open the case's model."""

    def run(self, case: Case) -> Any:
        """Attribute: what is timed. ``case`` has the model of the one it was opened for."""
        raise NotImplementedError

    def effects(self, case: Case, found: Any) -> Effects:
        """What ``run`` returned, in the form in which all are compared."""
        return found
