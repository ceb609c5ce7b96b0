"""The main job, and what it would need."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from saeattr.cli import options
from saeattr.cli.app import app

EXAMPLES = """
**Examples**

`saeattr attribute --topic cities`: the bundled model, every layer, a minute on a laptop

`saeattr attribute --topic cities --topic animals --out runs/two`: which features recur across topics

`saeattr attribute --topic rivers --out runs/two`: add a topic to that study; the others are not computed again

`saeattr attribute --topic cities --base zero --sites resid_post.3,mlp_out.3`: other base, two sites

`saeattr attribute --topic cities --max-sites 4`: the four sites that the layer scores choose

`saeattr attribute --topic cities --contrast ' Paris' ' Tokyo'`: any two tokens as the metric
"""


@app.command(epilog=EXAMPLES)
def attribute(
    topic: Annotated[list[str] | None, typer.Option(help="A topic; repeat for more. 'all': every bundled one.")] = None,
    out: Annotated[Path | None, typer.Option(help="Study folder; an unfinished one is completed.")] = None,
    config: options.Config = None,
    lists: options.Lists = None,
    base: options.Base = None,
    method: options.Method = None,
    ig_steps: options.IgSteps = None,
    metric: options.Metric = None,
    contrast: options.Contrast = None,
    decision: options.Decision = None,
    layers: options.Layers = None,
    kinds: options.Kinds = None,
    sites: options.Sites = None,
    max_sites: options.MaxSites = None,
    model: options.Model = None,
    saes: options.Saes = None,
    sae_width: options.SaeWidth = None,
    sae_l0: options.SaeL0 = None,
    temperature: Annotated[float | None, typer.Option(help="Of the sampled lists. [default: 0.8]")] = None,
    top_p: Annotated[float | None, typer.Option(help="Of the sampled lists. [default: 0.9]")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Longest list, in tokens. [default: 200]")] = None,
    seed: Annotated[int | None, typer.Option(help="Of sampling and intervals. [default: 0]")] = None,
    batch_size: options.BatchSize = None,
    vram: options.Vram = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    validate: Annotated[bool, typer.Option(help="Measure the top features' exact effects.")] = True,
    validate_top: Annotated[int | None, typer.Option(help="Features validated in a topic. [default: 20]")] = None,
    top: Annotated[int, typer.Option(help="Features to print.", min=1)] = 20,
    figures: Annotated[bool, typer.Option(help="Draw the figures.")] = True,
) -> None:
    """Attribute the end of the model's lists to SAE features.

    Samples lists, pairs each with its long-list version, estimates every active feature's effect on the metric,
    measures the exact effect of the top ones, and writes tables, figures and a page into a study folder.
    """
    settings = options.settings_of(locals(), "topic", "out", "config", "top", "figures", "validate")
    if not validate:
        settings["validate_top"] = 0
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from saeattr.api import attribute as run
    from saeattr.reporting.terminal.study import StageProgress, print_study

    with StageProgress() as progress:
        study = run(topic, out=out, config=config, figures=figures, on_progress=progress, **settings)
        page = None
        if figures and study.topics:
            from saeattr.api import report as write_report

            page = write_report(study, model=False, on_progress=progress)
    print_study(study, top)
    if page is not None:
        typer.echo(f"report   {page} (saeattr report adds logits, neighbours and upstream features)")


@app.command()
def plan(
    config: options.Config = None,
    lists: options.Lists = None,
    length: Annotated[int, typer.Option(help="Tokens of the longest list with its request.", min=1)] = 60,
    layers: options.Layers = None,
    kinds: options.Kinds = None,
    sites: options.Sites = None,
    model: options.Model = None,
    saes: options.Saes = None,
    sae_width: options.SaeWidth = None,
    sae_l0: options.SaeL0 = None,
    batch_size: options.BatchSize = None,
    vram: options.Vram = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
) -> None:
    """Say what memory an attribution needs, part by part, without loading weights."""
    settings = options.settings_of(locals())
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from saeattr.api import plan as run
    from saeattr.model.loading import resolve_device
    from saeattr.reporting.terminal.listings import print_plan

    print_plan(run(**settings), str(resolve_device(device or "auto")))


@app.command()
def select(
    topic: Annotated[list[str] | None, typer.Option(help="A topic; repeat for more. 'all': every bundled one.")] = None,
    out: Annotated[Path | None, typer.Option(help="Study folder; attribute into it uses the choice.")] = None,
    config: options.Config = None,
    lists: options.Lists = None,
    kinds: options.Kinds = None,
    max_sites: options.MaxSites = None,
    model: options.Model = None,
    saes: options.Saes = None,
    sae_width: options.SaeWidth = None,
    sae_l0: options.SaeL0 = None,
    batch_size: options.BatchSize = None,
    vram: options.Vram = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
) -> None:
    """Score every site by logit lens, positional ablation and gradient; choose the best that fit.

    No SAE is opened for it. attribute does the same when no layers or sites are named.
    """
    settings = {name: value for name, value in locals().items() if name not in ("topic", "out", "config")}
    settings["kinds"] = options.names(kinds)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from saeattr.api import select as run
    from saeattr.reporting.terminal.listings import print_selection
    from saeattr.reporting.terminal.study import StageProgress

    with StageProgress() as progress:
        found = run(topic, out=out, config=config, on_progress=progress, **settings)
    print_selection(found.table, found.reason)


@app.command()
def validate(
    run: Annotated[Path, typer.Argument(help="A study folder.")],
    top: Annotated[int, typer.Option(help="Features tested in each topic.", min=1)] = 20,
    single: Annotated[
        bool, typer.Option("--single", help="Patch each feature in each list only where its attribution is largest.")
    ] = False,
    curves: Annotated[bool, typer.Option(help="Draw cumulative curves: many features patched together.")] = True,
    generate: Annotated[
        bool, typer.Option("--generate", help="Also sample lists while features are ablated (slow).")
    ] = False,
    generate_features: Annotated[int, typer.Option(help="Features ablated together at a site.", min=1)] = 5,
    batch_size: options.BatchSize = None,
    vram: options.Vram = None,
    device: options.Device = None,
    figures: Annotated[bool, typer.Option(help="Draw the figures.")] = True,
) -> None:
    """Measure exact effects of the top features of a study, against matched controls.

    Each tested feature is set to its base value with the error term kept, in every list; control features of the same
    site tell what such a change does by chance. An interrupted run goes on at the next feature.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from saeattr.api import validate as run_validation
    from saeattr.reporting.terminal.study import StageProgress, print_study

    with StageProgress() as progress:
        study = run_validation(
            run,
            top=top,
            positions="single" if single else "all",
            curves=curves,
            generate=generate,
            generate_features=generate_features,
            figures=figures,
            on_progress=progress,
            batch_size=batch_size,
            vram=vram,
            device=device,
        )
    print_study(study, top)
