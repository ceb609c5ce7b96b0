"""Every setting of a study, once: type, default, help, whether it identifies a study, and the commands that take it.

Python's keywords, the YAML file and the command line's options are made from ``StudySettings``: a field has the same
name in each (``max_sites``, ``max_sites:``, ``--max-sites``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from saeattr.errors import UserError
from saeattr.sites import Kind

Decision = Literal["last", "all"]
BaseName = Literal["corrupted", "zero", "mean"]
Positions = Literal["all", "single"]
Unequal = Literal["refuse", "zero"]
Swap = Literal["length", "few"]

#: Other names of a field, in Python, in YAML and as an option: the groups of lists are topics, and a list makes a pair.
ALIASES = {"topic": "group", "lists": "n_pairs", "validate_lists": "validate_pairs"}

#: Fields of several numbers, and how they are written.
NUMBERS = {"layers": "0,3,5, or all", "generate_features": "1,5,20"}

#: Commands that take a setting. Those that explore open no SAE.
_EXPLORE = ("entropy", "lens", "patch")
_SAES = ("attribute", "select", "plan", "study")
_ALL = (*_SAES, *_EXPLORE)
_MEASURE = ("attribute", "select", "study", *_EXPLORE)
_ATTRIBUTE = ("attribute", "study")
_TEST = (*_ATTRIBUTE, "validate")
_RUN = (*_ALL, "validate")

#: What the settings are about, in the order of help and documents.
PARTS = ("pairs", "model and SAEs", "question", "sites", "running")


def _setting(default: Any, part: str, help: str, *, commands: tuple[str, ...] = _ALL, **more: Any) -> Any:
    """A field with what help, documents and the study record need to know of it.

    Args:
        more: ``identifies`` (else True), ``without`` (what leaving it out means, where that is no value) and limits.
    """
    extra = {"part": part, "commands": commands, "identifies": more.pop("identifies", True)}
    return Field(default, description=help, json_schema_extra={**extra, "without": more.pop("without", "")}, **more)


def _several(value: Any) -> Any:
    """One number as several."""
    return (value,) if isinstance(value, int) else value


class StudySettings(BaseModel):
    """What a study asks, of which model, and how.

    Results are a function of the fields that identify a study (and the files they name). The others choose what to add
    or where to run: a study keeps its tables when they change. Without named sites, ``vram`` and ``max_sites`` choose
    the sites a study begins with, once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    behaviour: str = _setting("lists", "pairs", "Where the pairs of prompts come from")
    pairs: str | None = _setting(
        None,
        "pairs",
        "Your own pairs in place of a behaviour: a file (JSON lines, CSV, Parquet) or org/name of a dataset on the "
        "hub; docs/pairs.md tells the columns",
        without="the behaviour's own",
        identifies=False,
    )
    columns: tuple[str, ...] | None = _setting(
        None,
        "pairs",
        "Columns of the file that have another name there, such as clean=clean_prefix,wrong=patch_answer",
        without="as they are",
        identifies=False,
        min_length=1,
    )
    unequal: Unequal = _setting(
        "refuse",
        "pairs",
        "Prompts of a pair with unequally many tokens: refused, or aligned by their common beginning and end with "
        "features between patched to zero",
    )
    group: tuple[str, ...] = _setting(
        (),
        "pairs",
        "A group of pairs: a topic of lists, a relation of facts; repeat for more; 'all' for every one there is",
        without="cities; with facts, capitals",
        commands=_MEASURE,
        identifies=False,
    )
    n_pairs: int = _setting(
        10, "pairs", "Pairs of each group that are drawn, such as lists sampled for each topic", ge=1, le=10_000
    )
    lists_from: str | None = _setting(
        None,
        "pairs",
        "A file of lists written elsewhere, in place of sampled ones: .json, .jsonl, .parquet or plain text",
        without="the model's own",
    )
    swap: Swap = _setting(
        "length",
        "pairs",
        "Words that differ in the two requests for a list: 'short' and 'long', or 'few' and 'many' as well",
    )
    temperature: float = _setting(0.8, "pairs", "Temperature of the sampled lists", commands=_MEASURE, ge=0, le=10)
    top_p: float = _setting(
        0.9,
        "pairs",
        "Lists are sampled from the likeliest tokens of this total probability",
        commands=_MEASURE,
        gt=0,
        le=1,
    )
    max_new_tokens: int = _setting(200, "pairs", "Longest list, in tokens", commands=_MEASURE, ge=1, le=8192)
    seed: int = _setting(0, "pairs", "Seed of sampling, controls and random orders", commands=_MEASURE, ge=0, lt=2**31)
    pairs_of: str | None = _setting(
        None,
        "pairs",
        "A study folder whose stored pairs are taken as they are, in place of making some (to compare two models)",
        without="pairs are made",
    )
    model: str = _setting("bundled", "model and SAEs", "bundled, a folder or a name (gemma-2-2b-it, org/name)")
    saes: str | None = _setting(
        None,
        "model and SAEs",
        "A folder of SAEs, or published releases with commas",
        without="the model's own",
        commands=_SAES,
    )
    sae_width: str | None = _setting(
        None,
        "model and SAEs",
        "Width of published SAEs, such as 16k",
        without="the model's usual one",
        commands=_SAES,
    )
    sae_l0: float | None = _setting(
        None,
        "model and SAEs",
        "Take the published SAEs with the nearest L0",
        without="the published choice",
        gt=0,
        commands=_SAES,
    )
    dtype: Literal["float32", "bfloat16", "float16"] | None = _setting(
        None, "model and SAEs", "Numbers of the model's weights", without="bfloat16 on a GPU, else float32"
    )
    metric: str | None = _setting(
        None,
        "question",
        "What to explain; saeattr behaviours lists them",
        without="the behaviour's first; end-vs-continue of lists",
        commands=_MEASURE,
    )
    contrast: tuple[str, str] | None = _setting(
        None,
        "question",
        "Explain logit(A) - logit(B) of two tokens instead",
        without="the metric's tokens",
        commands=_MEASURE,
    )
    decision: Decision = _setting(
        "last", "question", "Decision points at which the metric is read (all: the mean over them)", commands=_MEASURE
    )
    base: BaseName = _setting("corrupted", "question", "What features are patched to", commands=_ATTRIBUTE)
    method: str = _setting("attribution", "question", "How effects are estimated", commands=_ATTRIBUTE)
    ig_steps: int = _setting(10, "question", "Steps of integrated gradients", commands=_ATTRIBUTE, ge=1, le=1000)
    keep_from: float | None = _setting(
        None,
        "question",
        "Entries of attributions.parquet from this share of their site's sum of |effect| in the pair; all else is of "
        "every entry",
        without="all; 0.01 in groups of more than 256 pairs",
        commands=_ATTRIBUTE,
        ge=0,
        lt=1,
    )
    validate_top: int = _setting(
        20,
        "question",
        "Features of a group, by rank, whose exact effects are measured; 0 for none",
        commands=_TEST,
        identifies=False,
        ge=0,
        le=1000,
    )
    validate_pairs: int | None = _setting(
        None,
        "question",
        "Pairs of each group on which features are tested: drawn with another seed, or of fixed pairs so many of each "
        "half",
        without="as many as n_pairs, or all, but at most 100",
        commands=_TEST,
        identifies=False,
        ge=1,
        le=10_000,
    )
    controls: int = _setting(
        39,
        "question",
        "Controls of a tested feature: x is moved as far in the directions of so many others",
        commands=_TEST,
        identifies=False,
        ge=19,
        le=999,
    )
    smallest: float = _setting(
        0.01,
        "question",
        "Smallest effect of interest, as a share of the clean-corrupted gap",
        commands=_TEST,
        identifies=False,
        ge=0,
        lt=1,
    )
    positions: Positions = _setting(
        "all",
        "question",
        "Patch a tested feature at all its positions, or in each pair only where its attribution is largest",
        commands=_TEST,
        identifies=False,
    )
    curves: bool = _setting(True, "question", "Many features patched together, too", commands=_TEST, identifies=False)
    generate_features: Annotated[
        tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1), BeforeValidator(_several)
    ] = _setting(
        (5,),
        "question",
        "Features ablated together at a site by --generate, such as 1,5,20 to compare numbers",
        commands=("validate", "study"),
        identifies=False,
    )
    generate_sites: tuple[str, ...] | None = _setting(
        None,
        "question",
        "Sites at which --generate ablates: all, kinds, or sites of the study",
        without="those of the features that are measured",
        commands=("validate", "study"),
        identifies=False,
        min_length=1,
    )
    layers: Annotated[tuple[int, ...], Field(min_length=1)] | Literal["all"] | None = _setting(
        None, "sites", "Layers, such as 0,3,5, or all", without="the best that fit", commands=(*_ATTRIBUTE, "plan")
    )
    kinds: tuple[Kind, ...] | None = _setting(
        None, "sites", "Kinds of site", without="all", min_length=1, commands=_SAES
    )
    sites: tuple[str, ...] | None = _setting(
        None,
        "sites",
        "Sites, such as resid_post.0,attn_z.3, in place of layers and kinds",
        without="the best that fit",
        commands=(*_ATTRIBUTE, "plan"),
        min_length=1,
    )
    max_sites: int | None = _setting(
        None,
        "sites",
        "Choose at most so many sites",
        without="no limit",
        identifies=False,
        ge=1,
        commands=_SAES,
    )
    batch_size: int = _setting(16, "running", "Prompts in one forward", commands=_RUN, identifies=False, ge=1)
    vram: str | None = _setting(
        None,
        "running",
        "Memory to stay within, such as 8GiB: decides the batch",
        without="no limit",
        commands=(*_SAES, "validate"),
        identifies=False,
    )
    device: str = _setting(
        "auto", "running", "auto, cpu, cuda, cuda:N, cuda*N (N cards) or mps", commands=_RUN, identifies=False
    )

    @property
    def names_sites(self) -> bool:
        """Whether the user named layers or sites, so that nothing is left to choose."""
        return self.layers is not None or self.sites is not None

    def identity(self, saes: bool = True) -> dict[str, Any]:
        """The fields that decide what the numbers are, as plain values; without ``saes`` those that need no SAE."""
        fields = self.model_dump(mode="json")
        return {name: value for name, value in fields.items() if identifies(name) and (saes or needs_no_sae(name))}


