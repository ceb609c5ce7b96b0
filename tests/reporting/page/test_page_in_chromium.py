"""The report where it is read: a headless Chromium opens it, sorts, filters, follows fragments, uses the keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from saeattr.reporting.page.write import Report, render
from saeattr.validation.verdicts import VERDICTS
from tests.chromium import Page, find_chromium
from tests.reporting.pages import BAD, checked_report, small_report

CHROMIUM = find_chromium()
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome is installed")

FIRST_CELLS = "[...document.querySelectorAll('#feature-table tbody td:first-child')].map((cell) => cell.textContent)"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    assert CHROMIUM is not None
    with Page(CHROMIUM) as page:
        yield page


@pytest.fixture
def page(browser: Page, tmp_path: Path) -> Page:
    return opened(browser, tmp_path, "cities")


def opened(browser: Page, folder: Path, name: str, fragment: str = "", n_features: int = 12) -> Page:
    path = folder / "report.html"
    path.write_text(render(small_report(name, n_features)), encoding="utf-8")
    browser.look()
    browser.problems.clear()
    browser.requests.clear()
    browser.open("about:blank")
    browser.open(path.as_uri() + fragment)
    return browser


def test_nothing_is_logged_and_no_request_leaves_the_page(page: Page) -> None:
    page.go("resid_post.0/100")
    page.go("checks")
    assert page.problems == []
    assert {url.split(":")[0] for url in page.requests} <= {"file", "data", "about"}
    assert sum(url.startswith("file:") for url in page.requests) == 1


def test_a_page_without_features_logs_nothing_and_shows_nothing_of_them(browser: Page, tmp_path: Path) -> None:
    page = opened(browser, tmp_path, "cities", n_features=0)
    assert page.evaluate("document.getElementById('question').textContent") == "What does cities do?"
    assert page.evaluate("[...document.querySelectorAll('section')].map((one) => one.id)") == ["summary"]
    page.go("resid_post.0/100")
    page.go("features")
    assert page.problems == []


def test_the_policy_stops_a_request_and_code_from_text(page: Page) -> None:
    got = page.evaluate("fetch('https://example.org').then(() => 'sent', () => 'stopped')")
    assert got == "stopped"
    ran = page.evaluate(
        "(() => { const s = document.createElement('script'); s.textContent = 'window.pwned = 1';"
        " document.body.append(s); return window.pwned; })()"
    )
    assert ran is None


def test_bad_names_stay_text_in_the_browser(browser: Page, tmp_path: Path) -> None:
    page = opened(browser, tmp_path, BAD)
    assert page.evaluate("document.querySelector('h1').textContent").endswith(BAD)
    assert page.evaluate("document.querySelector('#groups-table td').textContent") == BAD
    page.go("resid_post.0/100")
    assert BAD in page.evaluate("document.getElementById('feature').textContent")
    assert page.evaluate("window.pwned") is None
    assert page.evaluate("document.querySelectorAll('main img, main script').length") == 0
    assert (
        page.evaluate("[...document.querySelectorAll('a')].filter((a) => a.href.startsWith('javascript')).length") == 0
    )
    assert page.problems == []


def test_the_table_sorts(page: Page) -> None:
    effects = "[...document.querySelectorAll('#feature-table tbody tr')].map((row) => row.cells[2].textContent)"
    page.evaluate("document.querySelector('th[data-key=effect] button').click()")
    down = [float(text.replace("\u2212", "-")) for text in page.evaluate(effects)]
    assert down == sorted(down, reverse=True)
    assert page.evaluate("document.querySelector('th[data-key=effect]').ariaSort") == "descending"
    page.evaluate("document.querySelector('th[data-key=effect] button').click()")
    up = [float(text.replace("\u2212", "-")) for text in page.evaluate(effects)]
    assert up == down[::-1]
    page.evaluate("document.querySelector('th[data-key=address] button').click()")
    layers = [int(text.split(".")[1].split("/")[0]) for text in page.evaluate(FIRST_CELLS)]
    assert layers == sorted(layers)


def choose(page: Page, field: str, value: str) -> None:
    page.evaluate(
        f"(() => {{ const field = document.getElementById('{field}'); field.value = {value!r};"
        " field.dispatchEvent(new Event('input', { bubbles: true })); })()"
    )


def test_the_table_filters(page: Page) -> None:
    assert len(page.evaluate(FIRST_CELLS)) == 12
    choose(page, "by-kind", "mlp_out")
    assert all(text.startswith("mlp_out") for text in page.evaluate(FIRST_CELLS))
    choose(page, "by-layer", "1")
    assert sorted(page.evaluate(FIRST_CELLS)) == ["mlp_out.1/101", "mlp_out.1/105", "mlp_out.1/109"]
    assert page.evaluate("document.getElementById('count').textContent") == "3 of 12 features"
    choose(page, "search", "105")
    assert page.evaluate(FIRST_CELLS) == ["mlp_out.1/105"]
    for field in ("by-kind", "by-layer", "search"):
        choose(page, field, "")
    choose(page, "by-group", "1")
    assert len(page.evaluate(FIRST_CELLS)) == 6
    assert "95 % interval" in page.evaluate("document.querySelector('th[data-key=low]').textContent")


def test_a_feature_opens_by_its_fragment(browser: Page, tmp_path: Path) -> None:
    page = opened(browser, tmp_path, "cities", "#mlp_out.1/105")
    assert page.evaluate("document.getElementById('feature-title').textContent") == "mlp_out.1/105"
    assert page.evaluate("document.getElementById('overview').hidden") is True
    tokens = "[...document.querySelectorAll('.run:nth-child(2) .token')].map((token) => token.textContent)"
    assert page.evaluate(tokens)[1] == " long"
    painted = "[...document.querySelectorAll('.run:first-child .token')].map((t) => t.style.backgroundColor !== '')"
    assert page.evaluate(painted) == [False, True, False, True, False]
    page.go("features")
    assert page.evaluate("document.getElementById('feature').hidden") is True
    page.go("resid_post.9/9")
    assert "not among" in page.evaluate("document.getElementById('count').textContent")


DASHBOARD = "https://127.0.0.1/gemma-2-2b/20-gemmascope-res-16k/16323"
BLOCK = "document.getElementById('neuronpedia')"


def with_dashboard(browser: Page, folder: Path, **known: object) -> Page:
    """The page of a feature with a dashboard at an address of this machine, at which nothing answers."""
    report = small_report()
    links = {"label": "ends <b>of</b> lists", "url": DASHBOARD, "embed_url": DASHBOARD + "?embed=true"}
    row = {**report.features[0], **links, **known}
    path = folder / "report.html"
    path.write_text(render(replace(report, features=[row, *report.features[1:]])), encoding="utf-8")
    browser.look()
    browser.problems.clear()
    browser.requests.clear()
    browser.open("about:blank")
    browser.open(path.as_uri() + "#" + row["address"])
    return browser


def test_a_dashboard_is_fetched_on_a_click_and_not_before(browser: Page, tmp_path: Path) -> None:
    page = with_dashboard(browser, tmp_path)
    page.go("features")
    page.go("resid_post.0/100")
    page.evaluate("new Promise((done) => setTimeout(done, 300))")
    assert page.evaluate("document.querySelectorAll('iframe').length") == 0
    assert not any("127.0.0.1" in url for url in page.requests)
    page.evaluate(BLOCK + ".querySelector('button').click()")
    page.evaluate("new Promise((done) => setTimeout(done, 500))")
    frame = "document.querySelector('iframe')"
    assert page.evaluate(frame + ".src") == DASHBOARD + "?embed=true"
    assert page.evaluate(frame + ".title") == "Dashboard of resid_post.0/100"
    assert [url for url in page.requests if "127.0.0.1" in url] == [DASHBOARD + "?embed=true"]


def test_a_label_links_to_the_page_and_says_what_is_doubtful(browser: Page, tmp_path: Path) -> None:
    page = with_dashboard(browser, tmp_path, doubtful=True, note="the study ran on gemma-2-2b-it")
    text = page.evaluate(BLOCK + ".textContent")
    assert "ends <b>of</b> lists (doubtful: it is not shown to be about the SAE used here)" in text
    assert "the study ran on gemma-2-2b-it" in text
    assert page.evaluate(BLOCK + ".querySelector('a').href") == DASHBOARD
    assert page.evaluate(BLOCK + ".querySelector('a').rel") == "noopener noreferrer"
    page.go("features")
    cells = "[...document.querySelectorAll('#feature-table td.label')].map((cell) => cell.textContent)"
    assert "ends <b>of</b> lists (doubtful)" in page.evaluate(cells)
    choose(page, "search", "ends lists")
    assert page.evaluate(FIRST_CELLS) == ["resid_post.0/100"]
    page.look(width=320, height=700)
    assert page.evaluate(OVERFLOW) <= 0
    page.screenshot(tmp_path / "label-320.png")
    page.look(dark=True)
    page.go("resid_post.0/100")
    page.screenshot(tmp_path / "label-dark.png")


def test_a_page_without_a_label_is_linked_and_none_where_there_is_none(browser: Page, tmp_path: Path) -> None:
    page = with_dashboard(browser, tmp_path, label=None, doubtful=True)
    assert page.evaluate(BLOCK + ".textContent").startswith("Neuronpedia: page without an explanation so far")
    assert "doubtful" not in page.evaluate(BLOCK + ".textContent")
    page = with_dashboard(browser, tmp_path, label=None, url=None, embed_url=None)
    assert page.evaluate(BLOCK) is None


def shown(browser: Page, folder: Path, report: Report, fragment: str = "") -> Page:
    path = folder / "report.html"
    path.write_text(render(report), encoding="utf-8")
    browser.look()
    browser.problems.clear()
    browser.open("about:blank")
    browser.open(path.as_uri() + fragment)
    return browser


def last_row(browser: Page, table: str) -> list[str]:
    return browser.evaluate(f"[...document.querySelectorAll('{table} tr:last-child td')].map((td) => td.textContent)")


MEASURED = '#feature [aria-label="Exact effect by group"]'
ESTIMATED = '#feature [aria-label="Estimated effect by group"]'


@pytest.mark.parametrize("width", [1400, 800])
def test_all_columns_of_the_effects_are_in_sight(browser: Page, tmp_path: Path, width: int) -> None:
    shown(browser, tmp_path, checked_report(), "#resid_post.0/100")
    browser.look(width=width, height=900)
    exact = "\u221212.25 [\u221213.50, \u221211.50]"
    assert last_row(browser, MEASURED)[1:] == ["opposite sign", exact, "26 %", "3/39", "0.034", "10"]
    median = "\u221212.50 [\u221213.25, \u221211.75]"
    assert last_row(browser, ESTIMATED)[1:] == ["\u221212.345", median, "", "2 of 2"]
    for name in (MEASURED, ESTIMATED):
        table = f"document.querySelector('{name}')"
        assert browser.evaluate(f"{table}.scrollWidth - {table}.clientWidth") <= 0
    assert browser.evaluate(OVERFLOW) <= 0
    browser.screenshot(tmp_path / f"effects-{width}.png")


def test_the_drawing_of_an_effect_says_its_numbers_and_has_its_verdicts_colour(browser: Page, tmp_path: Path) -> None:
    shown(browser, tmp_path, checked_report(), "#resid_post.0/100")
    svg = f"document.querySelector('{ESTIMATED} svg')"
    label = browser.evaluate(f"{svg}.getAttribute('aria-label')")
    assert label.startswith("estimated \u221212.50 [\u221213.25, \u221211.75], exact \u221212.25")
    assert browser.evaluate(f"getComputedStyle({svg}.querySelector('circle.exact')).fill") == "rgb(213, 94, 0)"


def test_too_few_pairs_are_said_in_words(browser: Page, tmp_path: Path) -> None:
    none = {"low": None, "high": None, "exact_low": None, "exact_high": None, "share": None}
    shown(browser, tmp_path, checked_report(**none, q=1.0, tests=3, verdict="too few pairs"), "#resid_post.0/100")
    text = browser.evaluate(f"document.querySelector('{MEASURED} tbody tr').textContent")
    assert "\u221212.25 [too few pairs]" in text
    assert "NaN" not in browser.evaluate("document.getElementById('feature').innerHTML")
    assert browser.problems == []


def test_the_numbers_of_a_test_stand_in_the_table_of_its_group(browser: Page, tmp_path: Path) -> None:
    page = shown(browser, tmp_path, checked_report(q=0.0002))
    keys = "[...document.querySelectorAll('#feature-table th')].map((cell) => cell.dataset.key)"
    # Over several groups there is no one exact effect.
    assert "exact" not in page.evaluate(keys)
    assert last_row(page, "#feature-table")[2] == "opposite sign"
    choose(page, "by-group", "0")
    row = dict(zip(page.evaluate(keys), last_row(page, "#feature-table"), strict=True))
    assert (row["verdict"], row["exact"]) == ("opposite sign", "\u221212.25 [\u221213.50, \u221211.50]")
    assert (row["share"], row["controls"], row["q"], row["tests"]) == ("26 %", "3/39", "<0.001", "10")
    assert page.evaluate("getComputedStyle(document.querySelector('#feature-table .mark')).backgroundColor") == (
        "rgb(213, 94, 0)"
    )


def test_the_verdicts_are_explained_where_there_are_some(browser: Page, tmp_path: Path) -> None:
    page = shown(browser, tmp_path, small_report())
    assert page.evaluate("document.getElementById('verdicts').hidden") is True
    page = shown(browser, tmp_path, checked_report())
    assert page.evaluate("document.getElementById('verdicts').open") is False
    page.evaluate("document.querySelector('#verdicts summary').click()")
    names = "[...document.querySelectorAll('#meanings dt')].map((name) => name.textContent)"
    assert page.evaluate(names) == list(VERDICTS)
    assert page.evaluate("document.getElementById('evidence').textContent") == "10 distinct pairs test 1 feature"
    page.look(width=320, height=700)
    assert page.evaluate(OVERFLOW) <= 0
    page.screenshot(tmp_path / "verdicts.png")


def test_a_row_opens_by_click_and_by_keyboard(page: Page) -> None:
    page.evaluate("document.querySelector('#feature-table tbody tr td:nth-child(3)').click()")
    page.evaluate("new Promise((done) => setTimeout(done, 50))")
    first = page.evaluate("document.getElementById('feature-title').textContent")
    page.go("features")
    page.evaluate("document.querySelector('#feature-table tbody a').focus()")
    page.key("Enter", 13)
    page.evaluate("new Promise((done) => setTimeout(done, 50))")
    assert page.evaluate("document.getElementById('feature-title').textContent") == first
    assert page.evaluate("document.activeElement.id") == "feature"


def test_controls_have_names(page: Page) -> None:
    page.go("resid_post.0/100")
    named = page.send("Accessibility.getFullAXTree")["nodes"]
    controls = [
        node for node in named if node.get("role", {}).get("value") in ("button", "link", "combobox", "searchbox")
    ]
    assert len(controls) > 3
    assert all(node["name"]["value"] for node in controls if not node["ignored"])
    images = "[...document.querySelectorAll('svg')].every((svg) => svg.getAttribute('aria-label'))"
    assert page.evaluate(images) is True


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [320, 400, 1200])
def test_no_layout_overflows(page: Page, tmp_path: Path, width: int, dark: bool) -> None:
    page.look(dark=dark, width=width, height=700)
    for view in ("summary", "features", "resid_post.0/100"):
        page.go(view)
        assert page.evaluate(OVERFLOW) <= 0, view
        page.screenshot(tmp_path / f"{view.replace('/', '-')}-{width}-{'dark' if dark else 'light'}.png")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(20, 23, 26)" if dark else "rgb(255, 255, 255)")


CONTRAST = """(() => {
  const parts = (text) => text.match(/[0-9.]+/g).slice(0, 3).map((n) => n / 255);
  const light = (rgb) => rgb.map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const style = (query) => getComputedStyle(document.querySelector(query));
  const ground = light(parts(style('body').backgroundColor));
  return ['body', '.small', 'a'].map((query) => {
    const ink = light(parts(style(query).color));
    return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
  });
})()"""


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_from_the_ground(page: Page, dark: bool) -> None:
    """WCAG 2.1 AA asks for a contrast of 4.5."""
    page.look(dark=dark)
    assert min(page.evaluate(CONTRAST)) >= 4.5
