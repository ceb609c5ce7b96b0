"""Weights on their way to a GPU: through two blocks of pinned memory, one filled while the other is sent.

A GPU reads pinned memory by itself; from other memory the driver copies first, and the thread that asked waits. Whole
SAEs are not pinned: memory that is pinned cannot be used for anything else, and an SAE of a million features has 19 GB.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Protocol

import torch
from torch import Tensor

PINNED_BYTES = 16 * 2**20


class Lane(Protocol):
    """Two blocks of host memory and a way from them to the device."""

    def block(self, nth: int) -> Tensor:
        """One of the two blocks (bytes), once what was in it has arrived."""
        ...

    def send(self, nth: int, to: Tensor) -> None:
        """Begin to copy the first bytes of a block to ``to``, without waiting."""
        ...

    def finish(self) -> None:
        """Wait until everything has arrived."""
        ...


class CudaLane:
    """Pinned memory, and a stream beside the one that computes."""

    def __init__(self, device: torch.device) -> None:
        with torch.cuda.device(device):
            self.blocks = [torch.empty(PINNED_BYTES, dtype=torch.uint8, pin_memory=True) for _ in range(2)]
            self.arrived = [torch.cuda.Event() for _ in range(2)]
            self.stream = torch.cuda.Stream(device)
            # What the allocator gave us may have been let go of by work that has not run yet.
            self.stream.wait_stream(torch.cuda.current_stream(device))

    def block(self, nth: int) -> Tensor:
        self.arrived[nth].synchronize()
        return self.blocks[nth]

    def send(self, nth: int, to: Tensor) -> None:
        with torch.cuda.stream(self.stream):
            to.copy_(self.blocks[nth][: len(to)], non_blocking=True)
            self.arrived[nth].record(self.stream)

    def finish(self) -> None:
        self.stream.synchronize()


def is_sent(device: torch.device) -> bool:
    """Whether tensors go to a device through pinned memory."""
    return device.type == "cuda"


def carried(host: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on ``device``; on the CPU it is not copied."""
    if not is_sent(device):
        return host.to(device)
    there = torch.empty(host.shape, dtype=host.dtype, device=device)
    source, at = _bytes(host.contiguous()), 0
    for block in blocks_of(there):
        block.copy_(source[at : at + len(block)])
        at += len(block)
    return there


def blocks_of(tensor: Tensor) -> Iterator[Tensor]:
    """Blocks of host memory, in order; what is written into each before the next is asked for fills ``tensor``.

    Of a tensor on the CPU it is its own memory; to a GPU the blocks are sent, and all have arrived at the end.
    """
    if not is_sent(tensor.device):
        yield _bytes(tensor)
    else:
        yield from sent_blocks(_bytes(tensor), CudaLane(tensor.device))


def sent_blocks(there: Tensor, lane: Lane) -> Generator[Tensor, None, None]:
    """The two blocks of a lane in turn, each sent to its part of ``there`` when the next is asked for."""
    try:
        for turn, lo in enumerate(range(0, len(there), PINNED_BYTES)):
            part, nth = there[lo : lo + PINNED_BYTES], turn % 2
            yield lane.block(nth)[: len(part)]
            lane.send(nth, part)
    finally:
        lane.finish()


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.view(-1).view(torch.uint8)
