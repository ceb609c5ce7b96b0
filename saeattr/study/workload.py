"""How much work a study is: FLOPs of products, bytes of files and forwards of a layer, counted part by part.

What else runs (hooks, Python, what is small) counts as small operations for each layer of a forward (``OPERATIONS`` in
``saeattr.study.duration``). Drawing figures, hashing, tables and downloads are left out. Nothing slow is imported here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from saeattr.model.shapes import ModelShape
from saeattr.runs.memory import USUAL_REQUEST, MemoryPlan
from saeattr.runs.needs import CHOOSING_PAIRS, Load, Sized
from saeattr.saes.sizes import DENSE_BYTES
from saeattr.settings import StudySettings
from saeattr.sites import Site
from saeattr.study.duration import Part

if TYPE_CHECKING:
    from saeattr.runs.speed import Shapes

#: The share of a prompt at which an effect is possible, and the share which an edited copy runs again, from the first
#: token at which its feature is active; roles of its positions, of each of which copies are patched while sites are
#: chosen; and tested features that lie at one site. As counted in ten lists of the bundled model.
AFFECTED, COPIED, ROLES, AT_ONE_SITE = 0.85, 0.6, 9, 3
#: Features of each tested site that are patched by themselves where they were ranked.
NATURAL = 20
#: Sets of features that are patched together for the curves, and those of them that encode and decode every feature.
CURVE_SETS, WHOLE_SETS = 94, 40
#: Matrices of an MLP where it is not gated.
UNGATED = ("gpt2", "gpt_neox", "opt", "phi", "bloom")


class Placed(Sized, Protocol):
    """An SAE whose size and site are known."""

    @property
    def site(self) -> Site: ...


@dataclass(frozen=True)
class Plan:
    """What is to be done for one group, and how much at a time.

    Attributes:
        saes: of the sites attributed; where they are still to be chosen those that may be, at most.
        offered: sites that are scored to choose them; 0 where they are named.
        drawn: whether the model writes the pairs itself.
    """

    shape: ModelShape
    settings: StudySettings
    load: Load
    memory: MemoryPlan
    saes: Sequence[Placed]
    offered: int
    drawn: bool

    def batch(self, stage: str) -> int:
        known = self.memory.stages.get(stage)
        return self.memory.batch_size if known is None else known.batch_size

    @property
    def copies(self) -> int:
        return self.memory.copies

    @property
    def affected(self) -> int:
        """Tokens of a prompt at which an effect is possible."""
        return max(1, round(self.load.length * AFFECTED))

    @property
    def copied(self) -> int:
        """Tokens of a prompt that an edited copy runs again."""
        return max(1, round(self.load.length * COPIED))

    @property
    def n_tests(self) -> int:
        """Pairs that test: fresh ones, or each half of the pairs the other's features."""
        if not self.drawn:
            return min(self.load.n_pairs, self.settings.validate_pairs or self.load.n_pairs)
        return self.settings.validate_pairs or min(self.load.n_pairs, 100)


def layer_flops(shape: ModelShape, tokens: float, length: float) -> float:
    """Of a layer's products: ``tokens`` in all, each attending to ``length`` of them."""
    mlp = (2 if shape.model_type in UNGATED else 3) * shape.d_model * shape.d_mlp
    attention = 2 * shape.d_model * (shape.d_attn + shape.n_kv_heads * shape.d_head)
    return 2 * tokens * (attention + mlp) + 4 * tokens * length * shape.d_attn


