"""The command line: read arguments, call, print. Heavy imports happen inside the commands, so that --help is quick."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from saeattr.errors import UserError

#: What a wrong argument raises; typer has a click of its own in some versions, and click's in others.
_UsageError: Any = typer.BadParameter.__base__

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Which sparse-autoencoder features make a language model do that, and how do you know?",
)

EXAMPLES = """
**Examples**

`saeattr attribute --topic cities`: the bundled model, every layer, a minute on a laptop

`saeattr attribute --topic cities --topic animals --out runs/two`: which features recur across topics

`saeattr attribute --topic rivers --out runs/two`: add a topic to that study; the others are not computed again

`saeattr attribute --topic cities --base zero --sites resid_post.3,mlp_out.3`: other base, two sites

`saeattr attribute --topic cities --contrast ' Paris' ' Tokyo'`: any two tokens as the metric
"""


@app.command(epilog=EXAMPLES)
def attribute(
    topic: Annotated[list[str] | None, typer.Option(help="A topic; repeat for more. 'all': every bundled one.")] = None,
    out: Annotated[Path | None, typer.Option(help="Study folder; an unfinished one is completed.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with settings; flags override it.")] = None,
    lists: Annotated[int | None, typer.Option(help="Lists sampled for each topic. [default: 10]")] = None,
    base: Annotated[
        str | None, typer.Option(help="Patch features to: corrupted, zero or mean. [default: corrupted]")
    ] = None,
    method: Annotated[str | None, typer.Option(help="attribution, ig or relp. [default: attribution]")] = None,
    ig_steps: Annotated[int | None, typer.Option(help="Steps of integrated gradients. [default: 10]")] = None,
    metric: Annotated[
        str | None,
        typer.Option(help="end-vs-continue, blank-vs-newline or neg-log-prob. [default: end-vs-continue]"),
    ] = None,
    contrast: Annotated[
        tuple[str, str] | None, typer.Option(help="Metric logit(A) - logit(B) for two tokens.", metavar="A B")
    ] = None,
    decision: Annotated[
        str | None, typer.Option(help="Read the metric at the last newline, or the mean of all. [default: last]")
    ] = None,
    layers: Annotated[str | None, typer.Option(help="Layers, e.g. 0,3,5. [default: all with SAEs]")] = None,
    kinds: Annotated[str | None, typer.Option(help="resid_post, attn_z, mlp_out, with commas.")] = None,
    sites: Annotated[str | None, typer.Option(help="Sites, e.g. resid_post.0,attn_z.3.")] = None,
    model: Annotated[
        str | None, typer.Option(help="bundled, a folder or a name (gemma-2-2b-it). [default: bundled]")
    ] = None,
    saes: Annotated[str | None, typer.Option(help="A folder or releases of SAEs. [default: the model's own]")] = None,
    sae_width: Annotated[str | None, typer.Option(help="Width of published SAEs. [default: 16k]")] = None,
    sae_l0: Annotated[float | None, typer.Option(help="Take those with the nearest published L0.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Of the sampled lists. [default: 0.8]")] = None,
    top_p: Annotated[float | None, typer.Option(help="Of the sampled lists. [default: 0.9]")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Longest list, in tokens. [default: 200]")] = None,
    seed: Annotated[int | None, typer.Option(help="Of sampling and intervals. [default: 0]")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Prompts in one forward. [default: 16]")] = None,
    vram: Annotated[
        str | None, typer.Option(help="Memory to stay within, e.g. 8GiB: decides the batch. [default: no limit]")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N. [default: auto]")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16, float16. [default: bfloat16 on a GPU]")] = None,
    top: Annotated[int, typer.Option(help="Features to print.", min=1)] = 20,
    figures: Annotated[bool, typer.Option(help="Draw the figures.")] = True,
) -> None:
    """Attribute the end of the model's lists to SAE features.

    Samples lists, pairs each with its long-list version, estimates every active feature's effect on the metric, and
    writes tables and figures into a study folder.
    """
    settings = dict(locals())
    for name in ("topic", "out", "config", "top", "figures"):
        del settings[name]
    settings["layers"] = _numbers("--layers", layers)
    settings["kinds"] = _names(kinds)
    settings["sites"] = _names(sites)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from saeattr.report.terminal import StageProgress, print_study
    from saeattr.study import attribute as run

    with StageProgress() as progress:
        study = run(topic, out=out, config=config, figures=figures, on_progress=progress, **settings)
        page = None
        if figures and study.topics:
            from saeattr.study_report import report as write_report

            page = write_report(study, model=False, on_progress=progress)
    print_study(study, top)
    if page is not None:
        typer.echo(f"report   {page} (saeattr report adds logits, neighbours and upstream features)")


@app.command()
def plan(
    config: Annotated[Path | None, typer.Option(help="YAML file with settings; flags override it.")] = None,
    lists: Annotated[int | None, typer.Option(help="Lists sampled for each topic. [default: 10]")] = None,
    length: Annotated[int, typer.Option(help="Tokens of the longest list with its request.", min=1)] = 60,
    layers: Annotated[str | None, typer.Option(help="Layers, e.g. 0,3,5. [default: all with SAEs]")] = None,
    kinds: Annotated[str | None, typer.Option(help="resid_post, attn_z, mlp_out, with commas.")] = None,
    sites: Annotated[str | None, typer.Option(help="Sites, e.g. resid_post.0,attn_z.3.")] = None,
    model: Annotated[
        str | None, typer.Option(help="bundled, a folder or a name (gemma-2-2b-it). [default: bundled]")
    ] = None,
    saes: Annotated[str | None, typer.Option(help="A folder or releases of SAEs. [default: the model's own]")] = None,
    sae_width: Annotated[str | None, typer.Option(help="Width of published SAEs. [default: 16k]")] = None,
    sae_l0: Annotated[float | None, typer.Option(help="Take those with the nearest published L0.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Prompts in one forward. [default: 16]")] = None,
    vram: Annotated[str | None, typer.Option(help="Memory to stay within, e.g. 8GiB.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N. [default: auto]")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16, float16. [default: bfloat16 on a GPU]")] = None,
) -> None:
    """Say what memory an attribution needs, part by part, without loading weights."""
    settings = dict(locals())
    settings["layers"] = _numbers("--layers", layers)
    settings["kinds"] = _names(kinds)
    settings["sites"] = _names(sites)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from saeattr.model.loading import resolve_device
    from saeattr.report.terminal import print_plan
    from saeattr.study import plan as run

    print_plan(run(**settings), str(resolve_device(device or "auto")))


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
def saes(
    model: Annotated[str, typer.Option(help="A model by name, e.g. gemma-2-2b-it.")] = "gemma-2-2b-it",
    release: Annotated[str | None, typer.Option(help="A release in sae-lens' directory instead.")] = None,
    layer: Annotated[int | None, typer.Option(help="Only this layer.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind: resid_post, attn_z or mlp_out.")] = None,
    width: Annotated[str | None, typer.Option(help="Only this width, e.g. 16k.")] = None,
) -> None:
    """List published SAEs: site, width, L0, Neuronpedia id, release and id."""
    from saeattr.model.names import named, unknown_model
    from saeattr.report.terminal import print_published
    from saeattr.saes.catalogue import published_saes
    from saeattr.sites import parse_kind

    known = named(model)
    if release is None and known is None:
        raise unknown_model(model)
    releases = (release,) if release or known is None else known.releases
    rows = [sae for name in releases for sae in published_saes(name or "")]
    if kind is not None:
        rows = [sae for sae in rows if sae.site.kind == parse_kind(kind)]
    rows = [sae for sae in rows if layer in (None, sae.site.layer) and width in (None, sae.width)]
    if not rows:
        raise UserError(f"{', '.join(map(str, releases))} has no such SAE: leave out --layer, --kind or --width")
    print_published(rows, known.note if known is not None and release is None else "")


@app.command()
def topics() -> None:
    """List the topics that the bundled model knows; any other topic can be tried too."""
    from saeattr.prompts.topics import TOPICS

    for topic in TOPICS:
        typer.echo(topic)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from saeattr import __version__

        typer.echo(__version__)
        raise typer.Exit


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; a mistake of the user ends with one line and exit code 2."""
    try:
        status: Any = app(args=arguments, prog_name="saeattr", standalone_mode=False)
        code = status if isinstance(status, int) else 0
    except UserError as error:
        code = _fail(str(error))
    except _UsageError as error:
        # Without any argument the help is printed, and there is no message.
        code = _fail(error.format_message()) if error.format_message() else 2
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("interrupted: what is done is kept; the same command goes on from there", err=True)
        code = 130
    sys.exit(code)


def _fail(message: str) -> int:
    typer.echo("error: " + " ".join(message.split("\n")), err=True)
    return 2


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())


def _numbers(flag: str, text: str | None) -> tuple[int, ...] | None:
    names = _names(text)
    if names is None:
        return None
    if not all(name.isdigit() for name in names):
        raise UserError(f"{flag} cannot be {text!r}: write numbers with commas, e.g. 0,3,5")
    return tuple(int(name) for name in names)
