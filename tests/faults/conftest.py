"""Outcomes of all cases, counted at the end; a study that faults are put into."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.outcome import Case, Outcome, table_lines
from tests.faults.studies import ATTRIBUTE, made

Outcomes = Callable[[str, str, Outcome], None]


@pytest.fixture
def outcomes(request: pytest.FixtureRequest) -> Iterator[Outcomes]:
    """Called with group, case and outcome of each case; a test fails when all were tried, if one did not hold.

    The properties of a test travel from the processes that run tests to the one that prints.
    """
    cases: list[Case] = []

    def add(group: str, what: str, outcome: Outcome) -> None:
        cases.append(Case(group, what, outcome))
        request.node.user_properties.append(("fault", [group, what, outcome.kind, outcome.why]))

    yield add
    bad = [case for case in cases if case.outcome.kind != "held"]
    assert not bad, "\n".join(table_lines(cases))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    # A test's properties are those of each of its phases: what a phase before told is among them again.
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    last = [report for report in reports if getattr(report, "when", "") in ("call", "teardown")]
    told = {report.nodeid: report.user_properties for report in last if report.user_properties}
    found = [value for properties in told.values() for name, value in properties if name == "fault"]
    if found:
        terminalreporter.section("faults")
        cases = [Case(group, what, Outcome(kind, why)) for group, what, kind, why in found]
        terminalreporter.write_line("\n".join(table_lines(cases)))


@pytest.fixture(scope="session")
def attributed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two topics attributed and validated."""
    return made(tmp_path_factory.mktemp("attributed"), ATTRIBUTE)
