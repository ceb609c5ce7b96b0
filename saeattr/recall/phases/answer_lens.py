"""What the stream would answer on its way: rank and log-probability of a fact's answers and of its entity, by layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from saeattr.behaviours.pair import Pair, chunks, pad_pairs
from saeattr.model.loading import LanguageModel
from saeattr.model.prompts import Prompts
from saeattr.model.unembed import unembedding
from saeattr.recall.facts.answers import Answers, read_answers
from saeattr.recall.facts.check import entity_positions
from saeattr.recall.localisation.curves import ENTITY_LAST, FINAL
from saeattr.runs.lens import EMBEDDING, as_final, residuals_at
from saeattr.runs.task import Task
from saeattr.tables import ANSWER_LENS

#: The token behind the entity.
BEHIND = "behind"
PLACES = (ENTITY_LAST, BEHIND, FINAL)
#: Logits that are held at a time: 64 MB.
MOST_LOGITS = 2**24


@dataclass(frozen=True)
class Reads:
    """Where a batch of prompts is read, place by place of each row, and which tokens' ranks are wanted there.

    Attributes:
        targets: clean_target, corrupt_target, and the entity's own tokens, the last of them again where another fact
            has more.
    """

    row: Int[Tensor, " reads"]
    position: Int[Tensor, " reads"]
    targets: Int[Tensor, "reads tokens"]


def depths(lm: LanguageModel) -> dict[str, tuple[str, int]]:
    """Hooks of the stream, from the embedding on, each with its component and layer; resid_mid where there is one."""
    found = {EMBEDDING: ("resid_pre", 0)}
    for layer in range(lm.n_layers):
        for component in ("resid_mid", "resid_post"):
            name = f"blocks.{layer}.hook_{component}"
            if name in lm.hook_points:
                found[name] = (component, layer)
    return found


@torch.no_grad()
def answer_lens(task: Task) -> pd.DataFrame:
    """Read every pair of facts at the entity's last token, behind it, and at the final position, in both runs.

    Args:
        task: pairs of facts, of any number of groups, each with its entity (role ``entity``).

    Returns:
        ``tables.ANSWER_LENS``; pairs without an entity have no rows.
    """
    pairs = [pair for pair in task.pairs if entity_positions(pair) and pair.corrupted_ids is not None]
    hooks, tables, done = depths(task.lm), [], 0
    for chunk in chunks(pairs, task.pace.batch_size):
        task.on_step("logit lens of facts", done, len(pairs))
        padded = pad_pairs(chunk, task.lm.pad_id, task.lm.device)
        assert padded.corrupted is not None
        for run, prompts in (("clean", padded.clean), ("corrupted", padded.corrupted)):
            tables.append(_in_run(task.lm, chunk, run, prompts, hooks))
        done += len(chunk)
    task.on_step("logit lens of facts", done, len(pairs))
    return ANSWER_LENS.frame(pd.concat(tables, ignore_index=True)) if tables else ANSWER_LENS.empty()


def _in_run(
    lm: LanguageModel, pairs: Sequence[Pair], run: str, prompts: Prompts, hooks: dict[str, tuple[str, int]]
) -> pd.DataFrame:
    """One of both prompts of some pairs."""
    reads = plan_reads(pairs, run)
    streams = residuals_at(lm, prompts, reads.row, reads.position, list(hooks))
    addresses = {
        "group": [pair.group for pair in pairs for _ in PLACES],
        "pair_id": [pair.pair_id for pair in pairs for _ in PLACES],
        "run": run,
        "place": [*PLACES] * len(pairs),
        "position": reads.position.numpy(),
    }
    tables = []
    for name, (component, layer) in hooks.items():
        where = {"component": component, "layer": layer}
        tables.append(pd.DataFrame({**addresses, **where, **_columns(lm, as_final(lm, streams[name]), reads.targets)}))
    return pd.concat(tables, ignore_index=True)


def plan_reads(pairs: Sequence[Pair], run: str) -> Reads:
    """Every place of every pair, in the order of pairs, and the tokens that are looked for."""
    most = max(len(entity_positions(pair)) for pair in pairs)
    rows, positions, targets = [], [], []
    for row, pair in enumerate(pairs):
        own, point = entity_positions(pair), pair.points[-1]
        ids = pair.clean_ids if run == "clean" else pair.corrupted_ids or ()
        entity = [ids[at] for at in own]
        wanted = [point.wanted[0], point.unwanted[0], *entity, *[entity[-1]] * (most - len(entity))]
        for position in (own[-1], own[-1] + 1, point.position):
            rows.append(row)
            positions.append(position)
            targets.append(wanted)
    return Reads(torch.tensor(rows), torch.tensor(positions), torch.tensor(targets))


def _columns(
    lm: LanguageModel, hidden: Float[Tensor, "reads d_model"], targets: Int[Tensor, "reads tokens"]
) -> dict[str, Any]:
    """Log-probabilities and ranks of the targets; of the entity's tokens those of the likeliest."""
    found = read_in_parts(lm, hidden, targets)
    names = ("clean", "corrupt", "entity")
    log_p = torch.cat([found.log_probs[:, :2], found.log_probs[:, 2:].amax(1, keepdim=True)], dim=1).double()
    ranks = torch.cat([found.ranks[:, :2], found.ranks[:, 2:].amin(1, keepdim=True)], dim=1)
    return {
        **{f"log_p_{name}": log_p[:, at].numpy() for at, name in enumerate(names)},
        **{f"rank_{name}": ranks[:, at].numpy() for at, name in enumerate(names)},
    }


def read_in_parts(
    lm: LanguageModel, hidden: Float[Tensor, "reads d_model"], targets: Int[Tensor, "reads tokens"]
) -> Answers:
    """``read_answers`` of so many rows at a time that no more than ``MOST_LOGITS`` logits are held."""
    size = max(1, MOST_LOGITS // unembedding(lm).shape[0])
    parts = [
        read_answers(lm, hidden[start : start + size], targets[start : start + size])
        for start in range(0, len(hidden), size)
    ]
    fields = [field.name for field in dataclasses.fields(Answers)]
    return Answers(**{name: torch.cat([getattr(part, name) for part in parts]) for name in fields})
