"""Facts asked of a model: which it knows, how strongly, in which words, and beside another model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from transformers import PreTrainedTokenizerBase

from saeattr import bundle
from saeattr.behaviours.facts.behaviour import BEHAVIOUR
from saeattr.behaviours.given.prompts import read_prompt
from saeattr.behaviours.given.rows import RowFault
from saeattr.errors import UserError
from saeattr.files import write_tables
from saeattr.model.loading import LanguageModel, find_model, load_model, load_tokenizer, longest_input, read_config
from saeattr.progress import OnProgress, about, quiet
from saeattr.recall.facts.batteries import default_battery, read_battery
from saeattr.recall.facts.battery import Battery
from saeattr.recall.facts.check import AlignedFact, align_facts, given_rows
from saeattr.recall.facts.folder import Checked, Triage, check_folder, load_facts, unasked_table, write_triage
from saeattr.recall.facts.robustness import Beside, fact_spread, phrasing_means, side_by_side
from saeattr.recall.facts.triage import measure_facts, read_selection, select_facts, unknown_faults
from saeattr.settings import SETTINGS, make_settings
from saeattr.study.lock import locked
from saeattr.study.passed import take_passed
from saeattr.study.prepare import resolve
from saeattr.tables import BESIDE, TRIAGE

#: Settings that say which model, and where and how it runs.
NAMES = ("model", "tokenizer", "dtype", "device", "batch_size")
#: What recall takes of a file of settings: which model and SAEs, and how it runs; pairs and question are its own.
FROM_FILES = ("model and SAEs", "sites", "running")


def with_file(config: str | Path | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are given, on top of those of a YAML file that recall takes (``FROM_FILES``).

    Raises:
        UserError: the file cannot be read, or has a field that is no setting.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    if config is None:
        return given
    told = make_settings({}, Path(config)).model_dump(exclude_unset=True, exclude_none=True)
    return {name: value for name, value in told.items() if SETTINGS[name].part in FROM_FILES} | given


def check_recall(
    battery: Any = None,
    *,
    chat: bool = False,
    config: str | Path | None = None,
    on_progress: OnProgress = quiet,
    **settings: Any,
) -> Checked:
    """Which facts of a battery a model can be asked, and which of them it knows; nothing is written.

    Args:
        battery: ``world`` or ``facts``, a file (JSON, JSON lines, CSV, Parquet), a list of dicts or a DataFrame with
            the fields category, clean_prompt, corrupt_prompt, clean_target, corrupt_target and entity_token. By default
            ``facts`` for the bundled model, and ``world`` for any other.
        chat: each prompt is a user's turn, put into the model's chat template (``instruction`` and ``start`` of a row
            say what stands before it, and what the answer begins with).
        config: a YAML file of settings, such as those in configs/; keywords override it.
        settings: ``model`` (and ``tokenizer`` with a model that is passed), ``dtype``, ``device``, ``batch_size``.

    Raises:
        UserError: battery or model cannot be used, or no row of the battery can be asked.
    """
    return _check(battery, _asking(config, settings), chat, on_progress)[0]


def triage(
    battery: Any = None,
    *,
    selection: str = "A",
    chat: bool = False,
    out: str | Path | None = None,
    config: str | Path | None = None,
    figures: bool = True,
    on_progress: OnProgress = quiet,
    **settings: Any,
) -> Triage:
    """Ask a model a battery of facts, rank them by what the entity moves, and select some.

    Args:
        battery, chat, config, settings: as for ``check_recall``.
        selection: A (the 15 known facts of the largest swing), B (the best of each category) or C (all known ones).
        out: a folder for tables (Parquet and CSV), figures, and the selected facts as a file of pairs
            (``selected.jsonl``, for ``--pairs``); without one nothing is written.

    Raises:
        UserError: as ``check_recall``; the selection is unknown, or the folder holds something else.
    """
    wanted, folder = read_selection(selection), None if out is None else Path(out)
    if folder is not None:
        check_folder(folder)
    with nullcontext() if folder is None else locked(folder, on_progress=on_progress):
        checked, record = _check(battery, _asking(config, settings), chat, on_progress)
        checked = dataclasses.replace(checked, facts=TRIAGE.frame(select_facts(checked.facts, wanted)))
        found = Triage(checked, wanted, fact_spread(checked.facts), phrasing_means(checked.facts), folder)
        if folder is not None:
            write_triage(found, record)
            if figures:
                from saeattr.reporting.figures.recall import draw_triage

                draw_triage(found)
    return found


def triage_beside(a: str | Path | Triage, b: str | Path | Triage, *, out: str | Path | None = None) -> Beside:
    """The same battery asked of two models, such as a base model and a tuned one: what changed from A to B.

    Args:
        a, b: folders of ``triage``, or what it returned.
        out: a folder for the table (Parquet and CSV) and the figure.

    Raises:
        UserError: one is no triage, or they have no row in common.
    """
    (name_a, facts_a), (name_b, facts_b) = (_facts_of(one) for one in (a, b))
    if name_a == name_b:
        name_a, name_b = (f"{name} ({_place(one)})" for name, one in ((name_a, a), (name_b, b)))
    found = side_by_side(facts_a, facts_b, (name_a, name_b))
    if out is not None:
        from saeattr.reporting.figures.recall import draw_beside

        write_tables(Path(out), {BESIDE: found.rows})
        draw_beside(found, Path(out))
    return found


def _facts_of(one: str | Path | Triage) -> tuple[str, pd.DataFrame]:
    return (one.checked.model, one.facts) if isinstance(one, Triage) else load_facts(one)


def _place(one: str | Path | Triage) -> str:
    return str(one.folder or "not written") if isinstance(one, Triage) else str(one)


@dataclass(frozen=True)
class _Opened:
    """A model, the facts that it can be asked, why it cannot be asked others, and what identifies it."""

    lm: LanguageModel
    facts: list[AlignedFact]
    faults: list[RowFault]
    batch_size: int
    record: dict[str, Any]


def _asking(config: str | Path | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are given, and of a file those that say which model and how it runs."""
    told = {name: value for name, value in with_file(config, {}).items() if name in NAMES}
    return told | {name: value for name, value in settings.items() if value is not None}


