"""Looking at a study that is there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from saeattr.cli.app import app


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A study folder.")],
    top: Annotated[int, typer.Option(help="Features with a page of their own.", min=1)] = 100,
    model: Annotated[bool, typer.Option(help="Open the model for logits, neighbours and upstream features.")] = True,
    open_page: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
) -> None:
    """Write report.html of a study: one file that works offline."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from saeattr.report.terminal import StageProgress
    from saeattr.study_report import report as run_report

    with StageProgress() as progress:
        path = run_report(run, top=top, model=model, open_page=open_page, on_progress=progress)
    typer.echo(str(path))


@app.command()
def overlap(
    sources: Annotated[list[Path], typer.Argument(help="Study folders, or CSV, JSON or Parquet files.")],
    depth: Annotated[int, typer.Option(help="Features in a topic's set at a site.", min=1)] = 30,
    top: Annotated[int, typer.Option(help="Features to print.", min=1)] = 20,
) -> None:
    """Say which features recur across topics, against chance."""
    from saeattr.report.overlap_table import print_overlap
    from saeattr.study_report import overlap as run_overlap

    found = run_overlap(sources, depth=depth)
    print_overlap(found.pairs, found.families, top)
