"""Bars say how long a step has taken and what is left; where there is no terminal, a line says that a step is over."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from saeattr.reporting.terminal.progress import StageProgress, clock_text, time_left


class Clock:
    """Time that passes when told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def lines_of(events: list[tuple[float, str, str, int, int]]) -> list[str]:
    """What a file gets of events, each so many seconds after the one before."""
    clock, file = Clock(), io.StringIO()
    with StageProgress(Console(file=file), clock) as progress:
        for passed, *event in events:
            clock.now += passed
            progress(*event)  # pyright: ignore[reportArgumentType]
    return file.getvalue().splitlines()


def test_a_file_gets_one_plain_line_when_a_step_is_over() -> None:
    events = [(0.0, "cities", "attribution", done, 4) for done in (0, 1, 2)]
    assert lines_of([*events, (70.0, "cities", "attribution", 4, 4)]) == ["cities: attribution 4/4 in 1:10"]


def test_a_step_told_of_only_when_it_is_over_has_no_time() -> None:
    assert lines_of([(5.0, "cities", "distinct lists", 3, 3)]) == ["cities: distinct lists 3/3"]


def test_a_step_that_ends_twice_is_one_line_and_one_that_runs_twice_is_two() -> None:
    once = [(1.0, "cities", "sampling lists", 0, 2), (1.0, "cities", "sampling lists", 2, 2)]
    again = (1.0, "cities", "sampling lists", 2, 2)
    assert lines_of([*once, again]) == ["cities: sampling lists 2/2 in 0:01"]
    assert lines_of([*once, *once]) == ["cities: sampling lists 2/2 in 0:01"] * 2


def test_a_step_that_never_ends_leaves_no_line_and_neither_does_a_run_without_steps() -> None:
    assert lines_of([(0.0, "cities", "attribution", 1, 4)]) == []
    assert lines_of([]) == []


def test_no_name_of_a_group_brings_control_characters() -> None:
    (line,) = lines_of([(0.0, "\x1b[31mred\nrow [bold]", "attribution", 1, 1)])
    assert line == "\ufffd[31mred\ufffdrow [bold]: attribution 1/1"


def test_in_a_terminal_a_running_step_says_what_is_left_and_a_finished_one_moves_up() -> None:
    clock, file = Clock(), io.StringIO()
    console = Console(file=file, force_terminal=True, force_interactive=True, width=120, _environ={})
    with StageProgress(console, clock) as progress:
        progress("cities", "attribution", 0, 4)
        clock.now += 30
        progress("cities", "attribution", 1, 4)
        shown = screen(progress)
        progress("cities", "attribution", 4, 4)
        assert "attribution" not in screen(progress)
    assert "1/4 0:30, about 1:30 left" in shown
    assert "cities: attribution 4/4 in 0:30" in plain(file.getvalue())


def screen(progress: StageProgress) -> str:
    console = Console(width=120, file=io.StringIO())
    console.print(progress._bars.get_renderable())
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


@pytest.mark.parametrize(
    ("elapsed", "done", "remaining", "left"),
    [(30.0, 1, 3, 90.0), (30.0, 0, 4, None), (1.0, 1, 3, None), (30.0, 30, 1, None), (30.0, 10, 2, 6.0)],
)
def test_what_is_left_follows_the_pace_so_far_and_is_said_where_it_matters(
    elapsed: float, done: int, remaining: int, left: float | None
) -> None:
    assert time_left(elapsed, done, remaining) == left


def test_a_resumed_step_counts_its_own_work_alone() -> None:
    """Half was there: ten more took ten seconds, so ten more take ten."""
    clock = Clock()
    console = Console(file=io.StringIO(), force_terminal=True, _environ={})
    with StageProgress(console, clock) as progress:
        progress("cities", "exact effects", 20, 40)
        clock.now += 10
        progress("cities", "exact effects", 30, 40)
        assert "30/40 0:10, about 0:10 left" in screen(progress)


def test_times_are_minutes_and_seconds() -> None:
    assert [clock_text(seconds) for seconds in (0.4, 7, 67, 3599.6, 4327)] == [
        *("0:00", "0:07", "1:07", "1:00:00", "1:12:07")
    ]
