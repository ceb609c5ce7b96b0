"""Damaged and hostile copies of SAE folders, by a kind of SAE and a name."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.faults.damage import (
    GONE,
    PLACES,
    SPOILT,
    Damage,
    cut,
    drop,
    fields,
    flip,
    header,
    in_its_place,
    rename,
    replaced,
    several,
    spoil,
    tensors,
    write,
)
from tests.faults.folders import NPZ, npz_arrays, write_arrays
from tests.faults.model_damage import ODD

WEIGHTS, CONFIG = "sae_weights.safetensors", "cfg.json"
#: Fields that say nothing about what is encoded or decoded.
SILENT = ("dtype", "device", "sae_lens_version", "prepend_bos", "model_name", "hook_layer", "dataset_path")
#: Tensors of other kinds of SAEs.
OTHERS = ("threshold", "log_threshold", "b_mag", "r_mag", "b_gate", "scaling_factor", "W_skip", "W_enc_2", "k")

#: Cases in which a configuration says something else that can be meant: another threshold, site or normalisation.
OWN_WORD = {
    *(f"normalize_activations {how}" for how in ("'constant_norm_rescale'", "'layer_norm'", "'none'", "False")),
    *(f"normalize_activations {how}" for how in ("deleted", "null")),
    *(f"residual_threshold {how}" for how in ("fraction", "zero", "deleted", "huge")),
    *(f"max_iterations {how}" for how in ("deleted", "null")),
    *("center_writing_weights true", "rescale_acts_by_decoder_norm true"),
    *("hook_name 'blocks.1.hook_mlp_out'", "hook of another layer"),
}


def lens_cases(config: dict[str, Any], held: dict[str, torch.Tensor]) -> Iterator[tuple[str, Damage]]:
    """Of a folder in sae-lens' format."""
    for name in held:
        yield f"without {name}", drop(WEIGHTS, name)
        yield f"{name} renamed", rename(WEIGHTS, name, f"{name}_")
        for how in SPOILT:
            yield f"{name} {how}", spoil(WEIGHTS, name, how)
    for name in OTHERS:
        if name not in held:
            yield f"{name} beside", tensors(WEIGHTS, lambda h, n=name: h.update({n: torch.full((24,), 0.7)}))
    yield "scaling_factor of ones", tensors(WEIGHTS, lambda h: h.update(scaling_factor=torch.ones(24)))
    yield "encoder.weight beside", tensors(WEIGHTS, lambda h: h.update({"encoder.weight": h["W_dec"] * 2}))
    yield "w_dec beside", tensors(WEIGHTS, lambda h: h.update(w_dec=h["W_dec"] * 2))
    for keep in (0, 1, 8, 9, 0.1, 0.5, 0.99, -1):
        yield f"weights cut at {keep}", cut(WEIGHTS, keep)
    for at in (0, 3, 7, 8, 9, 30, 60, 120):
        yield f"weights flipped at {at}", flip(WEIGHTS, at)
    yield "header says another shape", header(WEIGHTS, lambda h: h["W_dec"].update(shape=[5, 5]))
    yield "header says a shape of 10**18", header(WEIGHTS, lambda h: h["W_dec"].update(shape=[10**9, 10**9]))
    yield "header says another type", header(WEIGHTS, lambda h: h["W_dec"].update(dtype="I32"))
    yield "header twice", header(WEIGHTS, lambda h: json.dumps(h)[:-1] + "," + json.dumps(h)[1:])
    for name in (WEIGHTS, CONFIG):
        for what in PLACES:
            yield f"{name} is {what}", in_its_place(name, what)
    for field in config:
        if field not in ("metadata", *SILENT):
            for how, value in ODD.items():
                yield f"{field} {how}", fields(CONFIG, **{field: value})
    for field in config.get("metadata", {}):
        if field not in SILENT:
            for how, value in ODD.items():
                yield f"metadata {field} {how}", fields(CONFIG, **{f"metadata__{field}": value})
    for how, value in ODD.items():
        yield f"metadata {how}", fields(CONFIG, metadata=value)
        yield f"k {how}", fields(CONFIG, k=value)
        yield f"activation_fn_kwargs {how}", fields(CONFIG, activation_fn_kwargs=value)
        yield (
            f"center_writing_weights {how}",
            fields(CONFIG, metadata__model_from_pretrained_kwargs__center_writing_weights=value),
        )
        yield f"residual_threshold {how}", fields(CONFIG, residual_threshold=value)
    for size in (10**12, -1, 17):
        yield f"d_in {size}", fields(CONFIG, d_in=size)
        yield f"d_sae {size}", fields(CONFIG, d_sae=size)
    for architecture in (
        "standard",
        "jumprelu",
        "topk",
        "gated",
        "batchtopk",
        "transcoder",
        "temporal",
        "",
        "JumpReLU",
    ):
        yield f"architecture {architecture!r}", fields(CONFIG, architecture=architecture)
    for function in ("relu", "topk", "tanh-relu", "identity"):
        yield f"activation_fn {function}", fields(CONFIG, activation_fn=function)
        yield f"activation_fn_str {function}", fields(CONFIG, activation_fn_str=function)
    for normal in ("none", "layer_norm", "constant_norm_rescale", "expected_average_only_in", "no", False, True):
        yield f"normalize_activations {normal!r}", fields(CONFIG, normalize_activations=normal)
    for hook in ("blocks.1.hook_mlp_out", "blocks.-1.hook_resid_post", "blocks.1e3.hook_resid_post", "", "x"):
        yield f"hook_name {hook!r}", fields(CONFIG, metadata__hook_name=hook)
    yield "hook of another layer", fields(CONFIG, metadata__hook_name=f"blocks.{10**30}.hook_resid_post")
    for what in ("", "x", "[]", "5", "null", "{}", "[" * 100_000, "\ufeff{}"):
        yield f"cfg.json {what[:20]!r}", write(CONFIG, what)
    yield "cfg.json not UTF-8", write(CONFIG, b'{"d_in": "\xff"}')
    yield "cfg.json a field twice", replaced(CONFIG, "{", '{"d_in": 64, ')
    yield "a number of 5,000 digits", fields(CONFIG, d_in=int("6" * 4000))
    yield "two SAEs", several(write("other/cfg.json", "{}"))
    yield "checksums of others", write("checksums.json", "[]")
    yield "no folder below can be read", in_its_place("below", "loop")


