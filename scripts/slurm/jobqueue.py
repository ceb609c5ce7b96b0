"""Workers that are Slurm jobs of their own, as many as there is work for, by dask-jobqueue.

    python scripts/slurm/jobqueue.py --jobs 16 -- attribute --topic all --model gemma-2-2b-it --dtype bfloat16 ...

Runs where jobs are submitted from and stays until the study is there. Jobs begin and end at any time: a piece of work
whose job ends is done by another one. ``--local`` starts processes of this machine in place of jobs, to try it.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
from typing import Any


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=8, help="jobs of one card each, at most")
    parser.add_argument("--queue", help="the partition")
    parser.add_argument("--memory", default="32GB")
    parser.add_argument("--walltime", default="12:00:00")
    parser.add_argument("--gpu", default="--gpus=1", help="how your Slurm is asked for a card")
    parser.add_argument("--local", action="store_true", help="processes of this machine")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- and a command of saeattr")
    options = parser.parse_args(arguments)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        parser.error("give a command of saeattr behind --, such as -- attribute --topic cities")
    with contextlib.closing(cluster_of(options)) as cluster:
        cluster.scale(options.jobs)
        called = [sys.executable, "-m", "saeattr", *command, "--scheduler", cluster.scheduler_address]
        return subprocess.run(called, check=False).returncode


def cluster_of(options: argparse.Namespace) -> Any:
    """Jobs of one process each, which do one piece of work at a time."""
    if options.local:
        from distributed import LocalCluster

        # TLS would need certificates that the other process has, too.
        return LocalCluster(n_workers=0, threads_per_worker=1, memory_limit=0, dashboard_address="127.0.0.1:0")
    from dask_jobqueue.slurm import SLURMCluster

    return SLURMCluster(
        queue=options.queue,
        cores=1,
        processes=1,
        job_cpu=4,
        memory=options.memory,
        walltime=options.walltime,
        job_extra_directives=[options.gpu],
        # Dask would end a worker at its share of the memory; the plan of memory is the study's.
        worker_extra_args=["--memory-limit", "0"],
        job_script_prologue=["export OMP_NUM_THREADS=4"],
    )


if __name__ == "__main__":
    sys.exit(main())
