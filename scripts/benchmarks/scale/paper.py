"""What would 1,000 topics of 1,000 lists at 42 layers cost, on paper?

    OMP_NUM_THREADS=1 python scripts/benchmark.py paper [--topics 1000] [--lists 1000] [--layers 42] [--measure 40]

Bytes of each table and processor time are measured in a study of the bundled model; the rest is arithmetic on the shape
of Gemma 2 9B and on what a card is assumed to reach. Nothing was measured on a card. Writes a section of docs/scale.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

import saeattr
from benchmarks.sections import markdown, replace_section
from benchmarks.stage_times import stage_times
from saeattr.study.site_parts import SHARDED_KEEP_FROM

#: Of a row of each table: what it is counted by.
PAIR_SITE, PAIR, GROUP_SITE, GROUP = "pair and site", "pair", "group and site", "group"
COUNTED = {
    "attributions": PAIR_SITE,
    "pair_effects": PAIR_SITE,
    "site_effects": PAIR_SITE,
    "metric_by_point": PAIR,
    "pairs": PAIR,
    "lists": PAIR,
    "active": GROUP_SITE,
    "carriers": GROUP_SITE,
    "entries": GROUP_SITE,
    "features": GROUP,
}


@dataclass(frozen=True)
class Shape:
    """A model and its SAEs, as far as arithmetic needs them.

    Attributes:
        parameters, width, features: of the model, of its residual stream, of an SAE.
        tokens, written: of a prompt with its list, and of the list alone.
        active: features of a site that are active in a prompt: assumed.
    """

    parameters: float = 9.2e9
    width: int = 3584
    features: int = 16_384
    tokens: int = 60
    written: int = 30
    active: int = 2_000

    @property
    def model_flops(self) -> float:
        """Of a pair: two forwards and a backward, which is two more, at two FLOPs a parameter and token."""
        return 2 * 4 * self.parameters * self.tokens

    @property
    def writing_flops(self) -> float:
        return 2 * self.parameters * (self.written + self.tokens)

    @property
    def sae_flops(self) -> float:
        """Of a pair at a site: two encodings, and every feature's direction times the gradient."""
        return 3 * 2 * self.width * self.features * self.tokens


@dataclass(frozen=True)
class Card:
    """What a card is assumed to reach, in FLOP/s: bfloat16 in the model, a batch of lists, float32 in SAEs."""

    model: float = 200e12
    writing: float = 20e12
    saes: float = 25e12


#: Cards, and the share of them that is at work.
MACHINES = {"one card": (1, 1.0), "eight cards": (8, 0.9), "a cluster of 64 cards": (64, 0.8)}


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--topics", type=int, default=1000)
    parser.add_argument("--lists", type=int, default=1000)
    parser.add_argument("--layers", type=int, default=42)
    parser.add_argument("--measure", type=int, default=40, help="lists of the topic that is measured")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--quick", action="store_true", help="two lists: does it run?")
    options = parser.parse_args(arguments)
    if options.quick:
        options.measure = 2
    tables, seconds, n_sites, n_pairs = measured(options.measure)
    write_section(tables, seconds, n_sites, n_pairs, options)


def measured(lists: int) -> tuple[pd.DataFrame, dict[str, float], int, int]:
    """Rows and bytes of each table of a group, processor seconds of each stage, sites and pairs of the study."""
    asked = {"layers": "all", "keep_from": SHARDED_KEEP_FROM, "validate_top": 0, "figures": False, "device": "cpu"}
    with tempfile.TemporaryDirectory() as folder, stage_times(time.process_time) as took:
        study = saeattr.attribute("cities", out=Path(folder) / "s", n_pairs=lists, **asked)
        root = study.folder.root
        paths = [*root.glob("attribution/*/*.parquet"), *root.glob("pairs/*/*.parquet")]
        files = {path.stem: path for path in paths} | {"lists": next(root.glob("lists/*.parquet"))}
        rows = [(name, pq.read_metadata(path).num_rows, path.stat().st_size) for name, path in files.items()]
        n_sites, n_pairs = len(study.record["saes"]), len(study.pairs())
    return pd.DataFrame(rows, columns=["table", "rows", "bytes"]), took, n_sites, n_pairs


