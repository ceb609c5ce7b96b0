"""Files from the Hugging Face hub: its cache first, one clear line when they cannot be had."""

from __future__ import annotations

import difflib
import errno
import json
from collections.abc import Callable
from dataclasses import dataclass
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
    """One file of a repository, downloaded where it is not in the cache; what is there is not asked for again.

    Raises:
        UserError: as ``model_snapshot``.
    """
    from huggingface_hub import hf_hub_download

    if (cached := cached_file(repo, name)) is not None:
        return cached
    return Path(_fetch(repo, lambda: hf_hub_download(repo, name), name))


def cached_file(repo: str, name: str) -> Path | None:
    """A file of a repository in the hub's cache; None where it is not there."""
    import huggingface_hub.constants as constants
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, name, cache_dir=constants.HF_HUB_CACHE)
    return Path(found) if isinstance(found, str) else None


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


@dataclass(frozen=True)
class NamedModel:
    """A model that ``--model`` knows by name.

    Attributes:
        hub: repository on the Hugging Face hub.
        releases: releases in sae-lens' directory, one for each kind of site.
        d_model, d_attn: width of the residual stream and of the heads concatenated; config.json decides when a model is
            opened, these are for listing SAEs without it.
        width: of the SAEs, unless another is asked for; None where there is one only.
        note: what a reader of results should know.
        d_sae: features of its SAEs, where their names do not tell.
    """

    hub: str
    releases: tuple[str, ...]
    d_model: int
    d_attn: int
    width: str | None = "16k"
    note: str = ""
    d_sae: int | None = None


_TRANSFER = "the SAEs were trained on the base model {base}: their reconstruction here is measured, not assumed"

_BASE = "a base model: the request is put in Gemma's chat format, which it was not tuned on"

_FIRST = "the first Gemma, a base model: lists are asked of it in Gemma's chat format, which it was not tuned on"


def _scope(size: str, note: str = "") -> tuple[str, ...]:
    return tuple(f"gemma-scope-{size}-{kind}-canonical" for kind in ("res", "att", "mlp"))


def _scope_2(size: str) -> tuple[str, ...]:
    return tuple(f"gemma-scope-2-{size}-{kind}" for kind in ("res", "att", "mlp"))


MODELS: dict[str, NamedModel] = {
    "gemma-2b": NamedModel("google/gemma-2b", ("gemma-2b-res-jb",), 2048, 2048, width=None, note=_FIRST, d_sae=16_384),
    "gemma-2-2b-it": NamedModel(
        "google/gemma-2-2b-it", _scope("2b-pt"), 2304, 2048, note=_TRANSFER.format(base="gemma-2-2b")
    ),
    "gemma-2-2b": NamedModel("google/gemma-2-2b", _scope("2b-pt"), 2304, 2048, note=_BASE),
    "gemma-2-9b-it": NamedModel("google/gemma-2-9b-it", ("gemma-scope-9b-it-res-canonical",), 3584, 4096),
    "gemma-2-9b": NamedModel("google/gemma-2-9b", _scope("9b-pt"), 3584, 4096, note=_BASE),
    "gemma-3-1b-it": NamedModel("google/gemma-3-1b-it", _scope_2("1b-it"), 1152, 1024),
    "gemma-3-4b-it": NamedModel("google/gemma-3-4b-it", _scope_2("4b-it"), 2560, 2048),
    "gemma-3-12b-it": NamedModel("google/gemma-3-12b-it", _scope_2("12b-it"), 3840, 4096),
    "gpt2": NamedModel("openai-community/gpt2", ("gpt2-small-res-jb",), 768, 768, width=None, d_sae=24_576),
}


def hub_name(model: str) -> str | None:
    """The hub repository of a known name or of an ``org/name``; None where ``model`` is neither."""
    if model in MODELS:
        return MODELS[model].hub
    parts = model.split("/")
    return model if len(parts) == 2 and all(parts) and not model.startswith((".", "~", "/")) else None


def named(model: str) -> NamedModel | None:
    """What is known of a model, by its short name or its hub repository."""
    return MODELS.get(model) or next((known for known in MODELS.values() if known.hub == model), None)


def unknown_model(model: str) -> UserError:
    """The refusal of a name that is neither known nor a folder."""
    close = difflib.get_close_matches(model, MODELS, n=1, cutoff=0.5)
    meant = f"did you mean {close[0]}? " if close else ""
    return UserError(
        f"there is no model {model!r}: {meant}use bundled, a folder with a model in it, a name on the hub "
        f"(org/name), or one of {', '.join(MODELS)}"
    )
