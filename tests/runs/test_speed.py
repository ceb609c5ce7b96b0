"""The measurement of a machine: rates are positive and of the device asked for; nothing is left behind."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from saeattr.errors import UserError
from saeattr.runs import speed
from saeattr.runs.speed import Shapes, measure_speed

SHAPES = Shapes(n_layers=2, d_model=16, d_mlp=32, tokens=20, copied=30, rows=4, encoded=10, d_in=16, d_sae=64)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "AT_LEAST", 0.0)
    monkeypatch.setattr(speed, "FILE_BYTES", 2**20)
    monkeypatch.setattr(speed, "BLOCK_BYTES", 2**18)


def test_every_rate_is_positive_and_finite_and_no_file_is_left(tmp_path: Path) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        found = measure_speed(torch.device("cpu"), dtype, SHAPES, tmp_path)
        rates = [found.prompts, found.copies, found.writing, found.encoding, found.reading, found.operations]
        assert all(math.isfinite(rate) and rate > 0 for rate in rates)
        assert (found.device, found.dtype, found.copying) == ("cpu", str(dtype).split(".")[1], None)
    assert not list(tmp_path.iterdir())


def test_products_are_made_on_the_device_and_in_the_dtype_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[torch.device, str, torch.dtype | None]] = []
    randn = torch.randn

    def noted(*shape: int, device: torch.device) -> torch.Tensor:
        seen.append((device, "randn", None))
        return randn(*shape, device=device)

    monkeypatch.setattr(torch, "randn", noted)
    # Nothing is computed on meta tensors, so a product that was made elsewhere would fail.
    assert speed.mlp_rate(torch.device("meta"), torch.bfloat16, 4, 2, 16, 32) > 0
    assert seen
    assert {device.type for device, _, _ in seen} == {"meta"}


def test_flops_are_those_of_three_products_by_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "_seconds", lambda device, work: 0.5)
    device = torch.device("cpu")
    # Two products of a token with d_model x d_mlp up, one down; each takes 2 FLOPs a number of the matrix.
    assert speed.mlp_rate(device, torch.float32, 7, 3, 4, 5) == 3 * (3 * 2 * 7 * 4 * 5) / 0.5
    assert speed.encoding_rate(device, SHAPES) == 2 * 10 * 16 * 64 / 0.5


def test_a_folder_without_room_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(speed.tempfile, "NamedTemporaryFile", full)
    with pytest.raises(UserError, match="plan without --measure"):
        speed.reading_rate(tmp_path)
