"""SAEs in a folder or by the name of a published release: which there are, and opening one at a time.

Formats: sae-lens' (cfg.json beside sae_weights.safetensors), Gemma Scope's (params.npz), Gemma Scope 2's
(params.safetensors).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from saeattr import bundle
from saeattr.errors import UserError
from saeattr.model.hub import hub_file
from saeattr.saes.catalogue import Format, PublishedSae, pick_saes
from saeattr.saes.files import read_shapes, read_tensors
from saeattr.saes.sae import SparseAutoencoder
from saeattr.sites import Kind, Site, site_of_hook

ARCHITECTURES = ("jumprelu", "standard")
WEIGHT_FILES: dict[Format, str] = {
    "sae_lens": "sae_weights.safetensors",
    "gemma_scope": "params.npz",
    "gemma_scope_2": "params.safetensors",
}


@dataclass(frozen=True)
class SaeFile:
    """One SAE on disk or on the hub, known from its configuration or its name alone.

    Attributes:
        folder: where it lies; for a published one, a relative path that is only a name.
        published: the release it belongs to, where it was named by one.
    """

    site: Site
    folder: Path
    d_in: int
    d_sae: int
    config: dict[str, Any] = field(default_factory=dict)
    format: Format = "sae_lens"
    published: PublishedSae | None = None

    @property
    def weights(self) -> Path:
        """The file of weights; a published one is downloaded to the hub's cache when it is not there."""
        if self.published is None:
            return self.folder / WEIGHT_FILES[self.format]
        return hub_file(self.published.repo, f"{self.published.path}/{WEIGHT_FILES[self.format]}")

    @property
    def name(self) -> str:
        return self.folder.name if self.published is None else f"{self.published.release}/{self.published.sae_id}"

    @property
    def has_threshold(self) -> bool:
        return self.format != "sae_lens" or self.config["architecture"] == "jumprelu"


def find_saes(
    saes: str = "bundled",
    widths: Mapping[Kind, int] | None = None,
    *,
    width: str | None = None,
    l0: float | None = None,
) -> dict[Site, SaeFile]:
    """The bundled SAEs, those of a folder, or those of published releases, one for each site; no weights are read.

    Args:
        saes: ``bundled``, a folder, or names of releases in sae-lens' directory with commas between.
        widths: of the model's activations at each kind of site; needed for published SAEs.
        width, l0: of the published SAEs, e.g. ``16k``; by default the releases' first fitting.

    Raises:
        UserError: the folder is missing, holds no SAE, holds two for one site, or one cannot be used; there is no such
            release or width.
    """
    root = bundle.SAES_FOLDER if saes == "bundled" else Path(saes).expanduser()
    if not root.is_dir():
        if widths is None or "/" in saes or not saes.strip():
            raise UserError(
                f"there is no SAE folder {saes!r}: give a folder of SAEs, the name of a release in sae-lens' "
                "directory, or bundled"
            )
        return _published(saes, widths, width, l0)
    found: dict[Site, SaeFile] = {}
    paths = [path for name in ("cfg.json", "params.npz") for path in sorted(root.rglob(name))]
    for path in paths:
        file = _read_config(path) if path.name == "cfg.json" else _read_npz(path)
        if file.site in found:
            raise UserError(
                f"two SAEs in {root} are for {file.site} ({found[file.site].folder.name} and {file.folder.name}): "
                "keep one of them in the folder"
            )
        found[file.site] = file
    if not found:
        raise UserError(
            f"{root} holds no SAE: expected folders with cfg.json and sae_weights.safetensors, "
            "or Gemma Scope's params.npz"
        )
    return dict(sorted(found.items()))


def check_width(file: SaeFile, d_in: int) -> None:
    """Refuse an SAE of another width than the model's activation at its site.

    Raises:
        UserError: the widths differ.
    """
    if file.d_in != d_in:
        raise UserError(
            f"the SAE {file.folder} reads vectors of width {file.d_in}, but the model has width {d_in} at "
            f"{file.site}: it was made for another model"
        )


def stream_saes(files: Sequence[SaeFile], device: torch.device) -> Iterator[SparseAutoencoder]:
    """Open SAEs one after the other, in order: while one is in use the next is read, and no more are held."""
    if not files:
        return
    with ThreadPoolExecutor(max_workers=1) as reader:
        coming = reader.submit(load_sae, files[0], device)
        for following in [*files[1:], None]:
            sae = coming.result()
            if following is not None:
                coming = reader.submit(load_sae, following, device)
            yield sae
            # Let go of it before waiting for the next: two are held, never three.
            del sae