@dataclass(frozen=True)
class Setting:
    """A field of ``StudySettings`` as help and documents show it.

    Attributes:
        form: its type without None, such as ``int`` or ``tuple[str, ...]``.
        without: what leaving it out means, where the default is no value.
        choices: of a field with a closed list of values.
        part: what it is about (``PARTS``).
        commands: those that take it as an option.
        identifies: whether a study with another value is another study.
        others: other names of it.
    """

    name: str
    form: Any
    default: Any
    help: str
    without: str
    choices: tuple[str, ...]
    part: str
    commands: tuple[str, ...]
    identifies: bool
    others: tuple[str, ...]

    @property
    def flag(self) -> str:
        return flag(self.name)

    @property
    def n_values(self) -> int | None:
        """How many values it holds: 1, 2 for a pair, None for any number."""
        parts = get_args(self.form) if get_origin(self.form) is tuple else ()
        return None if ... in parts else max(1, len(parts))


def _described(name: str, field: FieldInfo) -> Setting:
    extra: Any = field.json_schema_extra
    forms = [form for form in _alternatives(field.annotation) if form is not type(None)]
    # A second alternative is a word, such as all for the layers; the help names it.
    form = next((form for form in forms if get_origin(form) is tuple), forms[0])
    values = get_args(form)[0] if get_origin(form) is tuple else form
    if get_origin(values) is Annotated:
        # Several numbers with limits of their own.
        values = get_args(values)[0]
        form = tuple[values, ...]
    return Setting(
        name=name,
        form=form,
        default=field.default,
        help=field.description or "",
        without=extra["without"],
        choices=get_args(values) if get_origin(values) is Literal else (),
        part=extra["part"],
        commands=extra["commands"],
        identifies=extra["identifies"],
        others=tuple(other for other, own in ALIASES.items() if own == name),
    )


