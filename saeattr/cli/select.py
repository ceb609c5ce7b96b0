"""Which layers are worth an SAE."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from saeattr.cli import options
from saeattr.cli.app import app


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
    from saeattr.report.listings import print_selection
    from saeattr.report.terminal import StageProgress
    from saeattr.study import select as run

    with StageProgress() as progress:
        found = run(topic, out=out, config=config, on_progress=progress, **settings)
    print_selection(found.table, found.reason)
