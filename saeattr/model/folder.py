"""A model's folder before anything of it is opened: ordinary files, JSON that is JSON, weights in one place."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from saeattr.errors import UserError
from saeattr.model.json_files import check_ordinary, read_object

#: Endings of what is read of a folder; a tokenizer.json is read by tokenizers itself, and has tens of megabytes.
READ = (".json", ".safetensors", ".jinja", ".model", ".txt")
OBJECTS = ("tokenizer_config.json", "generation_config.json", "special_tokens_map.json", "added_tokens.json")
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"


def check_folder(folder: Path, *, weights: bool = True) -> None:
    """Refuse what would be waited for, what is damaged beyond doubt, and weights that are not this folder's own.

    Args:
        weights: False where the folder is to hold configuration and tokenizer only.

    Raises:
        UserError: a file is something else, is no JSON, or the index names what is no safetensors file beside it.
    """
    for path in sorted(folder.iterdir()):
        if path.suffix in READ:
            check_ordinary(path)
    config = read_object(folder / "config.json", "a model's configuration")
    if config.get("transformers_weights") is not None:
        raise UserError(
            f"{folder}/config.json names its weights itself (transformers_weights): they are read from {WHOLE} "
            f"or from the files that {INDEX} names"
        )
    if (folder / "adapter_config.json").exists():
        raise UserError(
            f"{folder} holds an adapter (adapter_config.json), which is not read: merge it into the model and save that"
        )
    for name in OBJECTS:
        if (folder / name).exists():
            read_object(folder / name, "a JSON object as transformers writes it")
    if weights:
        weight_files(folder)


def weight_files(folder: Path) -> dict[str, set[str] | None]:
    """The files of a model's weights by name, and the tensors that the index says are in each (None without one).

    Raises:
        UserError: there is none, one is missing or damaged, the index names a file elsewhere, or weights are twice.
    """
    if not (folder / INDEX).exists():
        if not (folder / WHOLE).exists():
            raise UserError(
                f"{folder} has no {WHOLE} and no {INDEX}: save the model with transformers (save_pretrained)"
            )
        return {WHOLE: None}
    named = _weight_map(folder / INDEX)
    if (folder / WHOLE).exists() and set(named) != {WHOLE}:
        raise UserError(f"{folder} has weights twice, in {WHOLE} and in the files of {INDEX}: keep one of them")
    for name in named:
        if not (folder / name).exists():
            raise UserError(f"{folder} lacks {name}, which its {INDEX} names: get the file")
        check_ordinary(folder / name)
    return dict(named)


def _weight_map(index: Path) -> dict[str, set[str]]:
    """What the index says: the tensors of each file."""
    found: Any = read_object(index, "an index of weights").get("weight_map")
    if not isinstance(found, dict) or not found:
        raise UserError(f"{index} has no weight_map that names files by tensors: get the file again")
    files: dict[str, set[str]] = {}
    for tensor, name in found.items():
        if not isinstance(name, str) or not _beside(name):
            raise UserError(
                f"{index} names {name!r} for {tensor}: only safetensors files in the model's own folder are read"
            )
        files.setdefault(name, set()).add(tensor)
    return files


def _beside(name: str) -> bool:
    """Whether a name is one of a safetensors file, without any folder."""
    plain = PurePosixPath(name).name == name and PureWindowsPath(name).name == name
    return plain and name.endswith(".safetensors")
