"""What memory a recall study takes, by rehearsing its patches on meta tensors: before any weights are opened."""

from __future__ import annotations

from dataclasses import dataclass

from saeattr.model.memory import rehearse_patches
from saeattr.patching.activations import parts_to_run
from saeattr.patching.components import COMPONENTS
from saeattr.runs.memory import parse_bytes
from saeattr.runs.question import Pace
from saeattr.study.memory import model_without_weights
from saeattr.study.prepare import Prepared
from saeattr.study.recall.localisation import stages


@dataclass(frozen=True)
class RecallPlan:
    """Bytes by part, on the device.

    Attributes:
        n_facts, length: facts held at once, and tokens of the longest prompt.
        batch_size: facts in one forward; copies: patched prompts in one.
        weights, captured: resident throughout: the model, and both runs of all facts at the widest component.
        working: the most that a forward of a batch needs beside them; patched: of the copies, in place of it.
        peak: predicted; budget: what the settings allow, None for no limit. Nothing is made smaller to stay within it.
        download: still to be fetched from the hub.
    """

    n_facts: int
    length: int
    batch_size: int
    copies: int
    weights: int
    captured: int
    working: int
    patched: int
    peak: int
    budget: int | None
    download: int


def plan_facts(prepared: Prepared, n_facts: int, length: int) -> RecallPlan:
    """What patching ``n_facts`` at once takes; parts that take category by category hold fewer.

    A stage that opens SAEs is planned by itself when it comes (``saeattr plan`` says what that takes).
    """
    settings = prepared.settings
    meta, download = model_without_weights(prepared)
    batch, copies = min(settings.batch_size, n_facts), Pace().copies
    budget = None if settings.vram is None else parse_bytes(settings.vram)
    plans = []
    for name in dict.fromkeys(stage.component for stage in stages()):
        points = parts_to_run([COMPONENTS[name]], meta.n_layers)
        one = rehearse_patches(meta, points, batch, length, copies)
        captured = one.kept * n_facts // batch
        working = one.peak - one.kept
        peak = one.weights + captured + max(working, one.recompute)
        sizes = (batch, copies, one.weights, captured, working, one.recompute, peak)
        plans.append(RecallPlan(n_facts, length, *sizes, budget, download))
    return max(plans, key=lambda plan: plan.peak)
