"""What no gradient method can do without, by the bare model: a forward and a backward, a forward, and the encodes.

The backward goes down to the first site; of the logits only two rows are computed. The encodes' multiplications are
counted at the speed of a large product on the same machine.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.cost.exact import matmul_speed
from benchmarks.peers.arithmetic import Effects
from benchmarks.peers.case import Case, encode_seconds, metric
from benchmarks.peers.contestant import Contestant


class Floor(Contestant):
    """``apart`` is negative: the encodes' seconds, which are not run but counted."""

    def __init__(self, case: Case) -> None:
        self.plain = case.open_plain()
        self.speed = matmul_speed()

    def run(self, case: Case) -> None:
        model, cap = self.plain.model, self.plain.config.final_logit_softcapping
        began: list[Tensor] = []

        def begin(module: torch.nn.Module, args: object, out: Tensor) -> Tensor | None:
            if torch.is_grad_enabled():
                began.append(out.requires_grad_())
            return None

        handle = model.layers[case.sites[0].layer].register_forward_hook(begin)
        for prompts in case.prompts():
            options = {"attention_mask": prompts.mask, "use_cache": False}
            hidden = model(input_ids=prompts.clean, **options).last_hidden_state
            value = metric(hidden, self.plain.lm_head.weight, prompts, cap).sum()
            torch.autograd.grad(value, began.pop())
            with torch.no_grad():
                model(input_ids=prompts.corrupted, **options)
        handle.remove()
        self.apart = -encode_seconds(case, self.speed)

    def effects(self, case: Case, found: None) -> Effects:
        return {}
