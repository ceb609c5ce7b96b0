"""A feature's picture: shades are the table's numbers, prompts of a pair stand token below token, nothing is obeyed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle
from PIL import Image

import saeattr
import saeattr.plots
from saeattr import UserError
from saeattr.cli import main
from saeattr.features.texts import Look, PairText, ReadText
from saeattr.model.loading import LanguageModel
from saeattr.reporting.figures.firing import DECIDES, LETTERS, feature_picture, shades
from saeattr.reporting.figures.style import save_figure
from saeattr.reporting.looks import write_pictures
from saeattr.sites import Site
from saeattr.study.looking import look
from saeattr.study.results import Study
from saeattr.tables import FIRING
from tests.plain import read

SITE = Site("resid_post", 3)
TOKENS = ("<bos>", " short", "$x$", "\n", "\x1b[31m")
ROLES = ("bos", "length", "item", "newline", "end")


def made(activations: tuple[dict[int, float], dict[int, float]], points: tuple[int, ...] = (3,)) -> Look:
    """A pair that differs in its first word; feature 7 with these activations, and 8, which never fires."""
    clean = PairText("cities", "000", "clean", ROLES, points, aligned=True)
    texts = (
        ReadText((0, 1, 2, 3, 4), TOKENS, 1, clean),
        ReadText((0, 9, 2, 3, 4), ("<bos>", " long", *TOKENS[2:]), 1, dataclasses.replace(clean, run="corrupted")),
    )
    rows = [
        {"text": number, "position": at, "token": texts[number].tokens[at], "activation": value}
        for number, own in enumerate(activations)
        for at, value in own.items()
    ]
    table = pd.DataFrame(rows, columns=["text", "position", "token", "activation"])
    return Look("m", texts, ((SITE, 7), (SITE, 8)), FIRING.frame(table.assign(layer=3, kind="resid_post", feature=7)))


PAIR = made(({1: 1.0, 3: 4.0}, {3: 2.0}))


def boxes(figure: Any) -> list[tuple[float, float, tuple[float, ...]]]:
    """Left edge, line and colour of each shaded token."""
    patches = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    return [(patch.get_x(), patch.get_y(), to_rgba(patch.get_facecolor())) for patch in patches]


def test_each_shade_is_the_tokens_activation_as_a_share_of_the_largest_in_all_texts() -> None:
    """Where it does not fire nothing is shaded; a token stands below its partner, the corrupted a line lower."""
    found = boxes(feature_picture(PAIR, (SITE, 7)))
    wide = [len(" short"), len("$x$")]
    wanted = [(0, 0, 0.25), (sum(wide), 0, 1.0), (sum(wide), 1, 0.5)]
    assert len(found) == 3
    for (left, line, colour), (at, row, share) in zip(sorted(found), sorted(wanted), strict=True):
        assert (left, line) == (at, row)
        np.testing.assert_allclose(colour, shades()(share))


def test_the_title_says_at_which_roles_of_how_many_prompts_it_fires() -> None:
    title = feature_picture(PAIR, (SITE, 7), "ends $lists$").get_suptitle()
    first, second, clean, corrupted = title.split("\n")
    assert first == r"resid_post.3/7  ends \$lists\$"
    assert second.startswith("fires at 3 of 8 tokens (BOS left out), largest 4; m")
    assert clean == "clean: fires at length in 1, at newline in 1 of 1 prompts"
    assert corrupted == "corrupted: fires at newline in 1 of 1 prompts"
    silent = feature_picture(PAIR, (SITE, 8))
    assert silent.get_suptitle() == "resid_post.3/8\ndoes not fire at any of 8 tokens (BOS left out)"
    assert boxes(silent) == []


def test_tokens_are_shown_and_not_obeyed_and_decisions_are_marked(tmp_path: Path) -> None:
    figure = feature_picture(PAIR, (SITE, 7))
    words = [text.get_text() for text in figure.axes[0].texts]
    assert words.count(DECIDES) == 1
    for piece in (" short", " long", r"\$x\$", "\u23ce", "\ufffd[31m"):
        assert piece in words
    assert "<bos>" not in words
    bold = {text.get_text() for text in figure.axes[0].texts if text.get_fontweight() == "bold"}
    assert bold == {" short", " long"}
    save_figure(figure, tmp_path, "a")
    assert Image.open(tmp_path / "a.png").size[0] > 500
    assert (tmp_path / "a.svg").stat().st_size > 1000


def test_a_long_text_goes_on_in_the_next_line() -> None:
    text = ReadText(tuple(range(100)), ("<bos>", *[f" word{at:04d}" for at in range(99)]), 1)
    rows = [{"text": 0, "position": at, "token": "", "activation": 1.0} for at in range(1, 100)]
    table = FIRING.frame(pd.DataFrame(rows).assign(layer=3, kind="resid_post", feature=7))
    found = boxes(feature_picture(Look("m", (text,), ((SITE, 7),), table)))
    assert len(found) == 99
    a_line = LETTERS // len(" word0000")
    assert [left for left, _, _ in found[: a_line + 1]] == [*(9 * at for at in range(a_line)), 0]
    assert len({line for _, line, _ in found}) == -(-99 // a_line)


def test_several_features_have_a_picture_each_and_one_has_the_name_itself(tmp_path: Path) -> None:
    names = [path.name for path in write_pictures(PAIR, tmp_path / "out.png")]
    assert names == ["out-resid_post.3-7.png", "out-resid_post.3-8.png"]
    one = dataclasses.replace(PAIR, features=((SITE, 7),))
    assert write_pictures(one, tmp_path / "out.png") == [tmp_path / "out.png"]
    assert {path.suffix for path in tmp_path.glob("out.*")} == {".png", ".svg"}
    with pytest.raises(UserError, match="nothing to draw"):
        write_pictures(dataclasses.replace(PAIR, features=()), tmp_path / "out.png")
    with pytest.raises(UserError, match=r"none of the look's features: name one of resid_post.3/7, resid_post.3/8"):
        saeattr.plots.feature_picture(PAIR)
    assert saeattr.plots.feature_picture(PAIR, "resid_post.3/7").figure is not None


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    small: dict[str, Any] = {"lists": 3, "sites": [str(SITE)], "device": "cpu", "figures": False, "validate_top": 0}
    return saeattr.attribute(["cities", "rivers"], out=tmp_path_factory.mktemp("look") / "s", **small)


def test_without_texts_the_studys_pairs_are_looked_at(study: Study, lm: LanguageModel, plain_model: Any) -> None:
    """Clean and corrupted prompts of pairs of all groups in turn, with the plain model's activations in both."""
    found = look(study=study, features="resid_post.3/397", pairs=3, device="cpu")
    named = [(text.of.group, text.of.run) for text in found.texts if text.of is not None]
    assert named == [(group, run) for group in ("cities", "cities", "rivers") for run in ("clean", "corrupted")]
    pairs = study.pairs("cities")
    for text, column in zip(found.texts, ("clean_tokens", "corrupted_tokens"), strict=False):
        assert list(text.tokens) == list(pairs.iloc[0][column])
    attributed = study.attributions("cities").query("pair_id == @pairs.iloc[0].pair_id and feature == 397")
    for number, column in enumerate(("act_clean", "act_base")):
        own = found.table[found.table["text"] == number].set_index("position")["activation"]
        wanted = attributed.set_index("position")[column]
        assert len(wanted)
        np.testing.assert_allclose(own.reindex(wanted.index).fillna(0.0), wanted, atol=1e-3)
    assert {text.of.group for text in look(study=study, group="rivers", device="cpu").texts if text.of} == {"rivers"}
    assert read(plain_model, SITE, found.texts[0].ids).shape[0] == len(found.texts[0].ids)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--group", "nowhere"], "the study has no group 'nowhere': its groups are cities, rivers"),
        (["--chat"], "--chat is for texts of your own"),
        (["a text", "--group", "rivers"], "leave out the texts, or the group"),
        (["--picture", "x.pdf"], "name a file that ends with .png"),
    ],
)
def test_what_does_not_go_together_is_one_line(
    study: Study, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["look", *arguments, "--study", str(study.folder.root), "--features", "7", "--device", "cpu"])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert said in " ".join(error.split())
    assert len(error.strip().splitlines()) == 1


def test_the_command_draws_a_studys_pairs(study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--study", str(study.folder.root), "--features", "397", "--device", "cpu", "--pairs", "2"]
    with pytest.raises(SystemExit) as stopped:
        main(["look", *arguments, "--picture", str(tmp_path / "a.png")])
    assert not stopped.value.code
    out = capsys.readouterr().out
    assert "text 2 of 4 (cities 000, corrupted)" in out
    assert str(tmp_path / "a.png") in out.replace("\n", "")
    assert (tmp_path / "a.svg").exists()
