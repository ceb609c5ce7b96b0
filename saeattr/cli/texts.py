"""Texts of one's own, or a study's pairs: which features fire where."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saeattr.cli.app import command
from saeattr.errors import UserError

EXAMPLES = """
**Examples**

`saeattr look "The capital of France is" --site resid_post.3`: the five features that fire most

`saeattr look "Name three cities" --chat --site resid_post.3,mlp_out.2 --features resid_post.3/423 --out look.html`

`saeattr look --file prompts.txt --model gemma-2-2b --site resid_post.20 --features 16323,10257 --table firing.csv`

`saeattr look "- Paris" --study runs/bundled --features resid_post.3/423`: the model and the SAEs of a study

`saeattr look --study runs/bundled --features resid_post.3/423 --picture 423.png`: where it fires in the study's pairs
"""


@command(epilog=EXAMPLES)
def look(
    texts: Annotated[list[str] | None, typer.Argument(help="Texts, each in quotes.", show_default=False)] = None,
    file: Annotated[Path | None, typer.Option(help="A file with a text on each line (blank lines are none).")] = None,
    features: Annotated[
        str | None, typer.Option(help="Indices or addresses, with commas. [default: those that fire most]")
    ] = None,
    site: Annotated[
        list[str] | None, typer.Option(help="Sites, such as resid_post.3; with commas, or repeated.")
    ] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Each text is a user's turn, in the model's template.")] = False,
    top: Annotated[int, typer.Option(help="Features of each site, where none are named.", min=1)] = 5,
    study: Annotated[Path | None, typer.Option(help="A study whose model and SAEs are used.")] = None,
    group: Annotated[str | None, typer.Option(help="Without texts: pairs of this group. [default: all]")] = None,
    pairs: Annotated[int, typer.Option(help="Without texts: so many pairs of the study.", min=1)] = 6,
    model: Annotated[str | None, typer.Option(help="bundled, a folder or a name. [default: bundled]")] = None,
    saes: Annotated[str | None, typer.Option(help="A folder of SAEs or releases. [default: the model's own]")] = None,
    sae_width: Annotated[str | None, typer.Option(help="Width of published SAEs, such as 16k.")] = None,
    sae_l0: Annotated[float | None, typer.Option(help="Take the published SAEs with the nearest L0.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Numbers of the model's weights.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N, cuda*N or mps.")] = "auto",
    out: Annotated[Path | None, typer.Option(help="Write a page too (.html).")] = None,
    table: Annotated[Path | None, typer.Option(help="Write the table too (.csv or .parquet).")] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw each feature too (.png, and .svg beside it; of several NAME-FEATURE.png).")
    ] = None,
) -> None:
    """Say which features fire where in texts of your own or in a study's pairs, at every token but BOS."""
    given = [*(texts or []), *(_lines(file) if file is not None else [])]
    if not given and (study is None or file is not None):
        raise UserError('there is no text: write one in quotes (saeattr look "A short text") or give --file')
    for path, endings in ((out, (".html",)), (table, (".csv", ".parquet")), (picture, (".png",))):
        if path is not None and path.suffix not in endings:
            raise UserError(f"{path} cannot be written: name a file that ends with {' or '.join(endings)}")
    from saeattr.reporting.looks import write_firing, write_pictures
    from saeattr.reporting.page.look import write_look
    from saeattr.reporting.terminal.look import print_look
    from saeattr.reporting.terminal.progress import StageProgress
    from saeattr.study.looking import look as run_look

    sites = [name for part in site or () for name in part.split(",") if name.strip()]
    named = {"model": model, "saes": saes, "sae_width": sae_width, "sae_l0": sae_l0, "dtype": dtype}
    settings = {name: value for name, value in {**named, "sites": sites or None}.items() if value is not None}
    names = None if features is None else [name.strip() for name in features.split(",") if name.strip()]
    with StageProgress() as progress:
        found = run_look(
            given or None,
            study=study,
            features=names,
            group=group,
            pairs=pairs,
            chat=chat,
            top=top,
            device=device,
            on_progress=progress,
            **settings,
        )
    print_look(found)
    if out is not None:
        typer.echo(str(write_look(found, out)))
    if table is not None:
        typer.echo(str(write_firing(found, table)))
    if picture is not None:
        for path in write_pictures(found, picture, study):
            typer.echo(str(path))


def _lines(file: Path) -> list[str]:
    """The texts of a file, one a line."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read ({error}): give a file in UTF-8 with a text on each line") from error
    return [line for line in lines if line.strip()]
