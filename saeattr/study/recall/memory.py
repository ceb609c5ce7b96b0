"""What memory localisation takes, by rehearsing its patches on meta tensors: before any weights are opened."""

from __future__ import annotations

from dataclasses import dataclass

from saeattr.model.memory import rehearse_patches
from saeattr.patching.activations import parts_to_run
from saeattr.recall.localisation.patches import fact_components
from saeattr.runs.memory import parse_bytes
from saeattr.runs.question import Pace
from saeattr.study.memory import model_without_weights
from saeattr.study.prepare import Prepared


@dataclass(frozen=True)
class RecallPlan:
    """Bytes of tensors by part, on the device; tables are put together on the host, at about 1 kB a row.

    Attributes:
        n_facts, length: facts, and tokens of the longest prompt.
        batch_size: facts in one forward, whose runs are held at once; copies: patched prompts in one forward.
        weights, captured: resident throughout: the model, and all runs of a batch at every component.
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
    """What patching facts batch by batch takes.

    The other parts hold the runs of all facts at few places; one that opens SAEs is planned when it comes
    (``saeattr plan`` says what that takes).
    """
    settings = prepared.settings
    meta, download = model_without_weights(prepared)
    batch, copies = min(settings.batch_size, n_facts), Pace().copies
    budget = None if settings.vram is None else parse_bytes(settings.vram)
    points = parts_to_run(fact_components(meta), meta.n_layers)
    one = rehearse_patches(meta, points, batch, length, copies)
    working = one.peak - one.kept
    peak = one.weights + one.kept + max(working, one.recompute)
    sizes = (batch, copies, one.weights, one.kept, working, one.recompute, peak)
    return RecallPlan(n_facts, length, *sizes, budget, download)
