"""Layer by token: what a token's clean activation restores in the corrupted run, of LD and of the answer's probability.

Denoising, in the layout of causal tracing (Meng et al. 2022): 1 restores what the clean prompt has, 0 nothing.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from saeattr.behaviours.pair import DECISION
from saeattr.patching.places import NO_POSITION
from saeattr.recall.facts.check import ENTITY
from saeattr.recall.localisation.curves import ENTITY_LAST, FACT, FINAL
from saeattr.tables import RECALL_RESTORED

#: What is mapped.
MAPPED = ("resid_pre", "attn_out", "mlp_out")
#: The roles of tokens in the order of a prompt; what comes before the entity is the same in both prompts.
AFTER = "after"
ROLES = (ENTITY, ENTITY_LAST, AFTER, FINAL)
#: A smaller rise of the probability is none that could be shared out.
SMALLEST_RISE = 0.01


def restored(patches: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Every token's patch in every layer, as shares: ``tables.RECALL_RESTORED``.

    Args:
        patches: ``tables.RECALL_PATCHES``; pairs: ``tables.PAIRS`` of the same facts.
    """
    single = (patches["position"] != NO_POSITION) & patches["component"].isin(MAPPED)
    own = patches[single & (patches["direction"] == "denoising")]
    if own.empty:
        return RECALL_RESTORED.empty()
    last = own["position"].where(own["place"] == ENTITY).groupby([own[name] for name in FACT]).transform("max")
    place = np.select(
        [own["place"] == DECISION, own["position"] == last, own["position"] < last], [FINAL, ENTITY_LAST, ENTITY], AFTER
    )
    rise, swing = own["p_clean"] - own["p_corrupted"], own["clean"] - own["corrupted"]
    words = pairs.set_index(["group", "pair_id"])["clean_tokens"].to_dict()
    keys = zip(own["category"], own["pair_id"], own["position"], strict=True)
    own = own.assign(
        place=place,
        token=[words[category, pair_id][position] for category, pair_id, position in keys],
        ld_share=own["effect"] / swing,
        p_share=((own["p_patched"] - own["p_corrupted"]) / rise).where(rise >= SMALLEST_RISE),
        swing=swing,
    )
    order = ["component", *FACT, "position", "layer"]
    return RECALL_RESTORED.frame(own.sort_values(order, kind="stable"))


def by_role(table: pd.DataFrame) -> pd.DataFrame:
    """Means over facts by component, role and layer: of each fact first over its tokens of the role.

    Returns:
        component, place, layer, ld_share, p_share, n_facts (that have such a token), n_p (that have a share of
        probability).
    """
    key = ["component", "place", "layer"]
    facts = table.groupby([*FACT, *key], as_index=False)[["ld_share", "p_share"]].mean()
    found = facts.groupby(key).agg(
        ld_share=("ld_share", "mean"),
        p_share=("p_share", "mean"),
        n_facts=("ld_share", "size"),
        n_p=("p_share", "count"),
    )
    return found.reset_index()


def examples(table: pd.DataFrame) -> list[tuple[str, str]]:
    """The facts of the largest, the median and the smallest swing, by category and pair_id; fewer of few facts."""
    swings = table.groupby(FACT)["swing"].first().sort_values(ascending=False, kind="stable")
    names: list[tuple[str, str]] = list(swings.index)
    return list(dict.fromkeys(names[at] for at in (0, len(names) // 2, len(names) - 1))) if names else []
