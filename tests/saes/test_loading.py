"""SAE files against sae-lens' own loader, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from saeattr.digests import file_sha256
from saeattr.errors import UserError
from saeattr.saes import loading
from saeattr.saes.loading import SaeFile, check_width, find_saes, load_sae, stream_saes
from saeattr.sites import KINDS, Site
from tests.saes.files import count_reads


@pytest.mark.parametrize("kind", KINDS)
def test_encode_and_decode_equal_sae_lens(saes: dict[Site, SaeFile], kind: str) -> None:
    from sae_lens import SAE

    file = saes[Site(kind, 2)]  # pyright: ignore[reportArgumentType]
    theirs = SAE.load_from_disk(file.folder, device="cpu", dtype="float32")
    theirs.eval()
    theirs.turn_off_forward_pass_hook_z_reshaping()
    mine = load_sae(file)
    x = torch.randn(50, file.d_in, generator=torch.Generator().manual_seed(0)) * 3
    with torch.no_grad():
        expected = theirs.encode(x)
        assert (expected > 0).any()
        torch.testing.assert_close(mine.encode(x), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(mine.decode(expected), theirs.decode(expected), rtol=1e-5, atol=1e-5)


def test_every_layer_and_kind_is_found_in_the_order_of_computation(saes: dict[Site, SaeFile]) -> None:
    assert list(saes) == [Site(kind, layer) for layer in range(6) for kind in KINDS]


def copied(saes: dict[Site, SaeFile], folder: Path) -> Path:
    """One bundled SAE copied into ``folder``, without checksums."""
    target = folder / "sae"
    shutil.copytree(saes[Site("resid_post", 1)].folder, target)
    return target


def test_a_damaged_file_is_refused_by_its_checksum(saes: dict[Site, SaeFile], tmp_path: Path) -> None:
    target = copied(saes, tmp_path)
    weights = target / "sae_weights.safetensors"
    checksums = {"sae/sae_weights.safetensors": file_sha256(weights)}
    (tmp_path / "checksums.json").write_text(json.dumps(checksums))
    load_sae(find_saes(str(tmp_path))[Site("resid_post", 1)])
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(UserError, match="damaged"):
        load_sae(find_saes(str(tmp_path))[Site("resid_post", 1)])


def test_a_truncated_file_without_checksum_is_refused(saes: dict[Site, SaeFile], tmp_path: Path) -> None:
    weights = copied(saes, tmp_path) / "sae_weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match="cannot be read as safetensors"):
        load_sae(find_saes(str(tmp_path))[Site("resid_post", 1)])


def test_weights_of_another_shape_than_cfg_says_are_refused(saes: dict[Site, SaeFile], tmp_path: Path) -> None:
    weights = copied(saes, tmp_path) / "sae_weights.safetensors"
    tensors = load_file(weights)
    save_file({**tensors, "W_dec": tensors["W_dec"][:, :64].contiguous()}, weights)
    with pytest.raises(UserError, match=r"W_dec of shape \(512, 128\)"):
        load_sae(find_saes(str(tmp_path))[Site("resid_post", 1)])


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["W_enc", "b_enc", "W_dec", "b_dec", "threshold"])
def test_a_weight_that_is_no_finite_number_is_named(
    saes: dict[Site, SaeFile], tmp_path: Path, name: str, number: float
) -> None:
    weights = copied(saes, tmp_path) / "sae_weights.safetensors"
    tensors = load_file(weights)
    tensors[name].view(-1)[-1] = number
    save_file(tensors, weights)
    with pytest.raises(UserError) as refusal:
        load_sae(find_saes(str(tmp_path))[Site("resid_post", 1)])
    assert str(refusal.value).startswith(f"{weights} has NaN or infinity in {name}: ")
    assert "\n" not in str(refusal.value)


def test_thresholds_below_zero_are_read_as_sae_lens_reads_them(saes: dict[Site, SaeFile], tmp_path: Path) -> None:
    from sae_lens import SAE

    folder = copied(saes, tmp_path)
    tensors = load_file(folder / "sae_weights.safetensors")
    tensors["threshold"] -= 100
    save_file(tensors, folder / "sae_weights.safetensors")
    ours = load_sae(find_saes(str(tmp_path))[Site("resid_post", 1)])
    theirs = SAE.load_from_disk(folder, device="cpu", dtype="float32")
    x = torch.randn(20, ours.d_in, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours.encode(x), theirs.encode(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("architecture", "soft", "has the architecture 'soft'"),
        ("architecture", "temporal", "a temporal SAE"),
        ("activation_fn", "tanh-relu", "tanh-relu"),
        ("normalize_activations", "covariance_whitening", "normalises"),
        ("normalize_activations", True, "the scale is not known"),
        ("metadata", {"hook_name": "blocks.1.attn.hook_z", "hook_head_index": 2}, "reads one head alone"),
        ("metadata", {"hook_name": "blocks.0.hook_resid_pre"}, "hook_resid_pre"),
        ("d_in", "wide", "'wide' as d_in in its cfg.json"),
        ("d_in", 128.0, "128.0 as d_in"),
        ("d_sae", True, "True as d_sae"),
        ("apply_b_dec_to_input", "no", "'no' as apply_b_dec_to_input in its cfg.json .*boolean"),
        ("apply_b_dec_to_input", 0, "0 as apply_b_dec_to_input"),
        ("metadata", [], "as metadata"),
        ("architecture", "topk", "says nothing for the k of its TopK SAE"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused(
    saes: dict[Site, SaeFile], tmp_path: Path, field: str, value: object, message: str
) -> None:
    path = copied(saes, tmp_path) / "cfg.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(UserError, match=message):
        find_saes(str(tmp_path))


@pytest.mark.parametrize(
    ("architecture", "config"),
    [("topk", {"k": 5}), ("gated", {}), ("standard", {"normalize_activations": "layer_norm"})],
)
def test_a_folder_that_sae_lens_saved_is_opened_by_it(
    tmp_path: Path, architecture: str, config: dict[str, Any]
) -> None:
    from sae_lens import SAE
    from sae_lens.registry import get_sae_class
    from sae_lens.saes.sae import SAEMetadata

    cls, config_class = get_sae_class(architecture)
    metadata = SAEMetadata(hook_name="blocks.2.hook_mlp_out", sae_lens_version="6.54.12")
    saved: Any = cls(config_class(d_in=128, d_sae=40, metadata=metadata, **config))
    saved.save_model(tmp_path)
    (file,) = find_saes(str(tmp_path)).values()
    assert (file.site, file.d_in, file.d_sae, file.by_lens) == (Site("mlp_out", 2), 128, 40, True)
    theirs = SAE.load_from_disk(tmp_path)
    x = 3 * torch.randn(20, 128, generator=torch.Generator().manual_seed(0))
    ours = load_sae(file)
    f = ours.encode(x)
    with torch.no_grad():
        torch.testing.assert_close(ours.decode(f) + ours.rest(x), theirs(x), rtol=1e-4, atol=1e-4)
    weights = tmp_path / "sae_weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(UserError, match="cannot be read as safetensors"):
        load_sae(file)


def test_two_saes_for_one_site_and_none_at_all_are_refused(saes: dict[Site, SaeFile], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no SAE"):
        find_saes(str(tmp_path))
    shutil.copytree(copied(saes, tmp_path), tmp_path / "again")
    with pytest.raises(UserError, match="two SAEs"):
        find_saes(str(tmp_path))


def test_an_sae_of_another_width_than_the_model_is_refused(saes: dict[Site, SaeFile]) -> None:
    with pytest.raises(UserError, match="width 128.*width 2304"):
        check_width(saes[Site("resid_post", 0)], 2304)


CPU = torch.device("cpu")


def test_each_file_is_read_once_for_each_time_it_is_opened(
    saes: dict[Site, SaeFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = count_reads(monkeypatch)
    files = list(saes.values())[:4]
    assert [sae.site for sae in stream_saes(files, CPU)] == list(counted)
    load_sae(files[0])
    assert list(counted.values()) == [2, 1, 1, 1]


def test_weights_are_read_in_one_place_alone_where_they_are_counted() -> None:
    package = Path(loading.__file__).parents[1]
    readers = re.compile(r"\b(read_tensors|load_by_lens|read_sae)\(")
    calls = [path.name for path in package.rglob("*.py") for _ in readers.findall(path.read_text(encoding="utf-8"))]
    # Each is defined once, and called once in loading.py, read_sae among them; tensors.py looks at scaling factors.
    assert sorted(calls) == sorted([*["tensors.py"] * 2, "lens_files.py", *["loading.py"] * 4])


def test_the_next_sae_is_read_while_one_is_in_use(saes: dict[Site, SaeFile], monkeypatch: pytest.MonkeyPatch) -> None:
    begun = {file.site: threading.Event() for file in list(saes.values())[:4]}
    read = loading.read_sae
    monkeypatch.setattr(loading, "read_sae", lambda file, device: begun[file.site].set() or read(file, device))
    following = iter([*list(begun)[1:], None])
    for _sae in stream_saes(list(saes.values())[:4], CPU):
        site = next(following)
        # Begun while this one is in use, before the next is asked for.
        assert site is None or begun[site].wait(60)


def test_two_saes_are_held_and_never_three_though_the_last_is_let_go_late(
    saes: dict[Site, SaeFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    there: weakref.WeakSet[Any] = weakref.WeakSet()
    held: list[int] = []
    read = loading.read_sae

    def counting(file: SaeFile, device: Any) -> Any:
        held.append(len(there))
        sae = read(file, device)
        there.add(sae)
        return sae

    monkeypatch.setattr(loading, "read_sae", counting)
    # WeakSet compares and hashes, and an SAE's tensors cannot be.
    monkeypatch.setattr(loading.ReluAutoencoder, "__hash__", object.__hash__)
    monkeypatch.setattr(loading.ReluAutoencoder, "__eq__", object.__eq__)
    last = None
    for sae in stream_saes(list(saes.values())[:5], CPU):
        # A consumer that still has its last base while it works on this SAE.
        time.sleep(0.05)
        last = sae
    assert last is not None
    assert len(held) == 5
    # When one is read, one is in use: the one before is gone.
    assert max(held) == 1


def test_a_stream_may_be_kept_whole_or_left_early(saes: dict[Site, SaeFile]) -> None:
    files = list(saes.values())[:4]
    assert [sae.site for sae in list(stream_saes(files, CPU))] == [file.site for file in files]
    # The third is not asked for, and its reader waits for nobody.
    kept = [sae for _, sae in zip(range(2), stream_saes(files, CPU), strict=False)]
    assert [sae.site for sae in kept] == [file.site for file in files[:2]]
