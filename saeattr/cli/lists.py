"""Lists by themselves: many of a model's own, those that others wrote, and what all of them are like."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saeattr.cli.app import OnceCommand, app, load_api
from saeattr.cli.options import read_numbers
from saeattr.settings import SETTINGS

lists_app = typer.Typer(help="Lists by themselves: draw many, read others', count them.", no_args_is_help=True)
app.add_typer(lists_app, name="lists")

GENERATING = """
**Examples**

`saeattr lists generate --topic all --lists 100 --out runs/lists`: 100 lists of each bundled topic

`saeattr lists generate --topic cities --request short --request long --temperatures 0.1,0.5,0.7,0.9,1.3`

`saeattr lists stats runs/lists`: what they are like
"""
IMPORTING = """
**Examples**

`saeattr lists import mine.txt --topic cities`: blocks of lines, a list each; writes mine.lists.parquet

`saeattr attribute --lists-from mine.lists.parquet --out runs/mine`: a study of them

`saeattr overlap runs/bundled runs/mine`: which features carry both the model's own lists and these
"""
COUNTING = """
**Examples**

`saeattr lists stats runs/lists mine.lists.parquet --out runs/lists-stats`: the model's lists beside others'

`saeattr lists stats ids.json --marks header=106/2516/108,end=107,newline=108,hyphen=235290,blank=235248`: token ids
without their tokenizer
"""

Requests = Annotated[
    list[str] | None, typer.Option(help="short, long, plain, few or many; repeat for more. [default: short]")
]


def _help(name: str) -> str:
    return f"{SETTINGS[name].help}."


@lists_app.command("generate", cls=OnceCommand, epilog=GENERATING)
def generate_lists(
    topic: Annotated[list[str] | None, typer.Option(help="Topic, or all; repeat for more. [default: cities]")] = None,
    request: Requests = None,
    lists: Annotated[int, typer.Option(help="Lists of each topic, request and temperature.")] = 10,
    temperature: Annotated[float | None, typer.Option(help=_help("temperature") + " [default: 0.8]")] = None,
    temperatures: Annotated[str | None, typer.Option(metavar="A,B", help="Several, such as 0.1,0.5,0.9.")] = None,
    top_p: Annotated[float, typer.Option(help=_help("top_p"))] = 0.9,
    max_new_tokens: Annotated[int, typer.Option(help=_help("max_new_tokens"))] = 200,
    seed: Annotated[int, typer.Option(help=_help("seed"))] = 0,
    model: Annotated[str, typer.Option(help=_help("model"))] = "bundled",
    dtype: Annotated[str | None, typer.Option(help=_help("dtype"))] = None,
    batch_size: Annotated[int, typer.Option(help=_help("batch_size"))] = 50,
    device: Annotated[str, typer.Option(help=_help("device"))] = "auto",
    out: Annotated[Path | None, typer.Option(help="Their folder. [default: runs/lists-MODEL]")] = None,
) -> None:
    """Let the model write lists of topics, behind several requests, at several temperatures.

    They go into a folder that is a dataset, part by part: the same command completes an unfinished one, and topics,
    requests and temperatures can be added. List n of a topic draws the same random numbers in each.
    """
    heats = None if temperatures is None else read_numbers("temperatures", temperatures)
    api = load_api()
    from saeattr.reporting.terminal.progress import StageProgress

    settings = {"temperature": temperature, "lists": lists, "top_p": top_p, "max_new_tokens": max_new_tokens}
    settings |= {"seed": seed, "model": model, "dtype": dtype, "batch_size": batch_size, "device": device}
    with StageProgress() as progress:
        folder = api.generate_lists(
            topic or "cities",
            out=out,
            request=request or "short",
            temperatures=heats,
            on_progress=progress,
            **{name: value for name, value in settings.items() if value is not None},
        )
    typer.echo(f"{folder}: saeattr lists stats {folder}")


@lists_app.command("import", cls=OnceCommand, epilog=IMPORTING)
def import_lists(
    file: Annotated[
        str, typer.Argument(help="JSON, JSON lines, Parquet, plain text, a folder of these, or org/name on the hub.")
    ],
    topic: Annotated[
        list[str] | None, typer.Option(help="What the lists are of, or which topics of the file; repeat for more.")
    ] = None,
    request: Annotated[
        str | None, typer.Option(help="What was asked, where the lists do not show it. [default: short]")
    ] = None,
    model: Annotated[str, typer.Option(help="The model that is to read them.")] = "bundled",
    out: Annotated[Path | None, typer.Option(help="Where they go. [default: FILE's name with .lists.parquet]")] = None,
) -> None:
    """Read lists written elsewhere as a model will: formats, items, and every row that cannot be used.

    They are put behind the model's request that they answer, for a short list where nothing says it, and written as one
    file for attribute --lists-from (which takes the first file as well).
    """
    from saeattr.behaviours.lists.placing import Placing
    from saeattr.behaviours.lists.topics import find_length
    from saeattr.corpus import importing
    from saeattr.corpus.read import find_lists
    from saeattr.model.loading import find_model, load_tokenizer, longest_input, read_config

    length = None if request is None else find_length(request)
    source = find_lists(file)
    folder = find_model(model, weights=False)
    placing = Placing(source.name, load_tokenizer(folder), longest_input(read_config(folder)))
    out = out or Path(f"{Path(source.name).stem}.lists.parquet")
    found = importing.import_lists(source, topic or (), placing, out, length)
    for name, tally in found.topics.items():
        typer.echo(f"{name}: {tally}")
    for problem in found.problems.lines("left out: "):
        typer.echo(problem)
    typer.echo(f"{out}: saeattr attribute --lists-from {out}")


@lists_app.command("stats", cls=OnceCommand, epilog=COUNTING)
def stats(
    sources: Annotated[
        list[str], typer.Argument(help="Generated folders, studies, files of lists, or org/name on the hub.")
    ],
    topic: Annotated[
        list[str] | None, typer.Option(help="Only these, or what the lists are of where they do not say.")
    ] = None,
    request: Annotated[
        str | None, typer.Option(help="What was asked, where the lists do not show it. [default: not known]")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Whose tokens count. [default: the model that wrote the lists, else bundled]")
    ] = None,
    marks: Annotated[
        str | None,
        typer.Option(help="Token ids of the marks of a list, in place of a tokenizer, such as end=107,newline=108,..."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also write tables and figures into this folder.")] = None,
) -> None:
    """Count lists: items, tokens, blanks and where they stand, repeats, diversity, and which topics are unlike.

    By topic, request, temperature and source; a study's long lists, and lists from elsewhere, stand beside.
    """
    api = load_api()
    from saeattr.reporting.terminal.lists import print_statistics
    from saeattr.reporting.terminal.progress import StageProgress

    with StageProgress() as progress:
        found = api.list_statistics(
            *sources, topic=topic or (), request=request, model=model, marks=marks, on_progress=progress
        )
    print_statistics(found.summary, found.blanks, found.exceptions, found.odd, found.tokens_of)
    for problem in found.problems.lines("left out: "):
        typer.echo(problem)
    if out is not None:
        typer.echo(str(found.write(out)))
