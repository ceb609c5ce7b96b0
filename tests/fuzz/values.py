"""Values that nobody meant: texts, numbers and trees of these, as JSON, YAML and tables can hold them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

#: Lone surrogates too: JSON can spell them, and arguments of another encoding come as such.
ODD_TEXTS = [
    "",
    " ",
    "\0",
    "\n",
    "\r\n",
    "\ud800",
    "\u202egnp",
    "\x1b]0;t\x07",
    "\u2028",
    "nan",
    "null",
    "-1",
    "\u00b2",
]
ODD_TEXTS += ["[" * 3000, "{" * 3000, "x" * 300, "x" * 10_000, "9" * 5000, "1e400", "~nobody/x", "../..", "/dev/null"]
ODD_TEXTS += ["{{ 7*7 }}", "${HOME}", "%s%n", "<script>", "'; --", "a,b", ",", ",,", "=", "/", ":", "-", "--", "\u0663"]
TEXTS = st.sampled_from(ODD_TEXTS) | st.text(max_size=12) | st.text(st.characters(), max_size=5)
ODD_NUMBERS: list[Any] = [0, -1, 10**18, 2**63, -(2**63) - 1, 10**400, -0.0, 1e-320, 1e308, 0.5]
ODD_NUMBERS += [float("nan"), float("inf"), -float("inf"), True, False]
NUMBERS = st.sampled_from(ODD_NUMBERS) | st.integers() | st.floats()
LEAVES = st.none() | TEXTS | NUMBERS


def trees(leaves: st.SearchStrategy[Any] = LEAVES, keys: st.SearchStrategy[Any] = TEXTS) -> st.SearchStrategy[Any]:
    """Lists and mappings of leaves, a few levels deep."""
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=8,
    )


def torn(texts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Texts, some of them cut, doubled, or with a character replaced."""

    @st.composite
    def draw_torn(draw: st.DrawFn) -> str:
        text = draw(texts)
        how, at = draw(st.sampled_from(["whole", "whole", "cut", "doubled", "replaced"])), draw(st.integers(0, 400))
        at = min(at, len(text))
        if how == "cut":
            return text[:at]
        if how == "doubled":
            return text[:at] + text[at // 2 :]
        if how == "replaced":
            return text[:at] + draw(st.sampled_from(["\0", "\n", '"', "]", "}", "\ud800", "9" * 5000])) + text[at + 1 :]
        return text

    return draw_torn()
