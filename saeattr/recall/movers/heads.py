"""What every head does in every fact: where the final position looks, what it is given of it, and which heads move."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from saeattr.behaviours.pair import Pair
from saeattr.model.capture import Run
from saeattr.patching.components import PATTERN, Part, V, Z
from saeattr.patching.heads import batch_moves, parts_of_heads
from saeattr.recall.facts.answers import read_answers
from saeattr.recall.facts.check import ENTITY, entity_positions
from saeattr.recall.final_runs import final_batches, final_position
from saeattr.recall.movers.copying import written_of
from saeattr.runs.batch import BatchRuns
from saeattr.runs.task import Task
from saeattr.stats import ratio_interval
from saeattr.tables import RECALL_ATTENTION, RECALL_HEADS

#: A layer and a head of it.
Head = tuple[int, int]
#: A head copies where the entity's token is among so many that it raises most.
TOP = 10
#: A mover has at least this share of the gap, put in from the corrupted run alone.
MOVES = 0.05


def measure_heads(task: Task) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every head in every fact.

    Returns:
        ``tables.RECALL_ATTENTION`` and ``tables.RECALL_HEADS``.

    Raises:
        UserError: the model has no attention patterns, values or z that could be read.
    """
    attention, heads = [], []
    for batch in final_batches(task, parts_of_heads(task.lm)):
        attention.append(_attention(batch))
        heads.append(batch_moves(task, batch).merge(_ranks(batch)))
    found = pd.concat(heads, ignore_index=True)
    return RECALL_ATTENTION.frame(pd.concat(attention, ignore_index=True)), RECALL_HEADS.frame(found)


def _attention(batch: BatchRuns) -> pd.DataFrame:
    """From the final position to every token, in both runs."""
    assert batch.corrupted is not None
    last, n_layers, n_heads = final_position(batch), batch.lm.n_layers, Z.n_heads(batch.lm)
    tokens = [batch.lm.tokenizer.convert_ids_to_tokens(list(pair.clean_ids)) for pair in batch.pairs]
    index = pd.MultiIndex.from_product([range(len(batch.pairs)), range(n_layers), range(n_heads), range(last + 1)])
    row, layer, head, position = (index.get_level_values(level).to_numpy() for level in range(4))
    addresses = {
        "group": [batch.pairs[one].group for one in row],
        "pair_id": [batch.pairs[one].pair_id for one in row],
        "token": [tokens[one][at] for one, at in zip(row, position, strict=True)],
        "role": [batch.pairs[one].roles[at] for one, at in zip(row, position, strict=True)],
    }
    seen = {
        f"attention_{name}": _patterns(run, last, n_heads)
        for name, run in (("clean", batch.clean), ("corrupted", batch.corrupted))
    }
    return pd.DataFrame({**addresses, "layer": layer, "head": head, "position": position, **seen})


def _patterns(run: Run, last: int, n_heads: int) -> np.ndarray:
    """[facts, layers, heads, keys] of the final position's query, flat."""
    layers = [
        run.x[Part(PATTERN, layer)][:, last].float().unflatten(1, (n_heads, -1)) for layer in range(run.lm.n_layers)
    ]
    return torch.stack(layers, dim=1).flatten().cpu().double().numpy()


