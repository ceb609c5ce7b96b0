"""Relevance coefficients: conservation, a case by hand, an independent model, and nothing left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from saeattr import UserError, bundle
from saeattr.model.capture import Run, capture
from saeattr.model.loading import LanguageModel, load_model, load_tokenizer
from saeattr.model.prompts import Prompts
from saeattr.model.relevance import hold_ratio, relevance_rules
from saeattr.model.unembed import token_logits
from saeattr.sites import KINDS, Site
from tests.model.toys import FAMILIES, make_toy, toy_batch

SITES = [Site(kind, layer) for layer in range(3) for kind in KINDS]
TOKENS = torch.tensor([5, 9])


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[LanguageModel, Any]]:
    return {family: make_toy(family, tmp_path_factory.mktemp(family), biases=False) for family in FAMILIES}


def read_last(lm: LanguageModel, mask: Tensor) -> Callable[[Tensor], Tensor]:
    """The difference of two logits at each row's last position."""

    def read(hidden: Tensor) -> Tensor:
        logits = token_logits(lm, hidden[torch.arange(len(mask)), mask.sum(1) - 1], TOKENS)
        return logits[:, 0] - logits[:, 1]

    return read


def run(lm: LanguageModel, *, relevance: bool) -> Run:
    tokens, mask = toy_batch()
    if not relevance:
        return capture(lm, Prompts(tokens, mask), SITES, read_last(lm, mask), keep=("g",))
    with relevance_rules(lm):
        return capture(lm, Prompts(tokens, mask), SITES, read_last(lm, mask), keep=("g",))


@pytest.mark.parametrize("family", FAMILIES)
def test_without_biases_a_residual_sites_relevance_sums_to_the_metric(toys: Any, family: str) -> None:
    """Over all channels and positions, BOS included, at every layer; plain gradients do not add up so."""
    lm, _ = toys[family]
    found, plain = run(lm, relevance=True), run(lm, relevance=False)
    assert found.metric is not None
    off = []
    for layer in range(3):
        site = Site("resid_post", layer)
        torch.testing.assert_close((found.x[site] * found.g[site]).sum((1, 2)), found.metric, rtol=1e-4, atol=1e-5)
        off.append(float(((plain.x[site] * plain.g[site]).sum((1, 2)) - found.metric).abs().max()))
    assert max(off) > 0.01


@pytest.mark.parametrize("family", FAMILIES)
def test_the_forward_is_the_same_bit_for_bit(toys: Any, family: str) -> None:
    lm, _ = toys[family]
    found, plain = run(lm, relevance=True), run(lm, relevance=False)
    assert found.metric is not None
    assert plain.metric is not None
    assert torch.equal(found.metric, plain.metric)
    for site in SITES:
        assert torch.equal(found.x[site], plain.x[site])


@pytest.mark.parametrize("family", FAMILIES)
def test_plain_gradients_return_when_the_block_ends_even_by_an_exception(toys: Any, family: str) -> None:
    lm, _ = toys[family]
    before = run(lm, relevance=False)
    hooks = count_hooks(lm)

    def stop() -> None:
        with relevance_rules(lm):
            assert count_hooks(lm) > hooks
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stop()
    assert count_hooks(lm) == hooks
    after = run(lm, relevance=False)
    for site in SITES:
        assert torch.equal(before.g[site], after.g[site])


def count_hooks(lm: LanguageModel) -> int:
    modules = list(lm.bridge.modules())
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules)


def held_norm(norm: Any, x: Tensor) -> Tensor:
    """Gemma's norm with its scale held constant."""
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + norm.eps).detach() * (1 + norm.weight)


def plain_relevance(model: Any, ids: Tensor, site_layer: int) -> Tensor:
    """The coefficients at resid_post of one prompt, by Gemma 2 written out with detached factors, [pos, d_model]."""
    with torch.no_grad():
        out = model(input_ids=ids[None], output_attentions=True, output_hidden_states=True)
    # hidden_states[k] enters layer k.
    x = out.hidden_states[site_layer + 1].detach().requires_grad_()
    h = x
    for index in range(site_layer + 1, len(model.model.layers)):
        layer = model.model.layers[index]
        values = layer.self_attn.v_proj(held_norm(layer.input_layernorm, h)).view(1, len(ids), 2, 8)
        values = values.transpose(1, 2).repeat_interleave(2, dim=1)
        z = (out.attentions[index].detach() @ values).transpose(1, 2).flatten(2)
        h = h + held_norm(layer.post_attention_layernorm, layer.self_attn.o_proj(z))
        n = held_norm(layer.pre_feedforward_layernorm, h)
        gate, up = layer.mlp.gate_proj(n), layer.mlp.up_proj(n)
        act = gate * (torch.nn.functional.gelu(gate, approximate="tanh") / gate).detach()
        product = act * up
        product = product / 2 + (product / 2).detach()
        h = h + held_norm(layer.post_feedforward_layernorm, layer.mlp.down_proj(product))
    logits = held_norm(model.model.norm, h)[0, -1] @ model.lm_head.weight[TOKENS].T
    capped = logits * (3 * torch.tanh(logits / 3) / logits).detach()
    return torch.autograd.grad(capped[0] - capped[1], [x])[0][0]


