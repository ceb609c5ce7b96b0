"""What became of one case, in four words, and the table of all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

#: held: the right numbers, or one clear line and nothing lost. The others are what no case may be.
Kind = Literal["held", "wrong", "traceback", "hang"]
KINDS: tuple[Kind, ...] = ("held", "wrong", "traceback", "hang")

HEADINGS = {"held": "held", "wrong": "wrong numbers", "traceback": "tracebacks", "hang": "hangs"}


@dataclass(frozen=True)
class Run:
    """How a command ended.

    Attributes:
        code: its exit code, minus a signal's number where one ended it; None where it had to be stopped (a hang).
        said: its standard output; told: its standard error.
    """

    code: int | None
    said: str
    told: str
    seconds: float = 0.0

    @property
    def last(self) -> str:
        """The last line of standard error."""
        return (self.told.strip().splitlines() or [""])[-1]


@dataclass(frozen=True)
class Outcome:
    """What became of a case, and why."""

    kind: Kind
    why: str = ""


def judge(run: Run, same: bool, clear: Sequence[int] = (1, 2)) -> Outcome:
    """What became of a command that met a fault.

    Args:
        same: whether it left (or printed) what it would have without the fault; asked only where it ended well.
        clear: exit codes that go with one line about the fault.
    """
    if run.code is None:
        return Outcome("hang", run.last)
    if "Traceback (most recent call last)" in run.told + run.said:
        return Outcome("traceback", run.last)
    if run.code == 0:
        return Outcome("held", "the same") if same else Outcome("wrong", "exit 0, and something differs")
    if run.code in clear and run.last.startswith("error: "):
        # The log has the traceback of what nobody thought of. An error of the operating system may come anywhere.
        foreseen = " failed with " not in run.last or " failed with OSError" in run.last
        return Outcome("held" if foreseen else "traceback", run.last)
    return Outcome("traceback", f"exit {run.code} without a clear line: {run.last}")


@dataclass(frozen=True)
class Case:
    """One case with its outcome; ``group`` is the line of the table in which it counts."""

    group: str
    what: str
    outcome: Outcome


def table_lines(cases: Iterable[Case]) -> list[str]:
    """The counts of each group and of all, and every case that did not hold."""
    cases = list(cases)
    groups = list(dict.fromkeys(case.group for case in cases))
    width = max(map(len, [*groups, "faults"]))
    lines = [f"{'faults':{width}}  {'cases':>6}" + "".join(f"  {HEADINGS[kind]:>13}" for kind in KINDS)]
    for name in [*sorted(groups), "all"]:
        kinds = Counter(case.outcome.kind for case in cases if name in ("all", case.group))
        lines.append(f"{name:{width}}  {sum(kinds.values()):6}" + "".join(f"  {kinds[kind]:13}" for kind in KINDS))
    bad = [case for case in cases if case.outcome.kind != "held"]
    return lines + [f"{case.outcome.kind}: {case.group}: {case.what}: {case.outcome.why}" for case in bad]
