"""What the model does along the prompts, before any SAE is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from saeattr.cli.app import command, load_api
from saeattr.cli.options import Config, read_numbers, takes_settings

Out = Annotated[Path | None, typer.Option(help="Study folder; one that is there is gone on with.")]
At = Annotated[list[str] | None, typer.Option(help="Role of the tokens to read at, such as item; repeat for more.")]
Figures = Annotated[bool, typer.Option(help="Draw the figures.")]

LENS_EXAMPLES = """
**Examples**

`saeattr lens --topic cities`: both directions of the study, end against hyphen and blank against newline

`saeattr lens --topic cities --tokens ' Paris' ' Tokyo' --at item`: any two tokens, at the items

`saeattr lens --topic cities --temperatures 0.1,0.5,1.2`: also lists sampled at these temperatures, a panel each

`saeattr lens --behaviour facts --group capitals`: the metric of any behaviour, by role
"""


@command()
@takes_settings("entropy")
def entropy(out: Out = None, config: Config = None, at: At = None, figures: Figures = True, **settings: Any) -> None:
    """Say how open the next token is along the prompts, under the clean and the corrupted request; no SAE is opened.

    Entropy of the whole vocabulary in nats at the last token of each item (of other behaviours: of each role). Lists
    are also written to the long request and read under both.
    """
    api = load_api()
    from saeattr.reporting.terminal.progress import StageProgress
    from saeattr.reporting.terminal.reading import print_entropy

    with StageProgress() as progress:
        study = api.entropy(at=at, out=out, config=config, figures=figures, on_progress=progress, **settings)
    print_entropy(study)


@command(epilog=LENS_EXAMPLES)
@takes_settings("lens")
def lens(
    out: Out = None,
    config: Config = None,
    direction: Annotated[
        list[str] | None,
        typer.Option(help="end-vs-continue or blank-vs-newline of lists; metric for any behaviour; repeat for more."),
    ] = None,
    tokens: Annotated[
        tuple[str, str] | None, typer.Option(metavar="A B", help="Any two tokens: logit(A) - logit(B).")
    ] = None,
    at: At = None,
    temperatures: Annotated[
        str | None, typer.Option(metavar="A,B", help="Also lists sampled at these temperatures, such as 0.1,0.5,1.2.")
    ] = None,
    figures: Figures = True,
    **settings: Any,
) -> None:
    """Say in which layers a direction appears, by the logit lens at each position; no SAE is opened.

    After every layer the residual stream goes through the final norm and two tokens' unembedding rows, in the clean and
    in the corrupted run.
    """
    api = load_api()
    from saeattr.reporting.terminal.progress import StageProgress
    from saeattr.reporting.terminal.reading import print_lens

    with StageProgress() as progress:
        study = api.lens(
            direction=direction,
            tokens=tokens,
            at=at,
            temperatures=None if temperatures is None else read_numbers("temperatures", temperatures),
            out=out,
            config=config,
            figures=figures,
            on_progress=progress,
            **settings,
        )
    print_lens(study)
