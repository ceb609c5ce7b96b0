"""Published SAEs by name, from the directory that sae-lens ships: which there are, how large, and where they lie."""

from __future__ import annotations

import difflib
import functools
import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from saeattr.errors import UserError
from saeattr.sites import Kind, Site, site_of_hook

#: How the weights are stored: sae-lens' own files, Gemma Scope's params.npz, Gemma Scope 2's params.safetensors,
#: Llama Scope's final.safetensors; and those that sae-lens reads for us.
Format = Literal[
    "sae_lens",
    "gemma_scope",
    "gemma_scope_2",
    "llama_scope",
    "llama_scope_r1",
    "dictionary_learning",
    "qwen_scope",
    "goodfire",
    "deepseek_r1",
    "hook_z",
]
READ_BY_LENS: tuple[Format, ...] = get_args(Format)[4:]
#: The file of weights in an SAE's folder.
WEIGHT_FILES: dict[Format, str] = {
    "sae_lens": "sae_weights.safetensors",
    "gemma_scope": "params.npz",
    "gemma_scope_2": "params.safetensors",
    "llama_scope": "checkpoints/final.safetensors",
    "llama_scope_r1": "sae_weights.safetensors",
    "dictionary_learning": "ae.pt",
    # The path is the file.
    "qwen_scope": "",
    "goodfire": "",
    "deepseek_r1": "",
    "hook_z": "",
}

_WIDTHS = {"1k": 2**10, "4k": 2**12, "16k": 2**14, "32k": 2**15, "65k": 2**16, "131k": 2**17, "262k": 2**18}
_WIDTHS |= {"64k": 2**16, "80k": 80 * 2**10, "128k": 2**17, "524k": 2**19, "1m": 2**20}
_GEMMA_SCOPE_KINDS: dict[str, Kind] = {"res": "resid_post", "att": "attn_z", "mlp": "mlp_out"}
_GEMMA_SCOPE_2_KINDS: dict[str, Kind] = {"resid_post": "resid_post", "attn_out": "attn_z", "mlp_out": "mlp_out"}

TRANSCODER = "a transcoder: it reads one activation and writes another"
CROSS_LAYER = "a cross-layer transcoder: it reads at one layer and writes into several"
TEMPORAL = "a temporal SAE: the features of a token depend on the tokens before it"
EMBEDDING = "it reads the embedding, which is no site here"
ATTN_OUT = "it reads hook_attn_out (attention behind its output matrix), which is no site here"
#: Conversions of sae-lens of which no entry is an SAE at a site.
_REFUSED = {
    "gemma_2_transcoder": TRANSCODER,
    "mwhanna_transcoder": TRANSCODER,
    "mntss_clt_layer_transcoder": CROSS_LAYER,
    "temporal": TEMPORAL,
}
#: Those of which every entry reads the residual stream behind a layer, by the part of id or path that tells the layer.
_RESIDUAL: dict[str, tuple[Format, str]] = {
    "llama_scope_r1_distill": ("llama_scope_r1", r"/L(\d+)R$"),
    "dictionary_learning_1": ("dictionary_learning", r"resid_post_layer_(\d+)[_/]"),
    "qwen_scope": ("qwen_scope", r"^layer(\d+)\.sae\.pt$"),
    "goodfire": ("goodfire", r"-l(\d+)\.pth?$"),
    "deepseek_r1": ("deepseek_r1", r"-l(\d+)\.pt$"),
}


@dataclass(frozen=True)
class PublishedSae:
    """One SAE of a release.

    Attributes:
        release, sae_id: its name in sae-lens' directory.
        site: where it reads.
        width: d_sae as the directory writes it (``16k``); None where the name does not tell.
        l0: features a token, as published; None where it does not tell.
        neuronpedia: ``model/source`` on Neuronpedia, or None.
        repo, path: on the hub.
        overrides: what the directory corrects in the SAE's own configuration.
        scale: what x is multiplied with before encoding, where the directory knows it.
    """

    release: str
    sae_id: str
    site: Site
    width: str | None
    l0: float | None
    neuronpedia: str | None
    repo: str
    path: str
    format: Format
    model: str
    overrides: dict[str, Any] = field(default_factory=dict, compare=False)
    scale: float | None = None

    @property
    def file(self) -> str:
        """The file of weights in its repository."""
        name = WEIGHT_FILES[self.format]
        return f"{self.path}/{name}" if name else self.path

    @property
    def d_sae(self) -> int | None:
        return _WIDTHS.get(self.width or "")


def published_saes(release: str) -> list[PublishedSae]:
    """The SAEs of a release that read at a site, in the order of the sites.

    Raises:
        UserError: there is no such release (the nearest name is suggested).
    """
    directory = sae_directory()
    if release not in directory:
        close = difflib.get_close_matches(release, directory, n=1, cutoff=0.4)
        meant = f"did you mean {close[0]}?" if close else "saeattr saes --model NAME lists those of a model"
        raise UserError(f"there is no SAE release {release!r} in sae-lens' directory: {meant}")
    return sorted(_entries(release, directory[release]), key=lambda sae: (sae.site.order, sae.sae_id))


def refused_saes(release: str) -> dict[str, str]:
    """The entries of a release that cannot be used, by their ids, and why."""
    value = sae_directory()[release]
    placed = {str(info["id"]): _place(value, release, info) for info in value["saes"]}
    return {sae_id: place for sae_id, place in placed.items() if isinstance(place, str)}


