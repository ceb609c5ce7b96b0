"""The grid of ablations: cells are means made by hand, controls beside them, and cut lists are said."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from rich.console import Console

import saeattr
import saeattr.plots
from saeattr import UserError
from saeattr.generation.summary import pool_groups, summarise
from saeattr.reporting.figures.generation_grid import generation_grid
from saeattr.reporting.figures.study import study_figures
from saeattr.reporting.figures.style import save_figure
from saeattr.reporting.terminal.generation import grid_table

NOTHING = [5, 6, 7]
#: Items of three lists by kind, layer, number of features and condition; of controls two sets.
CELLS = {
    ("resid_post", 0, 1): ([6, 6, 7], [5, 6, 7], [5, 6, 8]),
    ("resid_post", 0, 20): ([15, 26, 19], [5, 6, 7], [7, 6, 7]),
    ("resid_post", 4, 20): ([4, 6, 7], [5, 5, 7], [5, 6, 7]),
    ("attn_z", 2, 1): ([5, 6, 7], [5, 6, 7], [5, 6, 7]),
}


def lists(group: str = "cities", cut: bool = False) -> pd.DataFrame:
    parts = []
    for (kind, layer, size), (features, *controls) in CELLS.items():
        where = {"kind": kind, "layer": layer, "n_features": size, "group": group, "base": "zero", "seed": 0}
        told = [("nothing", -1, NOTHING), ("features", -1, features)]
        told += [("controls", number, items) for number, items in enumerate(controls)]
        for condition, number, items in told:
            rows = pd.DataFrame({"list_id": ["000", "001", "002"], "items": items})
            rows["ended"] = [not (cut and condition == "features" and many > 25) for many in items]
            ratio = 1.0 if condition == "controls" else math.nan
            words = {"text": f"{group}{condition}{number}" + rows["list_id"], "length_ratio": ratio}
            parts.append(rows.assign(**where, condition=condition, control_set=number, **words))
    return pd.concat(parts, ignore_index=True).assign(tokens=3, repeated=0, shannon=1.0)


def panels(figure: Figure) -> dict[str, np.ndarray]:
    """The numbers of each panel by its title; NaN where nothing was measured."""
    found = {}
    for axes in figure.axes:
        meshes = [one for one in axes.collections if isinstance(one, QuadMesh)]
        if meshes and axes.get_title("left"):
            values = np.ma.asarray(meshes[0].get_array()).filled(np.nan)
            shape = (len(axes.get_yticks()), len(axes.get_xticks()))
            found[f"{axes.get_title('left')} {len(found)}"] = values.reshape(shape)
    return found


def test_each_cell_is_the_mean_over_lists_of_what_is_added_and_controls_stand_beside() -> None:
    figure = generation_grid(summarise(lists()))
    assert figure is not None
    attn, attn_controls, resid, resid_controls = (values for _, values in sorted(panels(figure).items(), key=order))
    # Added by hand: 1, 0, 0; 10, 20, 12; -1, 0, 0. Sets of controls are averaged within each list first.
    np.testing.assert_allclose(resid, [[1 / 3, 14], [np.nan, -1 / 3]])
    np.testing.assert_allclose(resid_controls, [[1 / 6, 1 / 3], [np.nan, -1 / 6]])
    np.testing.assert_allclose(attn, [[0, np.nan]])
    np.testing.assert_allclose(attn_controls, [[0, np.nan]])
    reach = scipy.stats.t.ppf(0.975, 2) * np.std([10, 20, 12], ddof=1) / np.sqrt(3)
    words = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert f"+14.0\n[{14 - reach:+.1f}, {14 + reach:+.1f}]" in words
    limits = {one.get_clim() for axes in figure.axes for one in axes.collections if len(axes.texts)}
    assert limits == {(-14.0, 14.0)}


def order(panel: tuple[str, np.ndarray]) -> tuple[bool, int]:
    """Panels of attn_z, of which there is one layer, first."""
    number = int(panel[0].rsplit(" ", 1)[1])
    return number < 2, number


def test_the_title_names_the_strongest_cell_and_its_controls() -> None:
    figure = generation_grid(summarise(lists("$cities$")))
    assert figure is not None
    title = " ".join(figure.get_suptitle().split())
    assert "resid_post.0, 20 features: +14.0 [" in title
    assert "items to a list of 6.0; controls of equal length +0.3 [" in title
    assert r"\$cities\$: largest of 4 cells; features held at zero; means of 3 lists" in title
    assert "cut off" not in title


def test_lists_that_were_cut_off_make_it_a_lower_bound(tmp_path: Path) -> None:
    figure = generation_grid(summarise(lists(cut=True)), 40)
    assert figure is not None
    title = " ".join(figure.get_suptitle().split())
    assert "\u2265: up to 33% of these lists were cut off at the limit of 40 tokens, so it is a lower bound" in title
    marked = [text.get_text() for axes in figure.axes for text in axes.texts if "\u2265" in text.get_text()]
    assert [text.split("\n")[0] for text in marked] == ["\u2265+14.0"]
    save_figure(figure, tmp_path, "grid")
    assert (tmp_path / "grid.svg").stat().st_size > 1000


def test_lists_of_several_groups_are_pooled_and_their_summaries_are_not() -> None:
    """Six lists, three of each group: the interval is that of six."""
    both = pd.concat([lists("cities"), lists("rivers")])
    found = summarise(pool_groups(both))
    assert set(found["group"]) == {"cities, rivers"}
    cell = found.query("measure == 'items' and condition == 'features' and layer == 0 and n_features == 20").iloc[0]
    assert (cell["n_lists"], cell["added"]) == (6, 14)
    reach = scipy.stats.t.ppf(0.975, 5) * np.std([10, 20, 12] * 2, ddof=1) / np.sqrt(6)
    assert cell["added_high"] == pytest.approx(14 + reach)
    with pytest.raises(UserError, match="draws one group"):
        saeattr.plots.generation_grid(summarise(both))
    assert saeattr.plots.generation_grid(found).figure is not None


def test_the_terminal_has_the_same_numbers() -> None:
    stream = io.StringIO()
    Console(file=stream, width=140).print(grid_table(summarise(lists(cut=True))))
    text = " ".join(stream.getvalue().split())
    assert "20 features" in text
    assert "+14.0 [" in text
    assert "]*" in text
    assert "* of these lists some were cut off (up to 33%)" in text
    assert "nan" not in text


def test_a_study_of_several_topics_has_the_grid_of_all_and_of_each(tmp_path: Path) -> None:
    small = {"lists": 2, "max_new_tokens": 12, "sites": ["resid_post.2"], "validate_top": 0, "device": "cpu"}
    study = saeattr.attribute(["cities", "rivers"], out=tmp_path / "s", figures=False, **small)
    asked = {"generate": True, "generate_features": (1, 2), "generate_sites": "resid_post", "curves": False}
    found = saeattr.validate(study, top=1, device="cpu", figures=False, **asked)
    drawn = {one.name: one for one in study_figures(found) if one.section == "generation"}
    assert set(drawn) == {"generation-grid", "generation-cities", "generation-rivers"}
    assert all(path.exists() for one in drawn.values() for path in one.sources)
    figure = drawn["generation-grid"].draw()
    assert figure is not None
    title = " ".join(figure.get_suptitle().split())
    assert "cities, rivers: largest of 2 cells; features held at corrupted; means of 4 lists" in title
    assert "cut off at the limit of 12 tokens" in title
    with pytest.raises(UserError, match="--generate-sites cannot be 'attn_z' in this study: write all, resid_post"):
        saeattr.validate(study, top=1, device="cpu", **{**asked, "generate_sites": "attn_z"})
