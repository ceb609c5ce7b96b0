"""SAEs that sae-lens reads for us, from files of the real names and layout, against sae-lens' own loading."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from saeattr.errors import UserError
from saeattr.saes.catalogue import PublishedSae
from saeattr.saes.formats import published_file
from saeattr.saes.lens import LensAutoencoder
from saeattr.saes.loading import SaeFile, check_weights, load_sae
from saeattr.saes.sae import ReluAutoencoder, SparseAutoencoder
from saeattr.sites import Site, parse_site
from tests.saes import published as write

DL = "sae_bench_gemma-2-2b_topk_width-2pow12_date-1109"
RESID = Site("resid_post", 12)
V5 = {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": write.K}, "normalize_activations": "layer_norm"}

#: Release, site, how its files are written, and what it becomes.
FAMILIES: dict[str, tuple[str, str, Callable[[Path, PublishedSae], None], type[SparseAutoencoder]]] = {
    "topk with layer norm": (
        "gpt2-small-resid-post-v5-32k",
        "resid_post.3",
        lambda cache, sae: write.sae_lens_before_6(cache, sae, **V5),
        LensAutoencoder,
    ),
    "norm rescaled": ("mistral-7b-res-wg", "resid_post.7", write.sae_lens_before_6, LensAutoencoder),
    **{
        f"dictionary_learning {name}": (
            DL,
            str(RESID),
            lambda cache, sae, name=name: write.dictionary_learning(cache, sae, name),
            kind,
        )
        for name, kind in {
            "AutoEncoder": ReluAutoencoder,
            "AutoEncoderTopK": LensAutoencoder,
            "GatedAutoEncoder": LensAutoencoder,
            "BatchTopKSAE": ReluAutoencoder,
            "MatryoshkaBatchTopKSAE": ReluAutoencoder,
            "JumpReluAutoEncoder": ReluAutoencoder,
        }.items()
    },
    "Llama Scope for R1": ("llama_scope_r1_distill", "resid_post.5", write.llama_scope_r1, ReluAutoencoder),
    "Qwen Scope": ("qwen-scope-3-1.7b-base-w32k-l50", "resid_post.9", write.qwen_scope, LensAutoencoder),
    "goodfire .pt": ("goodfire-llama-3.3-70b-instruct", "resid_post.50", write.goodfire, ReluAutoencoder),
    "goodfire .pth": ("goodfire-llama-3.1-8b-instruct", "resid_post.19", write.goodfire, ReluAutoencoder),
    "DeepSeek R1": ("deepseek-r1-distill-llama-8b-qresearch", "resid_post.19", write.deepseek_r1, ReluAutoencoder),
    "hook_z": ("gpt2-small-hook-z-kk", "attn_z.4", write.hook_z, ReluAutoencoder),
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    write.small_sizes(monkeypatch)
    return tmp_path


def written(cache: Path, family: str) -> SaeFile:
    release, address, writer, _ = FAMILIES[family]
    sae = write.find(release, parse_site(address))
    writer(cache, sae)
    file = published_file(sae, {})
    assert file is not None
    return file


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_encodes_and_decodes_as_sae_lens_does(family: str, cache: Path) -> None:
    from sae_lens import SAE

    file = written(cache, family)
    assert file.published is not None
    assert (file.d_in, file.d_sae) == (write.D_IN, write.D_SAE)
    assert str(file.site) == FAMILIES[family][1]
    theirs = SAE.from_pretrained(file.published.release, file.published.sae_id, device="cpu")
    theirs.turn_off_forward_pass_hook_z_reshaping()
    check_weights(file)
    ours = load_sae(file)
    assert type(ours) is FAMILIES[family][3]
    x = 3 * torch.randn(20, write.D_IN, generator=torch.Generator().manual_seed(1)) + 1
    scale = {"layer_norm": x.std(1), "constant_norm_rescale": x.norm(dim=1) / write.D_IN**0.5}
    with torch.no_grad():
        f = theirs.encode(x)
        x_hat = theirs.decode(f)
    assert 0 < int((f > 0).sum()) < f.numel()
    f_ours = ours.encode(x)
    size = scale.get(str(theirs.cfg.normalize_activations), torch.ones(len(x)))[:, None]
    torch.testing.assert_close(f_ours / size, f, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.decode(f_ours) + ours.rest(x), x_hat, rtol=1e-4, atol=1e-4)
    ids = torch.tensor([30, 2, 7])
    few = ours.take_features(ids)
    torch.testing.assert_close(few.encode(x), f_ours[:, ids], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(few.take_features(torch.tensor([1])).W_dec, ours.W_dec[[2]])


@pytest.mark.parametrize("family", ["Qwen Scope", "dictionary_learning AutoEncoder", "Llama Scope for R1"])
def test_nan_in_a_file_that_sae_lens_reads_is_refused(family: str, cache: Path) -> None:
    file = written(cache, family)
    pickled = file.weights.suffix == ".pt"
    tensors = dict(torch.load(file.weights, weights_only=True) if pickled else load_file(file.weights))
    tensors[next(iter(tensors))].view(-1)[-1] = float("nan")
    (torch.save if pickled else save_file)(tensors, file.weights)
    with pytest.raises(UserError, match=r"has NaN or infinity in [Wb]_(enc|dec)"):
        load_sae(file)


def test_a_file_of_another_shape_or_without_a_tensor_is_refused_in_one_line(cache: Path) -> None:
    file = written(cache, "Qwen Scope")
    tensors = torch.load(file.weights, weights_only=True)
    torch.save({**tensors, "W_dec": tensors["W_dec"][:, :8]}, file.weights)
    with pytest.raises(UserError, match=r"layer9.sae.pt cannot be read .*size mismatch for W_dec") as refused:
        load_sae(file)
    assert "\n" not in str(refused.value)
    torch.save({"W_enc": tensors["W_enc"]}, file.weights)
    with pytest.raises(UserError, match="cannot be read by sae-lens"):
        load_sae(file)


def test_a_configuration_that_says_another_site_or_is_damaged_is_refused(cache: Path) -> None:
    file = written(cache, "Llama Scope for R1")
    assert file.published is not None
    path = file.weights.parent / "config.json"
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole.replace("blocks.5.", "blocks.6."), encoding="utf-8")
    with pytest.raises(UserError, match=r"is listed for resid_post.5, and its configuration says resid_post.6"):
        published_file(file.published, {})
    path.write_text(whole[:20], encoding="utf-8")
    with pytest.raises(UserError, match="the configuration of llama_scope_r1_distill/.* cannot be read by sae-lens"):
        published_file(file.published, {})
    path.unlink()
    with pytest.raises(UserError, match="config.json of fnlp/Llama-Scope-R1-Distill is not in the local cache"):
        published_file(file.published, {})


@pytest.mark.parametrize("family", ["dictionary_learning AutoEncoderTopK", "hook_z"])
def test_a_missing_file_of_weights_is_named(family: str, cache: Path) -> None:
    file = written(cache, family)
    assert file.download == 0
    file.weights.unlink()
    assert file.download == file.n_bytes
    with pytest.raises(UserError, match=r"is not in the local cache and the hub cannot be reached"):
        load_sae(file)