def _alternatives(form: Any) -> list[Any]:
    """The members of a union, without their limits."""
    if get_origin(form) in (Union, UnionType):
        return [plain for part in get_args(form) for plain in _alternatives(part)]
    return [get_args(form)[0]] if get_origin(form) is Annotated else [form]


#: Every setting by its name, in the order of ``PARTS``.
SETTINGS: dict[str, Setting] = {name: _described(name, field) for name, field in StudySettings.model_fields.items()}


def flag(name: str) -> str:
    """The option of a name: ``--max-sites`` for ``max_sites``."""
    return "--" + name.replace("_", "-")


def identifies(name: str) -> bool:
    """Whether a study with another value of this field is another study."""
    return SETTINGS[name].identifies


def needs_no_sae(name: str) -> bool:
    """Whether a field is of the pairs, the model and what is asked, and not of SAEs or their features."""
    return any(command in SETTINGS[name].commands for command in _EXPLORE)


def taken_by(command: str) -> list[str]:
    """The fields that a command takes as options, in order."""
    return [name for name, setting in SETTINGS.items() if command in setting.commands]


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


def make_settings(values: Mapping[str, Any], config: Path | None = None) -> StudySettings:
    """Settings from a YAML file (if any) with ``values`` on top; a value of None counts as not given.

    Raises:
        UserError: a field is unknown, out of range or given twice, or the file cannot be read.
    """
    merged = _plain_names(read_config(config)) if config is not None else {}
    merged.update(_plain_names(values))
    if "sites" in merged and ("layers" in merged or "kinds" in merged):
        raise UserError("--sites names whole sites already: leave out --layers and --kinds")
    if "pairs" in merged and merged.setdefault("behaviour", "pairs") != "pairs":
        raise UserError(f"--pairs is a behaviour of its own: leave out --behaviour {merged['behaviour']}")
    return _valid(merged)