def shapes_of(plan: Plan) -> Shapes:
    """What is to be measured for a plan."""
    from saeattr.runs.speed import Shapes

    shape, batch = plan.shape, min(plan.batch("attribution"), plan.load.n_pairs)
    widest = max(plan.saes, key=lambda sae: sae.d_sae * sae.d_in)
    return Shapes(
        *(shape.n_layers, shape.d_model, shape.d_mlp),
        tokens=batch * plan.load.length,
        copied=plan.copies * plan.copied,
        rows=2 * min(plan.batch("pairs"), plan.load.n_pairs),
        encoded=min(max(1, DENSE_BYTES // (4 * widest.d_sae)), batch * plan.affected),
        d_in=widest.d_in,
        d_sae=widest.d_sae,
    )


def study_parts(plan: Plan) -> tuple[Part, ...]:
    """The parts of ``attribute`` in their order, loading the model first."""
    parts = [Part("start", "loading the model", n_bytes=plan.memory.weights)]
    if plan.drawn:
        parts.append(_writing(plan, "pairs", plan.load.n_pairs))
    if plan.offered:
        parts.append(_choosing(plan))
    parts += _attribution(plan)
    if plan.settings.validate_top:
        parts += [_writing(plan, "test_pairs", plan.n_tests)] if plan.drawn else []
        parts += _validation(plan)
    return tuple(parts)


def _writing(plan: Plan, stage: str, n_lists: int) -> Part:
    """Lists token by token, each beside a row that reads it behind the corrupted request."""
    shape, steps = plan.shape, max(1, plan.load.length - USUAL_REQUEST)
    token = shape.n_layers * layer_flops(shape, 1, plan.load.length) + 2 * shape.d_model * shape.vocabulary
    batches = math.ceil(n_lists / plan.batch(stage))
    flops = 2 * n_lists * steps * token
    return Part(stage, "sampling, token by token", writing=flops, layers=batches * steps * shape.n_layers)


def _forwards(plan: Plan, stage: str, n_pairs: int, times: int) -> tuple[float, float]:
    """FLOPs and forwards of a layer of whole prompts, run ``times`` times; a backward to x is about one more."""
    shape, length = plan.shape, plan.load.length
    flops = times * shape.n_layers * layer_flops(shape, n_pairs * length, length)
    return flops, times * shape.n_layers * math.ceil(n_pairs / plan.batch(stage))


def _copies(plan: Plan, n_copies: float, above: float, at_once: int) -> tuple[float, float]:
    """FLOPs and forwards of a layer of edited copies; of the last layer little but the tokens that are read runs."""
    flops = max(0.0, above - 1) * layer_flops(plan.shape, n_copies * plan.copied, plan.load.length)
    return flops, above * math.ceil(n_copies / at_once)


def _above(shape: ModelShape, site: Site) -> int:
    """Layers that an edit at a site runs again."""
    return shape.n_layers - site.layer - (site.kind == "resid_post")


def _choosing(plan: Plan) -> Part:
    pairs, batch = min(CHOOSING_PAIRS, plan.load.n_pairs), plan.batch("selection")
    prompts, layers = _forwards(plan, "selection", pairs, 3)
    # Half of the layers lie above a site that is typical.
    copies, again = _copies(plan, pairs * ROLES, plan.shape.n_layers / 2, batch)
    name = "forward, backward and patches"
    layers += plan.offered * again
    return Part("selection", name, prompts=prompts, copies=plan.offered * copies, layers=layers)


def _attribution(plan: Plan) -> list[Part]:
    load, shape, settings = plan.load, plan.shape, plan.settings
    # Clean and corrupted forward, and one backward.
    prompts, layers = _forwards(plan, "attribution", load.n_pairs, 3)
    product = sum(2 * sae.d_in * sae.d_sae for sae in plan.saes)
    parts = [
        Part("attribution", "forward and backward", prompts=prompts, layers=layers),
        Part(
            "attribution",
            "reading and encoding SAEs",
            encoding=2 * load.n_pairs * plan.affected * product,
            n_bytes=sum(sae.n_bytes for sae in plan.saes),
        ),
    ]
    above = sum(_above(shape, sae.site) for sae in plan.saes)
    if settings.method == "ig":
        # A forward and a backward for each step to the base.
        steps = 2 * settings.ig_steps
        flops = above * layer_flops(shape, steps * load.n_pairs * load.length, load.length)
        forwards = steps * above * math.ceil(load.n_pairs / plan.batch("attribution"))
        parts.append(Part("attribution", "steps to the base", prompts=flops, layers=forwards))
    checked = min(load.checked, load.n_pairs)
    # The reconstruction everywhere; the whole site where that is not the corrupted run itself.
    residual = sum(_above(shape, sae.site) for sae in plan.saes if sae.site.kind == "resid_post")
    times = 2 * above - (residual if settings.base == "corrupted" else 0)
    flops = times * layer_flops(shape, checked * load.length, load.length)
    encoded = 2 * checked * load.length * product
    parts.append(Part("attribution", "checks of whole sites", copies=flops, encoding=encoded, layers=times))
    return parts


def _validation(plan: Plan) -> list[Part]:
    load, shape, settings = plan.load, plan.shape, plan.settings
    half, top = shape.n_layers / 2, settings.validate_top
    tested = min(len(plan.saes), math.ceil(top / AT_ONE_SITE))
    some = sorted(sae.n_bytes for sae in plan.saes)[-tested:]
    prompts, layers = _forwards(plan, "validation", load.n_pairs + plan.n_tests, 2)
    # A site's batches run by themselves; copies of different sites share no forward.
    natural, again = _copies(plan, load.n_pairs * (NATURAL + top / tested), half, plan.copies)
    moved, once = _copies(plan, plan.n_tests * (1 + settings.controls), half, plan.copies)
    product = sum(2 * sae.d_in * sae.d_sae for sae in plan.saes)
    encoded = 2 * (load.n_pairs + plan.n_tests) * plan.affected * product * tested / len(plan.saes)
    parts = [
        Part("validation", "forward", prompts=prompts, layers=layers),
        *(
            Part("validation", step, copies=copies, encoding=encoded / 2, n_bytes=sum(some), layers=again)
            for step, copies, again in (
                ("exact effects where features were ranked", tested * natural, tested * again),
                ("exact effects and controls", top * moved, top * once),
            )
        ),
    ]
    if settings.curves:
        above = shape.n_layers - min(sae.site.layer for sae in plan.saes)
        n_copies = CURVE_SETS * plan.n_tests
        copies = above * layer_flops(shape, n_copies * plan.affected, load.length)
        again = above * math.ceil(n_copies / plan.copies)
        whole = 2 * WHOLE_SETS * plan.n_tests * plan.affected * product
        n_bytes = sum(sae.n_bytes for sae in plan.saes)
        parts.append(
            Part("validation", "many features together", copies=copies, encoding=whole, n_bytes=n_bytes, layers=again)
        )
    return parts
