"""What each stage of a study holds at its fullest moments, from what a rehearsal counted and the SAEs' sizes.

A stage is a table from moments to bytes of tensors, for batches of so many pairs and so many edited copies. The peak is
the largest. Nothing slow is imported here: a plan of a named model is arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from saeattr.model.costs import Costs
from saeattr.saes.sizes import DENSE_BYTES

#: Bytes at once for each (token, feature) of a dense encode: f of the clean run beside pre, relu and mask of the base.
ENCODE_BYTES = 17
#: Bytes for each row of attributions.parquet while a group's tables are put together (on the CPU).
ROW_BYTES = 350
#: Assumed active features a token where no table says otherwise; Gemma Scope's canonical SAEs have 50 to 150.
EXPECTED_L0 = 100
#: Captured runs that are kept in the host's memory; past that they are on disk.
HELD_ON_HOST = 4 * 2**30
#: Pairs of a group whose runs choose its sites, and on which features are tested, at most.
CHOOSING_PAIRS, TESTING_PAIRS = 4, 100
#: Bytes of keys and values that the lists of a batch may take, on the host and on a device of its own.
HOST_CACHE, DEVICE_CACHE = 2**30, 2**32
#: Hidden states of copies with many features patched (cumulative curves), at most; and sets of them for each pair.
CURVE_BYTES, CURVE_SETS = 2**28, 40
#: Tokens for each decision point of a prompt: a list's item with its hyphen and newline.
TOKENS_A_POINT = 4

#: Of (pairs in a batch, edited copies in a forward) the bytes of tensors at each moment, weights included.
Need = Callable[[int, int], Mapping[str, float]]


class Sized(Protocol):
    """An SAE whose size is known."""

    @property
    def d_in(self) -> int: ...

    @property
    def d_sae(self) -> int: ...

    @property
    def n_bytes(self) -> int: ...


@dataclass(frozen=True)
class Load:
    """What is to be held.

    Attributes:
        n_pairs, length: pairs of a group, and tokens of the longest.
        on_host: whether the device is the CPU, so that captured runs and tables count too.
        saes_in_memory: how many SAEs are held at once: the present one and the next.
        n_groups: whose runs are captured before the first SAE is opened.
        checked: pairs of a group in which whole sites are patched and reconstructed.
        number_bytes: of a number of the model's.
        ablated_lists: that are written under ablation in all.
    """

    n_pairs: int
    length: int
    on_host: bool = True
    saes_in_memory: int = 2
    n_groups: int = 1
    checked: int = 3
    number_bytes: int = 4
    ablated_lists: int = 2**20

    @property
    def points(self) -> int:
        """Decision points of a pair."""
        return max(1, self.length // TOKENS_A_POINT)


def stage_needs(costs: Costs, saes: Sequence[Sized], load: Load) -> dict[str, Need]:
    """What each stage needs; stages that are not named here are not predicted."""
    needs: dict[str, Need] = {
        "pairs": lambda batch, copies: _writing(costs, load, batch),
        "test_pairs": lambda batch, copies: _writing(costs, load, batch),
        "entropy": lambda batch, copies: _entropy(costs, load, batch),
        "lens": lambda batch, copies: {"forward": costs.weights + forward(costs, batch)},
    }
    if saes:
        needs["selection"] = lambda batch, copies: _selection(costs, load, batch)
        needs["attribution"] = lambda batch, copies: _attribution(costs, saes, load, batch)
        needs["validation"] = lambda batch, copies: _validation(costs, saes, load, batch, copies)
        needs["generation"] = lambda batch, copies: _generation(costs, saes, load, batch, copies)
    return needs


def _writing(costs: Costs, load: Load, batch: int) -> dict[str, float]:
    return {"keys, values and logits": costs.weights + costs.sample.of(min(batch, load.n_pairs))}


def patched_copies(costs: Costs, pairs: int) -> Need:
    """Of edited copies beside the runs of a batch."""
    base = costs.weights + costs.recorded.of(pairs)
    return lambda batch, copies: {"edited copies": base + costs.recompute.of(copies)}


def _entropy(costs: Costs, load: Load, batch: int) -> dict[str, float]:
    # Every item and its newline are read.
    read = batch * load.points * 2
    return {
        "forward": costs.weights + forward(costs, batch),
        "the whole vocabulary": costs.weights + costs.entropy.of(read),
    }


def _selection(costs: Costs, load: Load, batch: int) -> dict[str, float]:
    pairs = min(CHOOSING_PAIRS, load.n_pairs)
    at_once, base = min(batch, pairs), costs.weights + costs.captured.of(pairs)
    return {
        "forward and backward": base - costs.captured.of(at_once) + capture(costs, load, at_once),
        "patches": base + max(costs.recompute.of(batch), costs.read.of(batch)),
    }


def _attribution(costs: Costs, saes: Sequence[Sized], load: Load, batch: int) -> dict[str, float]:
    kept = held_runs(costs, saes, load)
    base = costs.weights + kept + held_saes(saes, load)
    # Layers' inputs, which layers above a site run from, come back to a card batch by batch.
    inputs = 0.0 if load.on_host else costs.recorded.of(min(batch, load.n_pairs))
    checked = min(load.checked, batch)
    moments = {
        "forward and backward": costs.weights
        + (max(0.0, kept - costs.captured.of(batch)) if load.on_host else 0.0)
        + capture(costs, load, batch),
        "encoding": base + encode(saes, batch * load.length),
    }
    if checked:
        moments["checks"] = base + inputs + max(costs.recompute.of(checked), costs.read.of(checked))
    if costs.slope.each:
        moments["steps to the base"] = base + inputs + costs.slope.of(batch) + costs.read.of(batch * load.points)
    return moments


def _validation(costs: Costs, saes: Sequence[Sized], load: Load, batch: int, copies: int) -> dict[str, float]:
    pairs = min(TESTING_PAIRS, load.n_pairs)
    batch = min(batch, pairs)
    runs = costs.weights + costs.recorded.of(pairs)
    base = runs + held_saes(saes, load)
    hidden = load.length * min(file.d_in for file in saes) * load.number_bytes
    edited = max(costs.recompute.of(copies), costs.read.of(copies))
    return {
        "forward": runs - costs.recorded.of(batch) + max(costs.record.of(batch), costs.read.of(batch * load.points)),
        "encoding": base + encode(saes, batch * load.length),
        "edited copies": base + edited,
        # Whole SAEs are encoded in the copies, at the half of their tokens that can have an effect.
        "many features together": base
        + min(CURVE_BYTES, CURVE_SETS * pairs * hidden)
        + max(edited, encode(saes, copies * load.length // 2)),
    }


def _generation(costs: Costs, saes: Sequence[Sized], load: Load, batch: int, copies: int) -> dict[str, float]:
    base = costs.weights + costs.recorded.of(min(load.n_pairs, TESTING_PAIRS)) + held_saes(saes, load)
    lists = min(lists_at_once(batch, copies, costs.cache.each, load.on_host), load.ablated_lists)
    # Beside each list another row may read it behind the corrupted request.
    return {"keys, values and logits": base + costs.sample.of(lists) + costs.cache.of(lists)}


def lists_at_once(batch: int, copies: int, cache: float, on_host: bool) -> int:
    """How many lists are written in one batch: of each list so many copies, as far as their caches have room.

    Args:
        cache: bytes of keys and values of a list at full length; beside it, at most one more row reads it.
    """
    room = int((HOST_CACHE if on_host else DEVICE_CACHE) // (2 * cache)) if cache else batch * copies
    return max(batch, min(batch * copies, room))


def forward(costs: Costs, batch: int) -> float:
    """The most while prompts run and nothing of them is kept."""
    return costs.record.of(batch) - costs.recorded.of(batch)


def capture(costs: Costs, load: Load, batch: int) -> float:
    """The most while a batch runs forward and backward, and its metric is read at all decision points."""
    return costs.capture.of(batch) + costs.read.of(batch * load.points)


def held_runs(costs: Costs, saes: Sequence[Sized], load: Load) -> float:
    """Captured runs on the device while SAEs pass: of all groups on the host, of one site and group on a card."""
    if load.on_host:
        return min(costs.captured.of(load.n_pairs) * load.n_groups, max(HELD_ON_HOST, costs.captured.of(load.n_pairs)))
    return 3.0 * load.n_pairs * load.length * max(file.d_in for file in saes) * load.number_bytes


def held_saes(saes: Sequence[Sized], load: Load) -> int:
    """The largest that are in memory together."""
    return sum(sorted((file.n_bytes for file in saes), reverse=True)[: load.saes_in_memory])


def encode(saes: Sequence[Sized], n_tokens: int) -> int:
    """Dense activations of the widest SAE."""
    widest = max(file.d_sae for file in saes)
    return ENCODE_BYTES * min(n_tokens, max(1, DENSE_BYTES // (4 * widest))) * widest


def table_bytes(saes: Sequence[Sized], load: Load) -> int:
    """Rows of attributions; half of the longest pair's tokens have an effect in a typical pair."""
    active = sum(min(EXPECTED_L0, file.d_sae // 20) for file in saes)
    return ROW_BYTES * load.n_pairs * load.length * active // 2
