"""An estimate of time for the terminal. Nothing slow is imported here."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from saeattr.reporting.terminal.console import open_console
from saeattr.study.duration import Duration

#: How many times as long, or as short, a run may be: the worst of docs/timing.md, rounded up.
FACTOR = 4


def print_duration(found: Duration | None, console: Console | None = None) -> None:
    """Print the estimate, part by part with what takes most of it, and the speed that it rests on."""
    console = console or open_console()
    if found is None:
        console.print("time: nothing can be said, the model's configuration does not tell its shape", highlight=False)
        return
    speed = found.speed
    table = Table(
        title=f"time on {speed.device}, for one group of {found.n_pairs} pairs; a rough estimate", title_justify="left"
    )
    table.add_column("stage")
    table.add_column("part")
    table.add_column("takes", justify="right")
    table.add_column("rests on")
    stage = ""
    for part in found.parts:
        seconds = part.seconds(speed)
        table.add_row(part.stage if part.stage != stage else "", part.name, duration(seconds), part.rests_on(speed))
        stage = part.stage
    table.add_row("[bold]all[/]", "", f"[bold]{duration(found.seconds)}[/]", f"up to {FACTOR} times more or less")
    console.print(table)
    console.print(_measured(found), highlight=False)


def duration(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``3 min`` or ``2.5 h``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5970 else f"{seconds / 3600:.1f} h"


def _measured(found: Duration) -> str:
    speed = found.speed
    files = f"reading {speed.reading / 1e9:.2g} GB/s"
    if speed.from_cache:
        files += " (the system may have had the file in memory)"
    parts = [
        f"MLPs in {speed.dtype} {speed.prompts / 1e9:,.0f} GFLOP/s on prompts, {speed.copies / 1e9:,.0f} on edited "
        f"copies, {speed.writing / 1e9:,.0f} token by token",
        f"SAEs in float32 {speed.encoding / 1e9:,.0f} GFLOP/s",
        files,
    ]
    if speed.copying is not None:
        parts.append(f"copying to the card {speed.copying / 1e9:.2g} GB/s")
    parts.append(f"{speed.operations / 1e3:,.0f} thousand small operations a second")
    left_out = "Downloads, hashing, tables and figures are not in it; SAEs are read once for all groups."
    return f"measured: {'; '.join(parts)}. {left_out}"
