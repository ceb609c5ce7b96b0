"""In which layer the final position begins to answer: the jumps of the answer's probability by the logit lens."""

from __future__ import annotations

import numpy as np
import pandas as pd

from saeattr.recall.localisation.curves import FACT, FINAL, NEVER
from saeattr.recall.phases.draws import Array
from saeattr.tables import RECALL_ANSWERS


def readouts(lens: pd.DataFrame) -> pd.DataFrame:
    """Where each fact's answer jumps, reaches half, and comes first: ``tables.RECALL_ANSWERS``.

    Args:
        lens: ``tables.ANSWER_LENS``; the clean run at the final position is read, behind whole layers.
    """
    own = lens[(lens["run"] == "clean") & (lens["place"] == FINAL) & (lens["component"] != "resid_mid")]
    rows = []
    for key, fact in own.groupby(["group", "pair_id"], sort=False):
        # Before layer 0 comes resid_pre, behind each layer its resid_post.
        ordered = fact.assign(behind=fact["component"] != "resid_pre").sort_values(["behind", "layer"])
        p = np.exp(ordered["log_p_clean"].to_numpy())
        rises = np.diff(p)
        first = ordered["rank_clean"].to_numpy()[1:] == 1
        above = (ordered["rank_clean"].to_numpy() < ordered["rank_entity"].to_numpy())[1:]
        rows.append(
            {
                **dict(zip(FACT, key, strict=True)),
                "n_layers": len(rises),
                "p_final": p[-1],
                "jump_layer": int(rises.argmax()),
                "jump": rises.max(),
                "half_layer": int((p[1:] >= p[-1] / 2).argmax()),
                "top_layer": stays_from(first),
                "outranks_layer": stays_from(above),
            }
        )
    return RECALL_ANSWERS.frame(pd.DataFrame(rows))


def stays_from(so: Array) -> int:
    """The first layer from which something is so to the end; ``NEVER`` where it is not at the end."""
    failing = np.flatnonzero(~so.astype(bool))
    first = int(failing[-1]) + 1 if len(failing) else 0
    return first if first < len(so) else NEVER
