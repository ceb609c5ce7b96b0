"""Every setting of a study, once: type, default, help, whether it identifies a study, and the commands that take it.

Python's keywords, the YAML file and the command line's options are made from ``StudySettings``: a field has the same
name in each (``max_sites``, ``max_sites:``, ``--max-sites``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from saeattr.errors import UserError
from saeattr.sites import Kind, Site, parse_site

Decision = Literal["last", "all"]
BaseName = Literal["corrupted", "zero", "mean"]

#: Other names of a field, in YAML and as an option: the groups of the behaviour lists are topics.
ALIASES = {"topic": "group"}

_ALL = ("attribute", "select", "plan")


def _setting(default: Any, help: str, commands: tuple[str, ...] = _ALL, identifies: bool = True, **limits: Any) -> Any:
    """A field with what the command line and the study record need to know of it."""
    extra = {"commands": list(commands), "identifies": identifies}
    return Field(default, description=help, json_schema_extra=extra, **limits)


class StudySettings(BaseModel):
    """What a study asks, of which model, and how.

    Results are a function of the fields that identify a study (and the files they name). The others choose what to add
    or where to run: a study keeps its tables when they change. Without named sites, ``vram`` and ``max_sites`` choose
    the sites a study begins with, once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    behaviour: str = _setting("lists", "Where the pairs of prompts come from: lists or facts.")
    group: tuple[str, ...] = _setting(
        (),
        "A group of pairs: a topic of lists, a relation of facts; repeat for more. 'all': every one that comes along.",
        ("attribute", "select"),
        identifies=False,
    )
    lists: int = _setting(10, "Lists sampled for each topic.", ge=1, le=10_000)
    temperature: float = _setting(0.8, "Of the sampled lists.", ("attribute", "select"), ge=0, le=10)
    top_p: float = _setting(0.9, "Of the sampled lists.", ("attribute", "select"), gt=0, le=1)
    max_new_tokens: int = _setting(200, "Longest list, in tokens.", ("attribute", "select"), ge=1, le=8192)
    model: str = _setting("bundled", "bundled, a folder or a name (gemma-2-2b-it, org/name).")
    saes: str | None = _setting(None, "A folder or releases of SAEs; without it the model's own.")
    sae_width: str | None = _setting(None, "Width of published SAEs, such as 16k; without it the releases' first.")
    sae_l0: float | None = _setting(None, "Take the published SAEs with the nearest L0.", gt=0)
    metric: str | None = _setting(
        None, "What to explain; without it the behaviour's first (lists: end-vs-continue).", ("attribute", "select")
    )
    contrast: tuple[str, str] | None = _setting(
        None, "Metric logit(A) - logit(B) for two tokens.", ("attribute", "select")
    )
    decision: Decision = _setting(
        "last", "Read the metric at the last decision point, or the mean of all.", ("attribute", "select")
    )
    base: BaseName = _setting("corrupted", "What features are patched to: corrupted, zero or mean.", ("attribute",))
    method: str = _setting("attribution", "How effects are estimated.", ("attribute",))
    ig_steps: int = _setting(10, "Steps of integrated gradients.", ("attribute",), ge=1, le=1000)
    layers: tuple[int, ...] | Literal["all"] | None = _setting(
        None, "Layers, e.g. 0,3,5, or all; without it the best that fit.", ("attribute", "plan")
    )
    kinds: tuple[Kind, ...] | None = _setting(None, "resid_post, attn_z, mlp_out, with commas.")
    sites: tuple[str, ...] | None = _setting(None, "Sites, e.g. resid_post.0,attn_z.3.", ("attribute", "plan"))
    max_sites: int | None = _setting(None, "Choose at most so many sites.", identifies=False, ge=1)
    validate_top: int = _setting(
        20, "Features validated in a group; 0 for none.", ("attribute", "validate"), identifies=False, ge=0, le=1000
    )
    seed: int = _setting(0, "Of sampling and intervals.", ("attribute", "select"), ge=0, lt=2**31)
    batch_size: int = _setting(16, "Prompts in one forward.", (*_ALL, "validate"), identifies=False, ge=1)
    vram: str | None = _setting(
        None, "Memory to stay within, e.g. 8GiB: decides the batch.", (*_ALL, "validate"), identifies=False
    )
    device: str = _setting(
        "auto", "auto, cpu, cuda, cuda:N, cuda*N (N cards) or mps.", (*_ALL, "validate"), identifies=False
    )
    dtype: Literal["float32", "bfloat16", "float16"] | None = _setting(
        None, "float32, bfloat16 or float16; without it bfloat16 on a GPU."
    )

    @property
    def names_sites(self) -> bool:
        """Whether the user named layers or sites, so that nothing is left to choose."""
        return self.layers is not None or self.sites is not None

    def identity(self) -> dict[str, Any]:
        """The fields that decide what the numbers are, as plain values."""
        fields = self.model_dump(mode="json")
        return {name: value for name, value in fields.items() if identifies(name)}


def identifies(name: str) -> bool:
    """Whether a study with another value of this field is another study."""
    extra: Any = StudySettings.model_fields[name].json_schema_extra
    return extra["identifies"]


def taken_by(command: str) -> list[str]:
    """The fields that a command takes as options, in order."""
    fields = StudySettings.model_fields.items()
    return [name for name, field in fields if command in field.json_schema_extra["commands"]]  # pyright: ignore[reportOperatorIssue, reportOptionalSubscript, reportIndexIssue, reportArgumentType]


def recorded_settings(record: Mapping[str, Any]) -> StudySettings:
    """The settings of a study's record, with its groups.

    Raises:
        UserError: the record holds settings that this version does not know.
    """
    fields = {name: value for name, value in record["settings"].items() if value is not None}
    try:
        return StudySettings.model_validate({**fields, "group": tuple(record["groups"])})
    except ValidationError as error:
        raise UserError(f"study.yaml cannot be used by this version: {_one_line(error)}") from error


def make_settings(values: dict[str, Any], config: Path | None = None) -> StudySettings:
    """Settings from a YAML file (if any) with ``values`` on top; a value of None counts as not given.

    Raises:
        UserError: a field is unknown or out of range, or the file cannot be read.
    """
    merged = _plain_names(read_config(config)) if config is not None else {}
    merged.update({name: value for name, value in _plain_names(values).items() if value is not None})
    if merged.get("sites") is not None and (merged.get("layers") is not None or merged.get("kinds") is not None):
        raise UserError("--sites names whole sites already: leave out --layers and --kinds")
    try:
        return StudySettings.model_validate({name: value for name, value in merged.items() if value is not None})
    except ValidationError as error:
        raise UserError(_one_line(error)) from error


def _plain_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Fields under their own names, not their aliases; one group may be written without a list."""
    plain = {ALIASES.get(name, name): value for name, value in values.items() if value is not None}
    return {name: (value,) if name == "group" and isinstance(value, str) else value for name, value in plain.items()}


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
