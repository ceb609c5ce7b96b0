"""Where the bundled model and its SAEs lie; fingerprints of files, and the check that they are the ones built."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from saeattr.digests import file_sha256
from saeattr.errors import UserError

BUNDLE_FOLDER = Path(__file__).parent / "bundled"
MODEL_FOLDER = BUNDLE_FOLDER / "model"
SAES_FOLDER = BUNDLE_FOLDER / "saes"


def fingerprint(folder: Path) -> str:
    """SHA-256 over the names and contents of a folder's configuration, tokenizer and weights."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".json", ".safetensors", ".jinja", ".model") and path.is_file():
            digest.update(path.name.encode())
            digest.update(file_sha256(path).encode())
    return digest.hexdigest()


def verify_checksums(folder: Path) -> None:
    """Compare the files below ``folder`` with the nearest ``checksums.json`` at or above it, if there is one.

    ``checksums.json`` maps a path relative to its own folder to a SHA-256.

    Raises:
        UserError: a recorded file is missing or differs, or what is recorded cannot be read.
    """
    folder = folder.resolve()
    root = next((place for place in (folder, *folder.parents) if (place / "checksums.json").is_file()), None)
    if root is None:
        return
    try:
        recorded = json.loads((root / "checksums.json").read_text(encoding="utf-8"))
        recorded = dict(recorded.items())
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{root}/checksums.json holds no checksums by file names: delete it, or get it again"
        ) from error
    for name, checksum in recorded.items():
        file = root / name
        if not file.is_relative_to(folder):
            continue
        if not file.is_file():
            raise UserError(f"{file} is missing: restore it (the bundled files come back with a new install)")
        if file_sha256(file) != checksum:
            raise UserError(
                f"{file} is damaged (its checksum differs from checksums.json): "
                "restore it (the bundled files come back with a new install)"
            )
