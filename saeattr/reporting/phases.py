"""When a fact is read, moved and written, in lines."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

from saeattr.recall.phases.ranges import ABSENT
from saeattr.recall.phases.redundancy import all_layers
from saeattr.reporting.numbers import interval_text
from saeattr.study.results import Study
from saeattr.tables import RECALL_ANSWERS, RECALL_CONCENTRATION, RECALL_JOINT, RECALL_PHASES


def phase_lines(study: Study) -> Iterator[str]:
    """The phases, how spread out the writing is, where the answer jumps, and layers together against single ones."""
    phases, spread = study.recall(RECALL_PHASES), study.recall(RECALL_CONCENTRATION)
    for row in phases[phases["direction"] == "noising"].to_dict("records"):
        yield f"{row['phase']} ({row['component']} at {row['place']}): {_where(row)}"
    for row in spread[(spread["direction"] == "noising") & (spread["carried"] >= ABSENT)].to_dict("records"):
        yield (
            f"{row['component']} at {row['place']}: {row['fewest']:.0f} of {row['n_layers']} layers "
            f"{_ends(row, 'fewest', 0)} hold 80% of what it moves, the largest alone {row['largest']:.2f} "
            f"{_ends(row, 'largest')}"
        )
    answers = study.recall(RECALL_ANSWERS)
    if len(answers):
        counts = answers["jump_layer"].value_counts().sort_index()
        said = ", ".join(f"{layer} ({count})" for layer, count in counts.items())
        yield f"logit lens at the final position: P(answer) jumps in layer {said} (facts)"
    joint = all_layers(study.recall(RECALL_JOINT))
    for row in joint[joint["direction"] == "noising"].to_dict("records"):
        yield (
            f"{row['component']} at {row['place']}, all layers at once: {row['joint']:.2f} {_ends(row, 'joint')} of "
            f"the swing, single layers summed {row['summed']:.2f} {_ends(row, 'summed')}"
        )


def _where(row: Mapping[Hashable, Any]) -> str:
    """In which layers a phase lies, or that it cannot be placed."""
    carries = f"carries {row['carried']:.2f} {_ends(row, 'carried')} of the swing"
    if row["carried"] < ABSENT:
        return f"{carries}, too little to be placed"
    return (
        f"layers {row['begin']:.0f} {_ends(row, 'begin', 0)} to {row['end']:.0f} {_ends(row, 'end', 0)} of "
        f"{row['n_layers']}, centre {row['centre']:.2f} {_ends(row, 'centre')}; {carries}"
    )


def _ends(row: Mapping[Hashable, Any], name: str, digits: int = 2) -> str:
    return interval_text(row[f"{name}_low"], row[f"{name}_high"], digits).replace("+", "")
