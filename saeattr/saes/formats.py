"""One SAE on disk or on the hub, known from its configuration, its name or its folders alone; no weights are read.

Read here: sae-lens' format (cfg.json beside sae_weights.safetensors), Gemma Scope's (params.npz), Gemma Scope 2's
(params.safetensors), Llama Scope's (hyperparams.json above checkpoints/final.safetensors). Other formats and
architectures are opened by sae-lens (``saeattr.saes.lens_files``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from saeattr.digests import file_sha256
from saeattr.errors import UserError
from saeattr.model.hub import cached_file, hub_file
from saeattr.model.json_files import read_object
from saeattr.saes.catalogue import READ_BY_LENS, WEIGHT_FILES, Format, PublishedSae
from saeattr.saes.configuration import lens_fields, llama_scope_fields
from saeattr.saes.lens import BY_TOKEN, check_usable, is_centred
from saeattr.saes.lens_files import lens_config
from saeattr.saes.sizes import float32_bytes
from saeattr.saes.tensors import read_shapes
from saeattr.sites import Kind, Site, site_of_hook

#: Read here, and opened by sae-lens.
ARCHITECTURES, BY_LENS = ("jumprelu", "standard"), ("topk", "gated", "matching_pursuit")


@dataclass(frozen=True)
class SaeFile:
    """Where an SAE lies and what it is.

    Attributes:
        folder: where it lies; for a published one, a relative path that is only a name.
        has_threshold: whether the file holds JumpReLU thresholds.
        threshold: one threshold for all features, where the configuration gives it.
        scale: what x is multiplied with before the SAE was trained to read it; folded into the weights on loading.
        subtract_b_dec, centre_input: as in ``SparseAutoencoder``.
        by_lens: whether sae-lens opens it.
        published: the release it belongs to, where it was named by one.
        held: an SAE of sae-lens or of here that was passed from Python, in place of a file; ``held_sha256`` is its.
    """

    site: Site
    folder: Path
    d_in: int
    d_sae: int
    format: Format = "sae_lens"
    has_threshold: bool = True
    threshold: float | None = None
    scale: float = 1.0
    subtract_b_dec: bool = False
    centre_input: bool = False
    by_lens: bool = False
    published: PublishedSae | None = None
    held: Any = field(default=None, compare=False, repr=False)
    held_sha256: str | None = None

    @property
    def sha256(self) -> str:
        """Of the file of weights, or of the weights that were passed."""
        return self.held_sha256 or file_sha256(self.weights)

    @property
    def weights(self) -> Path:
        """The file of weights; a published one is downloaded to the hub's cache when it is not there."""
        if self.published is None:
            return self.folder / WEIGHT_FILES[self.format]
        return hub_file(self.published.repo, self._path)

    @property
    def download(self) -> int:
        """Bytes still to be fetched from the hub, as float32; 0 where the file is here."""
        if self.published is None or cached_file(self.published.repo, self._path) is not None:
            return 0
        return self.n_bytes

    @property
    def _path(self) -> str:
        """In the repository of a published SAE."""
        return self.published.file if self.published else ""

    @property
    def name(self) -> str:
        return self.folder.name if self.published is None else f"{self.published.release}/{self.published.sae_id}"

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The tensors that the file must hold."""
        shapes = {"W_enc": (self.d_in, self.d_sae), "b_enc": (self.d_sae,)}
        shapes |= {"W_dec": (self.d_sae, self.d_in), "b_dec": (self.d_in,)}
        if self.has_threshold:
            shapes["threshold"] = (self.d_sae,)
        return shapes

    @property
    def n_bytes(self) -> int:
        """In memory, as float32."""
        return float32_bytes(self.d_in, self.d_sae)


def published_file(sae: PublishedSae, widths: Mapping[Kind, int]) -> SaeFile | None:
    """A published SAE; the small configuration file is fetched where the name does not tell its size.

    ``widths`` are the model's, for each kind of site. None where an SAE's size is unknown.

    Raises:
        UserError: its configuration cannot be had, or is of an SAE that cannot be used here.
    """
    folder = Path(sae.release) / sae.sae_id
    if sae.format == "sae_lens":
        config = _read_json(hub_file(sae.repo, f"{sae.path}/cfg.json"))
        return _of_config({**config, **sae.overrides}, sae.site, folder, sae)
    if sae.format == "llama_scope":
        return _of_llama_scope(_read_json(hub_file(sae.repo, f"{sae.path}/hyperparams.json")), folder, sae)
    if sae.format in READ_BY_LENS:
        config = lens_config(sae)
        size = int(config["d_in"]), int(config["d_sae"])
        return SaeFile(sae.site, folder, *size, sae.format, by_lens=True, published=sae)
    if sae.d_sae is None:
        return None
    return SaeFile(sae.site, folder, widths[sae.site.kind], sae.d_sae, sae.format, published=sae)


def npz_file(path: Path) -> SaeFile:
    """Gemma Scope's files say where they belong by their folders: ...-res/layer_20/width_16k/average_l0_71.

    Raises:
        UserError: the folders do not say it.
    """
    layer = re.search(r"layer_(\d+)", str(path.parent))
    kinds: dict[str, Kind] = {"res": "resid_post", "att": "attn_z", "mlp": "mlp_out"}
    part = re.findall(r"(?:^|[-_/])(res|att|mlp)(?=[-_/]|$)", str(path.parent))
    if layer is None or not part:
        raise UserError(
            f"{path} does not say its site: keep Gemma Scope's folders, "
            "for example gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71/params.npz"
        )
    shape = read_shapes(path).get("W_enc", ())
    if len(shape) != 2:
        raise UserError(f"{path} has {shape or 'nothing'} where a matrix W_enc belongs: get the file again")
    return SaeFile(Site(kinds[part[-1]], int(layer[1])), path.parent, shape[0], shape[1], "gemma_scope")


def config_file(path: Path) -> SaeFile:
    """A folder in sae-lens' format, from its cfg.json.

    Raises:
        UserError: it cannot be read, or is of an SAE that cannot be used here.
    """
    config = _read_json(path)
    lens_fields(config, path.parent)
    named = {**config, **(config.get("metadata") or {})}
    hook = str(named.get("hook_name") or named.get("hook_point") or "")
    site = site_of_hook(hook)
    if site is None:
        raise UserError(
            f"{path} is for the hook {hook!r}: only resid_post (or the next layer's resid_pre), attn_z and mlp_out "
            "hooks are sites here"
        )
    return _of_config(config, site, path.parent, None)


def _of_config(config: dict[str, Any], site: Site, folder: Path, published: PublishedSae | None) -> SaeFile:
    """From sae-lens' configuration, of version 6 or older."""
    fields = lens_fields(config, folder)
    metadata = config.get("metadata") or {}
    # Before version 6 a top-k SAE was called standard.
    old = "metadata" not in config
    kind = config.get("activation_fn") or config.get("activation_fn_str") or "relu"
    architecture = "topk" if kind == "topk" else config.get("architecture", "standard" if old else None)
    normalised = config.get("normalize_activations")
    normalised = "expected_average_only_in" if normalised is True else normalised
    scaled = published is not None and published.scale is not None
    named = {"normalize_activations": "none" if scaled else normalised}
    check_usable({**config, **named, "architecture": architecture, "metadata": metadata or config}, f"the SAE {folder}")
    if architecture not in (*ARCHITECTURES, *BY_LENS) or kind not in ("relu", "topk"):
        raise UserError(
            f"the SAE {folder} has the architecture {architecture!r} ({kind}): "
            f"{', '.join((*ARCHITECTURES, *BY_LENS))} are supported"
        )
    return SaeFile(
        site,
        folder,
        fields.d_in,
        fields.d_sae,
        has_threshold=architecture == "jumprelu",
        subtract_b_dec=fields.apply_b_dec_to_input,
        centre_input=is_centred(metadata) or is_centred(config),
        by_lens=architecture in BY_LENS or scaled or normalised in BY_TOKEN,
        published=published,
    )


def _of_llama_scope(config: dict[str, Any], folder: Path, sae: PublishedSae) -> SaeFile:
    """Llama Scope (arXiv 2410.20526): trained on x scaled to a norm of sqrt(d_in); folded as sae-lens folds it."""
    fields = llama_scope_fields(config, folder)
    scale = fields.d_model**0.5 / fields.dataset_average_activation_norm.inside
    return SaeFile(
        sae.site,
        folder,
        fields.d_model,
        fields.d_sae,
        "llama_scope",
        has_threshold=False,
        threshold=fields.jump_relu_threshold * scale,
        scale=sae.scale or scale,
        published=sae,
    )


def _read_json(path: Path) -> dict[str, Any]:
    return read_object(path, "the configuration of an SAE")