def npz_cases() -> Iterator[tuple[str, Damage]]:
    """Of Gemma Scope's params.npz."""
    for name in npz_arrays():
        yield f"without {name}", arrays(lambda held, n=name: held.pop(n) is None)
        yield f"{name} renamed", arrays(lambda held, n=name: held.update({n + "_": held.pop(n)}))
        for how, change in NPZ_SPOILT.items():
            yield f"{name} {how}", arrays(lambda held, n=name, c=change: held.update({n: c(held[n])}))
    for name in OTHERS[1:]:
        yield f"{name} beside", arrays(lambda held, n=name: held.update({n: np.full(24, 0.7, np.float32)}))
    yield "w_enc beside", arrays(lambda held: held.update(w_enc=held["W_enc"] * 2))
    yield "compressed", arrays(lambda held: None, zipfile.ZIP_DEFLATED)
    yield "compressed and flipped", several(arrays(lambda held: None, zipfile.ZIP_DEFLATED), flip(NPZ, 0.5))
    yield "of bzip2", arrays(lambda held: None, zipfile.ZIP_BZIP2)
    yield "of bzip2 and flipped", several(arrays(lambda held: None, zipfile.ZIP_BZIP2), flip(NPZ, 0.3))
    yield "of lzma and flipped", several(arrays(lambda held: None, zipfile.ZIP_LZMA), flip(NPZ, 0.3))
    for keep in (0, 1, 10, 50, 0.1, 0.3, 0.5, 0.8, 0.95, 0.99, -1, -22):
        yield f"cut at {keep}", cut(NPZ, keep)
    for at in (
        0,
        4,
        8,
        14,
        26,
        28,
        30,
        35,
        45,
        50,
        80,
        130,
        200,
        0.3,
        0.5,
        0.7,
        0.9,
        0.95,
        0.97,
        0.98,
        0.99,
        -2,
        -6,
        -12,
    ):
        yield f"flipped at {at}", flip(NPZ, at)
    for what in PLACES:
        yield f"params.npz is {what}", in_its_place(NPZ, what)
    yield "a member twice", lambda folder: _append(folder, "W_enc.npy", _npy(np.zeros((16, 24), np.float32)))
    yield "text beside", lambda folder: _append(folder, "readme.txt", b"hello")
    yield "a name of a path", lambda folder: _append(folder, "../evil.npy", _npy(np.zeros(3, np.float32)))
    yield "pickled", arrays(lambda held: held.update(b_dec=np.array([{"a": 1}], dtype=object)))
    yield "a bomb", lambda folder: _bomb(folder, (16, 10**7), (16, 10**7))
    yield "a bomb behind a small shape", lambda folder: _bomb(folder, (16, 24), (16, 10**7))
    yield "a shape without numbers", lambda folder: _bomb(folder, (10**9, 10**9), (1, 1))
    yield "a negative shape", lambda folder: _bomb(folder, (-16, 24), (16, 24))
    yield "a header of code", lambda folder: _raw(folder, b"__import__('os').system('touch mark')")
    yield "a header of brackets", lambda folder: _raw(folder, b"(" * 9000)
    yield "a header of a huge length", lambda folder: _raw(folder, b"x", 2**16 - 1)
    yield "encrypted", lambda folder: _flag(folder, 1)
    yield "of an unknown method", lambda folder: _flag(folder, 0, 99)
    yield "nothing in it", lambda folder: zipfile.ZipFile(folder / NPZ, "w").close()
    yield "no zip", write(NPZ, "hello")
    yield "an npy", write(NPZ, _npy(np.zeros((16, 24), np.float32)))