def storage(
    tables: pd.DataFrame, n_sites: int, n_pairs: int, options: argparse.Namespace, shape: Shape
) -> pd.DataFrame:
    """Bytes of each table of the large study; in it so many features of a site are active as ``shape`` says."""
    here = {PAIR_SITE: n_pairs * n_sites, PAIR: n_pairs, GROUP_SITE: n_sites, GROUP: 1}
    pairs = options.topics * options.lists
    there = {
        **{PAIR_SITE: pairs * options.layers, PAIR: pairs},
        **{GROUP_SITE: options.topics * options.layers, GROUP: options.topics},
    }
    by_name = tables.set_index("table")["rows"]
    active_here = {
        PAIR_SITE: by_name["pair_effects"] / (n_pairs * n_sites),
        GROUP_SITE: by_name["active"] / n_sites,
    }
    found = []
    for table, n_rows, n_bytes in tables.itertuples(index=False):
        by = COUNTED[table]
        each = n_rows / here[by]
        assumed = {
            # No more entries than these have at least this share.
            "attributions": min(1 / SHARDED_KEEP_FROM, each * shape.active / active_here[PAIR_SITE]),
            "pair_effects": shape.active,
            "active": shape.features,
            "carriers": each / active_here[GROUP_SITE] * shape.features,
        }.get(table, each)
        found.append((table, by, each, n_bytes / n_rows, assumed, assumed * there[by] * n_bytes / n_rows / 1e12))
    names = ["table", "counted by", "rows of each, measured", "bytes a row, measured", "rows of each, Gemma", "TB"]
    return pd.DataFrame(found, columns=names).sort_values("TB", ascending=False)


def write_section(
    tables: pd.DataFrame, seconds: dict[str, float], n_sites: int, n_pairs: int, options: argparse.Namespace
) -> None:
    shape, card = Shape(), Card()
    stored = storage(tables, n_sites, n_pairs, options, shape)
    pairs = options.topics * options.lists
    pair_sites = pairs * options.layers
    host = seconds["attribution"] / (n_pairs * n_sites)
    # Tables take as much longer as they have more rows, at most.
    more = max(1.0, shape.active / stored.set_index("table").loc["pair_effects", "rows of each, measured"])
    hours = {
        "lists (model, bfloat16)": pairs * shape.writing_flops / card.writing / 3600,
        "two forwards and a backward": pairs * shape.model_flops / card.model / 3600,
        "SAEs (float32)": pair_sites * shape.sae_flops / card.saes / 3600,
        f"tables, by one core beside each card ({more:.1f} times as many rows as measured)": (
            pair_sites * host * more / 3600
        ),
    }
    total = sum(hours.values())
    waiting = 3 * shape.width * shape.tokens * options.layers * 2
    reads = options.layers * shape.width * shape.features * 2 * 4 / 1e9
    lines = [
        f"## On paper: {options.topics:,} topics of {options.lists:,} lists at {options.layers} layers",
        "",
        f"`python scripts/benchmark.py paper`. **Measured** here: a topic of {n_pairs} distinct lists of the bundled "
        f"model at {n_sites} sites, entries kept from {SHARDED_KEEP_FROM:.0%}, one thread: bytes a row of every "
        f"table, and {host * 1000:.1f} ms of processor time for attributing a pair at a site (of a model so small that "
        "this is Python and tables). **Assumed**: Gemma 2 9B "
        f"({shape.parameters / 1e9:.1f}e9 parameters, width {shape.width:,}), SAEs of {shape.features:,} features, "
        f"prompts of {shape.tokens} tokens, {shape.active:,} features of a site active in a pair; a card that reaches "
        f"{card.model / 1e12:.0f} TFLOP/s in the model, {card.writing / 1e12:.0f} while lists are written and "
        f"{card.saes / 1e12:.0f} in float32. **Nothing was measured on a card.**",
        "",
        f"{pairs:,} pairs, {pair_sites:,} pairs and sites. Stored, without copies (a joined table is another one of "
        "each that is joined):",
        "",
        markdown(stored.round({"rows of each, measured": 1, "bytes a row, measured": 1, "rows of each, Gemma": 0})),
        "",
        f"In all {stored['TB'].sum():.1f} TB, and as much again while groups are put together from their parts.",
        "",
        "| piece | hours of one card |",
        "| --- | ---: |",
        *(f"| {name} | {value:,.0f} |" for name, value in hours.items()),
        f"| all | {total:,.0f} |",
        "",
        "| on | cards at work | days |",
        "| --- | ---: | ---: |",
        *(f"| {name} | {n} x {share:.0%} | {total / n / share / 24:,.1f} |" for name, (n, share) in MACHINES.items()),
        "",
        f"Every piece reads all SAEs once ({reads:,.0f} GB in float32), and a worker gets two pieces at least: "
        f"{2 * 64 * reads / 1000:,.1f} TB for 64 cards. Runs wait for the SAEs with {waiting / 1e6:,.0f} MB a pair, "
        "past 4 GiB of each worker in files beside the study, of whose free space half is taken: with 10 TB free "
        f"{5e12 / waiting:,.0f} pairs wait at once, in pieces as many more as the pairs are.",
    ]
    replace_section(options.out / "scale.md", "paper", lines)
    print("\n".join(lines))
