"""Two pinned blocks in turn: nothing is written into a block that is still on its way, and everything arrives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from saeattr.errors import UserError
from saeattr.saes import carrying, npz
from saeattr.saes.carrying import sent_blocks
from saeattr.saes.tensors import read_tensors
from tests.saes.files import write_npz


class LateLane:
    """A device that copies as late as it may: what is overwritten before it has arrived is wrong when it arrives."""

    def __init__(self, device: torch.device | None = None) -> None:
        self.blocks = [torch.zeros(carrying.PINNED_BYTES, dtype=torch.uint8) for _ in range(2)]
        self.on_the_way: dict[int, Tensor] = {}
        self.sent: list[int] = []

    def block(self, nth: int) -> Tensor:
        self._arrive(nth)
        return self.blocks[nth]

    def send(self, nth: int, to: Tensor) -> None:
        assert nth not in self.on_the_way
        self.on_the_way[nth] = to
        self.sent.append(nth)

    def finish(self) -> None:
        for nth in list(self.on_the_way):
            self._arrive(nth)

    def _arrive(self, nth: int) -> None:
        if nth in self.on_the_way:
            to = self.on_the_way.pop(nth)
            to.copy_(self.blocks[nth][: len(to)])


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrying, "PINNED_BYTES", 64)


@pytest.fixture
def sent_late(small_blocks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU is taken for a device that is sent to."""
    monkeypatch.setattr(carrying, "CudaLane", LateLane)
    for module in (carrying, npz):
        monkeypatch.setattr(module, "is_sent", lambda device: True)


@pytest.mark.parametrize("length", [0, 1, 64, 65, 128, 129, 1000])
def test_bytes_of_any_number_arrive_in_order(small_blocks: None, length: int) -> None:
    source = torch.randint(256, (length,), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    there, lane, at = torch.zeros(length, dtype=torch.uint8), LateLane(), 0
    for block in sent_blocks(there, lane):
        block.copy_(source[at : at + len(block)])
        at += len(block)
    assert at == length
    assert torch.equal(there, source)
    # One block is filled while the other is sent.
    assert lane.sent == [turn % 2 for turn in range(-(-length // 64))]


def test_nothing_is_on_its_way_after_an_error(small_blocks: None) -> None:
    lane = LateLane()

    def read_two() -> None:
        for turn, _ in enumerate(blocks := sent_blocks(torch.zeros(1000, dtype=torch.uint8), lane)):
            if turn == 2:
                blocks.close()
                raise EOFError

    with pytest.raises(EOFError):
        read_two()
    assert lane.sent == [0, 1]
    assert not lane.on_the_way


@pytest.mark.parametrize("begin", [0, 3])
def test_an_npz_arrives_as_it_was_stored(sent_late: None, tmp_path: Path, begin: int) -> None:
    path = tmp_path / "params.npz"
    stored = {"W_enc": np.random.default_rng(0).standard_normal((33, 57), dtype=np.float32)}
    write_npz(path, stored, begin)
    np.testing.assert_array_equal(read_tensors(path, ["W_enc"], "cpu")["W_enc"].numpy(), stored["W_enc"])
    data = bytearray(path.read_bytes())
    data[npz.npz_members(path)["W_enc"].offset + 100] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match="bad CRC-32 of W_enc"):
        read_tensors(path, ["W_enc"], "cpu")


def test_safetensors_of_another_type_arrive_turned(sent_late: None, tmp_path: Path) -> None:
    path = tmp_path / "final.safetensors"
    weight = torch.randn(57, 33, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    save_file({"encoder.weight": weight}, path)
    assert torch.equal(read_tensors(path, ["W_enc"], "cpu")["W_enc"], weight.float().T)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_holds_what_the_file_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "params.npz"
    stored = {"W_enc": np.random.default_rng(0).standard_normal((333, 57), dtype=np.float32)}
    write_npz(path, stored, 3)
    for n_bytes in (1000, 2**20):
        monkeypatch.setattr(carrying, "PINNED_BYTES", n_bytes)
        there = read_tensors(path, ["W_enc"], "cuda")["W_enc"]
        assert there.is_cuda
        np.testing.assert_array_equal(there.cpu().numpy(), stored["W_enc"])
