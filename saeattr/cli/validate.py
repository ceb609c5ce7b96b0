"""Exact effects of a study's top features."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from saeattr.cli import options
from saeattr.cli.app import app


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
    from saeattr.report.terminal import StageProgress, print_study
    from saeattr.study import validate as run_validation

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
