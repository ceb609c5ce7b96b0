"""What page and figure read off the measurements: curves by layer, heads that stand out, a row for each checkpoint."""

from __future__ import annotations

import pandas as pd

from saeattr.recall.facts.check import ENTITY
from saeattr.recall.localisation.curves import FINAL, NEVER, crossing_layer, release_layer

#: A head is named that moves at least this share of the swing at some checkpoint.
STANDS_OUT = 0.1


def by_layer(rows: pd.DataFrame, what: str, place: str) -> pd.DataFrame:
    """Shares, steps by layers; checkpoints without any have no row."""
    own = rows[(rows["what"] == what) & (rows["place"] == place)]
    return own.pivot_table(index="step", columns="layer", values="value")


def scalars(rows: pd.DataFrame, what: str) -> pd.DataFrame:
    """value, low, high by step."""
    return rows[rows["what"] == what].set_index("step")[["value", "low", "high"]].sort_index()


def heads(rows: pd.DataFrame) -> pd.DataFrame:
    """Shares of z at the final position, steps by heads (``layer.head``)."""
    own = rows[(rows["what"] == "z") & (rows["place"] == FINAL)]
    names = own["layer"].astype(int).astype(str) + "." + own["head"].astype(int).astype(str)
    return own.assign(name=names).pivot_table(index="step", columns="name", values="value")


def standing_out(table: pd.DataFrame) -> list[str]:
    """The heads that move a share worth naming at some checkpoint, the largest first."""
    most = table.max().sort_values(ascending=False)
    return [str(name) for name in most.index[most >= STANDS_OUT]]


def leading_since(table: pd.DataFrame) -> int:
    """The first checkpoint from which on the head that ends as the largest is the largest."""
    same = table.idxmax(axis=1) == table.iloc[-1].idxmax()
    behind = list(same.index[~same])
    return int(min(step for step in table.index if not behind or step > behind[-1]))


def checkpoints(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a checkpoint: what it knows, and where the mean curves leave the entity and cross."""
    entity, final, z = by_layer(rows, "resid_pre", ENTITY), by_layer(rows, "resid_pre", FINAL), heads(rows)
    written = by_layer(rows, "mlp_out", FINAL)
    found = []
    for step in sorted(rows["step"].unique()):
        told = {what: scalars(rows, what).loc[step] for what in ("known", "first", "swing")}
        row = {
            "step": int(step),
            "known": f"{told['known']['value']:.0%}",
            "right answer first": f"{told['first']['value']:.0%}",
            "swing, logits": _with_ends(told["swing"]),
        }
        if step in entity.index:
            row |= {
                "entity before layer 1": _with_ends(_cell(rows, step, "resid_pre", 1)),
                "released": _layer(release_layer(entity.loc[step].tolist())),
                "crossing": _layer(crossing_layer(entity.loc[step].tolist(), final.loc[step].tolist())),
                "mlp_out at the end, 0 / 5": f"{written.loc[step].iloc[0]:.2f} / {written.loc[step].iloc[-1]:.2f}",
                "largest head": f"{z.loc[step].idxmax()}: {z.loc[step].max():.2f}",
            }
        found.append(row)
    return pd.DataFrame(found).fillna("-")


def _cell(rows: pd.DataFrame, step: int, what: str, layer: int) -> pd.Series:
    """A share at the entity with its ends."""
    own = rows[(rows["step"] == step) & (rows["what"] == what) & (rows["place"] == ENTITY) & (rows["layer"] == layer)]
    return own.iloc[0]


def _with_ends(one: pd.Series) -> str:
    return f"{one['value']:.2f} [{one['low']:.2f}, {one['high']:.2f}]"


def _layer(layer: int) -> str:
    return "never" if layer == NEVER else str(layer)
