"""How open the next token is along a prompt: the entropy of the model's whole distribution, in nats.

    H = - sum_v p(v) log p(v),    p = softmax of the soft-capped logits at the last token of a span

exp(H) is the number of tokens among which an even choice would be as open.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from saeattr.behaviours.pair import Pair, chunks, pad_pairs
from saeattr.model.capture import final_hidden
from saeattr.model.loading import LanguageModel
from saeattr.model.prompts import Prompts
from saeattr.model.unembed import entropy, single_logits
from saeattr.reading.spans import Place, places
from saeattr.runs.task import Task
from saeattr.tables import ENTROPY

#: Which of a pair's prompts: the one an answer was written to, or read under.
CLEAN, CORRUPTED = "clean", "corrupted"


def entropy_rows(task: Task, roles: Sequence[str] = (), written: str = CLEAN) -> pd.DataFrame:
    """The entropy at the last token of each span, of the clean run and, where a token has a partner, of the corrupted.

    Only the hidden states at these tokens are kept of a forward, and the vocabulary is taken in slices.

    Args:
        roles: of the spans; without any, every one.
        written: which request of the study the pairs' answers were written to. Of pairs that a behaviour reversed it is
            the corrupted one, which is then their clean prompt; the rows name requests as the study does.

    Returns:
        group, pair_id, written, read, role, number, from_end, entropy (nats), probability (of the token that follows;
        NaN where none does).
    """
    tables = []
    read = {CLEAN: written, CORRUPTED: CLEAN if written == CORRUPTED else CORRUPTED}
    for done, chunk in enumerate(chunks(task.pairs, task.pace.batch_size)):
        task.on_step("entropy", done * task.pace.batch_size, len(task.pairs))
        clean = pad_pairs(chunk, task.lm.pad_id, task.lm.device).clean
        tables.append(_rows(task.lm, chunk, clean, places(chunk, roles), CLEAN))
        paired = [pair for pair in chunk if pair.corrupted_ids is not None]
        if paired:
            corrupted = pad_pairs(paired, task.lm.pad_id, task.lm.device).corrupted
            assert corrupted is not None
            known = [place for place in places(paired, roles) if place.corrupted >= 0]
            tables.append(_rows(task.lm, paired, corrupted, known, CORRUPTED))
    task.on_step("entropy", len(task.pairs), len(task.pairs))
    table = pd.concat(tables, ignore_index=True)
    return ENTROPY.frame(table.assign(written=written, read=table["read"].map(read)))


@torch.no_grad()
def _rows(lm: LanguageModel, pairs: Sequence[Pair], prompts: Prompts, where: Sequence[Place], run: str) -> pd.DataFrame:
    """The rows of one run of a batch."""
    own = [place.span.last if run == CLEAN else place.corrupted for place in where]
    row = torch.tensor([place.row for place in where], dtype=torch.long, device=lm.device)
    position = torch.tensor(own, dtype=torch.long, device=lm.device)
    hidden = final_hidden(lm, prompts)
    picked = hidden[row.to(hidden.device), position.to(hidden.device)]
    nats, total = entropy(lm, picked)
    following = [_next(pairs[place.row], at, place.follows, run) for place, at in zip(where, own, strict=True)]
    ids = torch.tensor(following, dtype=torch.long, device=picked.device)
    chosen = (single_logits(lm, picked, ids.clamp(min=0)) - total).exp().cpu().double().numpy()
    spans = [place.span for place in where]
    return pd.DataFrame(
        {
            "group": [pairs[place.row].group for place in where],
            "pair_id": [pairs[place.row].pair_id for place in where],
            "read": run,
            "role": [span.role for span in spans],
            "number": [span.number for span in spans],
            "from_end": [span.from_end for span in spans],
            "entropy": nats.cpu().double().numpy(),
            "probability": np.where(np.array(following, dtype=int) >= 0, chosen, np.nan),
        }
    )


def _next(pair: Pair, position: int, follows: bool, run: str) -> int:
    """The token behind a position; -1 for none."""
    ids = pair.clean_ids if run == CLEAN else pair.corrupted_ids or ()
    return ids[position + 1] if follows and position + 1 < len(ids) else -1
