"""Activation patching between clean and corrupted runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from saeattr.cli.app import command, load_api
from saeattr.cli.options import Config, takes_settings

EXAMPLES = """
**Examples**

`saeattr patch --topic cities`: the residual stream, attention and MLPs, layer by position role

`saeattr patch --topic cities --component z,pattern --by head`: layer by head

`saeattr patch --topic cities --component all --method both`: every component, and how well gradients predict it

`saeattr patch --behaviour facts --group capitals --by token --direction denoising`: clean into corrupted, by token
"""


@command(epilog=EXAMPLES)
@takes_settings("patch")
def patch(
    component: Annotated[
        str,
        typer.Option(
            help="What is patched, several with commas: resid_pre, q, k, v, scores, pattern, z, attn_out, resid_mid, "
            "mlp_out, resid_post, or all. [default: resid_pre,attn_out,mlp_out; by head z,pattern]",
            show_default=False,
        ),
    ] = "",
    by: Annotated[str, typer.Option(help="How effects are told apart: role, head, head-role or token.")] = "role",
    direction: Annotated[
        str, typer.Option(help="noising: corrupted into the clean run; denoising: clean into the corrupted run.")
    ] = "noising",
    method: Annotated[
        str, typer.Option(help="exact; attribution: by gradient, every component at once; both: and how they agree.")
    ] = "exact",
    most_pairs: Annotated[int, typer.Option(help="Pairs of each group that are patched.", min=1)] = 20,
    heads: Annotated[bool, typer.Option(help="Also which heads carry what differs to the decision.")] = True,
    out: Annotated[Path | None, typer.Option(help="Study folder; what it lacks is added.")] = None,
    config: Config = None,
    top: Annotated[int, typer.Option(help="Rows to print of each component.", min=1)] = 8,
    figures: Annotated[bool, typer.Option(help="Draw the figures.")] = True,
    **settings: Any,
) -> None:
    """Put a component's activation of one run into the other, layer by layer: where does what differs sit?

    Clean and corrupted prompts differ in a word; the metric is read as in attribute. Normalised effects are 0 where the
    patched run reads as the clean one and 1 where it reads as the corrupted one. No SAE is opened.
    """
    api = load_api()
    from saeattr.reporting.terminal.patching import print_patching
    from saeattr.reporting.terminal.progress import StageProgress
    from saeattr.study.patching import patching_stages, usual_components

    asked = {"component": component, "by": by, "direction": direction, "method": method, "most_pairs": most_pairs}
    with StageProgress() as progress:
        study = api.patch(
            **asked, heads=heads, out=out, config=config, figures=figures, on_progress=progress, **settings
        )
    names = [name.strip() for name in component.split(",") if name.strip()] or usual_components(by)
    print_patching(study, patching_stages(names, by, direction, method, most_pairs), names, top)
