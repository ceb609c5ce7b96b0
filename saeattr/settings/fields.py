"""Every setting of a study, once: type, default, help, whether it identifies a study, and the commands that take it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from saeattr.settings.checks import HOTTEST, check_place, check_temperature
from saeattr.sites import Kind

Decision = Literal["last", "all"]
BaseName = Literal["corrupted", "zero", "mean"]
Positions = Literal["all", "single"]
Unequal = Literal["refuse", "zero"]
Swap = Literal["length", "few"]
#: A path, or a name on the hub.
Place = Annotated[str, AfterValidator(check_place)]

#: Other names of a field, in Python, in YAML and as an option: the groups of lists are topics, and a list makes a pair.
ALIASES = {"topic": "group", "lists": "n_pairs", "validate_lists": "validate_pairs", "check_lists": "check_pairs"}

#: Commands that take a setting. Those that explore open no SAE.
_EXPLORE = ("entropy", "lens", "patch")
_SAES = ("attribute", "select", "plan", "study")
#: Facts are of a battery, so of the rest it takes what says which SAEs.
_WHICH_SAES = (*_SAES, "recall run")
_ALL = (*_SAES, *_EXPLORE)
_MEASURE = ("attribute", "select", "study", *_EXPLORE)
_ATTRIBUTE = ("attribute", "study")
_SITES = (*_ATTRIBUTE, "plan", "recall run")
_TEST = (*_ATTRIBUTE, "validate")
_RUN = (*_ALL, "validate")
#: Commands that write a study, and whose work can be handed out to other processes.
_WRITE = (*_MEASURE, "validate", "recall run")

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
    or where to run: a study keeps its tables when they change. Without named sites, ``max_sites``, ``download`` and
    ``vram`` choose the sites a study begins with, once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    behaviour: str = _setting("lists", "pairs", "Where the pairs of prompts come from")
    pairs: Place | None = _setting(
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
    lists_from: Place | None = _setting(
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
    temperature: Annotated[float, AfterValidator(check_temperature)] = _setting(
        0.8, "pairs", "Temperature of the sampled lists: 0, or 0.001 and more", commands=_MEASURE, ge=0, le=HOTTEST
    )
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
    pairs_of: Place | None = _setting(
        None,
        "pairs",
        "A study folder whose stored pairs are taken as they are, in place of making some (to compare two models)",
        without="pairs are made",
    )
    model: Place = _setting("bundled", "model and SAEs", "bundled, a folder or a name (gemma-2-2b-it, org/name)")
    saes: Place | None = _setting(
        None,
        "model and SAEs",
        "A folder of SAEs, or published releases with commas",
        without="the model's own",
        commands=_WHICH_SAES,
    )
    sae_width: str | None = _setting(
        None,
        "model and SAEs",
        "Width of published SAEs, such as 16k",
        without="the model's usual one",
        commands=_WHICH_SAES,
    )
    sae_l0: float | None = _setting(
        None,
        "model and SAEs",
        "Take the published SAEs with the nearest L0",
        without="the published choice",
        gt=0,
        le=1_000_000,
        commands=_WHICH_SAES,
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
    check_pairs: int = _setting(
        3,
        "question",
        "Pairs of each group in which a site's estimates are added up and held against its exact effect, and x_hat is "
        "put in place of x",
        commands=_ATTRIBUTE,
        ge=1,
        le=10_000,
    )
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
        None, "sites", "Layers, such as 0,3,5, or all", without="the best that fit", commands=_SITES
    )
    kinds: tuple[Kind, ...] | None = _setting(
        None, "sites", "Kinds of site", without="all", min_length=1, commands=_WHICH_SAES
    )
    sites: tuple[str, ...] | None = _setting(
        None,
        "sites",
        "Sites, such as resid_post.0,attn_z.3, in place of layers and kinds",
        without="the best that fit",
        commands=_SITES,
        min_length=1,
    )
    max_sites: int | None = _setting(
        None,
        "sites",
        "Choose at most so many sites",
        without="no limit",
        identifies=False,
        ge=1,
        le=1_000_000,
        commands=_SAES,
    )
    download: str | None = _setting(
        None,
        "sites",
        "Choose published SAEs of at most so much together, in float32, such as 25GiB; 'all' for no limit",
        without="4GiB of SAEs from the hub, no limit of others",
        identifies=False,
        commands=_WHICH_SAES,
    )
    batch_size: int = _setting(
        16, "running", "Prompts in one forward", commands=_RUN, identifies=False, ge=1, le=1_000_000
    )
    vram: str | None = _setting(
        None,
        "running",
        "Memory to stay within, such as 8GiB: decides the batch, and chooses sites whose SAEs fit together",
        without="no limit",
        commands=(*_SAES, "validate"),
        identifies=False,
    )
    device: str = _setting(
        "auto", "running", "auto, cpu, cuda, cuda:N, cuda*N (N cards) or mps", commands=_RUN, identifies=False
    )
    wait: bool = _setting(
        False,
        "running",
        "Where another run works in the study folder, begin when it is done, in place of an error",
        commands=_WRITE,
        identifies=False,
    )
    workers: int | None = _setting(
        None,
        "running",
        "Processes on this machine that share the work, each with a model of its own: on cards one after the other, "
        "or with a share of the cores (pip install 'saeattr[cluster]'; docs/scale.md)",
        without="this process does it",
        commands=_WRITE,
        identifies=False,
        ge=1,
        le=1024,
    )
    scheduler: str | None = _setting(
        None,
        "running",
        "Address of a running Dask scheduler whose workers share the work, such as tcp://HOST:8786",
        without="none",
        commands=_WRITE,
        identifies=False,
    )

    @property
    def names_sites(self) -> bool:
        """Whether the user named layers or sites, so that nothing is left to choose."""
        return self.layers is not None or self.sites is not None

    def identity(self, saes: bool = True) -> dict[str, Any]:
        """The fields that decide what the numbers are, as plain values; without ``saes`` those that need no SAE."""
        fields = self.model_dump(mode="json")
        return {name: value for name, value in fields.items() if identifies(name) and (saes or needs_no_sae(name))}


def known(name: str) -> dict[str, Any]:
    """What ``_setting`` says of a field."""
    extra: Any = StudySettings.model_fields[name].json_schema_extra
    return extra


def identifies(name: str) -> bool:
    """Whether a study with another value of this field is another study."""
    return known(name)["identifies"]


def needs_no_sae(name: str) -> bool:
    """Whether a field is of the pairs, the model and what is asked, and not of SAEs or their features."""
    return any(command in known(name)["commands"] for command in _EXPLORE)
