"""A plan of memory that holds: what stays resident, what is streamed, and how many prompts share a batch.

The model's part is rehearsed on meta tensors (``saeattr.model.memory``); the SAE's part follows from its width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from saeattr.errors import UserError
from saeattr.model.memory import Rehearsal
from saeattr.runs.base import DENSE_BYTES
from saeattr.saes.loading import SaeFile

#: Bytes at once for each (token, feature) of a dense encode: f of the clean run beside pre, relu and mask of the base.
ENCODE_BYTES = 17
#: Bytes for each row of attributions.parquet while a group's tables are put together (on the CPU).
ROW_BYTES = 350
#: What sampling, pandas and the allocator hold besides, on the CPU.
HOST_BYTES = 56 * 2**20
#: Assumed active features a token where no table says otherwise; Gemma Scope's canonical SAEs have 50 to 150.
EXPECTED_L0 = 100

#: More edited copies in one forward than these are not faster: caches overflow on a CPU, a GPU is busy.
MOST_COPIES_ON_HOST, MOST_COPIES = 32, 512

#: From a batch size to what such a batch takes.
Rehearse = Callable[[int], Rehearsal]


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes by part, and the batch size that keeps the peak within the budget.

    Attributes:
        batch_size: pairs in one forward and backward.
        weights, captured: resident throughout: the model, and x, g and recompute's needs of all pairs.
        working: the most that a batch's forward and backward needs beside them.
        sae, encode: the SAEs in memory (the present one and the next), and the dense activations of one.
        tables: rows of attributions before they are written; on the host whatever the device.
        peak: predicted, on the device (host tables included where the device is the CPU).
        budget: what was allowed; None for no limit.
        copies: edited copies of a prompt in one forward of the validation.
        validation: the most that such a forward needs; never more than the attribution's peak, or the budget.
        download: still to be fetched from the hub.
    """

    batch_size: int
    weights: int
    captured: int
    working: int
    sae: int
    encode: int
    tables: int
    peak: int
    budget: int | None
    copies: int
    validation: int
    download: int = 0


@dataclass(frozen=True)
class Load:
    """What is to be held.

    Attributes:
        n_pairs, length: pairs of a group, and tokens of the longest.
        on_host: whether the device is the CPU, so that tables count too.
        saes_in_memory: how many SAEs are held at once.
    """

    n_pairs: int
    length: int
    on_host: bool = True
    saes_in_memory: int = 2


def plan_memory(
    rehearse: Rehearse, saes: Sequence[SaeFile], load: Load, batch_size: int, budget: int | None = None
) -> MemoryPlan:
    """The largest batch size up to ``batch_size`` whose predicted peak is within ``budget``.

    Args:
        rehearse: what a batch of so many pairs takes (of the load's length, with the sites of ``saes`` captured).
        saes: those that will be streamed.
        budget: bytes; None plans without a limit.

    Raises:
        UserError: one pair at a time is too much; the message names the smallest budget that works.
    """
    size = min(batch_size, load.n_pairs)
    while True:
        plan = _plan(rehearse(size), saes, load, size, budget)
        if budget is None or plan.peak <= budget:
            return plan
        if size == 1:
            raise UserError(
                f"a budget of {megabytes(budget)} is too small: the smallest that works here is "
                f"{megabytes(plan.peak)} (model {megabytes(plan.weights)}, captured runs {megabytes(plan.captured)}); "
                "raise --vram, name fewer --sites, or ask for fewer --lists"
            )
        size = (size + 1) // 2


def megabytes(n_bytes: int) -> str:
    """``1.5 GiB`` or ``200 MiB``; rounded up, so that a printed budget suffices."""
    if n_bytes >= 2**30:
        return f"{-(-n_bytes * 100 // 2**30) / 100:g} GiB"
    return f"{-(-n_bytes // 2**20)} MiB"


def parse_bytes(text: str) -> int:
    """Read ``8GiB``, ``200MiB``, ``24GB`` or a plain number of bytes.

    Raises:
        UserError: it is none of these.
    """
    units = {"gib": 2**30, "mib": 2**20, "kib": 2**10, "gb": 10**9, "mb": 10**6, "kb": 10**3, "b": 1, "": 1}
    folded = text.strip().lower().replace(" ", "")
    number = folded.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = folded[len(number) :]
    try:
        value = float(number) * units[unit]
    except (KeyError, ValueError) as error:
        raise UserError(f"{text!r} is not an amount of memory: write for example 8GiB or 200MiB") from error
    if not 0 < value < 2**60:
        raise UserError(f"{text!r} is not an amount of memory: it must be positive, for example 8GiB")
    return int(value)


def _plan(one: Rehearsal, saes: Sequence[SaeFile], load: Load, size: int, budget: int | None) -> MemoryPlan:
    """The plan for batches of ``size`` pairs, each of which takes what ``one`` says."""
    captured = one.kept * load.n_pairs // size
    widest = max(saes, key=lambda file: file.d_sae)
    sae = sorted((file.n_bytes for file in saes), reverse=True)
    held = sum(sae[: load.saes_in_memory])
    tokens = min(size * load.length, max(1, DENSE_BYTES // (4 * widest.d_sae)))
    encode = ENCODE_BYTES * tokens * widest.d_sae
    # Half of the longest pair's tokens have an effect in a typical pair.
    active = sum(min(EXPECTED_L0, file.d_sae // 20) for file in saes)
    tables = ROW_BYTES * load.n_pairs * load.length * active // 2
    host = HOST_BYTES if load.on_host else 0
    capturing = host + one.weights + captured + one.peak - one.kept
    attributing = one.weights + captured + held + max(encode, one.recompute) + (host + tables if load.on_host else 0)
    peak = max(capturing, attributing)
    working = one.peak - one.kept
    free = working if budget is None else max(working, budget - one.weights - captured - held - encode)
    each = max(1, one.recompute // size)
    copies = max(1, min(free // each, MOST_COPIES_ON_HOST if load.on_host else MOST_COPIES))
    return MemoryPlan(size, one.weights, captured, working, held, encode, tables, peak, budget, copies, copies * each)
