"""SAEs passed from Python, trained a minute ago and never saved, in the place of files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from saeattr.errors import UserError
from saeattr.model.weights import tensors_sha256
from saeattr.saes.formats import SaeFile
from saeattr.saes.lens import autoencoder_of, check_usable, lens_sha256
from saeattr.saes.sae import ReluAutoencoder, SparseAutoencoder
from saeattr.sites import Site, parse_site, site_of_hook


def held_saes(passed: Mapping[str, Any]) -> dict[Site, SaeFile]:
    """What stands for each passed SAE where a file would; weights are shared and moved one SAE at a time.

    Args:
        passed: by site (``resid_post.3``), an SAE of sae-lens, in training or not, or one opened by ``load_sae``.

    Raises:
        UserError: a site is none, something else than an SAE was passed, or it cannot be used here.
    """
    found: dict[Site, SaeFile] = {}
    for address, sae in passed.items():
        site = parse_site(str(address))
        if isinstance(sae, ReluAutoencoder):
            config, size = {"site": str(sae.site)}, (sae.d_in, sae.d_sae)
            values = {name: value for name, value in vars(sae).items() if isinstance(value, torch.Tensor)}
            sha256 = tensors_sha256(values, f"{sae.subtract_b_dec} {sae.centre_input}")
            where = sae.site
        else:
            config = _config(address, sae)
            check_usable(config, f"the SAE passed for {site}")
            size, sha256 = (int(config["d_in"]), int(config["d_sae"])), lens_sha256(sae)
            where = site_of_hook(str((config.get("metadata") or {}).get("hook_name")))
        if where not in (None, site):
            raise UserError(f"the SAE passed for {site} says that it was made for {where}: pass it under its own site")
        name = f"passed-{sha256[:12]}"
        found[site] = SaeFile(site, Path(name), *size, held=sae, held_sha256=sha256)
    if not found:
        raise UserError("saes={} names no SAE: pass them by their sites, such as {'resid_post.3': sae}")
    return dict(sorted(found.items()))


def placed(file: SaeFile, device: torch.device | str) -> SparseAutoencoder:
    """A passed SAE in float32 on a device; on the same one its weights are shared, not copied."""
    if not isinstance(file.held, ReluAutoencoder):
        return autoencoder_of(file.held, file.site, file.name, device)
    moved = {
        name: value.to(device, torch.float32)
        for name, value in vars(file.held).items()
        if isinstance(value, torch.Tensor)
    }
    return dataclasses.replace(file.held, **moved)


def _config(address: str, sae: Any) -> dict[str, Any]:
    """sae-lens' configuration of an SAE object.

    Raises:
        UserError: it is no SAE of sae-lens.
    """
    from sae_lens import SAE

    if not isinstance(sae, SAE):
        raise UserError(
            f"the SAE passed for {address} is a {type(sae).__name__}: pass an SAE of sae-lens, or one that "
            "saeattr.load_sae opened"
        )
    return sae.cfg.to_dict()
