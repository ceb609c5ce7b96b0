"""How far ``saeattr plan --measure`` is off: predicted beside real, stage by stage, on the bundled model.

    OMP_NUM_THREADS=1 python scripts/benchmark.py time

Writes docs/timing.md, a few minutes on the CPU. The counts of the bundled model's lists are constants of the estimate
(``saeattr.study.workload``), so that the first case is what it was made with and the others are not.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import saeattr
from benchmarks.stage_times import stage_times
from saeattr.files import write_text

PAGE = Path(__file__).resolve().parents[2] / "docs" / "timing.md"
#: As on the command line, and as settings.
CASES: dict[str, dict[str, Any]] = {
    "--topic cities": {"group": "cities"},
    "--topic animals --lists 20 --sites resid_post.3,mlp_out.3": {
        **{"group": "animals", "n_pairs": 20, "sites": ["resid_post.3", "mlp_out.3"]}
    },
    "--topic rivers --base zero --layers 1,4 --method ig": {
        **{"group": "rivers", "base": "zero", "layers": [1, 4], "method": "ig"}
    },
    "--behaviour facts --group capitals": {"behaviour": "facts", "group": "capitals"},
    "--topic cities --lists 40 --no-validate": {"group": "cities", "n_pairs": 40, "validate_top": 0},
}
HEAD = """# Time

`saeattr plan ... --measure` times this machine for a few seconds (a gated MLP in the model's dtype at the tokens of a
batch of prompts, of edited copies and of lists that are being written; encoding in float32; reading a file of 256 MiB
in the hub's cache folder, which Linux is told to forget first; on a card copying from pinned memory; small operations)
and estimates `attribute` for one group from FLOPs, bytes and forwards of a layer. It is rough. Left out are downloads,
checking and hashing files, tables, figures and Python's imports. Which layers the top features lie in is not known
before: half of the layers are taken to lie above them. The other constants (`saeattr/study/workload.py`) were counted
in the first case below, so that case is no test of them; on a card, and on other models, nothing was compared yet.

Made by `python scripts/benchmark.py time`.

"""
TABLE = ["| study | stage | predicted, s | real, s | predicted / real |", "| --- | --- | ---: | ---: | ---: |"]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=PAGE.parent, help="where timing.md goes")
    parser.add_argument("--quick", action="store_true", help="one study, to see that it runs")
    args = parser.parse_args(arguments)
    rows, ratios = [], []
    for asked, settings in list(CASES.items())[-1 if args.quick else 0 :]:
        plan = saeattr.plan(measure=True, device="cpu", **settings)
        found = plan.duration
        assert found is not None
        took = real_seconds(settings)
        for stage in took:
            rows.append(f"| `{asked}` | {stage} | {found.of_stage(stage):.2f} | {took[stage]:.2f} | |")
        ratios.append(found.seconds / sum(took.values()))
        rows.append(f"| `{asked}` | all | {found.seconds:.2f} | {sum(took.values()):.2f} | {ratios[-1]:.2f} |")
        print(rows[-1], flush=True)
    machine = f"{platform.machine()}, {torch.get_num_threads()} thread, torch {torch.__version__}"
    said = (
        f"Predicted is {min(ratios):.2f} to {max(ratios):.2f} times what the stages took in {len(ratios)} studies of "
        f"the bundled model (CPU, {machine}; one run of each, other work on the machine; single stages are further "
        "off):"
    )
    args.out.mkdir(parents=True, exist_ok=True)
    write_text(args.out / "timing.md", HEAD + "\n".join([said, "", *TABLE, *rows, ""]))


def real_seconds(settings: dict[str, Any]) -> dict[str, float]:
    """Of each stage of ``attribute``, without its figures."""
    with tempfile.TemporaryDirectory() as folder, stage_times(time.perf_counter) as took:
        saeattr.attribute(out=Path(folder) / "study", figures=False, device="cpu", **settings)
    return took
