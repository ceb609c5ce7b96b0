"""The methods: where g, by which a feature's change is multiplied, comes from. ``METHODS`` names them.

effect_i = (f_i^base - f_i^clean) * (g . W_dec[i]), and a method is a g:

- ``attribution``: the gradient at the clean activation (attribution patching, Nanda 2023);
- ``ig``: its mean on the line from the clean activation to the base (integrated gradients, arXiv 1703.01365), one site
  at a time; the sum over features and error term then equals the site's total effect up to the steps;
- ``relp``: relevance patching's coefficients (arXiv 2508.21258; ``saeattr.model.relevance``).

Importing this module is quick (the command line lists the methods): what is slow is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from saeattr.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from saeattr.model.loading import LanguageModel
    from saeattr.runs.batch import BatchRuns
    from saeattr.sites import Site


#: From a batch, a site, x at the base and the prompts in one forward to g there, all [batch, pos, d_in].
Slope = Callable[["BatchRuns", "Site", "Tensor", int], "Tensor"]


@dataclass(frozen=True)
class Method:
    """A way to find g.

    Attributes:
        name: as for ``--method``; help: one line.
        slope: the function.
        forwards: what it costs, in forwards of the whole model, from the steps and the number of sites (a backward
            counts as two; the corrupted forward is one).
        rules: in force during the clean run, whose gradients they change.
        recomputes: whether the slope runs layers of every pair again.
    """

    name: str
    help: str
    slope: Slope
    forwards: Callable[[int, int], float]
    rules: Callable[[LanguageModel], AbstractContextManager[None]] = lambda lm: nullcontext()
    recomputes: bool = False


def clean_gradient(
    batch: BatchRuns, site: Site, x_base: Float[Tensor, "batch pos d_in"], batch_size: int
) -> Float[Tensor, "batch pos d_in"]:
    """g as the clean run left it."""
    return batch.clean.g[site]


def integrated_gradients(
    batch: BatchRuns, site: Site, x_base: Float[Tensor, "batch pos d_in"], batch_size: int
) -> Float[Tensor, "batch pos d_in"]:
    """Mean gradient of the metric at the midpoints of ``ig_steps`` equal parts of the line from x to ``x_base``.

    Only the layers above the site run. Every position moves together, as when the whole site is patched.

    Args:
        batch_size: copies in one forward and backward.
    """
    import torch

    from saeattr.model.recompute import recompute

    clean, steps = batch.clean.x[site].float(), batch.question.ig_steps
    average = torch.zeros_like(clean)
    rows = torch.arange(len(clean), device=clean.device)
    points_at_once = max(1, batch_size // len(clean))
    for first in range(0, steps, points_at_once):
        points = range(first, min(first + points_at_once, steps))
        alpha = torch.tensor([(point + 0.5) / steps for point in points], device=clean.device)
        line = clean + alpha[:, None, None, None] * (x_base - clean)
        x = line.flatten(0, 1).requires_grad_()
        with torch.enable_grad():
            hidden = recompute(batch.clean, site, x, rows.repeat(len(points)))
            value = torch.stack([batch.read(part).sum() for part in hidden.chunk(len(points))]).sum()
        (slope,) = torch.autograd.grad(value, [x])
        average += slope.unflatten(0, (len(points), len(clean))).sum(0)
    return average / steps


def _relevance_rules(lm: LanguageModel) -> AbstractContextManager[None]:
    from saeattr.model.relevance import relevance_rules

    return relevance_rules(lm)


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("attribution", "the clean run's gradient", clean_gradient, lambda steps, sites: 4),
        Method(
            "ig",
            "its mean on the way to the base (--ig-steps)",
            integrated_gradients,
            lambda steps, sites: 4 + 3 * steps * sites,
            recomputes=True,
        ),
        Method(
            "relp", "relevance patching's coefficients", clean_gradient, lambda steps, sites: 4, rules=_relevance_rules
        ),
    )
}


def find_method(name: str) -> Method:
    """The method of that name.

    Raises:
        UserError: there is none.
    """
    if name not in METHODS:
        raise UserError(f"--method cannot be {name!r}: choose one of {', '.join(METHODS)}")
    return METHODS[name]
