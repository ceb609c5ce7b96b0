"""The same seed again: which tables are the same bit for bit, and how far the others are from it.

    OMP_NUM_THREADS=1 python scripts/benchmark.py reproducible

Writes docs/reproducibility.md, a quarter of an hour on the CPU.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

import saeattr
from benchmarks.sections import replace_section
from saeattr.behaviours.lists import answers
from saeattr.behaviours.lists.answers import Drawing
from saeattr.behaviours.lists.sampling import Sampling, sample_lists
from saeattr.behaviours.lists.topics import TOPICS
from saeattr.digests import file_sha256
from saeattr.model.loading import LanguageModel, load_model
from saeattr.study.stage import Stage

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reproducibility.md"
GROUPS = ("cities", "rivers")
SETTINGS: dict[str, Any] = {
    **{"lists": 4, "sites": ["resid_post.2", "mlp_out.3"], "validate_top": 2, "controls": 19, "validate_lists": 4},
    **{"generate_features": (1,), "figures": False, "device": "cpu"},
}
#: Stages of a group that are stored between two stops.
STORED = 4
#: Columns that number rows by a float, so that rounding can exchange two of them.
PLACES = ("rank",)


@dataclass(frozen=True)
class Change:
    """A way of asking for the same study.

    Attributes:
        settings: that are others; stops: how often it is stopped, each time when another four stages are stored.
    """

    name: str
    settings: dict[str, Any]
    groups: tuple[str, ...] = GROUPS
    n_threads: int = 1
    stops: int = 0


CHANGES = (
    Change("again", {}),
    Change("the other order of topics", {}, GROUPS[::-1]),
    Change("stopped six times", {}, stops=6),
    Change("--batch-size 1", {"batch_size": 1}),
    Change("--batch-size 3", {"batch_size": 3}),
    Change("--batch-size 64", {"batch_size": 64}),
    Change("2 threads", {}, n_threads=2),
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=PAGE.parent, help="where reproducibility.md goes")
    parser.add_argument("--quick", action="store_true", help="two lists, two topics, to see that it runs")
    chosen = parser.parse_args(arguments)
    settings = {**SETTINGS, **({"lists": 2, "max_new_tokens": 20} if chosen.quick else {})}
    path = chosen.out / PAGE.name
    replace_section(path, "tables", tables_section(settings))
    topics = list(TOPICS)[: 2 if chosen.quick else 13]
    replace_section(path, "lists", lists_section(topics, 2 if chosen.quick else 4))


def tables_section(settings: dict[str, Any]) -> list[str]:
    lines = [
        "| the same study | tables the same, byte for byte | columns that differ | largest difference | in |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        whole = make(Change("first", {}), settings, Path(folder) / "first")
        for change in CHANGES:
            other = make(change, settings, Path(folder) / change.name.replace(" ", "-"))
            names = sorted(str(path.relative_to(whole)) for path in whole.rglob("*.parquet"))
            same = sum(file_sha256(whole / name) == file_sha256(other / name) for name in names)
            found = pd.concat([differences(whole, other, name) for name in names], ignore_index=True)
            worst = found.sort_values("relative", ascending=False).head(1)
            cells = [f"{worst['relative'].iloc[0]:.1e}", worst["where"].iloc[0]] if len(worst) else ["0", ""]
            lines.append(f"| {change.name} | {same} of {len(names)} | {len(found)} | {' | '.join(cells)} |")
    return lines


def make(change: Change, settings: dict[str, Any], out: Path) -> Path:
    """The study's folder, made in that way."""
    before = torch.get_num_threads()
    torch.set_num_threads(change.n_threads)
    asked = {"out": out, **settings, **change.settings}
    try:
        for _ in range(change.stops):
            stopped(change.groups, asked)
        saeattr.run_study(change.groups, **asked)
    finally:
        torch.set_num_threads(before)
    return out


def stopped(groups: Sequence[str], asked: dict[str, Any]) -> None:
    """Go on with a study until so many stages of a group more are stored, and stop there."""
    write, stored = Stage.write, []

    def written(self: Stage, *rest: Any) -> None:
        write(self, *rest)
        stored.append(self.name)
        if len(stored) == STORED:
            raise KeyboardInterrupt

    with mock.patch.object(Stage, "write", written), suppress(KeyboardInterrupt):
        saeattr.run_study(groups, **asked)


