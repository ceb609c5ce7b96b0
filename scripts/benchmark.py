"""Run one benchmark; each writes its page into docs/ and its long tables into docs/measured/.

python scripts/benchmark.py NAME [options]        # without a name: which there are; NAME --help: its options
python scripts/benchmark.py cost --quick --out runs/quick        # very little of it, to see that it runs
"""

from __future__ import annotations

import importlib
import sys

#: Name, module in scripts/benchmarks, and what it asks.
BENCHMARKS = {
    "accuracy": ("accuracy.measure", "how good are the estimates?"),
    "verdicts": ("verdicts.measure", "how often are verdicts wrong?"),
    "dtype": ("dtype.measure", "what does bfloat16 cost?"),
    "weights": ("dtype.weights", "may an SAE be held in bfloat16?"),
    "exact-dtype": ("dtype.exact", "and exact effects?"),
    "generation": ("generation.measure", "what do lists become when features are ablated while they are written?"),
    "generation-saes": ("generation.saes", "and with other SAEs of the same site?"),
    "selection": ("selection.measure", "is the choice of layers any good?"),
    "behaviours": ("behaviours.measure", "what do agreement and greater-than give through every stage?"),
    "lists": ("lists.measure", "what changes when lists are not the model's own?"),
    "swaps": ("lists.swaps", "do both pairs of requests find the same features?"),
    "emergence": ("emergence.measure", "when do facts, their phases and their movers appear in training?"),
    "cost": ("cost.measure", "what does attribution cost?"),
    "peers": ("peers.measure", "and what does the same cost with other tools?"),
    "scale": ("scale.measure", "and at full size?"),
    "reproducible": ("reproducible", "which tables are the same again, bit for bit?"),
    "time": ("timing", "how far off is plan --measure?"),
    "topics": ("scale.topics", "what is saved by opening every SAE once for all topics?"),
    "workers": ("scale.workers", "how much faster are several processes?"),
    "paper": ("scale.paper", "what would a thousand topics cost?"),
}


def main() -> None:
    name, *arguments = sys.argv[1:] or [""]
    if name not in BENCHMARKS:
        lines = [f"  {known:16} {asks}" for known, (_, asks) in BENCHMARKS.items()]
        sys.exit("\n".join(["usage: python scripts/benchmark.py NAME [options]; NAME is one of", *lines]))
    importlib.import_module(f"benchmarks.{BENCHMARKS[name][0]}").main(arguments)


if __name__ == "__main__":
    main()
