"""What changes when a study's lists are not the model's own? One study for each source, compared with the own lists'.

Bundled model, all its SAEs, the same request; attribution patching, corrupted base, the last decision point. Writes its
section of docs/lists.md.

    python scripts/benchmark.py lists [--lists 20] [--quick] [--out docs]
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import saeattr
from benchmarks.lists.page import write_page
from saeattr.behaviours.lists.sampling import prompt_ids
from saeattr.model.loading import LanguageModel, load_model
from saeattr.study.results import Study
from saeattr.tables import FEATURE

PERSON = Path(__file__).with_name("person.txt")
#: The topic, and the one whose lists also stand behind its request.
TOPIC, OTHER_TOPIC = "cities", "animals"
#: Features of a group that are compared as a set.
TOP = 20
QUICK: dict[str, Any] = {"sites": ["resid_post.3"]}


def lines_of(mark: Callable[[int], str], end: str = "\n") -> Callable[[list[str]], str]:
    """A list of names in a format; the bundled model knows its words with the blank before them."""
    return lambda names: "\n".join(f"{mark(number)} {name}" for number, name in enumerate(names, 1)) + end


#: The own lists written another way: names alone are kept.
REWRITTEN = {
    "own names, no blank at the end": lines_of(lambda number: "-"),
    "own names, no line break at the end": lines_of(lambda number: "-", end=""),
    "own names, `*`": lines_of(lambda number: "*"),
    "own names, numbered": lines_of(lambda number: f"{number}."),
    "own names, bare": lines_of(lambda number: ""),
}


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="benchmark.py lists")
    parser.add_argument("--lists", type=int, default=20)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args(list(arguments))
    lm = load_model("bundled", device="cpu")
    asked = {"lists": options.lists, "validate_top": 0, "figures": False, "device": "cpu", "layers": "all"}
    if options.quick:
        asked = {**asked, **QUICK}
        del asked["layers"]
    with tempfile.TemporaryDirectory() as folder:
        rows = compare(lm, TOPIC, Path(folder), asked)
    options.out.mkdir(parents=True, exist_ok=True)
    write_page(pd.DataFrame(rows), options.out, n_lists=options.lists)


def compare(lm: LanguageModel, topic: str, folder: Path, asked: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each source of lists of a topic."""
    own = saeattr.attribute(topic, out=folder / "own", **asked)
    rows = [describe(lm, topic, "own", own, own)]
    again = saeattr.attribute(topic, out=folder / "again", seed=1, **asked)
    rows.append(describe(lm, topic, "own, another seed", again, own))
    for name, texts in sources(folder, own, asked).items():
        file = folder / f"{len(rows)}.json"
        file.write_text(json.dumps(texts))
        study = saeattr.attribute(topic, out=folder / str(len(rows)), lists_from=str(file), **asked)
        rows.append(describe(lm, topic, name, study, own))
    return rows


def sources(folder: Path, own: Study, asked: dict[str, Any]) -> dict[str, list[str]]:
    """Texts of lists by what they are."""
    names = [list(items) for items in own.lists()["items"] if len(items)]
    shuffled = [random.Random(number).sample(items, len(items)) for number, items in enumerate(names)]
    # As the model closes its own lists, so that only the order differs.
    texts = {"own names, shuffled": [lines_of(lambda number: "-", end=" \n")(items) for items in shuffled]}
    texts |= {name: [spell(items) for items in names] for name, spell in REWRITTEN.items()}
    other = saeattr.attribute(OTHER_TOPIC, out=folder / "other", **asked)
    texts[f"the model's {OTHER_TOPIC}"] = list(other.lists()["text"])
    texts["a person's"] = [f"{block}\n" for block in PERSON.read_text().strip().split("\n\n")]
    return texts


def describe(lm: LanguageModel, topic: str, source: str, study: Study, own: Study) -> dict[str, Any]:
    """A study's lists, its metric, and how its features compare with those of the model's own lists."""
    metric = study.metric_by_point(topic)
    last = metric[metric["point"] == metric["n_points"]].pivot_table(index="pair_id", columns="run", values="metric")
    here, there = (one.features(topic).set_index(FEATURE)["effect_mean"] for one in (study, own))
    both = pd.concat([here, there], axis=1, keys=["here", "own"]).fillna(0.0)
    firsts = [set(effects.abs().nlargest(TOP).index) for effects in (here, there)]
    return {
        "lists": source,
        "pairs": len(last),
        "items": sum(map(len, study.lists()["items"])) / len(study.lists()),
        "log-prob per token": log_prob(lm, topic, study),
        "clean": last["clean"].mean(),
        "corrupted": last["corrupted"].mean(),
        "correlation": both["here"].corr(both["own"]),
        "slope": (both["here"] * both["own"]).sum() / (both["own"] ** 2).sum(),
        "same top 20": len(firsts[0] & firsts[1]),
        "end of turn against": study.metric_label.partition(" - logit(")[2].rstrip(")"),
    }


@torch.no_grad()
def log_prob(lm: LanguageModel, topic: str, study: Study) -> float:
    """Mean over lists of the answer's log-probability for each of its tokens, in nats."""
    start = len(prompt_ids(lm.tokenizer, topic))
    means = []
    for ids in study.pairs(topic)["clean_ids"]:
        tokens = torch.tensor([list(ids)])
        logits = lm.hf(input_ids=tokens).logits[0, start - 1 : -1].float()
        means.append(float(logits.log_softmax(-1).gather(1, tokens[0, start:, None]).mean()))
    return sum(means) / len(means)
