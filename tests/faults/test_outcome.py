"""The judgement of cases can fail: each kind of outcome is found where it is, and the table counts it."""

from __future__ import annotations

import pytest

from tests.faults.outcome import Case, Kind, Outcome, Run, judge, table_lines

TRACE = "Traceback (most recent call last):\n  File\nKeyError: 'x'"


@pytest.mark.parametrize(
    ("run", "same", "kind"),
    [
        (Run(0, "", ""), True, "held"),
        (Run(0, "", ""), False, "wrong"),
        (Run(2, "", "cities: 1/1\nerror: s/study.yaml cannot be read"), False, "held"),
        (Run(2, "", ""), False, "traceback"),
        (Run(1, "", TRACE), False, "traceback"),
        (Run(1, "", "error: validation failed with KeyError ('x'), which is a fault"), False, "traceback"),
        (Run(1, "", "error: pairs failed with OSError (Input/output error), which is a fault"), False, "held"),
        (Run(-11, "", "error: something"), True, "traceback"),
        (Run(None, "", ""), True, "hang"),
    ],
)
def test_each_kind_of_end_is_told_from_the_others(run: Run, same: bool, kind: Kind) -> None:
    assert judge(run, same).kind == kind


def test_the_table_counts_groups_and_names_what_did_not_hold() -> None:
    cases = [
        Case("a", "one", Outcome("held")),
        Case("b", "two", Outcome("wrong", "5 is 6")),
        Case("a", "three", Outcome("hang")),
    ]
    lines = table_lines(cases)
    assert [line.split()[1:] for line in lines[1:4]] == [
        *(["2", "1", "0", "0", "1"], ["1", "0", "1", "0", "0"], ["3", "1", "1", "0", "1"])
    ]
    assert lines[4:] == ["wrong: b: two: 5 is 6", "hang: a: three: "]
