"""Both rules' verdicts on the bundled model's own lists, with a metric that means nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmarks.cases import list_pairs
from benchmarks.verdicts.measure_after import estimated, verdicts_after
from benchmarks.verdicts.measure_before import MEASURED, TOP, mean_attributions, run_for_before, verdicts_before
from benchmarks.verdicts.shuffled import shuffle_metric
from saeattr.files import write_table
from saeattr.model.loading import load_model
from saeattr.runs.question import Pace
from saeattr.runs.task import Task
from saeattr.saes.loading import find_saes

COPIES = 64


def measure_shuffled(topics: Sequence[str], draws: int, n_pairs: Sequence[int], folder: Path, rule: str) -> None:
    """One file for each topic and draw: all SAEs, the first pairs of the topic, as many as each of ``n_pairs`` says.

    ``after`` tests on as many pairs more.
    """
    lm, files = load_model("bundled", device="cpu"), list(find_saes("bundled").values())
    most = max(n_pairs)
    for draw in range(draws):
        for topic in topics:
            path = folder / "shuffled" / f"{rule}-{topic.replace(' ', '-')}-{draw}.parquet"
            if path.exists():
                continue
            pairs = shuffle_metric(lm, list_pairs(lm, [topic], most if rule == "before" else 2 * most), draw)
            parts = []
            # A list without a decision point makes no pair, so there may be fewer.
            for n in (n for n in n_pairs if n <= len(pairs)):
                task = Task(lm, pairs[:n], files, pace=Pace(copies=COPIES))
                if rule == "before":
                    batches = run_for_before(task)
                    estimates = mean_attributions(task, batches)
                    found = verdicts_before(task, batches, estimates, list(estimates.index[:TOP]))
                else:
                    found = verdicts_after(task, pairs[most : most + n], estimated(task))
                parts.append(found[MEASURED].assign(n_pairs=n))
            rows = pd.concat(parts, ignore_index=True)
            write_table(path, rows.assign(rule=rule, topic=topic, draw=draw))
