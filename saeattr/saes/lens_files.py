"""Files that sae-lens itself reads: the configuration of a published SAE, and opening one.

sae_lens takes seconds to import, so that is done here and not before such an SAE is asked for.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from saeattr.errors import UserError
from saeattr.model.hub import hub_file
from saeattr.model.weights import FAULTS
from saeattr.saes.catalogue import Format, PublishedSae
from saeattr.saes.lens import autoencoder_of, check_usable
from saeattr.saes.pickled import SUFFIXES, check_pickled
from saeattr.saes.sae import SparseAutoencoder
from saeattr.sites import site_of_hook

if TYPE_CHECKING:
    from saeattr.saes.formats import SaeFile

T = TypeVar("T")

#: The file beside the weights that says what they are, by the SAE's path; the other formats are known by their names.
CONFIGS: dict[Format, Callable[[str], str]] = {
    "llama_scope_r1": lambda path: f"{path}/config.json",
    "dictionary_learning": lambda path: f"{path}/config.json",
    "hook_z": lambda path: path.split(".pt")[0] + "_cfg.json",
}


def lens_config(sae: PublishedSae) -> dict[str, Any]:
    """What sae-lens makes of a published SAE's configuration; the small file is fetched first, the weights are not.

    Raises:
        UserError: it cannot be had, cannot be used here, or is of another site than its name says.
    """
    from sae_lens.loading.pretrained_sae_loaders import load_sae_config_from_huggingface

    name = f"{sae.release}/{sae.sae_id}"
    if sae.format in CONFIGS:
        hub_file(sae.repo, CONFIGS[sae.format](sae.path))
    config = _in_one_line(
        f"the configuration of {name}", lambda: load_sae_config_from_huggingface(sae.release, sae.sae_id)
    )
    # sae-lens folds a scale that its directory knows into the weights.
    known = {"normalize_activations": "none"} if sae.scale is not None else {}
    check_usable({**config, **known}, name)
    site = site_of_hook(str((config.get("metadata") or {}).get("hook_name")))
    if site not in (None, sae.site):
        raise UserError(f"{name} is listed for {sae.site}, and its configuration says {site}: use another SAE")
    return config


def load_by_lens(file: SaeFile, device: torch.device | str) -> SparseAutoencoder:
    """Open an SAE through sae-lens and take it over, in float32.

    Raises:
        UserError: the file is missing, damaged, holds more than tensors, or is not what its configuration says.
    """
    path, published = file.weights, file.published
    if path.suffix in SUFFIXES:
        check_pickled(path)
    from sae_lens import SAE

    def read() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if published is None:
                return SAE.load_from_disk(file.folder, device=str(device), dtype="float32")
            return SAE.from_pretrained(published.release, published.sae_id, device=str(device), dtype="float32")

    return autoencoder_of(_in_one_line(str(path), read), file.site, file.name, device)


def _in_one_line(what: str, read: Callable[[], T]) -> T:
    """What a reader of sae-lens gives, or one line of what it raises."""
    try:
        return read()
    except UserError:
        raise
    except (*FAULTS, pickle.UnpicklingError) as error:
        said = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(f"{what} cannot be read by sae-lens ({said}): get the file again") from error
