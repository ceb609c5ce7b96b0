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


@app.command()
def inspect(
    run: Annotated[Path, typer.Argument(help="A study folder.")],
    top: Annotated[int, typer.Option(help="Features to look up.", min=1)] = 20,
    layer: Annotated[int | None, typer.Option(help="Only features of this layer.")] = None,
    network: Annotated[bool, typer.Option(help="Ask Neuronpedia what the cache does not have.")] = True,
    exports: Annotated[Path | None, typer.Option(help="A folder of Neuronpedia's bulk exports, read first.")] = None,
    make_list: Annotated[
        str | None, typer.Option(help="Make a Neuronpedia list of this name (key in NEURONPEDIA_API_KEY).")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the requests of --make-list.")] = False,
    open_pages: Annotated[bool, typer.Option("--open", help="Show them in the browser.")] = False,
    export_dashboard: Annotated[
        Path | None, typer.Option(help="Write each feature's page in Neuronpedia's JSON into this folder.")
    ] = None,
) -> None:
    """Look the top features up on Neuronpedia: pages, explanations, quick lists, lists."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from saeattr.report.inspect_table import print_inspection
    from saeattr.report.terminal import StageProgress
    from saeattr.study_inspect import inspect as run_inspect

    with StageProgress() as progress:
        found = run_inspect(
            run,
            top=top,
            layer=layer,
            network=network,
            exports=exports,
            make_list=make_list,
            dry_run=dry_run,
            open_pages=open_pages,
            export_dashboard=export_dashboard,
            on_progress=progress,
        )
    print_inspection(found)
