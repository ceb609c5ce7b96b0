"""The settings of a study: a YAML file and flags give the same fields, checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from saeattr.errors import UserError
from saeattr.sites import Kind, Site, parse_site

#: A study keeps its tables when these change: they choose what to add or where to run, not what a number means.
NOT_IDENTITY = ("topics", "device", "batch_size", "vram", "max_sites", "validate_top")


class StudySettings(BaseModel):
    """What a study asks, of which model, and how.

    Results are a function of these fields (and the files they name); ``batch_size``, ``vram`` and ``device``
    change speed and memory only, but for what a study begins with: without named sites, ``vram`` and ``max_sites``
    choose them, once. ``validate_top`` is the number of features validated in each topic; 0 for none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    topics: tuple[str, ...] = ("cities",)
    lists: int = Field(default=10, ge=1, le=10_000)
    model: str = "bundled"
    saes: str | None = None
    sae_width: str | None = None
    sae_l0: float | None = Field(default=None, gt=0)
    layers: tuple[int, ...] | Literal["all"] | None = None
    max_sites: int | None = Field(default=None, ge=1)
    kinds: tuple[Kind, ...] | None = None
    sites: tuple[str, ...] | None = None
    metric: str = "end-vs-continue"
    contrast: tuple[str, str] | None = None
    decision: Literal["last", "all"] = "last"
    base: Literal["corrupted", "zero", "mean"] = "corrupted"
    method: Literal["attribution", "ig", "relp"] = "attribution"
    ig_steps: int = Field(default=10, ge=1, le=1000)
    validate_top: int = Field(default=20, ge=0, le=1000)
    temperature: float = Field(default=0.8, ge=0, le=10)
    top_p: float = Field(default=0.9, gt=0, le=1)
    max_new_tokens: int = Field(default=200, ge=1, le=8192)
    seed: int = Field(default=0, ge=0, lt=2**31)
    batch_size: int = Field(default=16, ge=1)
    vram: str | None = None
    device: str = "auto"
    dtype: Literal["float32", "bfloat16", "float16"] | None = None

    @property
    def names_sites(self) -> bool:
        """Whether the user named layers or sites, so that nothing is left to choose."""
        return self.layers is not None or self.sites is not None

    def identity(self) -> dict[str, Any]:
        """The fields that decide what the numbers are, as plain values."""
        fields = self.model_dump(mode="json")
        return {name: value for name, value in fields.items() if name not in NOT_IDENTITY}


def recorded_settings(record: Mapping[str, Any]) -> StudySettings:
    """The settings of a study's record, with its topics.

    Raises:
        UserError: the record holds settings that this version does not know.
    """
    fields = {name: value for name, value in record["settings"].items() if value is not None}
    try:
        return StudySettings.model_validate({**fields, "topics": tuple(record["topics"]) or ("cities",)})
    except ValidationError as error:
        raise UserError(f"study.yaml cannot be used by this version: {_one_line(error)}") from error


def make_settings(values: dict[str, Any], config: Path | None = None) -> StudySettings:
    """Settings from a YAML file (if any) with ``values`` on top; a value of None counts as not given.

    Raises:
        UserError: a field is unknown or out of range, or the file cannot be read.
    """
    merged = read_config(config) if config is not None else {}
    merged.update({name: value for name, value in values.items() if value is not None})
    if merged.get("sites") is not None and (merged.get("layers") is not None or merged.get("kinds") is not None):
        raise UserError("--sites names whole sites already: leave out --layers and --kinds")
    try:
        return StudySettings.model_validate({name: value for name, value in merged.items() if value is not None})
    except ValidationError as error:
        raise UserError(_one_line(error)) from error


def read_config(path: Path) -> dict[str, Any]:
    """The fields of a YAML file.

    Raises:
        UserError: there is no such file, or it is not a mapping.
    """
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"the settings in {path} cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(fields, dict):
        raise UserError(f"{path} is not a mapping of settings: write lines such as lists: 10")
    return fields


def choose_sites(settings: StudySettings, available: list[Site]) -> list[Site]:
    """The sites that the settings name, out of those with an SAE; without any name, all of them.

    Raises:
        UserError: a named layer, kind or site has no SAE.
    """
    if settings.sites is not None:
        wanted = [parse_site(address) for address in settings.sites]
        for site in wanted:
            if site not in available:
                raise UserError(f"there is no SAE for {site}: {_offer(available)}")
        return sorted(set(wanted))
    layers, kinds = {site.layer for site in available}, {site.kind for site in available}
    named = None if settings.layers == "all" else settings.layers
    for layer in named or ():
        if layer not in layers:
            raise UserError(f"there is no SAE for layer {layer}: {_offer(available)}")
    for kind in settings.kinds or ():
        if kind not in kinds:
            raise UserError(f"there is no SAE of the kind {kind}: {_offer(available)}")
    layers = set(layers if named is None else named)
    kinds = set(kinds if settings.kinds is None else settings.kinds)
    chosen = [site for site in available if site.layer in layers and site.kind in kinds]
    if not chosen:
        raise UserError(f"no SAE is of a named kind in a named layer: {_offer(available)}")
    return sorted(chosen)


def _offer(available: list[Site]) -> str:
    """What could be named instead, in one line."""
    layers: dict[str, list[int]] = {}
    for site in sorted(available):
        layers.setdefault(site.kind, []).append(site.layer)
    listed = (f"{kind} in layers {', '.join(map(str, numbers))}" for kind, numbers in layers.items())
    return "there are SAEs for " + "; ".join(listed)


def _one_line(error: ValidationError) -> str:
    first = error.errors()[0]
    name = "--" + str(first["loc"][0]).replace("_", "-") if first["loc"] else "settings"
    if first["type"] == "extra_forbidden":
        return f"{first['loc'][0]!r} is not a setting: the settings are {', '.join(StudySettings.model_fields)}"
    return f"{name} cannot be {first.get('input')!r}: {first['msg'][0].lower() + first['msg'][1:]}"
