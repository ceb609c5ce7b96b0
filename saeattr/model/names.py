"""Models by name: where they lie on the hub, and which published SAEs fit them."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from saeattr.errors import UserError


@dataclass(frozen=True)
class NamedModel:
    """A model that ``--model`` knows by name.

    Attributes:
        hub: repository on the Hugging Face hub.
        releases: releases in sae-lens' directory, one for each kind of site.
        d_model, d_attn: width of the residual stream and of the heads concatenated; config.json decides when a model is
            opened, these are for listing SAEs without it.
        width: of the SAEs, unless another is asked for; None where there is one only.
        note: what a reader of results should know.
    """

    hub: str
    releases: tuple[str, ...]
    d_model: int
    d_attn: int
    width: str | None = "16k"
    note: str = ""


_TRANSFER = "the SAEs were trained on the base model {base}: their reconstruction here is measured, not assumed"

_BASE = "a base model: the request is put in Gemma's chat format, which it was not tuned on"


def _scope(size: str, note: str = "") -> tuple[str, ...]:
    return tuple(f"gemma-scope-{size}-{kind}-canonical" for kind in ("res", "att", "mlp"))


def _scope_2(size: str) -> tuple[str, ...]:
    return tuple(f"gemma-scope-2-{size}-{kind}" for kind in ("res", "att", "mlp"))


MODELS: dict[str, NamedModel] = {
    "gemma-2-2b-it": NamedModel(
        "google/gemma-2-2b-it", _scope("2b-pt"), 2304, 2048, note=_TRANSFER.format(base="gemma-2-2b")
    ),
    "gemma-2-2b": NamedModel("google/gemma-2-2b", _scope("2b-pt"), 2304, 2048, note=_BASE),
    "gemma-2-9b-it": NamedModel("google/gemma-2-9b-it", ("gemma-scope-9b-it-res-canonical",), 3584, 4096),
    "gemma-2-9b": NamedModel("google/gemma-2-9b", _scope("9b-pt"), 3584, 4096, note=_BASE),
    "gemma-3-1b-it": NamedModel("google/gemma-3-1b-it", _scope_2("1b-it"), 1152, 1024),
    "gemma-3-4b-it": NamedModel("google/gemma-3-4b-it", _scope_2("4b-it"), 2560, 2048),
    "gemma-3-12b-it": NamedModel("google/gemma-3-12b-it", _scope_2("12b-it"), 3840, 4096),
    "gpt2": NamedModel("openai-community/gpt2", ("gpt2-small-res-jb",), 768, 768, width=None),
}


def hub_name(model: str) -> str | None:
    """The hub repository of a known name or of an ``org/name``; None where ``model`` is neither."""
    if model in MODELS:
        return MODELS[model].hub
    parts = model.split("/")
    return model if len(parts) == 2 and all(parts) and not model.startswith((".", "~", "/")) else None


def named(model: str) -> NamedModel | None:
    """What is known of a model, by its short name or its hub repository."""
    return MODELS.get(model) or next((known for known in MODELS.values() if known.hub == model), None)


def unknown_model(model: str) -> UserError:
    """The refusal of a name that is neither known nor a folder."""
    close = difflib.get_close_matches(model, MODELS, n=1, cutoff=0.5)
    meant = f"did you mean {close[0]}? " if close else ""
    return UserError(
        f"there is no model {model!r}: {meant}use bundled, a folder with a model in it, a name on the hub "
        f"(org/name), or one of {', '.join(MODELS)}"
    )
