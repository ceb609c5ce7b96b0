"""The main job, and what it would need."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from saeattr.cli.app import command, load_api
from saeattr.cli.options import Config, takes_settings
from saeattr.errors import UserError

EXAMPLES = """
**Examples**

`saeattr attribute --topic cities`: the bundled model, every layer, a minute on a laptop

`saeattr attribute --topic cities --topic animals --out runs/two`: which features recur across topics

`saeattr attribute --topic rivers --out runs/two`: add a topic to that study; the others are not computed again

`saeattr attribute --topic cities --lists 20 --out runs/two`: ten more of each of its topics; the first ten are kept

`saeattr attribute --topic cities --base zero --sites resid_post.3,mlp_out.3`: other base, two sites

`saeattr attribute --topic cities --max-sites 4`: the four sites that the layer scores choose

`saeattr attribute --topic cities --contrast ' Paris' ' Tokyo'`: any two tokens as the metric

`saeattr attribute --behaviour facts --group capitals`: facts in place of lists
"""

Figures = Annotated[bool, typer.Option(help="Draw the figures.")]


@command(epilog=EXAMPLES)
@takes_settings("attribute")
def attribute(
    out: Annotated[Path | None, typer.Option(help="Study folder; an unfinished one is completed.")] = None,
    config: Config = None,
    top: Annotated[int, typer.Option(help="Features to print.", min=1)] = 20,
    figures: Figures = True,
    validate: Annotated[bool, typer.Option(help="Measure the top features' exact effects.")] = True,
    **settings: Any,
) -> None:
    """Attribute what a model does, such as ending its lists, to SAE features.

    Makes pairs of prompts, estimates every active feature's effect on the metric, measures the exact effect of the top
    ones, and writes tables, figures and a page into a study folder.
    """
    if not validate:
        if settings.get("validate_top"):
            raise UserError("--no-validate leaves nothing for --validate-top: give one of them")
        settings["validate_top"] = 0
    api = load_api()
    from saeattr.reporting.terminal.progress import StageProgress
    from saeattr.reporting.terminal.study import print_study

    with StageProgress() as progress:
        study = api.attribute(out=out, config=config, figures=figures, report=figures, on_progress=progress, **settings)
    print_study(study, top)
    if figures:
        page = study.folder.root / "report.html"
        typer.echo(f"report   {page} (saeattr report adds logits, neighbours and upstream features)")


STUDY_EXAMPLES = """
**Examples**

`saeattr study --topic cities --topic animals`: the bundled model, in two or three minutes on two cores

`saeattr study --topic all --model gemma-2-2b-it --vram 20GiB`: the published study again, on a card

`saeattr study --behaviour facts --group capitals`: what applies to facts

`saeattr study --pairs mine.jsonl --model gpt2`: and to pairs of your own
"""


@command(epilog=STUDY_EXAMPLES)
@takes_settings("study")
def study(
    out: Annotated[Path | None, typer.Option(help="Study folder; an unfinished one is completed.")] = None,
    config: Config = None,
    top: Annotated[int, typer.Option(help="Features to print.", min=1)] = 20,
    figures: Figures = True,
    generate: Annotated[bool, typer.Option(help="Write lists while features are ablated.")] = True,
    **settings: Any,
) -> None:
    """Do everything, in order: statistics, entropy, lens, patching, selection, attribution, exact effects, generation.

    One folder and one report whose sections follow that order; what is done already is not done again. The commands of
    single stages add to the same folder.
    """
    api = load_api()
    from saeattr.reporting.terminal.progress import StageProgress
    from saeattr.reporting.terminal.study import print_parts, print_study

    with StageProgress() as progress:
        found = api.run_study(
            out=out, config=config, figures=figures, generate=generate, on_progress=progress, **settings
        )
    print_parts(found)
    print_study(found, top)
    if figures:
        typer.echo(f"report   {found.folder.root / 'report.html'}")


@command()
@takes_settings("plan")
def plan(
    config: Config = None,
    length: Annotated[int, typer.Option(help="Tokens of the longest prompt, with its answer.", min=1)] = 60,
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure this machine for a few seconds, and estimate the time.")
    ] = False,
    **settings: Any,
) -> None:
    """Say what a study needs before anything is loaded: downloads, the peak of each stage, what streams.

    Of the models that have a name here it is known without any file. Sites that are still to be chosen all count: they
    are captured before some are chosen.
    """
    from saeattr.reporting.terminal.plan import print_outlook, print_plan
    from saeattr.settings import make_settings
    from saeattr.study.outlook import named_outlook

    known = named_outlook(make_settings(settings, config), length)
    if known is not None:
        if not measure:
            print_outlook(known)
            return
        load_api()
        from saeattr.reporting.terminal.duration import print_duration
        from saeattr.study.timing import outlook_duration

        duration = outlook_duration(known)
        print_outlook(known)
        print_duration(duration)
        return
    api = load_api()
    from saeattr.model.loading import resolve_device

    found = api.plan(config=config, length=length, measure=measure, **settings)
    print_plan(found, str(resolve_device(make_settings(settings, config).device)))
    if measure:
        from saeattr.reporting.terminal.duration import print_duration

        print_duration(found.duration)


@command()
@takes_settings("select")
def select(
    out: Annotated[Path | None, typer.Option(help="Study folder; attribute into it uses the choice.")] = None,
    config: Config = None,
    **settings: Any,
) -> None:
    """Score every site by logit lens, positional ablation and gradient; choose the best within the limits.

    No SAE is fetched or opened for it. attribute does the same when no layers or sites are named, and goes on with
    a choice that is stored.
    """
    api = load_api()
    from saeattr.reporting.terminal.listings import print_selection
    from saeattr.reporting.terminal.progress import StageProgress

    with StageProgress() as progress:
        found = api.select(out=out, config=config, on_progress=progress, **settings)
    print_selection(found)


@command()
@takes_settings("validate", {"validate_top": "top"})
def validate(
    run: Annotated[Path, typer.Argument(help="A study folder.")],
    generate: Annotated[
        bool, typer.Option("--generate", help="Also sample lists while features are ablated (slow).")
    ] = False,
    figures: Figures = True,
    **settings: Any,
) -> None:
    """Measure exact effects of the top features of a study, against controls of equal length.

    Each tested feature is set to its base value with the error term kept, in pairs that did not rank it; controls move
    the activation as far along the directions of other features. An interrupted run goes on at the next feature.
    """
    api = load_api()
    from saeattr.reporting.terminal.progress import StageProgress
    from saeattr.reporting.terminal.study import print_study
    from saeattr.settings import SETTINGS

    with StageProgress() as progress:
        study = api.validate(
            run,
            generate=generate,
            figures=figures,
            on_progress=progress,
            **settings,
        )
    print_study(study, settings.get("validate_top", SETTINGS["validate_top"].default))
