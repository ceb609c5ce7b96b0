"""sae-lens' own SAE objects as autoencoders here: they encode, and what they decode is linear in the features."""

from __future__ import annotations

import dataclasses
import json
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saeattr.errors import UserError
from saeattr.model.weights import all_finite, tensors_sha256
from saeattr.saes.catalogue import TEMPORAL, TRANSCODER
from saeattr.saes.sae import ReluAutoencoder, SparseAutoencoder
from saeattr.sites import Site

if TYPE_CHECKING:
    from sae_lens import SAE

SIGNED = "its activations may be negative (abstopk): here a feature is active above 0"

#: Architectures of sae-lens that are no SAE as it is meant here, and why.
UNUSABLE = {
    "transcoder": TRANSCODER,
    "skip_transcoder": TRANSCODER,
    "jumprelu_transcoder": TRANSCODER,
    "jumprelu_skip_transcoder": TRANSCODER,
    "temporal": TEMPORAL,
    "abstopk": SIGNED,
}
#: Scalings that depend on the token; ``LensAutoencoder`` says how they are read.
BY_TOKEN = ("layer_norm", "constant_norm_rescale")
#: Where a few features are wanted, all are encoded for so many bytes of tokens at a time.
WHOLE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class LensAutoencoder(SparseAutoencoder):
    """An SAE that sae-lens encodes: TopK, gated, matching pursuit, or one that scales each token by itself.

    Features may depend on each other (a TopK SAE keeps the k largest), so a few cost as much to encode as all: all are
    encoded, and the few are picked.

    An SAE that scales its input by token (``BY_TOKEN``) encodes (x - mean) / scale and decodes to (f W_dec + b_dec) *
    scale + mean. Here its activations are f * scale, in the units of x, so that what a feature writes is linear in them
    at every token; the rest of x_hat, which no feature writes, counts to the error term (``rest``).

    Attributes:
        lens: in float32, frozen, with the decoder's normalisations off.
        W_dec, b_dec: what the decoder does with an activation, any norm of its rows included.
        chosen: the features picked; None for all.
    """

    site: Site
    name: str
    lens: SAE[Any]
    W_dec: Float[Tensor, "d_sae d_in"]
    b_dec: Float[Tensor, " d_in"]
    centre_input: bool = False
    chosen: Int[Tensor, " features"] | None = None

    def encode(self, x: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens d_sae"]:
        """Feature activations."""
        x = x.float()
        if self.centre_input:
            x = x - x.mean(-1, keepdim=True)
        if self.chosen is None:
            f = self.lens.encode(x)
        else:
            size = max(1, WHOLE_BYTES // (4 * self.lens.W_dec.shape[0]))
            f = torch.cat([self.lens.encode(part)[:, self.chosen] for part in x.split(size)])
        return f * self._scale(x) if self._normalised else f

    def pre_activation(self, x: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens d_sae"]:
        """The activation itself: where it depends on other features too, only its own gradient is right."""
        return self.encode(x)

    def take_features(self, ids: Int[Tensor, " features"]) -> LensAutoencoder:
        """The same SAE with a few of its features only; the whole encoder stays."""
        chosen = ids if self.chosen is None else self.chosen[ids]
        return dataclasses.replace(self, W_dec=self.W_dec[ids], chosen=chosen)

    def rest(self, x: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens d_in"] | float:
        """b_dec (scale - 1) + mean, of an SAE that scales its input by token."""
        if not self._normalised:
            return 0.0
        x = x.float()
        mean = x.mean(-1, keepdim=True)
        moved = self.b_dec * (self._scale(x) - 1)
        return moved + mean if self._normalised == "layer_norm" else moved

    @property
    def _normalised(self) -> str | None:
        how = self.lens.cfg.normalize_activations
        return how if how in BY_TOKEN else None

    def _scale(self, x: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens 1"]:
        """What the SAE's makers multiply the decoded token with."""
        if self._normalised == "layer_norm":
            return x.std(-1, keepdim=True)
        return x.norm(dim=-1, keepdim=True) / x.shape[-1] ** 0.5


def autoencoder_of(sae: SAE[Any], site: Site, name: str, device: torch.device | str = "cpu") -> SparseAutoencoder:
    """An SAE of sae-lens, trained or still in training, as one here; nothing of it is changed.

    In float32 on the same device the weights are shared, not copied. Plain ReLU and JumpReLU SAEs (BatchTopK ones are
    JumpReLU when they are not in training) become ``ReluAutoencoder``.

    Raises:
        UserError: it cannot be used here, has NaN or infinity in it, or does not decode linearly.
    """
    check_usable(sae.cfg.to_dict(), f"the SAE {name}")
    own = _inference_copy(sae, device)
    for tensor_name, tensor in own.state_dict().items():
        if not all_finite(tensor):
            raise UserError(f"the SAE {name} has NaN or infinity in {tensor_name}: get it again, or use another SAE")
    config: Any = own.cfg
    centred = is_centred(config.metadata.to_dict())
    if config.architecture() in ("standard", "jumprelu") and config.normalize_activations == "none":
        weights: Any = own
        threshold = weights.threshold.data if config.architecture() == "jumprelu" else None
        matrices = (weights.W_enc.data, weights.b_enc.data, weights.W_dec.data, weights.b_dec.data)
        return ReluAutoencoder(site, name, *matrices, threshold, bool(config.apply_b_dec_to_input), centred)
    W_dec, b_dec = _linear_decoder(own, name)
    return LensAutoencoder(site, name, own, W_dec, b_dec, centred)


def check_usable(config: dict[str, Any], name: str) -> None:
    """Refuse what is no SAE at one place, or what is not known to be read rightly, from sae-lens' configuration.

    Raises:
        UserError: it cannot be used here, and why.
    """
    architecture, normalised = str(config.get("architecture")), config.get("normalize_activations")
    metadata = config.get("metadata") or {}
    if architecture in UNUSABLE:
        raise UserError(f"{name} cannot be used ({architecture}): {UNUSABLE[architecture]}")
    if normalised == "expected_average_only_in":
        raise UserError(
            f"{name} was trained on scaled activations ({normalised}) and the scale is not known: fold it into "
            "the weights first (sae-lens: fold_activation_norm_scaling_factor)"
        )
    if normalised not in (None, False, "none", *BY_TOKEN):
        raise UserError(
            f"{name} normalises its input ({normalised}), which is not read here: fold that into its weights "
            "first, or use another SAE"
        )
    if any(metadata.get(name) is not None for name in ("hook_head_index", "hook_point_head_index")):
        raise UserError(f"{name} reads one head alone: those of all heads together (attn_z) are sites here")


def is_centred(metadata: dict[str, Any]) -> bool:
    """Whether an SAE was made on a model whose residual stream has mean 0 over d_in."""
    return bool((metadata.get("model_from_pretrained_kwargs") or {}).get("center_writing_weights", False))


def lens_sha256(sae: SAE[Any]) -> str:
    """Of an SAE's weights (names, types, shapes, bytes) and of what its configuration says of encoding."""
    config = {name: value for name, value in sae.cfg.to_dict().items() if name not in ("metadata", "device")}
    return tensors_sha256(sae.state_dict(), json.dumps(config, sort_keys=True, default=str))


def _inference_copy(sae: SAE[Any], device: torch.device | str) -> SAE[Any]:
    """The SAE as sae-lens would save it for use, in float32, frozen."""
    from sae_lens import SAE, TrainingSAE

    state: dict[str, Any] = {name: value.detach() for name, value in sae.state_dict().items()}
    if isinstance(sae, TrainingSAE):
        sae.process_state_dict_for_saving_inference(state)
        config = sae.cfg.get_inference_sae_cfg_dict()
    else:
        config = sae.cfg.to_dict()
    # x comes with its heads side by side, and on the meta device no weights are made to be thrown away.
    config |= {"reshape_activations": "none", "device": "meta", "dtype": "float32"}
    with warnings.catch_warnings():
        # How the model should be opened is the site's affair here (``is_centred``).
        warnings.simplefilter("ignore")
        own = SAE.from_dict(config)
    own.load_state_dict({name: value.to(device, torch.float32) for name, value in state.items()}, assign=True)
    own.run_time_activation_norm_fn_out = lambda x: x
    return own.eval().requires_grad_(False)


@torch.no_grad()
def _linear_decoder(sae: SAE[Any], name: str) -> tuple[Tensor, Tensor]:
    """W_dec and b_dec with which decode(f) is f W_dec + b_dec, tried on random activations.

    Raises:
        UserError: it is not, for an architecture that is not known here.
    """
    config: Any = sae.cfg
    rows = sae.W_dec.data
    if getattr(config, "rescale_acts_by_decoder_norm", False):
        rows = rows / rows.norm(dim=-1, keepdim=True)
    tried = torch.rand(4, len(rows), generator=torch.Generator().manual_seed(0)).to(rows.device)
    bias = sae.decode(torch.zeros_like(tried[:1]))[0]
    wanted, found = sae.decode(tried), torch.addmm(bias, tried, rows)
    if not torch.allclose(wanted, found, rtol=1e-3, atol=1e-4 * float(wanted.abs().max())):
        raise UserError(f"the SAE {name} ({config.architecture()}) does not decode linearly: such are not read here")
    return rows, bias
