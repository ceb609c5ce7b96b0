"""SAEs in a folder or by the name of a published release: which there are, and opening one at a time."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import torch

from saeattr import bundle
from saeattr.errors import UserError
from saeattr.saes.catalogue import pick_saes
from saeattr.saes.formats import SaeFile, config_file, npz_file, published_file
from saeattr.saes.held import placed
from saeattr.saes.lens_files import load_by_lens
from saeattr.saes.pickled import SUFFIXES, check_pickled
from saeattr.saes.sae import ReluAutoencoder, SparseAutoencoder
from saeattr.saes.tensors import all_ones, read_shapes, read_tensors
from saeattr.sites import Kind, Site

#: Tensors by which an SAE encodes or decodes otherwise.
MEANING = {"threshold", "log_threshold", "log_jumprelu_threshold", "scaling_factor", "W_skip", "affine_skip_connection"}
MEANING |= {"b_mag", "r_mag", "b_gate", "gate_bias", "mag_bias", "k"}


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
        file = config_file(path) if path.name == "cfg.json" else npz_file(path)
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
    """Open SAEs one after the other, in order: while one is in use the next is read, and no more are held.

    The next is read once the one before is let go of, at the latest when it is asked for: who still holds the last SAE
    while working on this one would otherwise make it three.
    """
    if not files:
        return
    # Safe to put into while the garbage collector runs, which an Event is not.
    before: SimpleQueue[None] = SimpleQueue()
    let_go: SimpleQueue[None] = SimpleQueue()
    let_go.put(None)
    with ThreadPoolExecutor(max_workers=1) as reader:
        coming = reader.submit(load_sae, files[0], device)
        try:
            for following in [*files[1:], None]:
                before.put(None)
                sae = coming.result()
                before, let_go = let_go, SimpleQueue()
                weakref.finalize(sae, let_go.put, None)
                if following is not None:
                    coming = reader.submit(_load_after, before, following, device)
                yield sae
                # Let go of it before waiting for the next: two are held, never three.
                del sae
        finally:
            # Where nothing more is asked for, the reader is not left waiting.
            before.put(None)


def _load_after(before: SimpleQueue[None], file: SaeFile, device: torch.device) -> SparseAutoencoder:
    before.get()
    return load_sae(file, device)


def load_sae(file: SaeFile, device: torch.device | str = "cpu") -> SparseAutoencoder:
    """Read the weights as float32 onto ``device``.

    Raises:
        UserError: the file is damaged, has NaN or infinity in it, or is not what cfg.json says.
    """
    if file.held is not None:
        return placed(file, device)
    check_weights(file)
    return read_sae(file, device)


def read_sae(file: SaeFile, device: torch.device | str) -> SparseAutoencoder:
    """Open a checked file: whatever reads the weights of an SAE on disk comes by here, so that it can be counted."""
    if file.by_lens:
        return load_by_lens(file, device)
    tensors = read_tensors(file.weights, file.shapes, device)
    threshold = tensors.get("threshold")
    if file.threshold is not None:
        threshold = torch.full((file.d_sae,), file.threshold, device=device)
    return ReluAutoencoder(
        file.site,
        file.name,
        tensors["W_enc"] * file.scale if file.scale != 1 else tensors["W_enc"],
        tensors["b_enc"],
        tensors["W_dec"] / file.scale if file.scale != 1 else tensors["W_dec"],
        tensors["b_dec"] / file.scale if file.scale != 1 else tensors["b_dec"],
        threshold,
        file.subtract_b_dec,
        file.centre_input,
    )


def check_weights(file: SaeFile) -> None:
    """Check the checksum (where one is recorded) and the shapes in the file's header; no weights are loaded.

    Raises:
        UserError: the file is missing, damaged, or is not what cfg.json says.
    """
    if file.held is not None:
        return
    if file.published is None:
        bundle.verify_checksums(file.folder)
    if file.weights.suffix in SUFFIXES:
        check_pickled(file.weights)
        return
    shapes = read_shapes(file.weights)
    if file.by_lens:
        return
    for name, shape in file.shapes.items():
        if shapes.get(name) != shape:
            has = shapes.get(name, "nothing")
            raise UserError(f"{file.weights} has {has} where {name} of shape {shape} belongs: get the file again")
    _check_others(file, shapes.keys() - file.shapes.keys())


def _check_others(file: SaeFile, names: Set[str]) -> None:
    """Refuse a tensor that the configuration has no place for: thresholds of a plain ReLU SAE, the gates of another.

    Raises:
        UserError: there is one.
    """
    # sae-lens wrote scaling factors of 1 for a while, and passes over them.
    if "scaling_factor" in names and all_ones(file.weights, "scaling_factor"):
        names = names - {"scaling_factor"}
    # Of files that others wrote, only such are refused as would change what is encoded or decoded.
    refused = sorted(names if file.format == "sae_lens" else names & MEANING)
    if refused:
        raise UserError(
            f"{file.weights} holds {refused[0]}, which an SAE as its configuration says has not: get both files again"
        )


def _published(saes: str, widths: Mapping[Kind, int], width: str | None, l0: float | None) -> dict[Site, SaeFile]:
    releases = [name.strip() for name in saes.split(",") if name.strip()]
    files = (published_file(sae, widths) for sae in pick_saes(releases, width, l0).values())
    return {file.site: file for file in files if file is not None}
