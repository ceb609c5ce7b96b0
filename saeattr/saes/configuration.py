"""What sae-lens writes into cfg.json: each field has one type, and what would change the numbers is never guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from saeattr.errors import UserError

#: Vectors and features: far above any SAE that was published.
Size = Annotated[int, Field(gt=0, le=10**8)]
Finite = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Fields(BaseModel):
    """Text is no number and no truth value, 1 is not true; other fields say nothing about encoding."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class ModelOptions(_Fields):
    """How the model was opened that the SAE was trained on."""

    center_writing_weights: bool | None = None


class Hooked(_Fields):
    """Where an SAE reads: in ``metadata`` from sae-lens 6 on, beside the rest before."""

    hook_name: str | None = None
    hook_point: str | None = None
    hook_head_index: int | None = None
    hook_point_head_index: int | None = None
    sae_lens_version: str | None = None
    model_from_pretrained_kwargs: ModelOptions | None = None


class LensConfig(Hooked):
    """cfg.json of sae-lens, of version 6 or older."""

    d_in: Size
    d_sae: Size
    architecture: str | None = None
    dtype: str | None = None
    activation_fn: str | None = None
    activation_fn_str: str | None = None
    activation_fn_kwargs: dict[str, Any] | None = None
    # Both sae-lens 6 and the versions before take a field left out for true.
    apply_b_dec_to_input: bool = True
    normalize_activations: str | bool | None = None
    reshape_activations: Literal["none", "hook_z"] | None = None
    finetuning_scaling_factor: bool | None = None
    k: Size | None = None
    rescale_acts_by_decoder_norm: bool = False
    residual_threshold: Finite = 0.01
    max_iterations: Size | None = None
    stop_on_duplicate_support: bool = True
    metadata: Hooked | None = None


class LlamaScopeNorm(_Fields):
    """Mean norm of the activations that an SAE of Llama Scope was trained on."""

    inside: Finite = Field(alias="in")


class LlamaScopeConfig(_Fields):
    """hyperparams.json of Llama Scope, the fields that decide its numbers."""

    d_model: Size
    d_sae: Size
    jump_relu_threshold: Finite
    dataset_average_activation_norm: LlamaScopeNorm


def lens_fields(config: dict[str, Any], folder: Path) -> LensConfig:
    """The fields of a cfg.json, each of its own type.

    Raises:
        UserError: one has another type, or is out of bounds, or a TopK SAE does not say its k.
    """
    try:
        fields = LensConfig.model_validate(config)
    except ValidationError as error:
        raise UserError(f"{folder} {_first(error, 'cfg.json')}") from error
    kind = fields.activation_fn or fields.activation_fn_str
    if "topk" in (kind, fields.architecture):
        _check_k(fields, folder)
    elif fields.architecture in (None, "standard") and fields.k is not None:
        kind = fields.architecture or "standard"
        raise UserError(
            f"{folder} is of the architecture {kind} and says k={fields.k} in its cfg.json, as TopK SAEs do: get the "
            "file again"
        )
    return fields


def _check_k(fields: LensConfig, folder: Path) -> None:
    """sae-lens takes 100 for a k that is left out, which is no more than a guess."""
    named = [value for value in (fields.k, (fields.activation_fn_kwargs or {}).get("k")) if value is not None]
    whole = all(type(value) is int for value in named)
    if not named or not whole or len(set(named)) > 1 or not 0 < named[0] <= fields.d_sae:
        said = " and ".join(map(repr, named)) or "nothing"
        raise UserError(
            f"{folder} says {said} for the k of its TopK SAE: a whole number from 1 to {fields.d_sae} (d_sae) belongs "
            "into its cfg.json"
        )


def llama_scope_fields(config: dict[str, Any], folder: Path) -> LlamaScopeConfig:
    """The fields of a hyperparams.json.

    Raises:
        UserError: one is missing, of another type, or no finite number.
    """
    try:
        fields = LlamaScopeConfig.model_validate(config)
    except ValidationError as error:
        raise UserError(f"{folder} {_first(error, 'hyperparams.json')}") from error
    if fields.dataset_average_activation_norm.inside == 0:
        raise UserError(f"{folder} says an activation norm of 0 in its hyperparams.json: get the file again")
    return fields


def _first(error: ValidationError, name: str) -> str:
    """What is wrong with the first field that is, in one line."""
    fault = error.errors()[0]
    field = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "missing":
        return f"has no {field} in its {name}: get the file again"
    if fault["type"] == "finite_number":
        return f"has a {field} in its {name} that is no finite number: get the file again, or use another SAE"
    said = " ".join(str(fault["msg"]).split())
    return f"has {fault['input']!r:.60} as {field} in its {name} ({said}): get the file again"
