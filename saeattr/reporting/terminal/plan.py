"""A plan of memory for the terminal: what is downloaded, what each stage holds, what streams and what is held.

Nothing slow is imported here.
"""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from saeattr.reporting.terminal.console import open_console
from saeattr.runs.memory import MemoryPlan, megabytes
from saeattr.study.outlook import HOST, Outlook

#: Stages that run edited copies.
EDITED = ("validation", "generation")
#: Parts of a memory plan, and for how long each is held.
PLAN_PARTS = {
    "weights": "resident: the model",
    "captured": "while SAEs pass: the captured runs that are on the device",
    "working": "while a batch runs forward and backward",
    "validation": "while edited copies of the prompts run (in place of working)",
    "sae": "streamed: the present SAE and the next",
    "encode": "while an SAE encodes",
    "tables": "on the host, until written",
}


def print_outlook(found: Outlook, console: Console | None = None) -> None:
    """Print the plan of a named model: downloads, stages, methods, and what a budget suffices for."""
    console = console or open_console()
    plan, n_saes = found.plan, len(found.saes)
    console.print(escape(f"{found.model.name}: {found.model.line()}"), highlight=False)
    console.print(_downloads(found), highlight=False)
    print_plan(plan, f"{found.device}, in {found.dtype}", console)
    methods = Table(
        title=f"attribution's peak by method and metric, {plan.batch_size} pairs a batch", title_justify="left"
    )
    methods.add_column("method")
    methods.add_column("two tokens' logits", justify="right")
    methods.add_column("whole vocabulary (neg-log-prob)", justify="right")
    for method, peaks in found.methods.items():
        methods.add_row(method, *map(megabytes, peaks))
    console.print(methods)
    streams = f"all {n_saes} SAEs stream within {megabytes(found.streamed)}"
    if found.settings.vram is None:
        line = f"{streams}, one pair at a time"
    else:
        line = f"{streams} (--layers all); held together beside the model: {found.held}"
    console.print(line + f" ({found.settings.method})", highlight=False)


def print_plan(plan: MemoryPlan, device: str, console: Console | None = None) -> None:
    """Print what each part needs, what is resident and what is streamed, and the peak of each stage."""
    console = console or open_console()
    table = Table(
        title=f"memory on {escape(device)}, {plan.batch_size} pairs a batch, {plan.copies} edited copies",
        title_justify="left",
    )
    table.add_column("part")
    table.add_column("needs", justify="right")
    table.add_column("held")
    for part, held in PLAN_PARTS.items():
        table.add_row(part, megabytes(getattr(plan, part)), held)
    if plan.overhead:
        table.add_row("overhead", megabytes(plan.overhead), "resident: CUDA's context, and slack of its allocator")
    limit = "no limit given" if plan.budget is None else f"of {megabytes(plan.budget)}"
    table.add_row("[bold]peak[/]", f"[bold]{megabytes(plan.peak + plan.overhead)}[/]", limit)
    if plan.download:
        table.add_row("download", megabytes(plan.download), "from the hub, once")
    console.print(table)
    stages = Table(title="peak of each stage", title_justify="left")
    for name, side in (("stage", "left"), ("peak", "right"), ("batch", "right"), ("copies", "right"), ("at", "left")):
        stages.add_column(name, justify=side)  # pyright: ignore[reportArgumentType]
    for name, stage in plan.stages.items():
        copies = str(stage.copies) if name in EDITED else ""
        stages.add_row(name, megabytes(stage.predicted), str(stage.batch_size), copies, stage.most)
    stages.add_row("report", "0 MiB", "", "", "tables alone, on the host")
    console.print(stages)


def _downloads(found: Outlook) -> str:
    named = "named" if found.settings.names_sites else "on offer"
    model = megabytes(found.model_download) if found.model_download else "none (it is here)"
    saes = megabytes(found.sae_download) if found.sae_download else "none (they are here)"
    lines = [f"download: model {model}; SAEs of all {len(found.saes)} sites {named} {saes}"]
    if found.chosen is not None:
        n_chosen, n_bytes = found.chosen
        lines.append(
            f"chosen within the limits of --download and --max-sites: {n_chosen} at most, {megabytes(n_bytes)} at most"
        )
    if found.device == HOST:
        lines.append("no card is planned for: --vram or --device cuda does")
    return "\n".join(lines)
