"""The workers: processes of this machine, started and stopped here, or those of a Dask cluster that runs."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from dask import config
from distributed import Client, LocalCluster

from saeattr.errors import UserError
from saeattr.model.loading import resolve_device
from saeattr.settings import StudySettings

#: Where the dashboard is, unless another program has the port.
DASHBOARD = "127.0.0.1:8787"
#: What to do when nobody hands out pieces any more.
LOST = (
    "the workers' scheduler was lost: what is done is kept, and the same command goes on from there when there is "
    "another one"
)
#: Seconds in which a scheduler has to answer.
ANSWERS_WITHIN = 20


@dataclass(frozen=True)
class Crew:
    """Workers that can be given pieces.

    Attributes:
        devices, threads: as in ``Place``.
        seen: the addresses of those that were there when it was last looked.
    """

    client: Client
    devices: tuple[str, ...] = ()
    threads: int | None = None
    seen: set[str] = field(default_factory=set)

    @property
    def threads_of(self) -> dict[str, int]:
        """The workers that are there now, by address: how many pieces each would take at once.

        Raises:
            UserError: their scheduler is gone.
        """
        try:
            found: Any = self.client.nthreads()
        except OSError as error:
            raise UserError(LOST) from error
        return dict(found)

    def look(self) -> set[str]:
        """Look who is there; the addresses of those that went since the last time.

        Raises:
            UserError: as ``threads_of``.
        """
        there = set(self.threads_of)
        gone = self.seen - there
        self.seen.clear()
        self.seen.update(there)
        return gone


@contextmanager
def crew_for(settings: StudySettings) -> Iterator[Crew]:
    """The workers that the settings ask for; those started here end with the block.

    Raises:
        UserError: no scheduler answers.
    """
    if settings.scheduler is not None:
        with _joined(settings.scheduler) as client:
            yield Crew(client)
        return
    assert settings.workers is not None
    devices, threads = local_devices(settings.device), threads_each(settings.workers)
    with _started(settings.workers, threads) as client:
        yield Crew(client, devices, threads)


def local_devices(device: str) -> tuple[str, ...]:
    """What workers of this machine run on, one after the other: every card, or what was asked for."""
    if device in ("auto", "cuda") and resolve_device(device).type == "cuda":
        return tuple(f"cuda:{number}" for number in range(torch.cuda.device_count()))
    return (str(resolve_device(device)),)


def threads_each(n_workers: int) -> int:
    """Of each worker's arithmetic: a share of those that this process has, or what OMP_NUM_THREADS says."""
    named = os.environ.get("OMP_NUM_THREADS", "")
    return int(named) if named.isdecimal() and int(named) else max(1, torch.get_num_threads() // n_workers)


@contextmanager
def _started(n_workers: int, threads: int) -> Iterator[Client]:
    environment = dict(os.environ)
    own = {"OMP_NUM_THREADS": str(threads), "TRANSFORMERS_VERBOSITY": "error"}
    with config.set({"distributed.nanny.pre-spawn-environ": {}}), warnings.catch_warnings():
        # Another port is taken then.
        warnings.filterwarnings("ignore", message="Port .* is already in use")
        cluster = LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            processes=True,
            # Dask would end a worker at its share of the memory; the plan of memory is the study's.
            memory_limit=0,
            dashboard_address=DASHBOARD,
            # Other users of this machine could otherwise send work to the scheduler's port.
            security=True,
            silence_logs=logging.CRITICAL,
            env=own,
            preload=["saeattr.cluster.preload"],
        )
    try:
        with Client(cluster, set_as_default=False) as client:
            yield client
    finally:
        cluster.close()
        # Nannies set variables of this process for those that they start.
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        os.environ.update(environment)


@contextmanager
def _joined(address: str) -> Iterator[Client]:
    try:
        client = Client(address, timeout=ANSWERS_WITHIN, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"no Dask scheduler answers at {address} ({str(error).splitlines()[0]}): start one with dask scheduler, "
            "and give the address that it prints"
        ) from error
    with client:
        yield client
