"""What a study of a named model will need, without any file of the hub and without torch: arithmetic on stored costs.

Sizes are published ones: the model's in bfloat16, SAEs' in float32. What is here already is looked for in the hub's
cache. Nothing slow is imported here.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from saeattr.model.fitted import NUMBER_BYTES, fits_of, fitted_costs
from saeattr.model.hub import NamedModel, cached_file, named
from saeattr.model.shapes import KnownShape, known_shapes, shape_of
from saeattr.runs.memory import USUAL_LENGTH, USUAL_REQUEST, MemoryPlan, parse_bytes, plan_memory, with_overhead
from saeattr.runs.needs import Load
from saeattr.saes.catalogue import PublishedSae, pick_saes, sae_directory
from saeattr.saes.sizes import float32_bytes
from saeattr.settings import StudySettings
from saeattr.sites import Site
from saeattr.study.limits import download_limit
from saeattr.study.named_sites import choose_sites

#: Sets of control features beside those that are ablated while lists are written.
CONTROL_SETS = 3
#: Metrics that read the whole vocabulary; the others read a few tokens.
WHOLE_VOCABULARY = ("log-prob-difference", "log-prob", "probability", "neg-log-prob")
METHODS = ("attribution", "relp", "ig")
CARD, HOST = "a CUDA card", "the CPU"


@dataclass(frozen=True)
class SizedSae:
    """A published SAE and its size, known without a file of it."""

    published: PublishedSae
    d_in: int
    d_sae: int

    @property
    def site(self) -> Site:
        return self.published.site

    @property
    def n_bytes(self) -> int:
        return float32_bytes(self.d_in, self.d_sae)


@dataclass(frozen=True)
class Outlook:
    """What a study of a named model takes.

    Attributes:
        device: a card or the CPU, as the settings or the machine say; dtype: of the model there.
        saes: of all sites that are named, or on offer.
        model_download, sae_download: bytes still to be fetched: the model, and those SAEs.
        chosen: where no sites are named, so many of the SAEs at most are downloaded, and so many bytes at most.
        plan: of memory, stage by stage.
        methods: attribution's peak by method, for a metric of two tokens and for one of the whole vocabulary.
        streamed: the budget that suffices to stream all the SAEs, a batch of one pair at a time.
        held: how many of them a budget holds together; None without a budget.
    """

    model: KnownShape
    settings: StudySettings
    device: str
    dtype: str
    load: Load
    saes: tuple[SizedSae, ...]
    model_download: int
    sae_download: int
    chosen: tuple[int, int] | None
    plan: MemoryPlan
    methods: dict[str, tuple[int, int]]
    streamed: int
    held: int | None


def named_outlook(settings: StudySettings, length: int = USUAL_LENGTH) -> Outlook | None:
    """The outlook for a model of a known name with published SAEs; None where files must be opened to tell.

    Raises:
        UserError: a release, width or site is unknown, or the budget is too small.
    """
    known = named(settings.model)
    if known is None or settings.pairs is not None or Path(settings.model).expanduser().is_dir():
        return None
    model = _shape(known)
    releases = known.releases if settings.saes is None else tuple(settings.saes.split(","))
    device = _device(settings)
    dtype = settings.dtype or ("float32" if device == HOST else "bfloat16")
    if model is None or fits_of(model.shape, dtype) is None or not set(releases) <= set(sae_directory()):
        return None
    saes = _sized_saes(settings, known, model, releases)
    if saes is None:
        return None
    load = Load(
        settings.n_pairs,
        length,
        on_host=device == HOST,
        checked=settings.check_pairs,
        number_bytes=NUMBER_BYTES[dtype],
        ablated_lists=ablated_lists(settings, len(saes)),
    )
    budget = None if settings.vram is None else parse_bytes(settings.vram)

    sites, written = [sae.site for sae in saes], USUAL_REQUEST + settings.max_new_tokens

    def plan(method: str, whole: bool, limit: int | None, batch_size: int) -> MemoryPlan:
        run, writing = (fitted_costs(model.shape, dtype, sites, long, method, whole) for long in (length, written))
        assert run is not None
        assert writing is not None
        return plan_memory(run.writing(writing), saes, load, batch_size, limit)

    whole = settings.metric in WHOLE_VOCABULARY
    chosen = plan(settings.method, whole, budget, settings.batch_size)
    smallest = plan(settings.method, whole, None, 1)
    sizes = sorted(sae.n_bytes for sae in saes)
    left = None if budget is None else budget - with_overhead(smallest.peak - smallest.sae, load)
    by_method = {
        method: (plan(method, False, None, chosen.batch_size).peak, plan(method, True, None, chosen.batch_size).peak)
        for method in METHODS
    }
    return Outlook(
        model=model,
        settings=settings,
        device=device,
        dtype=dtype,
        load=load,
        saes=tuple(saes),
        model_download=0 if _has_weights(known) else model.n_bytes,
        sae_download=sum(sae.n_bytes for sae in saes if not _is_here(sae.published)),
        chosen=None if settings.names_sites else _within_download(settings, sizes),
        plan=chosen,
        methods=by_method,
        streamed=with_overhead(smallest.peak, load),
        held=None if left is None else sum(total <= left for total in itertools.accumulate(sizes)),
    )


def ablated_lists(settings: StudySettings, n_sites: int) -> int:
    """Lists that ``--generate`` writes: at each site sets of features, their controls and steering; and untouched."""
    sites = n_sites if settings.generate_sites else min(n_sites, max(1, settings.validate_top))
    return settings.n_pairs * (1 + sites * (1 + len(settings.generate_features) * (1 + CONTROL_SETS)))


def _shape(known: NamedModel) -> KnownShape | None:
    """The shape of a named model; None where a configuration in the hub's cache is another one's."""
    model = next((one for name, one in known_shapes().items() if named(name) == known), None)
    path = cached_file(known.hub, "config.json")
    if model is None or path is None:
        return model
    try:
        same = shape_of(json.loads(path.read_text(encoding="utf-8"))) == model.shape
    except (OSError, ValueError, KeyError, StopIteration, AttributeError):
        same = False
    return model if same else None


def _device(settings: StudySettings) -> str:
    """Where the settings put the model; ``auto`` with a budget of video memory is about a card."""
    if settings.device == "auto":
        return CARD if settings.vram is not None or Path("/dev/nvidia0").exists() else HOST
    return HOST if settings.device == "cpu" else CARD


def _sized_saes(
    settings: StudySettings, known: NamedModel, model: KnownShape, releases: Sequence[str]
) -> list[SizedSae] | None:
    """The SAEs of the sites named or on offer; None where a size is not published."""
    width = settings.sae_width or (known.width if settings.saes is None else None)
    picked = pick_saes(releases, width, settings.sae_l0)
    found = []
    for site in choose_sites(settings, list(picked)):
        sae = picked[site]
        d_sae = sae.d_sae or (known.d_sae if settings.saes is None else None)
        if d_sae is None:
            return None
        found.append(SizedSae(sae, model.shape.d_attn if site.kind == "attn_z" else model.shape.d_model, d_sae))
    return found


def _has_weights(known: NamedModel) -> bool:
    names = ("model.safetensors", "model.safetensors.index.json")
    return any(cached_file(known.hub, name) is not None for name in names)


def _is_here(sae: PublishedSae) -> bool:
    return cached_file(sae.repo, sae.file) is not None


def _within_download(settings: StudySettings, sizes: Sequence[int]) -> tuple[int, int]:
    """How many SAEs may be downloaded at most, and how many bytes: most of the smallest, most bytes of the largest."""
    limit = download_limit(settings)
    allowed = sum(limit is None or total <= limit for total in itertools.accumulate(sizes[: settings.max_sites]))
    largest = sum(sorted(sizes, reverse=True)[:allowed])
    return allowed, largest if limit is None else min(largest, limit)
