"""Files from the Hugging Face hub: its cache first, one clear line when they cannot be had."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path

from saeattr.errors import UserError

CONFIG_FILES = ["config.json", "generation_config.json", "tokenizer*", "special_tokens_map.json", "chat_template*"]
CONFIG_FILES += ["vocab.json", "merges.txt"]
WEIGHT_FILES = ["*.safetensors", "*.safetensors.index.json"]


def model_snapshot(repo: str, *, weights: bool = True) -> Path:
    """The local folder of a model on the hub: from the cache, downloaded if need be. Pickled weights are not fetched.

    Args:
        repo: ``org/name``.
        weights: False fetches configuration and tokenizer only.

    Raises:
        UserError: it is gated, there is no network and no copy, the disk is full, or the copy is incomplete.
    """
    from huggingface_hub import snapshot_download

    patterns = CONFIG_FILES + (WEIGHT_FILES if weights else [])
    folder = Path(_fetch(repo, lambda: snapshot_download(repo, allow_patterns=patterns)))
    if weights:
        check_shards(folder, repo)
    return folder


def hub_file(repo: str, name: str) -> Path:
    """One file of a repository, from the cache or downloaded.

    Raises:
        UserError: as ``model_snapshot``.
    """
    from huggingface_hub import hf_hub_download

    return Path(_fetch(repo, lambda: hf_hub_download(repo, name), name))


def is_cached(repo: str, name: str) -> bool:
    """Whether a file of a repository lies in the hub's cache already."""
    import huggingface_hub.constants as constants
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(repo, name, cache_dir=constants.HF_HUB_CACHE), str)


def has_weights(folder: Path) -> bool:
    """Whether a model's folder has all its weights."""
    try:
        check_shards(folder, folder.name)
    except UserError:
        return False
    return True


def check_shards(folder: Path, repo: str) -> None:
    """Every shard that the index names must be there: an interrupted download leaves a folder that looks whole.

    Raises:
        UserError: a shard, or the weights altogether, is missing.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise UserError(f"{index} is damaged: delete it and download {repo} again") from error
        missing = sorted(name for name in names if not (folder / name).is_file())
        if missing:
            raise UserError(
                f"{repo} is incomplete in {folder}: {missing[0]} is missing ({len(missing)} of {len(names)} files); "
                f"run hf download {repo}"
            )
    elif not any(folder.glob("*.safetensors")):
        raise UserError(f"{repo} has no *.safetensors weights in {folder}: run hf download {repo}")


def _fetch(repo: str, get: Callable[[], str], name: str = "") -> str:
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    what = f"{name} of {repo}" if name else repo
    try:
        return get()
    except GatedRepoError as error:
        raise UserError(
            f"{repo} is gated: accept its terms at https://huggingface.co/{repo}, then run "
            "hf auth login (or set HF_TOKEN)"
        ) from error
    except HFValidationError as error:
        raise UserError(f"{repo!r} is not the name of a repository on the hub: write org/name") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise UserError(
            f"{what} is not in the local cache and the hub cannot be reached: go online once, or copy the cache "
            "folder here and point HF_HUB_CACHE at it"
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"the hub has no {repo} for you: check the name, and run hf auth login if it is private or gated"
        ) from error
    except EntryNotFoundError as error:
        raise UserError(f"{repo} has no {name or 'such file'} on the hub: check the SAE's name") from error
    except HfHubHTTPError as error:
        raise UserError(f"{what} cannot be downloaded ({str(error).splitlines()[0]}): try again later") from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise UserError(f"no space left for {what}: free space, or point HF_HUB_CACHE at another disk") from error
        raise UserError(f"{what} cannot be downloaded ({error}): check the network and try again") from error
