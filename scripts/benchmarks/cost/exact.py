"""What exact effects cost: many (feature, list) ablations against a full hooked forward each, and against a floor.

Used by measure.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import Gemma2ForCausalLM

from saeattr import bundle
from saeattr.behaviours.pair import Pair
from saeattr.model.loading import LanguageModel
from saeattr.runs.base import SiteBase
from saeattr.runs.batch import BatchRuns, effect_tokens, run_batch
from saeattr.runs.effects import Edits, base_change, exact_effects
from saeattr.runs.question import Question
from saeattr.saes.loading import find_saes, load_sae
from saeattr.saes.sae import SparseAutoencoder
from saeattr.sites import Site

#: Ablations in the middle layer, and in the others.
MANY, FEW = 1000, 200
#: The same in a quick run.
QUICK = 20, 10
COPIES = 32

Medians = Callable[[dict[str, Callable[[], object]], int], dict[str, float]]


def exact_lines(lm: LanguageModel, pairs: list[Pair], medians: Medians, rounds: int, few: bool) -> list[str]:
    """A table with one row a layer: times, ratios, the largest difference of the numbers, and the floor."""
    model = Gemma2ForCausalLM.from_pretrained(bundle.MODEL_FOLDER, attn_implementation="eager").eval()
    speed = matmul_speed()
    in_middle, in_others = QUICK if few else (MANY, FEW)
    lines = [
        "",
        "## Exact effects",
        "",
        f"Setting one feature to its corrupted value in one list, at all its positions: {in_middle:,} (feature, list) "
        f"ablations in the middle layer, {in_others} in the others, {COPIES} in one forward; medians of {rounds} "
        "rounds, the parts taking turns. tutorial: a full forward of the hooked model (transformer-lens' bridge) for "
        "each, metric from its logits. plain: the same by Hugging Face's model with one forward hook, the fastest "
        "naive way. Both are given the changes; saeattr's time includes encoding. floor: the multiplications that no exact method can "
        "spare (layers above, positions from the first edit to the decision, in the last layer keys and values only "
        f"but for the decision), at the speed of a large product on the same machine ({speed / 1e9:.0f} GFLOP/s).",
        "",
        "| site | ablations | saeattr, ms each | tutorial / saeattr | plain / saeattr | saeattr / floor "
        "| largest difference |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    saes = find_saes()
    for layer in range(lm.n_layers):
        site = Site("resid_post", layer)
        n = in_middle if layer == (lm.n_layers - 1) // 2 else in_others
        sae = load_sae(saes[site])
        batch = run_batch(lm, pairs, [site], Question())
        edits = choose_edits(batch, sae, n)
        found: dict[str, Any] = {}
        parts: dict[str, Callable[[], object]] = {
            "saeattr": lambda b=batch, s=sae, n=n, f=found: f.update(
                saeattr=exact_effects(b, s, choose_edits(b, s, n), COPIES)
            ),
            "tutorial": lambda b=batch, s=sae, e=edits, f=found: f.update(tutorial=tutorial(lm, b, s, e)),
            "plain": lambda b=batch, s=sae, e=edits, f=found: f.update(plain=plain(model, b, s, e)),
        }
        with torch.no_grad():
            took = medians(parts, rounds)
        off = max(float((found["saeattr"] - found[name]).abs().max()) for name in ("tutorial", "plain"))
        bound = floor_flops(lm, batch, edits, layer) / speed
        floor = f"{took['saeattr'] / bound:.1f}" if bound else "-"
        ratios = [f"{took[name] / took['saeattr']:.1f}" for name in ("tutorial", "plain")]
        each = 1000 * took["saeattr"] / n
        lines.append(f"| {site} | {n:,} | {each:.2f} | {' | '.join(ratios)} | {floor} | {off:.0e} |")
    return lines


def choose_edits(batch: BatchRuns, sae: SparseAutoencoder, n: int) -> Edits:
    """The first ``n`` (feature, list) pairs in which a feature changes, features of largest activation first."""
    chosen = effect_tokens(batch, "corrupted")
    row, position = chosen.nonzero(as_tuple=True)
    features = sae.encode(batch.clean.x[sae.site][row, position]).sum(0).topk(2 * n // len(batch.pairs)).indices
    change = base_change(batch, SiteBase.of(sae, [batch]), features, row, position)
    nth, token = change.T.nonzero(as_tuple=True)
    keys, copy = torch.unique(nth * len(batch.pairs) + row[token], return_inverse=True)
    assert len(keys) >= n
    mine = copy < n
    nth, token = nth[mine], token[mine]
    return Edits(keys[:n] % len(batch.pairs), copy[mine], position[token], features[nth], change[token, nth])


def each_edit(batch: BatchRuns, sae: SparseAutoencoder, edits: Edits):
    """(pair, changed positions, what is added to x there) of each copy."""
    for copy, row in enumerate(edits.row.tolist()):
        mine = edits.copy == copy
        yield batch.pairs[row], edits.position[mine], edits.change[mine, None] * sae.W_dec[edits.feature[mine]]


def tutorial(lm: LanguageModel, batch: BatchRuns, sae: SparseAutoencoder, edits: Edits) -> Tensor:
    """One hooked forward of the whole model for each ablation."""
    values = []
    for pair, position, moved in each_edit(batch, sae, edits):

        def add(x: Tensor, hook: Any, position: Tensor = position, moved: Tensor = moved) -> Tensor:
            x = x.clone()
            x[0, position] += moved
            return x

        with lm.bridge.hooks(fwd_hooks=[(sae.site.hook_name, add)]):
            logits = lm.bridge(torch.tensor([pair.clean_ids]))
        values.append(contrast(logits[0], pair))
    return torch.stack(values) - clean_metric(batch)[edits.row]


def plain(model: Any, batch: BatchRuns, sae: SparseAutoencoder, edits: Edits) -> Tensor:
    """One forward of Hugging Face's model for each ablation, with a hook on the layer."""
    values = []
    for pair, position, moved in each_edit(batch, sae, edits):

        def add(module: Any, args: Any, out: Tensor, position: Tensor = position, moved: Tensor = moved) -> Tensor:
            out = out.clone()
            out[0, position] += moved
            return out

        handle = model.model.layers[sae.site.layer].register_forward_hook(add)
        logits = model(input_ids=torch.tensor([pair.clean_ids]), use_cache=False).logits
        handle.remove()
        values.append(contrast(logits[0], pair))
    return torch.stack(values) - clean_metric(batch)[edits.row]


