"""Arrays of an npz against numpy's own reading, where they lie in memory, and damage that is noticed."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from saeattr.errors import UserError
from saeattr.saes import npz
from saeattr.saes.tensors import read_shapes, read_tensors
from tests.saes.files import write_npz

NAMES = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")


def arrays(d_in: int = 12, d_sae: int = 200) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    shapes = {
        "W_enc": (d_in, d_sae),
        "b_enc": (d_sae,),
        "W_dec": (d_sae, d_in),
        "b_dec": (d_in,),
        "threshold": (d_sae,),
    }
    return {name: generator.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}


@pytest.fixture(autouse=True)
def nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz, "_whole", set())


def check_equal(path: Path) -> None:
    """Every array is what numpy reads."""
    read = read_tensors(path, NAMES, "cpu")
    with np.load(path) as stored:
        assert read_shapes(path) == {name: stored[name].shape for name in stored.files}
        for name in NAMES:
            assert read[name].dtype == torch.float32
            assert read[name].data_ptr() % 4 == 0
            np.testing.assert_array_equal(read[name].numpy(), stored[name].astype(np.float32))


@pytest.mark.parametrize("begin", [0, 1, 2, 3, 4, 63])
def test_arrays_are_numpys_wherever_they_begin_in_the_file(tmp_path: Path, begin: int) -> None:
    path = tmp_path / "params.npz"
    write_npz(path, arrays(), begin)
    offsets = {member.offset % 64 for member in npz.npz_members(path).values()}
    assert offsets == {begin}
    check_equal(path)


def test_what_savez_writes_is_read_as_numpy_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "params.npz"
    np.savez(path, allow_pickle=False, **arrays())
    assert all(member.plain for member in npz.npz_members(path).values())
    check_equal(path)


@pytest.mark.parametrize("dtype", ["<f2", "<f8", ">f4"])
def test_other_types_and_orders_are_converted(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "params.npz"
    write_npz(path, {name: (4 * array).astype(dtype) for name, array in arrays().items()}, 0)
    check_equal(path)


def test_compressed_and_column_major_arrays_are_read(tmp_path: Path) -> None:
    path = tmp_path / "params.npz"
    np.savez_compressed(path, allow_pickle=False, **arrays())
    check_equal(path)
    write_npz(path, {name: np.asfortranarray(array) for name, array in arrays().items()}, 0)
    assert not npz.npz_members(path)["W_enc"].plain
    check_equal(path)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_mapped_array_takes_no_memory_of_its_own_and_never_changes_the_file(tmp_path: Path) -> None:
    def anonymous() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

    path, sizes = tmp_path / "params.npz", []
    for begin in (0, 1):
        write_npz(path, arrays(64, 2**16), begin)
        before = anonymous()
        read = read_tensors(path, NAMES, "cpu")
        sizes.append(1024 * (anonymous() - before) / sum(tensor.nbytes for tensor in read.values()))
        written = path.read_bytes()
        read["W_enc"].zero_()
        assert path.read_bytes() == written
        del read
    # At an odd address there is nothing for it but a copy.
    assert sizes[0] < 0.1 < 0.9 < sizes[1]


@pytest.mark.parametrize("begin", [0, 3])
@pytest.mark.parametrize("name", NAMES)
def test_a_bit_that_leaves_the_number_finite_is_noticed(tmp_path: Path, name: str, begin: int) -> None:
    path = tmp_path / "params.npz"
    write_npz(path, arrays(), begin)
    data = bytearray(path.read_bytes())
    # The lowest bit of the last number's mantissa.
    data[npz.npz_members(path)[name].end - 4] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match=rf"cannot be read as npz \([Bb]ad CRC-32 .*{name}.*\): get the file again"):
        read_tensors(path, NAMES, "cpu")


@pytest.mark.parametrize("begin", [0, 3])
def test_a_number_that_is_not_finite_is_named_though_its_checksum_is_right(tmp_path: Path, begin: int) -> None:
    path, stored = tmp_path / "params.npz", arrays()
    stored["W_dec"][7, 3] = np.nan
    write_npz(path, stored, begin)
    with pytest.raises(UserError, match="has NaN or infinity in W_dec: get the file again"):
        read_tensors(path, NAMES, "cpu")


@pytest.mark.parametrize("begin", [0, 3])
def test_a_checksum_is_compared_once_until_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begin: int
) -> None:
    path, summed = tmp_path / "params.npz", []
    write_npz(path, arrays(), begin)
    compare = npz._compare
    monkeypatch.setattr(npz, "_compare", lambda *arguments: summed.append(1) or compare(*arguments))
    for _ in range(3):
        read_tensors(path, NAMES, "cpu")
    assert len(summed) == len(NAMES)
    data = bytearray(path.read_bytes())
    data[npz.npz_members(path)["b_dec"].offset] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match="[Bb]ad CRC-32 .*b_dec"):
        read_tensors(path, NAMES, "cpu")


def test_a_file_just_written_is_not_taken_to_be_whole_for_good(tmp_path: Path) -> None:
    path = tmp_path / "params.npz"
    write_npz(path, arrays(), 0)
    path.touch()
    read_tensors(path, NAMES, "cpu")
    written = path.stat().st_mtime_ns
    data = bytearray(path.read_bytes())
    data[npz.npz_members(path)["W_enc"].offset] ^= 1
    path.write_bytes(bytes(data))
    os.utime(path, ns=(written, written))
    with pytest.raises(UserError, match="bad CRC-32 of W_enc"):
        read_tensors(path, NAMES, "cpu")


def test_a_directory_that_promises_more_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "params.npz"
    write_npz(path, arrays(), 0)
    whole = path.read_bytes()
    last = npz.npz_members(path)["threshold"]
    path.write_bytes(whole[: last.end - 400] + whole[last.end :])
    with pytest.raises(UserError, match="cannot be read as npz"):
        read_tensors(path, NAMES, "cpu")
    assert zipfile.is_zipfile(path)


def test_what_would_inflate_to_more_than_its_shape_or_far_more_than_it_has_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "params.npz"
    zeros = np.zeros((1024, 8192), np.float32)
    np.savez_compressed(path, W_enc=zeros)
    with pytest.raises(UserError, match=r"W_enc.npy has [\d,]+ bytes, and 33,554,560 when it is inflated"):
        read_shapes(path)
    # A bias of zeros compresses as well, and is small.
    np.savez_compressed(path, b_enc=zeros[0])
    assert read_shapes(path) == {"b_enc": (8192,)}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("W_enc.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (12, 200)})
        file.write(bytes(10**7))
    with pytest.raises(UserError, match=r"W_enc.npy has 10,000,128 bytes, and its shape is \(12, 200\)"):
        read_shapes(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_array_twice_and_arrays_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "params.npz"
    np.savez(path, W_enc=np.zeros((2, 3), np.float32))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("W_enc.npy", archive.read("W_enc.npy"))
    with pytest.raises(UserError, match="an array is in it twice"):
        read_shapes(path)
    for array in (np.ones((2, 3), np.int32), np.ones((2, 3), bool), np.full((2, 3), "x"), np.ones((2, 3), "complex64")):
        np.savez(path, W_enc=array)
        with pytest.raises(UserError, match="has W_enc in .*, which are no decimal numbers"):
            read_shapes(path)


def test_a_pipe_in_place_of_the_file_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "params.npz"
    os.mkfifo(path)
    for read in (read_shapes, lambda path: read_tensors(path, NAMES, "cpu")):
        with pytest.raises(UserError, match="is no ordinary file"):
            read(path)
