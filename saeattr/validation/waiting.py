"""Runs without gradients that wait for the SAEs of several groups' features."""

from __future__ import annotations

from collections.abc import Sequence

from saeattr.runs.batch import BatchRuns
from saeattr.runs.kept import RunStore
from saeattr.runs.task import Task, iter_runs
from saeattr.saes.formats import SaeFile


def waiting_runs(task: Task, store: RunStore) -> list[BatchRuns]:
    """The runs of a task's pairs at its sites, with all that exact effects run again."""
    sites = [file.site for file in task.saes]
    return [store.keep(batch, range(task.lm.n_layers)) for batch in iter_runs(task, sites)]


def waiting_values(task: Task) -> int:
    """Numbers that such a run keeps of a token: x of both runs, and the layers' inputs."""
    width = task.lm.hf.config.get_text_config().hidden_size
    return 2 * sum(file.d_in for file in task.saes) + task.lm.n_layers * width


def files_of(tasks: Sequence[Task]) -> list[SaeFile]:
    """The SAEs of several groups, each once, in the order in which the model computes their sites."""
    return sorted({file.site: file for task in tasks for file in task.saes}.values(), key=lambda file: file.site)


def forget_keys_values(batches: Sequence[BatchRuns], n_groups: int) -> None:
    """Let go of what ``recompute`` keeps beside the runs, where the other groups' would be held as well."""
    for batch in batches if n_groups > 1 else ():
        batch.clean.calls.keys_values.clear()
