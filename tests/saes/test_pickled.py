"""Pickled weights: tensors are read, and whatever else a file names is refused before anything is unpickled."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from saeattr.errors import UserError
from saeattr.saes.pickled import check_pickled


class LeavesAMark:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[Path, str]]:
        return open, (self.mark, "w")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64])
def test_dictionaries_of_tensors_pass(tmp_path: Path, dtype: torch.dtype) -> None:
    path = tmp_path / "ae.pt"
    tensors = OrderedDict(a=torch.zeros(3, 4, dtype=dtype), b=torch.nn.Parameter(torch.zeros(2)), k=5)
    torch.save(tensors, path)
    check_pickled(path)
    assert torch.load(path, weights_only=True)["k"] == 5


def test_the_state_of_a_module_passes(tmp_path: Path) -> None:
    path = tmp_path / "ae.pt"
    torch.save(torch.nn.Linear(3, 4).state_dict(), path)
    check_pickled(path)


@pytest.mark.parametrize("protocol", [2, 4])
def test_code_in_a_file_is_not_run(tmp_path: Path, protocol: int) -> None:
    mark, path = tmp_path / "mark", tmp_path / "ae.pt"
    torch.save({"W_enc": LeavesAMark(mark)}, path, pickle_protocol=protocol)
    with pytest.raises(UserError, match="is no plain dictionary of tensors") as refused:
        check_pickled(path)
    assert not mark.exists()
    assert "\n" not in str(refused.value)
    torch.load(path, weights_only=False)
    assert mark.exists()


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ae.pt"
    torch.save(torch.nn.Linear(3, 4), path)
    with pytest.raises(UserError, match=r"it names (__builtin__|torch.nn)"):
        check_pickled(path)


def test_a_second_pickle_in_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ae.pt"
    torch.save({"a": torch.zeros(1)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other/data.pkl", pickle.dumps({}))
    with pytest.raises(UserError, match="it holds 2 pickles"):
        check_pickled(path)


@pytest.mark.parametrize("content", [b"", b"not a file of torch", pickle.dumps({"W_enc": 1})])
def test_what_is_no_file_of_torch_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ae.pt"
    path.write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as a torch file"):
        check_pickled(path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path, whole = tmp_path / "ae.pt", io.BytesIO()
    torch.save({"W_enc": torch.zeros(100)}, whole)
    path.write_bytes(whole.getvalue()[:-50])
    with pytest.raises(UserError, match="cannot be read as a torch file"):
        check_pickled(path)


def test_an_old_torch_and_an_environment_that_trusts_pickles_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ae.pt"
    torch.save({"a": torch.zeros(1)}, path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(UserError, match="unset it"):
        check_pickled(path)
    monkeypatch.delenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")
    monkeypatch.setattr(torch, "__version__", "2.9.1+cu128")
    with pytest.raises(UserError, match=r"from version 2.10 on and this is 2.9.1"):
        check_pickled(path)


def test_what_is_compressed_or_has_a_pickle_without_end_is_not_inflated(tmp_path: Path) -> None:
    path, other = tmp_path / "ae.pt", tmp_path / "other.pt"
    torch.save({"W_enc": torch.zeros(1000)}, path)
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(other, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in whole.namelist():
            archive.writestr(name, whole.read(name))
    with pytest.raises(UserError, match="is compressed"):
        check_pickled(other)
    with zipfile.ZipFile(other, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"\x80\x02" + b"N" * 10**7 + b".")
    with pytest.raises(UserError, match="its pickle has 10,000,003 bytes, and 1,048,576 are read at most"):
        check_pickled(other)


def test_a_pipe_in_place_of_the_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ae.pt")
    with pytest.raises(UserError, match="is no ordinary file"):
        check_pickled(tmp_path / "ae.pt")