def changed_settings(settings: StudySettings, values: Mapping[str, Any], command: str) -> StudySettings:
    """Settings of a study with those of ``values`` changed, which ``command`` must take; None counts as not given.

    Raises:
        UserError: a field is unknown, out of range or given twice, or the command does not take it.
    """
    given = _plain_names(values)
    for name in given:
        if name not in taken_by(command):
            raise UserError(f"{name!r} is not a setting of {command}, which takes {', '.join(taken_by(command))}")
    return _valid({**settings.model_dump(exclude_none=True), **given})


def _valid(fields: Mapping[str, Any]) -> StudySettings:
    try:
        return StudySettings.model_validate(fields)
    except ValidationError as error:
        raise UserError(_one_line(error)) from error


def _plain_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that are given, under their own names and with texts split where a field holds several values."""
    plain: dict[str, Any] = {}
    for written, value in values.items():
        name = ALIASES.get(written, written)
        if value is None:
            continue
        if name in plain:
            raise UserError(f"{name!r} is given twice, as {' and '.join(_names_among(name, values))}: give it once")
        plain[name] = read_text(name, value) if isinstance(value, str) else value
    return plain


def _names_among(name: str, values: Mapping[str, Any]) -> list[str]:
    return [written for written in values if ALIASES.get(written, written) == name]


def read_text(name: str, text: str) -> Any:
    """What a text means for a field: layers, kinds and sites are split at commas, a group is a list of one.

    Raises:
        UserError: the layers are not numbers, or there is nothing between the commas.
    """
    setting = SETTINGS.get(name)
    if setting is None or setting.n_values is not None:
        return text
    if name == "group":
        return (text,)
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    if name == "layers" and parts == ("all",):
        return "all"
    numbers = name in NUMBERS
    if numbers and not all(part.isdecimal() for part in parts):
        raise UserError(f"{flag(name)} cannot be {text!r}: write numbers with commas, e.g. {NUMBERS[name]}")
    if not parts:
        raise UserError(f"{flag(name)} cannot be {text!r}: name at least one, or leave it out")
    return tuple(map(int, parts)) if numbers else parts


class _OnceLoader(yaml.SafeLoader):
    """YAML in which a name stands once: the plain loader lets the last one win without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value]
        for name in names:
            if names.count(name) > 1:
                raise UserError(f"{name!r} is given twice in {self.name}: give it once")
        return super().construct_mapping(node, deep)


def read_config(path: Path) -> dict[str, Any]:
    """The fields of a YAML file.

    Raises:
        UserError: there is no such file, it is not a mapping, or a name stands twice in it.
    """
    try:
        with path.open(encoding="utf-8") as file:
            fields = yaml.load(file, _OnceLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"the settings in {path} cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(fields, dict):
        raise UserError(f"{path} is not a mapping of settings: write lines such as lists: 10")
    return {str(name): value for name, value in fields.items()}


def _one_line(error: ValidationError) -> str:
    first = error.errors()[0]
    if first["type"] == "extra_forbidden":
        return f"{first['loc'][0]!r} is not a setting: the settings are {', '.join(StudySettings.model_fields)}"
    name = flag(str(first["loc"][0])) if first["loc"] else "settings"
    return f"{name} cannot be {first.get('input')!r}: {first['msg'][0].lower() + first['msg'][1:]}"
