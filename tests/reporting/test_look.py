"""A look at texts, as it is printed and as a page: nothing that stands in a text is obeyed, whatever reads it."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from saeattr import UserError
from saeattr.cli import main
from saeattr.features.texts import Look, ReadText
from saeattr.reporting.looks import feature_lines, write_firing
from saeattr.reporting.page.look import SHADES, render_look, shade, write_look
from saeattr.reporting.terminal.look import print_look
from saeattr.sites import Site
from saeattr.tables import FIRING
from tests.chromium import Page, find_chromium

SITE = Site("resid_post", 3)
BAD = ("<bos>", "<script>window.pwned=1</script>", "[bold]", "\x1b[31m", "\u202e", "\n", "tail")


def made(tokens: tuple[str, ...] = BAD) -> Look:
    """Feature 7 fires at half of its largest at position 2 and fully at 3; feature 8 never does."""
    texts = (ReadText(tuple(range(len(tokens))), tokens, 1), ReadText((0, 1), ("<bos>", "other"), 1))
    rows = pd.DataFrame(
        [
            {"text": 0, "position": at, "token": tokens[at], "layer": 3, "kind": "resid_post", "feature": 7}
            | {"activation": value}
            for at, value in ((2, 2.0), (3, 4.0))
        ]
    )
    return Look("model <b>", texts, ((SITE, 7), (SITE, 8)), FIRING.frame(rows))


def printed(look: Look, *, colours: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, width=200, force_terminal=colours, color_system="truecolor" if colours else None)
    print_look(look, console)
    return out.getvalue()


def test_a_line_says_where_a_feature_fires_and_how_strongly() -> None:
    seven, eight = feature_lines(made(), 0)
    assert seven.address == "resid_post.3/7"
    assert seven.activations == (0.0, 2.0, 4.0, 0.0, 0.0, 0.0)
    assert seven.shares == (0.0, 0.5, 1.0, 0.0, 0.0, 0.0)
    assert seven.summary == "fires at 2 of 6 tokens, largest 4"
    assert eight.summary == "does not fire"
    # The shade is of the feature's largest in all texts, and it does not fire in the second.
    assert [line.summary for line in feature_lines(made(), 1)] == ["does not fire"] * 2


def test_without_colours_the_activation_stands_behind_the_token() -> None:
    text = printed(made(), colours=False)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "<script>window.pwned=1</script>[bold]\u27e82\u27e9\ufffd[31m\u27e84\u27e9\ufffd\u23ce" in text
    assert "text 2 of 2: 1 tokens" in text


def test_in_colours_only_our_own_codes_are_sent() -> None:
    text = printed(made(), colours=True)
    assert "[bold]" in text
    codes = set(re.findall(r"\x1b\[([0-9;]*)m", text))
    # Bold, dim, default, and the two shades as 24-bit colours; the text's own red is not among them.
    assert "31" not in codes
    assert sum(code.count("48;2;") for code in codes) == 2
    assert "\x1b[31m" not in text


@pytest.mark.parametrize(("share", "known"), [(0.0, 0), (0.001, 1), (0.5, 6), (1.0, SHADES)])
def test_a_share_has_its_shade(share: float, known: int) -> None:
    assert shade(share) == known


def test_the_page_escapes_everything_and_fetches_nothing() -> None:
    page = render_look(made())
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "model &lt;b&gt;" in page
    assert "default-src &#39;none&#39;" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert page.count("<mark") == 2
    for number in range(1, SHADES + 1):
        assert f".s{number} {{" in page


@pytest.mark.skipif(find_chromium() is None, reason="no chromium, chromium-browser or google-chrome is installed")
def test_the_page_opens_offline_and_shows_the_shades(tmp_path: Path) -> None:
    path = write_look(made(), tmp_path / "look.html")
    with Page(find_chromium() or "") as page:
        page.look(width=400)
        page.open(path.as_uri())
        assert page.problems == []
        assert {url.split(":")[0] for url in page.requests} <= {"file", "data", "about"}
        assert page.evaluate("window.pwned") is None
        assert page.evaluate("document.querySelectorAll('script').length") == 0
        marks = "[...document.querySelectorAll('mark')]"
        assert page.evaluate(f"{marks}.map((mark) => mark.textContent)") == ["[bold]", "\ufffd[31m"]
        assert page.evaluate(f"{marks}.map((mark) => mark.title)") == ["2", "4"]
        shades = page.evaluate(f"{marks}.map((mark) => getComputedStyle(mark).backgroundColor)")
        assert len(set(shades)) == 2
        assert "rgb(1, 95, 160)" in shades
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_the_table_is_written_by_its_ending(tmp_path: Path) -> None:
    look = made()
    pd.testing.assert_frame_equal(pd.read_parquet(write_firing(look, tmp_path / "a.parquet")), look.table)
    assert pd.read_csv(write_firing(look, tmp_path / "a.csv"))["activation"].tolist() == [2.0, 4.0]


def test_the_command_reads_arguments_and_a_file_and_writes_page_and_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "texts.txt").write_text("The capital of France is\n\n- Paris\n", encoding="utf-8")
    page, table = tmp_path / "look.html", tmp_path / "firing.csv"
    arguments = ["look", "Tokyo", "--file", str(tmp_path / "texts.txt"), "--site", "resid_post.3,mlp_out.2"]
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--top", "2", "--device", "cpu", "--out", str(page), "--table", str(table)])
    assert not stopped.value.code
    out = capsys.readouterr().out
    assert "text 3 of 3" in out
    assert "every token but BOS" in " ".join(out.split())
    assert page.read_text(encoding="utf-8").count("<h2") == 3
    rows = pd.read_csv(table)
    assert set(rows["text"]) == {0, 1, 2}
    assert rows.groupby("layer")["feature"].nunique().to_dict() == {2: 2, 3: 2}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["x"], "which sites are to be looked at"),
        ([], "there is no text"),
        ([" ", "--site", "resid_post.3"], "a text is empty"),
        (["x", "--site", "resid_post.3", "--features", "999999"], "512 features, so none is numbered 999999"),
        (["x", "--site", "resid_post.3", "--out", "page.txt"], "ends with .html"),
        (["x", "--site", "resid_post.3", "--table", "page.txt"], "ends with .csv or .parquet"),
        (["--file", "nothing.txt", "--site", "resid_post.3"], "nothing.txt cannot be read"),
        (["x", "--site", "resid_post.33"], "there is no SAE for resid_post.33"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["look", *arguments])
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert said in error
    assert len(error.strip().splitlines()) == 1


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be written"):
        write_look(made(), tmp_path / "file" / "look.html")
