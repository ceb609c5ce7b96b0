"""What memory a recall study will need, before anything is fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from saeattr.api.begin import prepared_for
from saeattr.api.recalling import askable, battery_for, with_file
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
    read = battery_for(settings, facts)
    prepared = prepared_for("all", None, {"behaviour": "facts", **settings}, weights=False, with_saes=False)
    found, _ = askable(prepared.tokenizer, read, longest=None, chat=False)
    categories = {fact.row.category for fact in found}
    single = {(fact.row.category, fact.row.fact) for fact in found}
    n_facts = {"A": min(FIRST, len(single)), "B": len(categories), "C": len(single)}[letter]
    return plan_facts(prepared, n_facts, max(len(fact.pair.clean_ids) for fact in found))
