"""A study of a user's own pairs speaks of pairs and groups: no figure, page or terminal text speaks of lists."""

from __future__ import annotations

import io
import re
from pathlib import Path

import matplotlib.text
import pytest
from matplotlib.figure import Figure
from rich.console import Console

import saeattr
from saeattr.behaviours.facts.behaviour import relations
from saeattr.reporting.figures import style
from saeattr.reporting.terminal.study import print_study
from saeattr.study.results import Study
from tests.chromium import Page, find_chromium

OTHERS_WORDS = re.compile(r"\b(lists?|items?|topics?)\b", re.IGNORECASE)
PHRASINGS = {"plain": "The capital of {} is", "other": "Say the capital of {}:"}


def rows() -> list[dict[str, str]]:
    facts = relations()["capitals"].facts[:8]
    both = list(zip(facts, [*facts[1:], facts[0]], strict=True))
    return [
        {
            **{"clean": text.format(one), "corrupted": text.format(other), "answer": f" {right}", "wrong": f" {wrong}"},
            **{"group": name, "id": one},
        }
        for name, text in PHRASINGS.items()
        for (one, right), (other, wrong) in both
    ]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, dict[str, list[str]]]:
    """A study of two groups with every figure, and the texts of each."""
    texts: dict[str, list[str]] = {}
    save = style.save_figure

    def keep(figure: Figure, folder: Path, name: str) -> None:
        save(figure, folder, name)
        texts[name] = [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text().strip()]  # pyright: ignore[reportAttributeAccessIssue]
        check_inside(figure, name)

    with pytest.MonkeyPatch.context() as patch:
        for module in ("study", "of_study"):
            home = __import__(f"saeattr.reporting.figures.{module}", fromlist=["x"])
            if hasattr(home, "save_figure"):
                patch.setattr(home, "save_figure", keep)
        study = saeattr.attribute(
            pairs=rows(),
            kinds=["resid_post"],
            max_sites=3,
            controls=19,
            validate_top=3,
            device="cpu",
            out=tmp_path_factory.mktemp("words") / "study",
        )
    return study, texts


def check_inside(figure: Figure, name: str) -> None:
    """A title that is too long for its figure is cut off."""
    title = figure.findobj(
        lambda one: isinstance(one, matplotlib.text.Text) and one.get_text() == figure.get_suptitle()
    )
    for one in title if figure.get_suptitle() else []:
        assert one.get_window_extent().x1 <= figure.bbox.x1 + 1, f"{name}: {figure.get_suptitle()}"


def test_no_figure_speaks_of_lists(drawn: tuple[Study, dict[str, list[str]]]) -> None:
    study, texts = drawn
    assert {path.stem for path in study.figures} == set(texts)
    assert len(texts) >= 10
    found = [(name, text) for name, known in texts.items() for text in known if OTHERS_WORDS.search(text)]
    assert not found


def test_neither_the_page_nor_the_terminal_speaks_of_lists(drawn: tuple[Study, dict[str, list[str]]]) -> None:
    study, _ = drawn
    first = study.features().iloc[0]
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("there is no Chromium to read the page with")
    with Page(chromium) as page:
        page.open(saeattr.report(study, top=5).as_uri())
        shown = [page.evaluate("document.body.innerText")]
        page.go(f"{first['kind']}.{first['layer']}/{first['feature']}")
        shown.append(page.evaluate("document.body.innerText"))
        assert not page.problems
    assert "of 16 distinct pairs" in shown[0]
    assert re.search(r"16 rows \([0-9a-f]{12}\)", shown[0])
    assert "acts" in shown[1]
    assert shown[0] != shown[1]
    assert not OTHERS_WORDS.findall("\n".join(shown))
    printed = io.StringIO()
    print_study(study, 5, Console(file=printed, width=200))
    assert "plain" in printed.getvalue()
    assert not OTHERS_WORDS.findall(printed.getvalue())