def contrast(logits: Tensor, pair: Pair) -> Tensor:
    """logit(wanted) - logit(unwanted) at the last decision point."""
    point = pair.points[-1]
    return logits[point.position, point.wanted[0]] - logits[point.position, point.unwanted[0]]


def clean_metric(batch: BatchRuns) -> Tensor:
    assert batch.clean.metric is not None
    return batch.clean.metric


def floor_flops(lm: LanguageModel, batch: BatchRuns, edits: Edits, layer: int) -> float:
    """Multiplications and additions that the edits of resid_post at ``layer`` cannot do without."""
    config = lm.hf.config.get_text_config()
    d, inner = config.hidden_size, config.num_attention_heads * config.head_dim
    key_value = 2 * d * config.num_key_value_heads * config.head_dim
    rest = 2 * d * inner + 3 * d * config.intermediate_size
    last = batch.reads.last_position()[edits.row].double()
    first = torch.full_like(edits.row, 10**9).scatter_reduce(0, edits.copy, edits.position, "amin").double()
    span = last - first + 1
    full = span * (key_value + rest) + 2 * span * (first + last + 1) / 2 * inner
    final = span * key_value + rest + 2 * (last + 1) * inner
    above = lm.n_layers - 1 - layer
    return float(2 * ((above - 1) * full + final).sum()) if above else 0.0


def matmul_speed() -> float:
    """Floating-point operations a second of a large float32 product, the best of a few."""
    a = torch.randn(768, 768)
    best = 0.0
    for _ in range(20):
        started = time.perf_counter()
        torch.mm(a, a)
        best = max(best, 2 * 768**3 / (time.perf_counter() - started))
    return best
