"""sae-lens' objects as autoencoders here: every architecture and scaling, in training or not, against their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from saeattr.errors import UserError
from saeattr.saes import lens as module
from saeattr.saes.lens import LensAutoencoder, autoencoder_of, lens_sha256
from saeattr.saes.sae import ReluAutoencoder
from saeattr.sites import Site

SITE = Site("resid_post", 1)
X = 3 * torch.randn(20, 16, generator=torch.Generator().manual_seed(1)) + 1
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "standard": {},
    "jumprelu": {},
    "gated": {},
    "topk": {"k": 5},
    "topk by norm": {"k": 5, "rescale_acts_by_decoder_norm": True},
    "matching_pursuit": {},
}
IN_TRAINING: dict[str, dict[str, Any]] = {
    "standard": {},
    "jumprelu": {},
    "gated": {},
    "topk": {"k": 5},
    "batchtopk": {"k": 5},
    "matryoshka_batchtopk": {"k": 5, "matryoshka_widths": [10, 40]},
    "matching_pursuit": {"decoder_init_norm": 1.0},
}


def randomised(sae: Any) -> Any:
    generator = torch.Generator().manual_seed(0)
    for name, parameter in sae.named_parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
        if name == "threshold":
            parameter.data.abs_()
    return sae


def made(architecture: str, **config: Any) -> Any:
    from sae_lens.registry import get_sae_class

    cls, config_class = get_sae_class(architecture.split(" ")[0])
    return randomised(cls(config_class(d_in=16, d_sae=40, **ARCHITECTURES.get(architecture, {}), **config)))


def in_training(architecture: str) -> Any:
    from sae_lens.registry import get_sae_training_class

    cls, config_class = get_sae_training_class(architecture)
    sae = randomised(cls(config_class(d_in=16, d_sae=40, **IN_TRAINING[architecture])))
    if hasattr(sae, "topk_threshold"):
        sae.topk_threshold.fill_(0.7)
    return sae


@pytest.mark.parametrize("normalised", ["none", "layer_norm", "constant_norm_rescale"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_encode_and_decode_are_sae_lens_own(architecture: str, normalised: str) -> None:
    theirs = made(architecture, normalize_activations=normalised)
    ours = autoencoder_of(theirs, SITE, "it")
    with torch.no_grad():
        f = theirs.encode(X)
        x_hat = theirs.decode(f)
    assert 0 < int((f > 0).sum()) < f.numel()
    scales = {"none": torch.ones(20), "layer_norm": X.std(1), "constant_norm_rescale": X.norm(dim=1) / 4}
    found = ours.encode(X)
    torch.testing.assert_close(found, f * scales[normalised][:, None], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.decode(found) + ours.rest(X), x_hat, rtol=1e-4, atol=1e-4)
    direct = architecture in ("standard", "jumprelu") and normalised == "none"
    assert isinstance(ours, ReluAutoencoder if direct else LensAutoencoder)


@pytest.mark.parametrize("normalised", ["none", "layer_norm", "constant_norm_rescale"])
def test_what_a_feature_writes_is_linear_in_its_activation_at_every_token(normalised: str) -> None:
    """Taking a feature out of sae-lens' own f moves its x_hat by our activation times our W_dec."""
    theirs = made("topk", normalize_activations=normalised)
    ours = autoencoder_of(theirs, SITE, "it")
    found = ours.encode(X)
    feature = int(found.sum(0).argmax())
    with torch.no_grad():
        f = theirs.encode(X)
        whole = theirs.decode(f)
        theirs.encode(X)
        without = theirs.decode(torch.where(torch.arange(40) == feature, 0.0, f))
    torch.testing.assert_close(whole - without, found[:, [feature]] * ours.W_dec[feature], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", IN_TRAINING)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_sae_in_training_is_what_sae_lens_would_save(architecture: str, tmp_path: Path) -> None:
    from sae_lens import SAE

    training = in_training(architecture)
    before = {name: value.clone() for name, value in training.state_dict().items()}
    ours = autoencoder_of(training, SITE, "it")
    training.save_inference_model(tmp_path)
    saved = SAE.load_from_disk(tmp_path)
    with torch.no_grad():
        f = saved.encode(X)
        torch.testing.assert_close(ours.encode(X), f, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(ours.decode(f), saved.decode(f), rtol=1e-4, atol=1e-4)
    assert all(torch.equal(before[name], value) for name, value in training.state_dict().items())
    assert all(parameter.requires_grad for parameter in training.parameters())


def test_a_token_is_encoded_alike_in_any_company() -> None:
    """BatchTopK in training keeps the largest of the batch; here each token is by itself."""
    ours = autoencoder_of(in_training("batchtopk"), SITE, "it")
    torch.testing.assert_close(ours.encode(X[:1]), ours.encode(X)[:1])


def test_a_few_features_are_picked_from_all_in_parts_of_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = autoencoder_of(made("topk"), SITE, "it")
    ids = torch.tensor([30, 2, 7, 11])
    whole = ours.encode(X)
    monkeypatch.setattr(module, "WHOLE_BYTES", 4 * 40 * 3)
    few = ours.take_features(ids)
    torch.testing.assert_close(few.encode(X), whole[:, ids])
    again = few.take_features(torch.tensor([2, 0]))
    torch.testing.assert_close(again.encode(X), whole[:, [7, 30]])
    torch.testing.assert_close(again.decode(again.encode(X)), whole[:, [7, 30]] @ ours.W_dec[[7, 30]] + ours.b_dec)


def test_the_slope_of_an_activation_is_by_finite_differences() -> None:
    for architecture, normalised in (("gated", "none"), ("topk", "layer_norm"), ("topk by norm", "none")):
        ours = autoencoder_of(made(architecture, normalize_activations=normalised), SITE, "it")
        x = X[3].double().float()
        feature = int(ours.encode(x[None]).argmax())
        one = ours.take_features(torch.tensor([feature]))
        x = x.requires_grad_()
        (slope,) = torch.autograd.grad(one.pre_activation(x[None]).sum(), x)
        direction = torch.nn.functional.normalize(slope, dim=0)
        ends = [float(one.encode((x.detach() + step * direction)[None])) for step in (0.01, -0.01)]
        assert (ends[0] - ends[1]) / 0.02 == pytest.approx(float(slope @ direction), rel=1e-2)


def test_weights_are_shared_where_they_can_be() -> None:
    theirs = made("gated")
    ours = autoencoder_of(theirs, SITE, "it")
    assert ours.W_dec.data_ptr() == theirs.W_dec.data_ptr()


def test_an_sae_in_another_dtype_is_read_in_float32() -> None:
    theirs = made("topk").to(torch.bfloat16)
    ours = autoencoder_of(theirs, SITE, "it")
    assert ours.encode(X.to(torch.bfloat16)).dtype == ours.W_dec.dtype == torch.float32
    assert theirs.W_dec.dtype == torch.bfloat16


def test_a_centred_models_sae_reads_centred_x() -> None:
    theirs = made("gated")
    theirs.cfg.metadata.model_from_pretrained_kwargs = {"center_writing_weights": True}
    found = autoencoder_of(theirs, SITE, "it").encode(X)
    with torch.no_grad():
        torch.testing.assert_close(found, theirs.encode(X - X.mean(1, keepdim=True)))


@pytest.mark.parametrize(
    ("architecture", "config", "reason"),
    [
        ("abstopk", {}, r"cannot be used \(abstopk\): its activations may be negative"),
        (
            "transcoder",
            {"d_out": 24, "apply_b_dec_to_input": False},
            r"cannot be used \(transcoder\): a transcoder: it reads one activation",
        ),
        ("standard", {"normalize_activations": "expected_average_only_in"}, "fold it into the weights first"),
        ("standard", {"normalize_activations": "covariance_whitening"}, "fold that into its weights"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(architecture: str, config: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason) as refused:
        autoencoder_of(made(architecture, **config), SITE, "it")
    assert "\n" not in str(refused.value)


def test_an_sae_of_one_head_is_refused() -> None:
    theirs = made("standard")
    theirs.cfg.metadata.hook_head_index = 3
    with pytest.raises(UserError, match="reads one head alone"):
        autoencoder_of(theirs, SITE, "it")


def test_a_decoder_that_is_not_linear_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = made("gated")
    monkeypatch.setattr(type(theirs), "decode", lambda self, f: f.square() @ self.W_dec + self.b_dec)
    with pytest.raises(UserError, match=r"\(gated\) does not decode linearly"):
        autoencoder_of(theirs, SITE, "it")


def test_nan_is_refused() -> None:
    theirs = made("gated")
    theirs.r_mag.data[3] = float("nan")
    with pytest.raises(UserError, match="has NaN or infinity in r_mag"):
        autoencoder_of(theirs, SITE, "it")


def test_the_fingerprint_is_of_the_weights_and_of_how_they_are_used() -> None:
    one = made("topk")
    assert lens_sha256(one) == lens_sha256(made("topk"))

    def changed(change: Any) -> str:
        other = made("topk")
        change(other)
        return lens_sha256(other)

    def swap(sae: Any) -> None:
        b_enc: Tensor = sae.b_enc.data
        sae.b_enc.data = b_enc[torch.tensor([1, 0, *range(2, 40)])]

    different = {
        lens_sha256(one),
        changed(lambda sae: sae.W_dec.data[0, 0].add_(1e-3)),
        changed(swap),
        changed(lambda sae: setattr(sae.cfg, "k", 6)),
        changed(lambda sae: sae.to(torch.float64)),
    }
    assert len(different) == 5
    sae = made("topk")
    sae.cfg.metadata.model_name = "another name is the same SAE"
    assert lens_sha256(sae) == lens_sha256(one)