def _check(
    battery: Any, settings: Mapping[str, Any], chat: bool, on_progress: OnProgress
) -> tuple[Checked, dict[str, Any]]:
    """What can be asked, with what identifies model and battery."""
    read = battery_for(settings, battery)
    opened = _open(read, settings, chat, on_progress)
    asked = measure_facts(opened.lm, opened.facts, opened.batch_size, about(on_progress, "recall"))
    unasked = unasked_table([*read.faults, *opened.faults, *unknown_faults(asked)])
    given = given_rows(opened.facts, read.name)
    notes = [*read.notes, *(_chat_notes(opened) if chat else [])]
    checked = Checked(opened.record["name"], read.name, asked, unasked, tuple(notes), given)
    return checked, {"model": opened.record, "battery": {"name": read.name, "sha256": read.sha256}, "chat": chat}


def battery_for(settings: Mapping[str, Any], battery: Any) -> Battery:
    """The battery that is given, or else that of the settings' model.

    Raises:
        UserError: it cannot be read.
    """
    return read_battery(default_battery(settings.get("model", "bundled")) if battery is None else battery)


def _chat_notes(opened: _Opened) -> list[str]:
    """What is sent, with the first fact as the example."""
    first = opened.facts[0].given
    sent = read_prompt(opened.lm.tokenizer, first, first.clean).text
    return [f"asked in the model's chat template: {sent!r} is to go on with {first.answer[0]!r}"]


def _open(battery: Battery, settings: Mapping[str, Any], chat: bool, on_progress: OnProgress) -> _Opened:
    """Align the rows, and open the model; weights are loaded only if there is something to ask."""
    unknown = [name for name in settings if name not in NAMES]
    if unknown:
        raise UserError(f"{unknown[0]!r} is not a setting of recall, which takes {', '.join(NAMES)}")
    passed, named = take_passed(dict(settings))
    asked = make_settings({**named, **passed.names}, None)
    chosen = resolve(asked, BEHAVIOUR, passed.model is not None, with_saes=False)
    if passed.model is not None:
        lm = passed.model.lm
        facts, faults = askable(lm.tokenizer, battery, longest_input(lm.hf.config), chat)
        record = {"name": lm.name, "sha256": passed.model.sha256, "dtype": chosen.dtype, "passed": True}
        return _Opened(lm, facts, faults, chosen.batch_size, record)
    folder = find_model(chosen.model)
    facts, faults = askable(load_tokenizer(folder), battery, longest_input(read_config(folder)), chat)
    on_progress("recall", "loading the model", 0, 1)
    lm = load_model(chosen.model, device=chosen.device, dtype=chosen.dtype or "float32")
    record = {"name": lm.name, "sha256": bundle.fingerprint(folder), "dtype": chosen.dtype}
    return _Opened(lm, facts, faults, chosen.batch_size, record)


def askable(
    tokenizer: PreTrainedTokenizerBase, battery: Battery, longest: int | None, chat: bool
) -> tuple[list[AlignedFact], list[RowFault]]:
    """The facts that can be asked, and why the others cannot be.

    Raises:
        UserError: there is none.
    """
    facts, faults = align_facts(tokenizer, battery.rows, longest, chat)
    if not facts:
        total = len(faults) + len(battery.faults)
        raise UserError(f"none of the {total} rows of {battery.name} can be asked of this model; {faults[0]}")
    return facts, faults