NPZ_SPOILT: dict[str, Any] = {
    "one row less": lambda value: value[:-1],
    "flat": lambda value: value.reshape(-1) if value.ndim > 1 else value[None],
    "turned": lambda value: value.T if value.ndim > 1 else value[:, None],
    "by columns": np.asfortranarray,
    "empty": lambda value: value[:0],
    "a number alone": lambda value: np.float32(1),
    "int8": lambda value: (10 * value).astype(np.int8),
    "bool": lambda value: value > 0,
    "complex": lambda value: value.astype(np.complex64),
    "text": lambda value: value.astype("U5"),
    "dates": lambda value: (10 * value).astype("datetime64[s]"),
    "of fields": lambda value: value.astype([("a", "f4")]),
    "float64": lambda value: value.astype(np.float64),
    "big-endian": lambda value: value.astype(">f4"),
    "too large for float16": lambda value: (value + 1e5).astype(np.float16),
    "too large for float32": lambda value: value.astype(np.float64) * 1e300,
    "NaN": lambda value: np.where(value == value.flat[3], np.float32("nan"), value),
    "infinity": lambda value: np.where(value == value.flat[3], np.float32("inf"), value),
}


def arrays(change: Any, compression: int = zipfile.ZIP_STORED) -> Damage:
    def damage(folder: Path) -> None:
        held = npz_arrays()
        change(held)
        write_arrays(folder / NPZ, held, compression)

    return damage


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def _append(folder: Path, name: str, data: bytes) -> None:
    with zipfile.ZipFile(folder / NPZ, "a") as archive:
        archive.writestr(name, data)


def _bomb(folder: Path, says: tuple[int, ...], has: tuple[int, ...]) -> None:
    """W_enc whose header says one shape, behind which zeros of another follow, compressed."""
    _remake(folder, _npy_header(says), 4 * has[0] * has[1])


def _raw(folder: Path, text: bytes, length: int | None = None) -> None:
    _remake(folder, b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) if length is None else length) + text, 1536)


def _npy_header(shape: tuple[int, ...]) -> bytes:
    text = repr({"descr": "<f4", "fortran_order": False, "shape": shape}).encode()
    text += b" " * ((-len(text) - 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def _remake(folder: Path, head: bytes, n_bytes: int) -> None:
    held = npz_arrays()
    del held["W_enc"]
    write_arrays(folder / NPZ, held)
    with zipfile.ZipFile(folder / NPZ, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("W_enc.npy", "w") as file:
        file.write(head)
        for _ in range(n_bytes // 2**20):
            file.write(bytes(2**20))
        file.write(bytes(n_bytes % 2**20))


def _flag(folder: Path, bits: int, method: int | None = None) -> None:
    """The flags and the method of the first member, in both of its headers."""
    data = bytearray((folder / NPZ).read_bytes())
    for at, signature in ((6, b"PK\x03\x04"), (8, b"PK\x01\x02")):
        first = data.index(signature) + at
        data[first] |= bits
        if method is not None:
            data[first + 2 : first + 4] = struct.pack("<H", method)
    (folder / NPZ).write_bytes(bytes(data))


def old_config(folder: Path) -> None:
    """cfg.json as sae-lens wrote it before version 6: everything at the top."""
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    above = config.pop("metadata")
    whole = {**config, "hook_point": above["hook_name"], "hook_point_head_index": None, "dtype": "torch.float32"}
    (folder / CONFIG).write_text(json.dumps({k: v for k, v in whole.items() if v is not GONE}), encoding="utf-8")