def load_sae(file: SaeFile, device: torch.device | str = "cpu") -> SparseAutoencoder:
    """Read the weights as float32 onto ``device``.

    Raises:
        UserError: the file is damaged, or is not what cfg.json says.
    """
    check_weights(file)
    tensors = read_tensors(file.weights, _expected_shapes(file), device)
    return SparseAutoencoder(
        file.site,
        file.name,
        tensors["W_enc"],
        tensors["b_enc"],
        tensors["W_dec"],
        tensors["b_dec"],
        tensors.get("threshold"),
        bool(file.config.get("apply_b_dec_to_input", False)),
    )


def check_weights(file: SaeFile) -> None:
    """Check the checksum (where one is recorded) and the shapes in the file's header; no weights are loaded.

    Raises:
        UserError: the file is missing, damaged, or is not what cfg.json says.
    """
    if file.published is None:
        bundle.verify_checksums(file.folder)
    shapes = read_shapes(file.weights)
    for name, shape in _expected_shapes(file).items():
        if shapes.get(name) != shape:
            has = shapes.get(name, "nothing")
            raise UserError(f"{file.weights} has {has} where {name} of shape {shape} belongs: get the file again")


def _expected_shapes(file: SaeFile) -> dict[str, tuple[int, ...]]:
    shapes = {"W_enc": (file.d_in, file.d_sae), "b_enc": (file.d_sae,)}
    shapes |= {"W_dec": (file.d_sae, file.d_in), "b_dec": (file.d_in,)}
    if file.has_threshold:
        shapes["threshold"] = (file.d_sae,)
    return shapes


def _published(saes: str, widths: Mapping[Kind, int], width: str | None, l0: float | None) -> dict[Site, SaeFile]:
    releases = [name.strip() for name in saes.split(",") if name.strip()]
    found = {}
    for site, sae in pick_saes(releases, width, l0).items():
        if sae.d_sae is not None:
            found[site] = SaeFile(
                site,
                Path(sae.release) / sae.sae_id,
                widths[site.kind],
                sae.d_sae,
                {"architecture": "jumprelu"},
                sae.format,
                sae,
            )
    return found


def _read_npz(path: Path) -> SaeFile:
    """Gemma Scope's files say where they belong by their folders: ...-res/layer_20/width_16k/average_l0_71."""
    layer = re.search(r"layer_(\d+)", str(path.parent))
    kinds: dict[str, Kind] = {"res": "resid_post", "att": "attn_z", "mlp": "mlp_out"}
    part = re.findall(r"(?:^|[-_/])(res|att|mlp)(?=[-_/]|$)", str(path.parent))
    if layer is None or not part:
        raise UserError(
            f"{path} does not say its site: keep Gemma Scope's folders, "
            "for example gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71/params.npz"
        )
    shape = read_shapes(path).get("W_enc", (0, 0))
    return SaeFile(Site(kinds[part[-1]], int(layer[1])), path.parent, shape[0], shape[1], format="gemma_scope")


def _read_config(path: Path) -> SaeFile:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        metadata = config.get("metadata") or {}
        hook = metadata.get("hook_name") or config.get("hook_name") or ""
        d_in, d_sae = int(config["d_in"]), int(config["d_sae"])
    except (ValueError, KeyError, AttributeError, TypeError, OSError) as error:
        raise UserError(f"{path} is not the configuration of an SAE in sae-lens' format: {error!r}") from error
    site = site_of_hook(str(hook))
    if site is None:
        raise UserError(f"{path} is for the hook {hook!r}: only resid_post, attn_z and mlp_out hooks are sites here")
    if config.get("architecture") not in ARCHITECTURES:
        raise UserError(
            f"{path} has the architecture {config.get('architecture')!r}: {' and '.join(ARCHITECTURES)} are supported"
        )
    if config.get("normalize_activations", "none") not in ("none", None):
        raise UserError(
            f"{path} normalises its input ({config['normalize_activations']}): fold the scale into the weights first "
            "(sae-lens: fold_activation_norm_scaling_factor)"
        )
    return SaeFile(site, path.parent, d_in, d_sae, config)
