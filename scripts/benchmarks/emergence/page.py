"""docs/recall-emergence.md, from what was measured."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from benchmarks.emergence.read import by_layer, checkpoints, heads, leading_since, scalars, standing_out
from benchmarks.sections import markdown
from saeattr.files import write_text
from saeattr.recall.facts.check import ENTITY
from saeattr.recall.localisation.curves import FINAL

#: Facts are known from this share of the rows on; a middle phase would carry as much of the swing.
MOSTLY = 0.5

HEAD = """# When recall emerges

    python scripts/build_bundled.py --checkpoints runs/emergence
    python scripts/benchmark.py emergence --checkpoints runs/emergence

The first command trains the bundled model by its own recipe and seed and saves it on the way; saving draws no random
number and changes no weight. The second measures every checkpoint alike and wrote this page. Two questions: are the
heads that move the entity in the trained model there before or after the facts are known, and is there a time in
training in which facts stay at the entity into the middle layers, as the sources find in larger models?

![what is known, what carries the swing and which heads move it](recall-emergence.png)"""

TABLE = """**known**: each prompt prefers its own answer; it is, like **right answer first** and **swing** (mean,
Student's 95 %), of all {rows} rows of `facts`; phrasings of a fact are not independent, so that interval is narrow. The
rest is of {facts} facts, the first three of each relation in the battery's order, in their first phrasing: chosen by no
model. A share is the mean effect of a patch (corrupted into clean) over the mean swing. **entity before layer 1** is
resid_pre there, **released** the layer from which the mean curve stays under 20 % of its maximum, **crossing** the one
from which the final position carries more, **largest head** the one whose z at the final position moves most.
"-": the interval of the mean swing of these facts reaches 0, so there is nothing to share."""

LIMITS = """One seed, one small model: how other seeds would come out was not measured. Every head and layer is in the
figure and none was picked, so this is a description and not a test. Where the swing is a few hundredths of a logit,
shares say where next to nothing comes from. What a patch of one head moves is its effect with all that later layers
make of it; shares of heads and MLPs do not add up to 1. The last row is the bundled model itself, which an
earlier state of the same script made; the rows above it are of a training that was repeated for this page, and whether
that would end in the same bytes was not checked: the last two rows may differ by more than time."""


def write_page(rows: pd.DataFrame, path: Path) -> None:
    n_rows = int(rows.loc[rows["what"] == "known", "n"].iloc[0])
    n_facts = int(rows.loc[rows["what"] == "z", "n"].iloc[0])
    table = markdown(checkpoints(rows))
    write_text(path, "\n\n".join([HEAD, table, TABLE.format(rows=n_rows, facts=n_facts), found(rows), LIMITS]) + "\n")


def found(rows: pd.DataFrame) -> str:
    """The answers to what was asked."""
    z, known, swing = heads(rows), scalars(rows, "known")["value"], scalars(rows, "swing")["value"]
    last, since = str(z.iloc[-1].idxmax()), leading_since(z)
    order = "before" if known[since] < MOSTLY else "not before"
    mostly = int(known.index[known >= MOSTLY][0])
    entity, final = by_layer(rows, "resid_pre", ENTITY).drop(columns=0), by_layer(rows, "resid_pre", FINAL)[1]
    most = entity.max(axis=1)
    step = int(most.idxmax())
    named = ", ".join(f"{name} {z[name].iloc[-1]:.2f}" for name in standing_out(z))
    phase = "No" if most.max() < MOSTLY else "A"
    return f"""- **The mover is there {order} the facts are known.** Head {last}, the largest of the trained model, is
  the largest from step {since} on, when {known[since]:.0%} of the rows are known and the mean swing is
  {swing[since]:.2f} logits; at step {mostly} half of the rows or more are known. Heads that move a tenth or more
  at some checkpoint, with their share in the trained model: {named}.
- **{phase} middle phase at any checkpoint.** Before layer 1 the final position carries {final.min():.2f} to
  {final.max():.2f} of the swing at every checkpoint that has one. The most that the entity still carries there or
  above is {most.max():.2f}, before layer {int(entity.loc[step].idxmax())} at step {step}."""
