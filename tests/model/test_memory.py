"""Tensors are counted as they are made and freed."""

from __future__ import annotations

import torch

from saeattr.model.memory import LiveBytes


def test_views_and_freed_tensors_do_not_count() -> None:
    with LiveBytes([]) as live:
        x = torch.zeros(1000)
        y = x[:10].view(2, 5)
        assert live.now == 4000
        z = torch.ones(500)
        del z
        assert live.now == 4000
    assert live.peak == 6000
    assert y.shape == (2, 5)