@pytest.mark.parametrize("layer", [0, 1])
def test_coefficients_equal_those_of_gemma_2_written_out(toys: Any, layer: int) -> None:
    lm, model = toys["gemma2"]
    found = run(lm, relevance=True).g[Site("resid_post", layer)]
    tokens, mask = toy_batch()
    for row, length in enumerate(mask.sum(1).tolist()):
        expected = plain_relevance(model, tokens[row, :length], layer)
        torch.testing.assert_close(found[row, :length], expected, rtol=1e-4, atol=1e-6)


def test_a_norms_bias_takes_no_part_in_its_scale(tmp_path: Path) -> None:
    """Behind GPT-2's last layer: the centred weights of the final norm times what reads them, over the spread."""
    toy: tuple[LanguageModel, Any] = make_toy("gpt2", tmp_path)
    lm, model = toy
    norm = model.transformer.ln_f
    assert norm.bias.abs().max() > 0.1
    found = run(lm, relevance=True)
    _, mask = toy_batch()
    for row, length in enumerate(mask.sum(1).tolist()):
        x = found.x[Site("resid_post", 2)][row, length - 1]
        with torch.no_grad():
            read = (model.lm_head.weight[TOKENS[0]] - model.lm_head.weight[TOKENS[1]]) * norm.weight
            expected = (read - read.mean()) / (x.var(correction=0) + norm.eps).sqrt()
        torch.testing.assert_close(found.g[Site("resid_post", 2)][row, length - 1], expected, rtol=1e-4, atol=1e-5)


def test_a_gated_mlp_by_hand(tmp_path: Path) -> None:
    """x = (1, 7), so rms 5; gate = 5 x0 / 5 = 1, up = 10/7 x1 / 5 = 2, h = silu(1) * 2 = 1.46212, written to channel 0.

    Half to each factor: channel 0 gets silu(1)/1 * up / 2 * (5/5), channel 1 gets silu(1) / 2 * (10/7)/5.
    """
    silu = 0.7310586
    config = LlamaConfig(
        vocab_size=8, hidden_size=2, intermediate_size=1, num_hidden_layers=2, num_attention_heads=1, rms_norm_eps=0.0
    )
    model = LlamaForCausalLM(config)
    for layer in model.model.layers:
        for projection in (layer.self_attn.o_proj, layer.mlp.down_proj):  # pyright: ignore
            projection.weight.data.zero_()  # pyright: ignore
    model.model.embed_tokens.weight.data[3] = torch.tensor([1.0, 7.0])
    mlp: Any = model.model.layers[1].mlp
    mlp.gate_proj.weight.data = torch.tensor([[5.0, 0.0]])
    mlp.up_proj.weight.data = torch.tensor([[0.0, 10 / 7]])
    mlp.down_proj.weight.data = torch.tensor([[1.0], [0.0]])
    model.save_pretrained(tmp_path)
    load_tokenizer(bundle.MODEL_FOLDER).save_pretrained(tmp_path)
    lm = load_model(str(tmp_path), device="cpu")
    site = Site("resid_post", 0)
    with relevance_rules(lm):
        prompts = Prompts(torch.tensor([[3]]), torch.ones(1, 1).bool())
        found = capture(lm, prompts, [site], lambda hidden: hidden[:, -1, 0], keep=("g",))
    after = (1 + 2 * silu, 7.0)
    scale = ((after[0] ** 2 + after[1] ** 2) / 2) ** -0.5
    expected = torch.tensor([(1 + silu) * scale, silu / 2 * (10 / 7) / 5 * scale])
    torch.testing.assert_close(found.g[site][0, 0], expected, rtol=1e-5, atol=1e-7)


def test_a_ratio_is_held_only_while_the_rules_are_in_force(toys: Any) -> None:
    lm, _ = toys["llama"]
    x = torch.tensor([-2.0, 0.0, 3.0], requires_grad=True)
    (plain,) = torch.autograd.grad(hold_ratio(x, x.tanh()).sum(), [x])
    torch.testing.assert_close(plain, 1 - x.detach().tanh() ** 2)
    with relevance_rules(lm):
        y = hold_ratio(x, x.tanh())
        (held,) = torch.autograd.grad(y.sum(), [x])
    assert torch.equal(y, x.tanh())
    torch.testing.assert_close(held, torch.tensor([0.4820138, 0.0, 0.3316849]))


def test_a_layer_without_a_rule_is_one_clear_line(toys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lm, _ = toys["llama"]
    monkeypatch.setattr(lm.layers[1].mlp._original_component, "act_fn", torch.nn.Identity())
    hooks = count_hooks(lm)
    with pytest.raises(UserError, match="no rule for a layer .* use --method attribution or ig"), relevance_rules(lm):
        pass
    assert count_hooks(lm) == hooks
