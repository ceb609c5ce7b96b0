"""What memory a recall study will need, before anything is fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from saeattr.api.begin import prepared_for
from saeattr.api.recalling import with_file
from saeattr.errors import UserError
from saeattr.recall.facts.batteries import default_battery, read_battery
from saeattr.recall.facts.check import align_facts
from saeattr.recall.facts.triage import FIRST, read_selection
from saeattr.study.recall.memory import RecallPlan, plan_facts


def plan_recall(
    facts: Any = None, *, selection: str = "B", config: str | Path | None = None, **settings: Any
) -> RecallPlan:
    """What memory ``run_recall`` will need, by part; no weights are loaded or fetched, nothing is written.

    Which facts the model knows is not known yet, so all that it can be asked are counted as known.

    Args:
        facts: a battery as for ``triage``; selection, config, settings: as for ``run_recall``.

    Raises:
        UserError: battery or model cannot be used, or no row of the battery can be asked.
    """
    letter, settings = read_selection(selection), with_file(config, settings)
    read = read_battery(default_battery(settings.get("model", "bundled")) if facts is None else facts)
    prepared = prepared_for("all", None, {"behaviour": "facts", **settings}, weights=False, with_saes=False)
    found, faults = align_facts(prepared.tokenizer, read.rows)
    if not found:
        raise UserError(f"none of the {len(faults)} rows of {read.name} can be asked of this model; {faults[0]}")
    categories = {fact.row.category for fact in found}
    single = {(fact.row.category, fact.row.fact) for fact in found}
    n_facts = {"A": min(FIRST, len(single)), "B": len(categories), "C": len(single)}[letter]
    return plan_facts(prepared, n_facts, max(len(fact.pair.clean_ids) for fact in found))
