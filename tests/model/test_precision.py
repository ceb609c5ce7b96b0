"""The check of a device against the CPU, on the only device that every machine has."""

from __future__ import annotations

import pytest
import torch

from saeattr.errors import UserError
from saeattr.model import precision as device_check
from saeattr.model.loading import resolve_device, spread_over
from saeattr.model.precision import device_warning


def test_a_device_that_computes_the_same_gives_no_warning() -> None:
    assert device_warning(torch.device("cpu")) is None


@pytest.mark.parametrize("wrong", [1.5, float("nan")])
def test_a_device_that_computes_something_else_gives_one_line(wrong: float, monkeypatch: pytest.MonkeyPatch) -> None:
    factors = iter([1.0, wrong])
    right = device_check._small_case("cpu")

    def small_case(device: str) -> list[torch.Tensor]:
        factor = next(factors)
        return [right[0], *(value * factor for value in right[1:])]

    monkeypatch.setattr(device_check, "_small_case", small_case)
    assert "computes something else than the CPU" in (device_warning(torch.device("cpu")) or "")


def test_devices_that_are_not_here_are_refused() -> None:
    assert spread_over("cuda*3") == 3
    for device in ("cuda*99", "cuda:99", "mps" if not torch.backends.mps.is_available() else "cuda:99"):
        with pytest.raises(UserError, match="there is no device"):
            resolve_device(device)
    with pytest.raises(UserError, match="is not a device: choose auto"):
        resolve_device("gpu*2")
