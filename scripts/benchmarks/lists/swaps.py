"""Do two pairs of requests find the same features? The published study's second one beside the first, topic by topic.

Bundled model, all its SAEs; attribution patching, corrupted base, the last decision point. Writes its section of
docs/lists.md. The model never read "few" or "many": its tokenizer spells them in letters, three and four of them, so
the second requests are aligned by their common beginning and end.

    python scripts/benchmark.py swaps [--lists 20] [--quick] [--out docs]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from bundled.corpus import load_topics

import saeattr
from benchmarks.sections import markdown, replace_section
from saeattr.study.results import Study
from saeattr.tables import FEATURE

TOPICS = ("cities", "animals", "rivers", "movies")
#: Features of a group that are compared as a set.
TOP = 20
LEGEND = (
    "swap: length is `short` against `long`, few also `a few` against `a many`. items: of a list behind the clean "
    "request; of topic: the share of them that the model was taught for it. clean, corrupted: the metric at the last "
    "decision point. correlation (Pearson) and same top 20: mean effects of all features at all sites against those of "
    "the topic's lists of the swap length; of that swap itself, against those of another seed."
)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="benchmark.py swaps")
    parser.add_argument("--lists", type=int, default=20)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args(list(arguments))
    sites: dict[str, Any] = {"sites": ["resid_post.3"]} if options.quick else {"layers": "all"}
    asked = {"lists": options.lists, "validate_top": 0, "figures": False, "device": "cpu", "unequal": "zero", **sites}
    with tempfile.TemporaryDirectory() as folder:
        first = saeattr.attribute(TOPICS, out=Path(folder, "length"), **asked)
        again = saeattr.attribute(TOPICS, out=Path(folder, "again"), seed=1, **asked)
        second = saeattr.attribute(TOPICS, out=Path(folder, "few"), swap="few", **asked)
        rows = [
            describe(topic, name, study, other)
            for topic in TOPICS
            for name, study, other in (("length", first, again), ("few", second, first))
        ]
    made = (
        f"Made by `python scripts/benchmark.py swaps`. Bundled model, all its SAEs, {options.lists} lists of each "
        "topic; distinct ones are pairs; attribution patching, corrupted base, `--unequal zero`."
    )
    options.out.mkdir(parents=True, exist_ok=True)
    replace_section(options.out / "lists.md", "swaps", [made, "", LEGEND, "", markdown(pd.DataFrame(rows).round(3))])


def describe(topic: str, swap: str, study: Study, other: Study) -> dict[str, Any]:
    """What the model wrote for a topic behind the clean request, and how its features compare with another study's."""
    lists = study.lists()
    names = [items for own, items in zip(lists["topic"], lists["items"], strict=True) if own == topic]
    known = set(load_topics()[topic])
    metric = study.metric_by_point(topic)
    last = metric[metric["point"] == metric["n_points"]].pivot_table(index="pair_id", columns="run", values="metric")
    here, there = (one.features(topic).set_index(FEATURE)["effect_mean"] for one in (study, other))
    both = pd.concat([here, there], axis=1, keys=["here", "there"]).fillna(0.0)
    firsts = [set(effects.abs().nlargest(TOP).index) for effects in (here, there)]
    return {
        "topic": topic,
        "swap": swap,
        "pairs": len(last),
        "items": sum(map(len, names)) / len(names),
        "of topic": sum(name in known for items in names for name in items) / sum(map(len, names)),
        "clean": last["clean"].mean(),
        "corrupted": last["corrupted"].mean(),
        "correlation": both["here"].corr(both["there"]),
        "same top 20": len(firsts[0] & firsts[1]),
    }
