"""Options that several commands share, and how their text becomes settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from saeattr.errors import UserError

Config = Annotated[Path | None, typer.Option(help="YAML file with settings; flags override it.")]
Lists = Annotated[int | None, typer.Option(help="Lists sampled for each topic. [default: 10]")]
Base = Annotated[str | None, typer.Option(help="Patch features to: corrupted, zero or mean. [default: corrupted]")]
Method = Annotated[str | None, typer.Option(help="attribution, ig or relp. [default: attribution]")]
IgSteps = Annotated[int | None, typer.Option(help="Steps of integrated gradients. [default: 10]")]
Metric = Annotated[
    str | None, typer.Option(help="end-vs-continue, blank-vs-newline or neg-log-prob. [default: end-vs-continue]")
]
Contrast = Annotated[
    tuple[str, str] | None, typer.Option(help="Metric logit(A) - logit(B) for two tokens.", metavar="A B")
]
Decision = Annotated[
    str | None, typer.Option(help="Read the metric at the last newline, or the mean of all. [default: last]")
]
Layers = Annotated[str | None, typer.Option(help="Layers, e.g. 0,3,5, or all. [default: the best that fit]")]
Kinds = Annotated[str | None, typer.Option(help="resid_post, attn_z, mlp_out, with commas.")]
Sites = Annotated[str | None, typer.Option(help="Sites, e.g. resid_post.0,attn_z.3.")]
Model = Annotated[str | None, typer.Option(help="bundled, a folder or a name (gemma-2-2b-it). [default: bundled]")]
Saes = Annotated[str | None, typer.Option(help="A folder or releases of SAEs. [default: the model's own]")]
MaxSites = Annotated[int | None, typer.Option(help="Choose at most so many sites. [default: no limit]")]
SaeWidth = Annotated[str | None, typer.Option(help="Width of published SAEs. [default: 16k]")]
SaeL0 = Annotated[float | None, typer.Option(help="Take those with the nearest published L0.")]
BatchSize = Annotated[int | None, typer.Option(help="Prompts in one forward. [default: 16]")]
Vram = Annotated[
    str | None, typer.Option(help="Memory to stay within, e.g. 8GiB: decides the batch. [default: no limit]")
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N, cuda*N (N cards) or mps. [default: auto]")]
Dtype = Annotated[str | None, typer.Option(help="float32, bfloat16, float16. [default: bfloat16 on a GPU]")]


def settings_of(arguments: dict[str, Any], *others: str) -> dict[str, Any]:
    """A command's arguments as settings, without those named in ``others``.

    Raises:
        UserError: the layers are not numbers.
    """
    settings = {name: value for name, value in arguments.items() if name not in others}
    settings["layers"] = _numbers("--layers", settings["layers"])
    settings["kinds"] = names(settings["kinds"])
    settings["sites"] = names(settings["sites"])
    return settings


def names(text: str | None) -> tuple[str, ...] | None:
    """The parts of a text with commas."""
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())


def _numbers(flag: str, text: str | None) -> tuple[int, ...] | str | None:
    parts = names(text)
    if parts is None:
        return None
    if parts == ("all",):
        return "all"
    if not all(part.isdigit() for part in parts):
        raise UserError(f"{flag} cannot be {text!r}: write numbers with commas, e.g. 0,3,5, or all")
    return tuple(int(part) for part in parts)
