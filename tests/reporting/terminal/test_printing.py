"""What ``saeattr inspect`` prints."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from saeattr.neuronpedia.inspection import Inspection
from saeattr.reporting.terminal.inspection import print_inspection

URL = "https://www.neuronpedia.org/gemma-2-2b/20-gemmascope-res-16k/16323"
ROW: dict[str, Any] = {"layer": 20, "kind": "resid_post", "feature": 16323, "effect": -1.25, "label": None}
ROW |= {"url": None, "doubtful": False, "density": float("nan"), "top_tokens": None, "example": None, "note": ""}


def printed(*rows: dict[str, Any], **more: Any) -> str:
    table = pd.DataFrame([{**ROW, **row} for row in rows], dtype=object)
    given = {"quick_lists": (), "notes": (), "path": Path("run/neuronpedia.json"), **more}
    stream = io.StringIO()
    print_inspection(Inspection(table, **given), Console(file=stream, width=40))
    return stream.getvalue()


def test_a_feature_is_a_block_and_its_address_is_not_broken():
    text = printed(
        {
            "label": "ends of lists",
            "url": URL,
            "density": 0.003,
            "top_tokens": ("<eos>", "\n", " end", "a", "b", "left out"),
            "example": (" and so\n", " on", ", and"),
        }
    )
    assert text.splitlines() == [
        "resid_post.20/16323  effect -1.250",
        "    ends of lists",
        "    writes for <eos>, \u23ce, end, a, b",
        "    fires at   and so\u23ce >>on<< , and",
        "    active at  0.30% of Neuronpedia's tokens",
        f"    {URL}",
        "written  run/neuronpedia.json",
    ]


def test_what_is_doubtful_or_missing_is_said():
    text = printed({"label": "x", "url": URL, "doubtful": True, "note": "the answer names no weights"}, {})
    assert "x (doubtful: it is not shown to be about the SAE used here)\n    the answer names no weights\n" in text
    assert "resid_post.20/16323  effect -1.250\n    no page on Neuronpedia\n" in text


def test_links_notes_and_requests_are_whole_lines():
    more = {
        "quick_lists": (URL + "?features=" + "x" * 300,),
        "notes": ("the study ran on another model than the pages show",),
        "requests": ("POST https://x.org/api/list/new\n\n" + '{"name": "[bold]"}',),
        "list_url": "https://www.neuronpedia.org/list/abc",
        "dashboards": (Path("out/resid_post.20/1.json"), Path("out/attn_z.3/2.json")),
    }
    lines = printed({"url": URL}, **more).splitlines()
    assert f"quick list  {more['quick_lists'][0]}" in lines
    assert f"note  {more['notes'][0]}" in lines
    assert '{"name": "[bold]"}' in lines
    assert "list  https://www.neuronpedia.org/list/abc" in lines
    assert "pages in Neuronpedia's JSON  2 files in out" in lines


def test_no_text_steers_the_terminal_or_rich():
    bad = "[red]\x1b[2J\u202ebad[/red]" + "x" * 5000
    text = printed(
        {"label": bad, "url": URL, "top_tokens": (bad,), "example": (bad, bad, bad), "note": bad}, notes=(bad,)
    )
    assert "[red]" in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert all("x" * 300 not in line for line in text.splitlines()[:4])
