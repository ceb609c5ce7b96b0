"""Hooks put in by name: they see and replace what stands there, and leave nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from saeattr.model.capture import final_hidden
from saeattr.model.prompts import Prompts
from tests.model.toys import FAMILIES, make_toy, toy_batch


@pytest.mark.parametrize("family", FAMILIES)
def test_hooks_do_what_the_bridges_own_do_and_are_gone_after_the_block(family: str, tmp_path: Path) -> None:
    lm, _ = make_toy(family, tmp_path)
    prompts = Prompts(*toy_batch())
    hooks = [
        ("blocks.0.attn.hook_z", lambda z, hook: z * 2),
        ("blocks.1.hook_mlp_out", lambda x, hook: x + 1),
        ("blocks.1.hook_mlp_out", lambda x, hook: None),
    ]
    with torch.no_grad():
        plain = final_hidden(lm, prompts)
        with lm.bridge.hooks(fwd_hooks=hooks):
            wanted = final_hidden(lm, prompts)
        with lm.hooks(hooks):
            edited = final_hidden(lm, prompts)
        assert not torch.allclose(edited, plain)
        torch.testing.assert_close(edited, wanted, rtol=0, atol=0)
        torch.testing.assert_close(final_hidden(lm, prompts), plain, rtol=0, atol=0)
    assert lm.bridge.context_level == 0
    assert not any(point.fwd_hooks for point in lm.hook_points.values())


def test_hooks_within_hooks_are_taken_away_alone(tmp_path: Path) -> None:
    lm, _ = make_toy("llama", tmp_path)
    prompts, name, seen = Prompts(*toy_batch()), "blocks.0.hook_resid_pre", []
    with torch.no_grad(), lm.hooks([(name, lambda x, hook: seen.append("outer"))]):
        with lm.hooks([(name, lambda x, hook: seen.append("inner"))]):
            final_hidden(lm, prompts)
        final_hidden(lm, prompts)
    assert seen == ["outer", "inner", "outer"]


def test_a_hook_that_the_model_has_not_is_an_error_and_not_silently_left_out(tmp_path: Path) -> None:
    lm, _ = make_toy("gpt2", tmp_path)
    with (
        pytest.raises(KeyError, match="hook_nothing"),
        lm.hooks([("blocks.0.hook_resid_pre", lambda x, hook: x), ("blocks.0.hook_nothing", lambda x, hook: x)]),
    ):
        pass
    assert not lm.hook_points["blocks.0.hook_resid_pre"].fwd_hooks
    assert lm.bridge.context_level == 0
