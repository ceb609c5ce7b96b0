"""Numbers as terminal, figures and page print them: what cannot be known is said in words, never as ``nan``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

#: In place of a number that does not exist.
MISSING = "n/a"


def interval_text(low: float, high: float, digits: int = 2, missing: str = MISSING) -> str:
    """``[-1.50, -0.90]``; ``[missing]`` where an end is not known."""
    if math.isnan(low) or math.isnan(high):
        return f"[{missing}]"
    return f"[{low:+.{digits}f}, {high:+.{digits}f}]"


def median_text(row: Mapping[Any, Any], name: str, digits: int = 2) -> str:
    """``-1.20 [-1.50, -0.90]``: the median ``NAME_median`` of a row with its interval."""
    ends = interval_text(row[f"{name}_low"], row[f"{name}_high"], digits, "too few pairs")
    return f"{row[f'{name}_median']:+.{digits}f} {ends}"


def share_text(share: float) -> str:
    """``12.3%``."""
    return MISSING if math.isnan(share) else f"{share:.1%}"


def q_text(q: float) -> str:
    """``0.034``, ``<0.001``."""
    if math.isnan(q):
        return MISSING
    return f"{q:.3f}" if q >= 0.001 else "<0.001"


def span_text(values: Iterable[float], form: str = "g") -> str:
    """``6``, or ``5 to 6`` where the values differ as they are printed; blank without any."""
    known = sorted(value for value in values if not math.isnan(value))
    ends = list(dict.fromkeys(f"{value:{form}}" for value in (known[:1] + known[-1:])))
    return " to ".join(ends)


def pairs_text(numbers: Iterable[float]) -> str:
    """``6 distinct pairs``, ``1 distinct pair``, ``5 to 6 distinct pairs``."""
    span = span_text(numbers)
    return f"{span or 0} distinct pair{'' if span == '1' else 's'}"
