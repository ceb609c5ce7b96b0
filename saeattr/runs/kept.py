"""Captured runs that wait for SAEs: on the host, and past a limit in files that are mapped into memory.

Gradients never pass an SAE, so the runs of all groups can be made first, and every SAE is then opened once for all of
them. x and g of 26 layers of a prompt of 60 tokens are about 15 MB in bfloat16.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from saeattr.files import disk_errors
from saeattr.model.capture import LayerCalls, Run
from saeattr.model.hookpoints import HookPoint
from saeattr.runs.batch import BatchRuns
from saeattr.runs.needs import HELD_ON_HOST

#: In a file each tensor begins at a multiple of so many bytes.
_ALIGNED = 64


@dataclass
class RunStore:
    """Where runs wait.

    Attributes:
        folder: of the files past the limit; None keeps all in memory.
        limit: bytes that stay in memory.
        held: bytes in memory so far; files: written so far.
    """

    folder: Path | None = None
    limit: int = HELD_ON_HOST
    held: int = 0
    files: int = 0

    def keep(self, batch: BatchRuns, inputs_of: Collection[int]) -> BatchRuns:
        """The same runs with x and g of all sites, and the inputs of some layers, off the device.

        The inputs of other layers are let go of. On the CPU nothing is copied until the limit is reached.

        Args:
            inputs_of: layers; ``recompute`` needs the input of a layer that a site lies in, and those of all layers
                above where it is told a span that begins later than the prompt.

        Raises:
            UserError: the disk is full or the folder cannot be written.
        """
        calls = batch.clean.calls
        inputs = [value if layer in inputs_of else value.new_empty(0) for layer, value in enumerate(calls.inputs)]
        corrupted = {} if batch.corrupted is None else batch.corrupted.x
        moved = self._moved([*batch.clean.x.values(), *batch.clean.g.values(), *corrupted.values(), *inputs])
        kept = LayerCalls([moved[id(value)] for value in inputs], calls.kwargs)

        def off(run: Run, calls: LayerCalls) -> Run:
            x, g = ({site: moved[id(value)] for site, value in part.items()} for part in (run.x, run.g))
            return dataclasses.replace(run, x=x, g=g, calls=calls)

        beside = None if batch.corrupted is None else off(batch.corrupted, batch.corrupted.calls)
        return dataclasses.replace(batch, clean=off(batch.clean, kept), corrupted=beside)

    def clear(self) -> None:
        """Count what was kept so far as let go of."""
        self.held = 0

    def _moved(self, tensors: Iterable[Tensor]) -> dict[int, Tensor]:
        """By ``id``, where each tensor is now."""
        distinct = {id(tensor): tensor for tensor in tensors}
        storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage() for tensor in distinct.values()}
        size = sum(storage.nbytes() for storage in storages.values())
        if self.folder is None or self.held + size <= self.limit:
            self.held += size
            return {key: tensor.cpu() for key, tensor in distinct.items()}
        return self._mapped(distinct, self.folder)

    def _mapped(self, tensors: dict[int, Tensor], folder: Path) -> dict[int, Tensor]:
        """The tensors one behind the other in a file."""
        starts, end = {}, 0
        for key, tensor in tensors.items():
            starts[key] = end
            end += -(-tensor.numel() * tensor.element_size() // _ALIGNED) * _ALIGNED
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"runs-{self.files}"
            self.files += 1
            with path.open("wb") as file:
                # Room is taken now: a disk that fills up while mapped memory is written ends the process.
                for start in range(0, end, 2**24):
                    file.write(bytes(min(2**24, end - start)))
        buffer = torch.from_file(str(path), shared=True, size=end, dtype=torch.uint8)
        found = {}
        for key, tensor in tensors.items():
            n_bytes = tensor.numel() * tensor.element_size()
            place = buffer[starts[key] : starts[key] + n_bytes].view(tensor.dtype).view(tensor.shape)
            found[key] = place.copy_(tensor)
        return found


def at_site(batch: BatchRuns, site: HookPoint) -> BatchRuns:
    """Waiting runs with what one site needs on the model's device: x and g there, inputs of its layer and above."""
    return _placed(batch, lambda other: other == site, site.layer)


def on_device(batch: BatchRuns) -> BatchRuns:
    """Waiting runs with all that they keep on the model's device."""
    return _placed(batch, lambda other: True, 0)


def _placed(batch: BatchRuns, wanted: Callable[[HookPoint], bool], lowest: int) -> BatchRuns:
    device = batch.lm.device
    if device.type == "cpu":
        return batch
    calls = batch.clean.calls
    inputs = [value.to(device) if layer >= lowest else value for layer, value in enumerate(calls.inputs)]

    def on(run: Run, calls: LayerCalls) -> Run:
        x, g = ({site: value.to(device) for site, value in part.items() if wanted(site)} for part in (run.x, run.g))
        return dataclasses.replace(run, x=x, g=g, calls=calls)

    beside = None if batch.corrupted is None else on(batch.corrupted, batch.corrupted.calls)
    return dataclasses.replace(batch, clean=on(batch.clean, LayerCalls(inputs, calls.kwargs)), corrupted=beside)
