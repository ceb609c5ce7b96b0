"""Loaded by every worker of this machine as it starts (Dask's ``preload``)."""

from __future__ import annotations

import signal
from typing import Any


def dask_setup(worker: Any) -> None:
    """Ctrl-C is for the process that plans, which then stops its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
