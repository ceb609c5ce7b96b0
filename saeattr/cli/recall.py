"""Factual recall: which facts a model can be asked and knows, which of them are worth a closer look."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from saeattr.cli.app import OnceCommand, app, load_api
from saeattr.cli.options import Config, takes_settings
from saeattr.errors import UserError

recall = typer.Typer(
    no_args_is_help=True, help="Factual recall: check a battery of facts, rank it, patch it, compare models on it."
)
app.add_typer(recall, name="recall")

EXAMPLES = """
**Examples**

`saeattr recall check`: the bundled model's own facts

`saeattr recall check mine.json --model gemma-2-2b`: which of your rows Gemma can be asked, and why not the others

`saeattr recall triage --model gemma-2-2b --selection B --out runs/recall`: the best fact of each category

`saeattr recall plan --model gemma-2-2b`: what memory the next takes, before any weights are fetched

`saeattr recall run`: how the bundled model recalls its facts, all parts and the report

`saeattr recall compare runs/gemma runs/gpt2 --out runs/compared`: two models by fraction of depth

`saeattr recall patch runs/recall --out runs/patched`: in which layers the selected facts leave their entity

`saeattr attribute --pairs runs/recall/selected.jsonl --group all --model gemma-2-2b`: go on with the selected facts
"""

Rows = Annotated[
    Path | None,
    typer.Argument(
        help="JSON, JSON lines, CSV or Parquet with category, clean_prompt, corrupt_prompt, clean_target, "
        "corrupt_target, entity_token.",
        show_default=False,
    ),
]
Name = Annotated[
    str | None,
    typer.Option(
        "--battery",
        help="world: 31 categories of well-known facts; facts: what the bundled model was trained on. [default: facts "
        "for the bundled model, else world]",
    ),
]
ModelName = Annotated[
    str | None, typer.Option("--model", help="bundled, a folder or a name (gemma-2-2b, org/name). [default: bundled]")
]
Dtype = Annotated[
    str | None, typer.Option(help="float32, bfloat16 or float16. [default: bfloat16 on a GPU, else float32]")
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N, cuda*N (N cards) or mps. [default: auto]")]
Batch = Annotated[int | None, typer.Option("--batch-size", help="Prompts in one forward. [default: 16]", min=1)]
Chat = Annotated[bool, typer.Option("--chat", help="Each prompt is a user's turn, put into the model's chat template.")]
Source = Annotated[Path | None, typer.Argument(help="The folder of a triage, or a battery's file.", show_default=False)]
OfBattery = Annotated[str, typer.Option(help="Of a battery: A, B or C, as for triage.")]
Under = Annotated[
    float, typer.Option(help="A fact is released where the damage stays under this share of its maximum.")
]
OfTriage = Annotated[
    str | None, typer.Option("--model", help="A name or a folder. [default: that of the triage, else bundled]")
]
Show = Annotated[int, typer.Option(help="Rows of each table to print.", min=1)]


def _battery(file: Path | None, name: str | None) -> str | None:
    """What is asked: a file or a name; None for the model's own battery.

    Raises:
        UserError: both are given, or the name is no battery's.
    """
    if file is not None and name is not None:
        raise UserError(f"{file} and --battery {name} are both given: leave one of them out")
    if name is None:
        return None if file is None else str(file)
    from saeattr.recall.facts.batteries import BATTERIES

    if name not in BATTERIES:
        raise UserError(f"there is no battery {name!r}: choose one of {', '.join(BATTERIES)}, or give a file")
    return name


@recall.command(cls=OnceCommand, epilog=EXAMPLES)
def check(
    file: Rows = None,
    battery: Name = None,
    chat: Chat = False,
    config: Config = None,
    model: ModelName = None,
    dtype: Dtype = None,
    device: Device = None,
    batch_size: Batch = None,
    show: Show = 20,
    faults: Annotated[Path | None, typer.Option(help="Write all rows that are left out into this CSV file.")] = None,
) -> None:
    """Say which facts the model can be asked, which it knows, and why the other rows are left out.

    A row is asked if both prompts have equally many tokens and differ in the entity alone, which is there once, and
    both answers are one token each. A fact is known if each prompt prefers its own answer. Exit code 2 where none is.
    """
    api = load_api()
    from saeattr.files import write_text
    from saeattr.reporting.terminal.progress import StageProgress
    from saeattr.reporting.terminal.recall import print_recall_check

    with StageProgress() as progress:
        settings: dict[str, Any] = {"model": model, "dtype": dtype, "device": device, "batch_size": batch_size}
        asked: dict[str, Any] = {"chat": chat, "config": config}
        found = api.check_recall(_battery(file, battery), **asked, on_progress=progress, **settings)
    print_recall_check(found, show)
    if faults is not None:
        write_text(faults, found.unasked.to_csv(index=False))
    if found.known.empty:
        raise typer.Exit(2)


@recall.command(cls=OnceCommand, epilog=EXAMPLES)
def triage(
    file: Rows = None,
    battery: Name = None,
    selection: Annotated[
        str,
        typer.Option(
            help="A: the 15 known facts of the largest swing; B: the best of each category; C: all known facts."
        ),
    ] = "A",
    chat: Chat = False,
    out: Annotated[
        Path | None, typer.Option(help="A folder for tables, figures and selected.jsonl (pairs for --pairs).")
    ] = None,
    config: Config = None,
    model: ModelName = None,
    dtype: Dtype = None,
    device: Device = None,
    batch_size: Batch = None,
    figures: Annotated[bool, typer.Option(help="Draw the figures.")] = True,
    show: Show = 20,
) -> None:
    """Rank facts by the swing of LD = logit(clean_target) - logit(corrupt_target) between both prompts; select some."""
    api = load_api()
    from saeattr.reporting.terminal.progress import StageProgress
    from saeattr.reporting.terminal.recall import print_triage

    with StageProgress() as progress:
        settings: dict[str, Any] = {"model": model, "dtype": dtype, "device": device, "batch_size": batch_size}
        asked: dict[str, Any] = {"selection": selection, "chat": chat, "out": out, "config": config, "figures": figures}
        found = api.triage(_battery(file, battery), **asked, on_progress=progress, **settings)
    print_triage(found, show)
    if found.selected.empty:
        raise typer.Exit(2)


@recall.command(cls=OnceCommand, epilog=EXAMPLES)
def patch(
    source: Source = None,
    battery: Name = None,
    selection: OfBattery = "B",
    chat: Chat = False,
    under: Under = 0.2,
    out: Annotated[Path | None, typer.Option(help="Study folder; tables and figures are in recall/ in it.")] = None,
    model: OfTriage = None,
    config: Config = None,
    dtype: Dtype = None,
    device: Device = None,
    batch_size: Batch = None,
    figures: Annotated[bool, typer.Option(help="Draw the figures.")] = True,
    show: Show = 30,
) -> None:
    """Patch facts in every layer and both directions: where do they leave the entity and reach the final position?

    The stream and its parts at the entity and at the final position, token by token, and every head's z.
    """
    api = load_api()
    from saeattr.reporting.terminal.progress import StageProgress
    from saeattr.reporting.terminal.recall_patch import print_localisation

    with StageProgress() as progress:
        settings: dict[str, Any] = {"model": model, "dtype": dtype, "device": device, "batch_size": batch_size}
        asked: dict[str, Any] = {"selection": selection, "chat": chat, "under": under, "out": out, "figures": figures}
        asked["config"] = config
        found = api.patch_recall(_battery(source, battery), **asked, on_progress=progress, **settings)
    print_localisation(found, show)


@recall.command(cls=OnceCommand, epilog=EXAMPLES)
@takes_settings("recall run")
def run(
    source: Source = None,
    battery: Name = None,
    parts: Annotated[
        str | None,
        typer.Option(
            help="Some of localisation, phases, movers, suppression, mlps, shots and steering, with commas between. "
            "[default: all; steering, which opens SAEs, where they are the bundled model's or named]"
        ),
    ] = None,
    selection: OfBattery = "B",
    chat: Chat = False,
    under: Under = 0.2,
    out: Annotated[Path | None, typer.Option(help="Study folder; derived tables are in recall/ in it.")] = None,
    model: OfTriage = None,
    config: Config = None,
    dtype: Dtype = None,
    device: Device = None,
    batch_size: Batch = None,
    figures: Annotated[bool, typer.Option(help="Draw the figures, and write report.html.")] = True,
    **saes: Any,
) -> None:
    """Everything that can be asked of how a model recalls facts, in one folder and one report."""
    api = load_api()
    from saeattr.reporting.terminal.progress import StageProgress
    from saeattr.reporting.terminal.recall_study import print_recall_study

    with StageProgress() as progress:
        settings: dict[str, Any] = {"model": model, "dtype": dtype, "device": device, "batch_size": batch_size, **saes}
        asked: dict[str, Any] = {"selection": selection, "chat": chat, "under": under, "out": out, "figures": figures}
        asked["config"] = config
        found = api.run_recall(_battery(source, battery), parts=parts or (), **asked, on_progress=progress, **settings)
    print_recall_study(found)


@recall.command(cls=OnceCommand)
def plan(
    file: Rows = None,
    battery: Name = None,
    selection: Annotated[str, typer.Option(help="A, B or C, as for triage.")] = "B",
    config: Config = None,
    model: ModelName = None,
    dtype: Dtype = None,
    device: Device = None,
    batch_size: Batch = None,
) -> None:
    """Say what memory patching the facts takes, part by part, without loading or fetching weights."""
    api = load_api()
    from saeattr.reporting.terminal.recall_plan import print_recall_plan

    settings: dict[str, Any] = {"model": model, "dtype": dtype, "device": device, "batch_size": batch_size}
    print_recall_plan(api.plan_recall(_battery(file, battery), selection=selection, config=config, **settings))


@recall.command(cls=OnceCommand)
def beside(
    a: Annotated[Path, typer.Argument(help="The folder of a triage, such as of a base model.")],
    b: Annotated[Path, typer.Argument(help="Of the same battery asked of another model, such as a tuned one.")],
    out: Annotated[Path | None, typer.Option(help="A folder for the table and the figure.")] = None,
    show: Show = 20,
) -> None:
    """Put two models' triages side by side: which facts one knows and the other does not, and how the swing changed."""
    api = load_api()
    from saeattr.reporting.terminal.recall import print_beside

    print_beside(api.triage_beside(a, b, out=out), show)


@recall.command(cls=OnceCommand)
def compare(
    a: Annotated[Path, typer.Argument(help="A study folder of recall run, with the parts localisation and phases.")],
    b: Annotated[Path, typer.Argument(help="Another one, of a model of any depth.")],
    out: Annotated[Path | None, typer.Option(help="A folder for tables and the figure.")] = None,
) -> None:
    """Compare two models by fraction of depth: where facts leave the entity, cross and are answered, how spread out."""
    api = load_api()
    from saeattr.reporting.terminal.recall_compare import print_recall_comparison

    print_recall_comparison(api.compare_recall(a, b, out=out))


@recall.command(cls=OnceCommand)
def write(
    battery: Annotated[str, typer.Argument(help="world or facts.")],
    out: Annotated[Path, typer.Option(help="The file: .json, .jsonl or .csv, to be edited and given to check.")],
) -> None:
    """Write a battery that comes with the program as rows of six fields."""
    from saeattr.recall.facts.batteries import named_battery
    from saeattr.recall.facts.battery import write_battery

    found = named_battery(battery)
    write_battery(found, out)
    typer.echo(f"{out}: {len(found.rows)} rows")
