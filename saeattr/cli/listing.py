"""What there is: published SAEs, topics."""

from __future__ import annotations

from typing import Annotated

import typer

from saeattr.cli.app import app
from saeattr.errors import UserError


@app.command()
def saes(
    model: Annotated[str, typer.Option(help="A model by name, e.g. gemma-2-2b-it.")] = "gemma-2-2b-it",
    release: Annotated[str | None, typer.Option(help="A release in sae-lens' directory instead.")] = None,
    layer: Annotated[int | None, typer.Option(help="Only this layer.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind: resid_post, attn_z or mlp_out.")] = None,
    width: Annotated[str | None, typer.Option(help="Only this width, e.g. 16k.")] = None,
) -> None:
    """List published SAEs: site, width, L0, memory, Neuronpedia id, release and id."""
    from saeattr.model.names import named, unknown_model
    from saeattr.report.listings import print_published
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
    print_published(rows, known if release is None else None)


@app.command()
def topics() -> None:
    """List the topics that the bundled model knows; any other topic can be tried too."""
    from saeattr.prompts.topics import TOPICS

    for topic in TOPICS:
        typer.echo(topic)