def pick_saes(releases: Sequence[str], width: str | None = None, l0: float | None = None) -> dict[Site, PublishedSae]:
    """One SAE for each site: of the width asked for, and with the published L0 nearest to ``l0``.

    Without ``l0``, the one in the middle (canonical releases have one for each site and width anyway).

    Raises:
        UserError: a release is unknown, or has no SAE of that width.
    """
    chosen: dict[Site, PublishedSae] = {}
    for release in releases:
        saes = published_saes(release)
        if not saes:
            raise UserError(f"no SAE of {release} can be used here: {next(iter(refused_saes(release).values()))}")
        offered = sorted({sae.width for sae in saes if sae.width}, key=lambda name: _WIDTHS.get(name, 0))
        fitting = [sae for sae in saes if width is None or sae.width in (width, None)]
        if not fitting:
            raise UserError(f"{release} has no SAE of width {width!r} at a site: its widths are {', '.join(offered)}")
        by_site: dict[Site, list[PublishedSae]] = {}
        for sae in fitting:
            by_site.setdefault(sae.site, []).append(sae)
        for site, own in by_site.items():
            own.sort(key=lambda sae: (sae.l0 or 0.0, sae.sae_id))
            nearest = own[len(own) // 2] if l0 is None else min(own, key=lambda sae: abs((sae.l0 or 0.0) - l0))
            chosen.setdefault(site, nearest)
    return dict(sorted(chosen.items()))


@functools.cache
def sae_directory() -> dict[str, Any]:
    """sae-lens' pretrained_saes.yaml, read without importing sae_lens (which takes seconds)."""
    spec = importlib.util.find_spec("sae_lens")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("sae-lens is not installed: pip install sae-lens")
    path = Path(next(iter(spec.submodule_search_locations))) / "pretrained_saes.yaml"
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text(encoding="utf-8"), Loader=loader)


def _entries(release: str, value: dict[str, Any]) -> Iterator[PublishedSae]:
    for info in value["saes"]:
        sae_id, path = str(info["id"]), str(info["path"])
        place = _place(value, release, info)
        if isinstance(place, str):
            continue
        site, stored = place
        size = re.search(r"width_(\d+[km])", path) or re.search(r"-w?(\d+k)(?:-l\d+)?$", release)
        size = size or re.search(r"-(\d+k)(?:$|__)", info.get("neuronpedia") or "")
        average = re.search(r"average_l0_(\d+)", path)
        l0 = info.get("l0") or (average and float(average[1])) or None
        yield PublishedSae(
            release,
            sae_id,
            site,
            size[1] if size else None,
            float(l0) if l0 else None,
            info.get("neuronpedia"),
            value["repo_id"],
            path,
            stored,
            str(value["model"]),
            {**(value.get("config_overrides") or {}), **(info.get("config_overrides") or {})},
            info.get("norm_scaling_factor"),
        )


def _place(value: Mapping[str, Any], release: str, info: Mapping[str, Any]) -> tuple[Site, Format] | str:
    """Where an entry reads and how it is stored; or why it cannot be used."""
    conversion, sae_id, path = value.get("conversion_func"), str(info["id"]), str(info["path"])
    if conversion is None:
        return _place_of_hook(sae_id)
    if conversion in _REFUSED:
        return _REFUSED[conversion]
    if conversion in _RESIDUAL:
        stored, pattern = _RESIDUAL[conversion]
        layer = re.search(pattern, path)
        return (Site("resid_post", int(layer[1])), stored) if layer else "its path does not say its layer"
    if conversion == "connor_rob_hook_z":
        site = site_of_hook(re.sub(r"\.hook_z$", ".attn.hook_z", sae_id))
        return (site, "hook_z") if site else "its id does not say its layer"
    if conversion in ("gemma_2", "gemma_3", "llama_scope"):
        return _place_in_scope(conversion, release, sae_id, path)
    return f"sae-lens reads it by {conversion}, which is not known here"


def _place_of_hook(sae_id: str) -> tuple[Site, Format] | str:
    """Of an SAE in sae-lens' own format: its id is a hook's name, with a width behind it where widths are compared."""
    hook = re.sub(r"_\d+$", "", sae_id)
    site = site_of_hook(hook)
    if site is not None:
        return site, "sae_lens"
    if hook == "blocks.0.hook_resid_pre":
        return EMBEDDING
    return ATTN_OUT if hook.endswith("hook_attn_out") else f"it reads {hook.rpartition('.')[2]}, which is no site here"


def _place_in_scope(conversion: str, release: str, sae_id: str, path: str) -> tuple[Site, Format] | str:
    """Of Gemma Scope, Gemma Scope 2 and Llama Scope: the folders tell."""
    layer = re.search(r"layer_(\d+)[/_]", path + "/")
    if "embedding" in path:
        return EMBEDDING
    if "clt" in path or "crosscoder" in path:
        return CROSS_LAYER
    if "transcoder" in path or "transcoder" in release:
        return TRANSCODER
    if conversion == "gemma_2":
        part = re.search(r"-(res|att|mlp)(?:-|$)", release)
        if part and layer:
            return Site(_GEMMA_SCOPE_KINDS[part[1]], int(layer[1])), "gemma_scope"
    elif conversion == "gemma_3":
        kind: Kind | None = next((kind for name, kind in _GEMMA_SCOPE_2_KINDS.items() if path.startswith(name)), None)
        if kind and layer:
            return Site(kind, int(layer[1])), "gemma_scope_2"
    else:
        letter = re.fullmatch(r"l(\d+)([arm])_\d+x", sae_id)
        if letter and letter[2] == "a":
            return ATTN_OUT
        if letter:
            return Site("resid_post" if letter[2] == "r" else "mlp_out", int(letter[1])), "llama_scope"
    return "its path does not say where it reads"
