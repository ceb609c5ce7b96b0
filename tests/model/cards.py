"""Two pretended cards: tensors with values on the CPU that say they lie elsewhere, and refuse to meet.

Every operation is checked as CUDA checks it: its tensors lie on one card, but for numbers (0 dimensions) and, where a
tensor is indexed, indices on the CPU. What moves between cards is what code moves with ``.to``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

from saeattr.model.loading import LanguageModel

#: A kind of device that torch starts nothing for when it is named.
FIRST, SECOND = torch.device("cpu:1"), torch.device("cpu:2")
_CPU = torch.device("cpu")
_aten = torch.ops.aten
_INDEXING = {_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default, _aten._index_put_impl_.default}
_COPYING = {_aten.copy_.default, _aten._to_copy.default}


class Mixed(RuntimeError):
    """Tensors of two cards met."""


class OnCard(Tensor):
    """A tensor that says it lies on a card; ``held`` has its values."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor, card: torch.device) -> OnCard:
        made = torch.Tensor._make_wrapper_subclass(  # pyright: ignore[reportAttributeAccessIssue]
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype, device=card
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.held.tolist()


class _Cards(TorchDispatchMode):
    """Makes what is created on a card there (``torch.arange(..., device=...)``)."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Given(TorchFunctionMode):
    """Makes what is created of given numbers on the CPU first: where it is to lie, torch would not read them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func not in (torch.tensor, torch.as_tensor) or kwargs.get("device") is None:
            return func(*args, **kwargs)
        return func(*args, **{**kwargs, "device": _CPU}).to(kwargs["device"])


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, Tensor)]
    card = _card(func, args, tensors)
    if isinstance(kwargs.get("device"), torch.device):
        card = kwargs["device"]
        kwargs = {**kwargs, "device": _CPU}
    held_args, held_kwargs = tree_map(lambda one: one.held if isinstance(one, OnCard) else one, (args, kwargs))
    out = func(*held_args, **held_kwargs)
    if card == _CPU:
        return out
    wrapped = tree_map(lambda one: OnCard(one, card) if isinstance(one, Tensor) else one, out)
    return return_and_correct_aliasing(func, args, kwargs, wrapped) if tensors else wrapped


def _card(func: Any, args: Any, tensors: list[Tensor]) -> torch.device:
    """Where the result of an operation lies: with what it is of.

    Raises:
        Mixed: that is not one place.
    """
    if func in _COPYING:
        return tensors[0].device
    if func in _INDEXING:
        # Indices on the CPU are moved for us.
        indices = [one for one in args[1] if one is not None and one.device != _CPU]
        tensors = [args[0], *indices, *(one for one in args[2:3] if isinstance(one, Tensor))]
    cards = {one.device for one in tensors if one.ndim}
    if len(cards) > 1:
        raise Mixed(f"{func} of tensors on {sorted(map(str, cards))}")
    return cards.pop() if cards else next((one.device for one in tensors), _CPU)


class _Mover(AlignDevicesHook):
    """accelerate's own, for a module that was placed already."""

    def init_hook(self, module: nn.Module) -> nn.Module:
        return module


@contextmanager
def on_two_cards(lm: LanguageModel, second: int) -> Iterator[LanguageModel]:
    """A CPU model with layers from ``second`` on, and the final norm, pretended to lie on another card, for good.

    The modules inside transformer-lens' wrappers move what they are given as accelerate makes them, which it asks to
    place layers (``n_devices``). The output weights stay with the embedding, to which they may be tied.
    """
    there = {id(part) for whole in (*lm.layers[second:], lm.bridge.ln_final) for part in whole.modules()}
    for module in (*lm.bridge.modules(), *lm.hf.modules()):
        card = SECOND if id(module) in there else FIRST
        _place(module, card)
        # Its own wrappers move nothing.
        wraps = type(module).__module__.startswith("transformer_lens.")
        if not wraps and not hasattr(module, "_hf_hook") and next(module.parameters(), None) is not None:
            add_hook_to_module(module, _Mover(execution_device=card, skip_keys=["past_key_values"]))
    with _Cards(), _Given():
        yield lm


def _place(module: nn.Module, card: torch.device) -> None:
    for name, value in module._parameters.items():
        if value is not None and not isinstance(value, OnCard):
            module._parameters[name] = nn.Parameter(OnCard(value.detach(), card), requires_grad=False)
    for name, value in module._buffers.items():
        if value is not None and not isinstance(value, OnCard):
            module._buffers[name] = OnCard(value, card)
