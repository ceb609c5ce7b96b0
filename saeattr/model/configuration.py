"""config.json as transformers reads it, with numbers that can be: sizes above 0, nothing that is not finite."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from saeattr.errors import UserError
from saeattr.model.weights import foreign

#: Whole numbers above 0, and the most that they may be; transformers builds as many layers as it is told.
SIZES = {"num_hidden_layers": 10_000, "vocab_size": 10**8, "hidden_size": 10**7, "intermediate_size": 10**8}
SIZES |= {"num_attention_heads": 10**6, "num_key_value_heads": 10**6, "head_dim": 10**7, "n_inner": 10**8}
SIZES |= {"max_position_embeddings": 10**12, "sliding_window": 10**12}
#: Decimal numbers above 0, where they are given; those that are divided by or taken to a power.
ABOVE_0 = ("attn_logit_softcapping", "final_logit_softcapping", "query_pre_attn_scalar", "rope_theta", "factor")
#: 0 or more.
FROM_0 = ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon")


def read_config(folder: Path) -> PreTrainedConfig:
    """config.json of a folder, as the class that transformers has for it.

    Raises:
        UserError: transformers has none, it cannot be read, or a number in it cannot be.
    """
    with foreign(folder, f"{folder}/config.json is not a model's configuration"):
        config: Any = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    with foreign(folder, f"{folder}/config.json is not a language model's configuration"):
        text = config.get_text_config()
    check_numbers(text, folder)
    return config


def check_numbers(config: PreTrainedConfig, folder: Path) -> None:
    """Refuse sizes and factors with which nothing can be computed.

    Raises:
        UserError: one is, named with its value.
    """
    for name, most in SIZES.items():
        value = getattr(config, name, None)
        if value is not None and (type(value) is not int or not 0 < value <= most):
            raise UserError(
                f"{folder}/config.json has {value!r:.60} as {name}: a whole number from 1 to {most:,} belongs there"
            )
    own = {name: getattr(config, name, None) for name in (*ABOVE_0, *FROM_0)}
    for name, value in [*own.items(), *_numbers(getattr(config, "rope_parameters", None) or {})]:
        if isinstance(value, (int, float)):
            least = 0 if name in FROM_0 else math.nextafter(0, 1)
            if isinstance(value, bool) or not math.isfinite(value) or (name in (*ABOVE_0, *FROM_0) and value < least):
                bound = "from 0 on" if least == 0 else "above 0"
                raise UserError(
                    f"{folder}/config.json has {value!r:.60} as {name}: a finite number {bound} belongs there"
                )


def _numbers(fields: Any) -> Iterator[tuple[str, Any]]:
    """Of rotary embeddings: one set of parameters, or one for each type of layer."""
    for name, value in fields.items() if isinstance(fields, dict) else ():
        if isinstance(value, dict):
            yield from _numbers(value)
        else:
            yield name, value