@torch.no_grad()
def _ranks(batch: BatchRuns) -> pd.DataFrame:
    """Of the entity's last token and of the answer, in what each head writes of that token."""
    lm, n_heads, n_kv = batch.lm, Z.n_heads(batch.lm), V.n_heads(batch.lm)
    at = torch.tensor([entity_positions(pair)[-1] for pair in batch.pairs])
    row = torch.arange(len(at))
    entity = batch.clean.prompts.tokens[row, at]
    points = [pair.points[-1] for pair in batch.pairs]
    answers = torch.tensor([[point.wanted[0], point.unwanted[0]] for point in points], device=entity.device)
    wanted = torch.cat([entity[:, None], answers], dim=1).repeat_interleave(n_heads, dim=0)
    tables = []
    for layer in range(lm.n_layers):
        values = batch.clean.x[Part(V, layer)][row, at].unflatten(1, (n_kv, -1))
        hidden = written_of(lm, layer, values.repeat_interleave(n_heads // n_kv, dim=1))
        ranks = read_answers(lm, hidden.flatten(0, 1), wanted).ranks.numpy()
        tables.append(
            pd.DataFrame(
                {
                    "group": np.repeat([pair.group for pair in batch.pairs], n_heads),
                    "pair_id": np.repeat([pair.pair_id for pair in batch.pairs], n_heads),
                    "layer": np.int16(layer),
                    "head": np.tile(np.arange(n_heads), len(at)).astype(np.int16),
                    "entity_rank": ranks[:, 0],
                    "answer_rank": ranks[:, 1],
                    "other_rank": ranks[:, 2],
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def entity_attention(attention: pd.DataFrame) -> pd.DataFrame:
    """Mean attention over facts, head by head: the columns of ``tables.RECALL_MOVERS`` that begin with ``attention``.

    Args:
        attention: ``tables.RECALL_ATTENTION``.
    """
    known = {ENTITY: "entity", "bos": "bos", "last": "final"}
    key = ["layer", "head"]
    own = attention.assign(to=attention["role"].map(known).fillna("other"))
    facts = own[["group", "pair_id"]].drop_duplicates().shape[0]
    clean = own.pivot_table(index=key, columns="to", values="attention_clean", aggfunc="sum", fill_value=0.0) / facts
    found = clean.reindex(columns=["entity", "bos", "final", "other"], fill_value=0.0).add_prefix("attention_")
    of_entity = own[own["to"] == "entity"].groupby(key)
    found["attention_entity_corrupted"] = of_entity["attention_corrupted"].sum() / facts
    length = own.groupby(["group", "pair_id", *key])["position"].transform("size")
    even = own.assign(even=1 / length)
    found["attention_uniform"] = even[even["to"] == "entity"].groupby(key)["even"].sum() / facts
    return found


def summarise_heads(heads: pd.DataFrame, attention: pd.DataFrame) -> pd.DataFrame:
    """Means over facts by layer and head: ``tables.RECALL_MOVERS`` without which were chosen.

    Args:
        heads, attention: ``tables.RECALL_HEADS`` and ``tables.RECALL_ATTENTION`` of the same facts.
    """
    rows = []
    for (layer, head), own in heads.groupby(["layer", "head"]):
        gap = (own["corrupted"] - own["clean"]).to_numpy()
        row = {"layer": layer, "head": head, "n_facts": len(own)}
        for name in ("direct", "ov", "exact"):
            ends = ratio_interval(own[f"{name}_effect"].to_numpy(), gap)
            row |= dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))
        rows.append(row)
    effects = pd.DataFrame(rows).set_index(["layer", "head"])
    ranks = {"entity_rank": "copies", "answer_rank": "answers", "other_rank": "others"}
    among = heads.groupby(["layer", "head"])[list(ranks)].agg(lambda rank: (rank <= TOP).mean()).rename(columns=ranks)
    return effects.join(among).join(entity_attention(attention)).reset_index()


def choose_movers(summary: pd.DataFrame) -> list[Head]:
    """The heads that move, the strongest first: they look at the entity and carry some of the gap.

    The strongest of those that attend to the entity more than evenly and whose effect's interval lies above 0 is one
    whatever its share; each other one has ``MOVES`` of the gap at least. None where none does.
    """
    looking = summary[(summary["attention_entity"] > summary["attention_uniform"]) & (summary["exact_low"] > 0)]
    ordered = looking.sort_values("exact", ascending=False)
    kept = ordered[(ordered["exact"] >= MOVES) | (np.arange(len(ordered)) == 0)]
    return [(int(row["layer"]), int(row["head"])) for row in kept.to_dict("records")]


def of_pairs(table: pd.DataFrame, pairs: Sequence[Pair]) -> pd.DataFrame:
    """The rows of some facts."""
    names = pd.MultiIndex.from_tuples([(pair.group, pair.pair_id) for pair in pairs])
    return table[pd.MultiIndex.from_frame(table[["group", "pair_id"]]).isin(names)]