def differences(one: Path, other: Path, name: str) -> pd.DataFrame:
    """The columns of a table that differ, and by how much, as a share of the column's largest value.

    Rows stand in the order of what names them: an order by a float is another one after rounding. A column of texts or
    whole numbers that differs counts with 1, and so does a table with other rows.
    """
    ours, theirs = (_in_order(pd.read_parquet(folder / name)) for folder in (one, other))
    if len(ours) != len(theirs):
        return pd.DataFrame([{"where": f"{name}: {len(ours)} and {len(theirs)} rows", "relative": 1.0}])
    rows = []
    for column in ours.columns:
        if pd.api.types.is_float_dtype(ours[column]):
            a, b = (table[column].to_numpy(dtype=float) for table in (ours, theirs))
            far = float(np.nanmax(np.abs(a - b), initial=0.0)) if not np.array_equal(a, b, equal_nan=True) else 0.0
            largest = max(float(np.nanmax(np.abs(a), initial=0.0)), 1e-30)
            far = 1.0 if (np.isnan(a) != np.isnan(b)).any() else far / largest
        else:
            far = float(not ours[column].astype(str).equals(theirs[column].astype(str)))
        if far:
            rows.append({"where": f"{name.removesuffix('.parquet')}: {column}", "relative": far})
    return pd.DataFrame(rows, columns=["where", "relative"])


def _in_order(table: pd.DataFrame) -> pd.DataFrame:
    names = [name for name in table.columns if not pd.api.types.is_float_dtype(table[name]) and name not in PLACES]
    words = [" ".join(map(str, row)) for row in table[names].itertuples(index=False)]
    return table.iloc[sorted(range(len(words)), key=words.__getitem__)].reset_index(drop=True)


def lists_section(topics: Sequence[str], n_lists: int) -> list[str]:
    """How many lists are others in batches of another size, and how many are to be expected in the mean."""
    lines = [
        "| numbers | lists in a batch | lists | tokens | lists that differ from those in batches of 16 | expected |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for dtype in ("float32", "bfloat16"):
        lm, usual = load_model("bundled", device="cpu", dtype=dtype), Lines()
        lists = drawn(lm, topics, Sampling(n_lists), usual)
        n_tokens = sum(len(one) for one in lists)
        for size in (1, 3):
            own = Lines()
            other = drawn(lm, topics, Sampling(n_lists, batch_size=size), own)
            changed = sum(a != b for a, b in zip(lists, other, strict=True))
            cells = [dtype, size, len(lists), n_tokens, changed, f"{usual.apart(own):.1g}"]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


@dataclass(frozen=True)
class Lines:
    """The line from 0 to 1 that each token was drawn from: where each token of the vocabulary begins and ends on it.

    Attributes:
        ends: by the number that drew, which no two draws share.
    """

    ends: dict[float, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def note(self, logits: Float[Tensor, "rows vocab"], drawing: Drawing, uniforms: Float[Tensor, " rows"]) -> None:
        probs = torch.softmax((logits / drawing.temperature).float(), dim=-1).double()
        likely, order = probs.sort(dim=-1, descending=True, stable=True)
        kept = torch.where(likely.cumsum(-1) - likely < drawing.top_p, likely, 0.0)
        upto = (kept / kept.sum(-1, keepdim=True)).cumsum(-1)
        back = order.argsort(dim=-1)
        begin = torch.cat([torch.zeros_like(upto[:, :1]), upto[:, :-1]], dim=-1)
        for number, start, end in zip(uniforms.tolist(), begin.gather(1, back), upto.gather(1, back), strict=True):
            self.ends[number] = (start, end)

    def apart(self, other: Lines) -> float:
        """Draws that are expected to give another token: the parts of the lines where they do not agree, summed."""
        total = 0.0
        for number in self.ends.keys() & other.ends.keys():
            (start, end), (begin, until) = self.ends[number], other.ends[number]
            total += float(1 - (torch.minimum(end, until) - torch.maximum(start, begin)).clamp(min=0).sum())
        return max(total, 0.0)


def drawn(lm: LanguageModel, topics: Sequence[str], sampling: Sampling, lines: Lines) -> list[tuple[int, ...]]:
    """Lists of all topics, and the lines that their tokens were drawn from."""
    draw = answers.draw_tokens

    def noting(logits: Tensor, drawing: Drawing, uniforms: Tensor) -> Tensor:
        lines.note(logits, drawing, uniforms)
        return draw(logits, drawing, uniforms)

    with mock.patch.object(answers, "draw_tokens", noting):
        return [one.token_ids for topic in topics for one in sample_lists(lm, topic, sampling)]
