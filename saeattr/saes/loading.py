"""SAEs in sae-lens' folder format (cfg.json beside sae_weights.safetensors): which there are, and opening one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from saeattr import bundle
from saeattr.errors import UserError
from saeattr.saes.sae import SparseAutoencoder
from saeattr.sites import Site, site_of_hook

ARCHITECTURES = ("jumprelu", "standard")


@dataclass(frozen=True)
class SaeFile:
    """One SAE on disk, known from its cfg.json alone."""

    site: Site
    folder: Path
    d_in: int
    d_sae: int
    config: dict[str, Any]

    @property
    def weights(self) -> Path:
        return self.folder / "sae_weights.safetensors"

    @property
    def name(self) -> str:
        return self.folder.name


def find_saes(saes: str = "bundled") -> dict[Site, SaeFile]:
    """The SAEs of a folder (or the bundled ones), one for each site; no weights are read.

    Raises:
        UserError: the folder is missing, holds no SAE, holds two for one site, or a cfg.json cannot be used.
    """
    root = bundle.SAES_FOLDER if saes == "bundled" else Path(saes).expanduser()
    if not root.is_dir():
        raise UserError(f"there is no SAE folder {saes!r}: give a folder of SAEs in sae-lens' format, or bundled")
    found: dict[Site, SaeFile] = {}
    for path in sorted(root.rglob("cfg.json")):
        file = _read_config(path)
        if file.site in found:
            raise UserError(
                f"two SAEs in {root} are for {file.site} ({found[file.site].folder.name} and {file.folder.name}): "
                "keep one of them in the folder"
            )
        found[file.site] = file
    if not found:
        raise UserError(f"{root} holds no SAE: expected folders with cfg.json and sae_weights.safetensors")
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
    """Open SAEs one at a time, in order: the last one is let go before the next is read."""
    for file in files:
        yield load_sae(file, device)


def load_sae(file: SaeFile, device: torch.device | str = "cpu") -> SparseAutoencoder:
    """Read the weights as float32 onto ``device``.

    Raises:
        UserError: the file is damaged, or is not what cfg.json says.
    """
    check_weights(file)
    with safe_open(file.weights, framework="pt", device=str(device)) as opened:
        tensors = {name: opened.get_tensor(name).float() for name in _expected_shapes(file)}
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
    bundle.verify_checksums(file.folder)
    try:
        with safe_open(file.weights, framework="pt") as opened:
            names = set(opened.keys())
            shapes = {name: tuple(opened.get_slice(name).get_shape()) for name in names}
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file.weights} cannot be read as safetensors ({error}): get the file again") from error
    for name, shape in _expected_shapes(file).items():
        if shapes.get(name) != shape:
            has = shapes.get(name, "nothing")
            raise UserError(f"{file.weights} has {has} where {name} of shape {shape} belongs: get the file again")


def _expected_shapes(file: SaeFile) -> dict[str, tuple[int, ...]]:
    shapes = {"W_enc": (file.d_in, file.d_sae), "b_enc": (file.d_sae,)}
    shapes |= {"W_dec": (file.d_sae, file.d_in), "b_dec": (file.d_in,)}
    if file.config["architecture"] == "jumprelu":
        shapes["threshold"] = (file.d_sae,)
    return shapes


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
