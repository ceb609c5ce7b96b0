"""How verdicts look: every one has a look, those who see few colours can tell them apart, and counts are right."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from saeattr.reporting.verdicts import LOOKS, count_verdicts
from saeattr.validation.verdicts import VERDICTS

#: What is left of linear red, green and blue without one kind of cone (Machado, Oliveira and Fernandes 2009).
SIGHTS = {
    "all cones": np.eye(3),
    "protanopia": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
    "deuteranopia": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
    "tritanopia": np.array([[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]]),
}
#: Linear sRGB to XYZ under D65, each divided by its white.
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(colour: str, sight: str) -> np.ndarray:
    """CIELAB of a colour as somebody with this sight sees it."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(SIGHTS[sight] @ linear, 0, 1) / TO_XYZ.sum(axis=1)
    x, y, z = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_every_verdict_has_a_look_with_words() -> None:
    assert tuple(LOOKS) == VERDICTS
    assert all(look.meaning.endswith(".") for look in LOOKS.values())


def test_no_verdict_is_told_by_its_colour_alone() -> None:
    assert len({(look.marker, look.hollow) for look in LOOKS.values()}) == len(VERDICTS)


@pytest.mark.parametrize("sight", SIGHTS)
def test_verdicts_that_say_something_differ_for_every_kind_of_sight(sight: str) -> None:
    """A difference of 10 in CIELAB is seen at a glance."""
    said = [look.colour for name, look in LOOKS.items() if not name.startswith("too few")]
    for one, other in itertools.combinations(said, 2):
        assert np.linalg.norm(lab(one, sight) - lab(other, sight)) > 10


def test_verdicts_are_counted_the_strongest_first() -> None:
    given = ["small", "causal", "not shown", "causal", "opposite sign"]
    assert count_verdicts(given) == "2 causal, 1 opposite sign, 1 small, 1 not shown"
    assert count_verdicts([]) == ""
