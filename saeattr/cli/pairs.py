"""Pairs of your own, before anything is run with them, and those of ready behaviours as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saeattr.cli.app import OnceCommand, app, load_api
from saeattr.settings import read_text

pairs = typer.Typer(
    no_args_is_help=True,
    help="Files of pairs of prompts: check your own, write a ready behaviour's or a study's.",
)
app.add_typer(pairs, name="pairs")


@pairs.command(cls=OnceCommand)
def check(
    file: Annotated[str, typer.Argument(help="JSON lines, CSV or Parquet, or org/name of a dataset on the hub.")],
    model: Annotated[str, typer.Option(help="The model whose tokens count; its weights are not loaded.")] = "bundled",
    columns: Annotated[
        str | None, typer.Option(metavar="A,B", help="Columns of another name, such as clean=clean_prefix.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="What is to be explained, as for attribute.")] = None,
    contrast: Annotated[
        tuple[str, str] | None, typer.Option(metavar="A B", help="Two tokens in place of the answers.")
    ] = None,
    unequal: Annotated[str | None, typer.Option(help="refuse or zero, as for attribute.")] = None,
    base: Annotated[str | None, typer.Option(help="corrupted, zero or mean, as for attribute.")] = None,
    show: Annotated[int, typer.Option(help="Pairs to print token by token.", min=0)] = 2,
    faults: Annotated[Path | None, typer.Option(help="Write all rows that cannot be used into this CSV file.")] = None,
) -> None:
    """Say which rows make a pair with a model's tokenizer, token by token, and why the others do not."""
    api = load_api()
    from saeattr.files import write_text
    from saeattr.model.loading import find_model, load_tokenizer
    from saeattr.reporting.terminal.pairs import print_checked

    renamed = () if columns is None else read_text("columns", columns)
    settings = {"model": model, "metric": metric, "contrast": contrast, "unequal": unequal, "base": base}
    found = api.check_pairs(file, columns=renamed, **settings)
    print_checked(found, load_tokenizer(find_model(model, weights=False)), show)
    if faults is not None:
        write_text(faults, found.faults.to_csv(index=False))
    if not found.pairs:
        raise typer.Exit(2)


@pairs.command(cls=OnceCommand)
def write(
    behaviour: Annotated[str, typer.Option(help="A ready behaviour; saeattr behaviours lists them.")],
    out: Annotated[Path, typer.Option(help="The file: JSON lines, to be edited and given to --pairs.")],
    model: Annotated[str, typer.Option(help="The model whose tokens count; its weights are not loaded.")] = "bundled",
    group: Annotated[list[str] | None, typer.Option(help="A group; repeat for more; 'all' for every one.")] = None,
    n_pairs: Annotated[int, typer.Option(help="Rows of each group.", min=1, max=10_000)] = 100,
    seed: Annotated[int, typer.Option(help="Another seed draws other rows.", min=0)] = 0,
) -> None:
    """Write the rows of a ready behaviour, which its templates give with a model's tokenizer."""
    from saeattr.behaviours.ready.export import draw_rows, find_ready, write_rows
    from saeattr.model.loading import find_model, load_tokenizer

    found = find_ready(behaviour)
    rows = draw_rows(found, group or (), load_tokenizer(find_model(model, weights=False)), n_pairs, seed)
    write_rows(rows, out)
    for note in rows.notes:
        typer.echo(note)
    typer.echo(f"{out}: {len(rows.rows)} rows")


@pairs.command(cls=OnceCommand)
def export(
    run: Annotated[Path, typer.Argument(help="A study folder.")],
    out: Annotated[Path, typer.Option(help="The file to write: JSON lines, .jsonl or .json.")],
) -> None:
    """Write a study's pairs as a file of pairs, which --pairs reads back: to edit them, or for another model.

    A pair that would not be the same tokens again is left out and named.
    """
    load_api()
    from saeattr.reporting.terminal.pairs import print_exported
    from saeattr.study.results import load_study

    print_exported(load_study(run).export_pairs(out), out)
