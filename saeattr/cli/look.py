"""Looking at a study that is there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saeattr.cli.app import command, load_api
from saeattr.errors import UserError


@command()
def report(
    run: Annotated[Path, typer.Argument(help="A study folder.")],
    top: Annotated[int, typer.Option(help="Features with a page of their own.", min=1)] = 100,
    model: Annotated[bool, typer.Option(help="Open the model for logits, neighbours and upstream features.")] = True,
    open_page: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
) -> None:
    """Write report.html of a study: one file that works offline."""
    api = load_api()
    from saeattr.reporting.terminal.progress import StageProgress

    with StageProgress() as progress:
        path = api.report(run, top=top, model=model, open_page=open_page, on_progress=progress)
    typer.echo(str(path))


@command()
def overlap(
    sources: Annotated[list[Path], typer.Argument(help="Study folders, or CSV, JSON or Parquet files.")],
    depth: Annotated[int, typer.Option(help="Features in a group's set at a site.", min=1)] = 30,
    top: Annotated[int, typer.Option(help="Features to print.", min=1)] = 20,
) -> None:
    """Say which features recur across groups, against chance."""
    api = load_api()
    from saeattr.reporting.terminal.listings import print_overlap

    found = api.overlap(sources, depth=depth)
    print_overlap(found.pairs, found.families, top)


@command()
def compare(
    a: Annotated[Path, typer.Argument(metavar="RUN_A", help="A study folder.")],
    b: Annotated[Path, typer.Argument(metavar="RUN_B", help="A study of another model on the same pairs.")],
    out: Annotated[Path | None, typer.Option(help="Folder for tables and figure.", show_default="runs/A-to-B")] = None,
    exact: Annotated[int, typer.Option(help="Of so many most changed features, exact effects too.", min=0)] = 0,
    controls: Annotated[int, typer.Option(help="Controls of each of these.", min=19, max=999)] = 39,
    smallest: Annotated[float, typer.Option(help="Smallest change of interest, as a share of the gap.", min=0)] = 0.01,
    top: Annotated[int, typer.Option(help="Features to print.", min=1)] = 20,
    figures: Annotated[bool, typer.Option(help="Draw the figure.")] = True,
    batch_size: Annotated[int, typer.Option(help="Prompts in one forward, for --exact.", min=1)] = 16,
    device: Annotated[str, typer.Option(help="Where --exact runs the models.")] = "auto",
) -> None:
    """Say which features' effects changed from one model to another: the same pairs, the same SAEs.

    Make the second study with attribute --pairs-of RUN_A. Changes are B minus A.
    """
    api = load_api()
    from saeattr.reporting.terminal.comparison import print_comparison
    from saeattr.reporting.terminal.progress import StageProgress

    with StageProgress() as progress:
        found = api.compare(
            a,
            b,
            out=out,
            exact=exact,
            controls=controls,
            smallest=smallest,
            figures=figures,
            batch_size=batch_size,
            device=device,
            on_progress=progress,
        )
    print_comparison(found, top)


@command()
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
    from saeattr.neuronpedia.inspection import inspect as run_inspect
    from saeattr.reporting.terminal.inspection import print_inspection
    from saeattr.reporting.terminal.progress import StageProgress

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


@command()
def saes(
    model: Annotated[str, typer.Option(help="A model by name, e.g. gemma-2-2b-it.")] = "gemma-2-2b-it",
    release: Annotated[str | None, typer.Option(help="A release in sae-lens' directory instead.")] = None,
    layer: Annotated[int | None, typer.Option(help="Only this layer.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind: resid_post, attn_z or mlp_out.")] = None,
    width: Annotated[str | None, typer.Option(help="Only this width, e.g. 16k.")] = None,
) -> None:
    """List published SAEs: site, width, L0, memory, Neuronpedia id, name; and which cannot be used, and why."""
    from saeattr.model.hub import named, unknown_model
    from saeattr.reporting.terminal.listings import print_published, print_refused
    from saeattr.saes.catalogue import published_saes, refused_saes
    from saeattr.sites import parse_kind

    known = named(model)
    if release is None and known is None:
        raise unknown_model(model)
    releases = known.releases if release is None and known is not None else (release or "",)
    rows = [sae for name in releases for sae in published_saes(name)]
    refused = {f"{name}/{sae_id}": reason for name in releases for sae_id, reason in refused_saes(name).items()}
    if not rows:
        print_refused(refused)
        return
    if kind is not None:
        rows = [sae for sae in rows if sae.site.kind == parse_kind(kind)]
    rows = [sae for sae in rows if layer in (None, sae.site.layer) and width in (None, sae.width)]
    if not rows:
        raise UserError(f"{', '.join(map(str, releases))} has no such SAE: leave out --layer, --kind or --width")
    print_published(rows, known if release is None else None)
    print_refused(refused)


@command()
def topics() -> None:
    """List the topics that the bundled model knows; any other topic can be tried too."""
    from saeattr.behaviours.lists.topics import TOPICS

    for topic in TOPICS:
        typer.echo(topic)


@command()
def behaviours() -> None:
    """List the behaviours: what each asks, an example, what others found, its metrics and its groups."""
    from saeattr.behaviours.behaviour import BEHAVIOURS, find_behaviour
    from saeattr.reporting.terminal.behaviours import behaviour_lines
    from saeattr.runs.metric import METRICS

    for name in BEHAVIOURS:
        typer.echo("\n".join(behaviour_lines(find_behaviour(name))))
    typer.echo("any behaviour:")
    for metric in METRICS.values():
        cost = " (reads the whole vocabulary)" if metric.whole_vocabulary else ""
        typer.echo(f"  --metric {metric.name}: {metric.help}{cost}")
