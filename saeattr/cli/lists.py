"""Lists that were written elsewhere, read with a model's tokenizer before a study is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saeattr.cli.app import OnceCommand, app
from saeattr.errors import UserError

lists_app = typer.Typer(help="Lists that a person or another model wrote.", no_args_is_help=True)
app.add_typer(lists_app, name="lists")

EXAMPLES = """
**Examples**

`saeattr lists import mine.txt --topic cities`: blocks of lines, a list each; writes mine.lists.parquet

`saeattr attribute --lists-from mine.lists.parquet --out runs/mine`: a study of them

`saeattr overlap runs/bundled runs/mine`: which features carry both the model's own lists and these
"""


@lists_app.command("import", cls=OnceCommand, epilog=EXAMPLES)
def import_lists(
    file: Annotated[Path, typer.Argument(help="JSON, JSON lines, Parquet (of a study's lists/), or plain text.")],
    topic: Annotated[
        list[str] | None, typer.Option(help="What the lists are of, or which topics of the file; repeat for more.")
    ] = None,
    model: Annotated[str, typer.Option(help="The model that is to read them.")] = "bundled",
    out: Annotated[Path | None, typer.Option(help="Where they go. [default: FILE's name with .lists.parquet]")] = None,
) -> None:
    """Read lists written elsewhere as a model will: formats, items, and every row that cannot be used.

    They are put behind the model's request for a short list and written as one file for attribute --lists-from (which
    takes the first file as well).
    """
    import pandas as pd

    from saeattr.behaviours.lists.decisions import describe
    from saeattr.behaviours.lists.placing import place_lists
    from saeattr.behaviours.lists.table import lists_to_rows
    from saeattr.behaviours.lists.written import read_list_file
    from saeattr.files import write_table
    from saeattr.model.loading import find_model, load_tokenizer, longest_input, read_config

    read = read_list_file(file)
    topics = read.groups(topic or ())
    folder = find_model(model, weights=False)
    tokenizer, longest = load_tokenizer(folder), longest_input(read_config(folder))
    tables, problems = [], list(read.problems)
    for name in topics:
        lists, wrong = place_lists(read, name, tokenizer, longest)
        problems += wrong
        if lists:
            typer.echo(f"{name}: {describe([one.parsed for one in lists])}")
            tables.append(lists_to_rows(lists))
    for problem in problems:
        typer.echo(f"left out: {problem}")
    if not tables:
        raise UserError(f"no list of {file} can be used")
    out = out or Path(f"{file.stem}.lists.parquet")
    write_table(out, pd.concat(tables, ignore_index=True))
    typer.echo(f"{out}: saeattr attribute --lists-from {out}")
