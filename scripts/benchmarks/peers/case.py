"""What all contestants are given: a random Gemma 2, random JumpReLU SAEs in sae-lens' format, and pairs of lists.

Written once into a folder and read from there by every process, so that all have the same files.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import Gemma2Config, Gemma2ForCausalLM

import saeattr
from saeattr import bundle
from saeattr.behaviours.pair import Pair
from saeattr.files import write_text
from saeattr.model.loading import LanguageModel, load_model, load_tokenizer
from saeattr.runs.batch import run_batch
from saeattr.runs.question import Question
from saeattr.sites import KINDS, Site
from saeattr.study.folder import StudyFolder
from saeattr.study.pairs import stored_pairs

#: Active features of a token, on the mean, that the thresholds are set for; published SAEs have 50 to 100.
ACTIVE = 75
GROUP = "cities"


@dataclass(frozen=True)
class Shape:
    """A model and the sites that have an SAE.

    Attributes:
        n_layers, width: of the model; its MLPs are four times as wide, as Gemma 2's.
        d_sae: features of every SAE.
    """

    name: str
    n_layers: int
    width: int
    sites: tuple[Site, ...]
    d_sae: int = 16_384

    def model_folder(self, root: Path) -> Path:
        return root / f"model-{self.n_layers}x{self.width}"

    def sae_folder(self, root: Path, site: Site) -> Path:
        return root / f"saes-{self.n_layers}x{self.width}-{self.d_sae}" / str(site)


def layers_of(n_sites: int, n_layers: int) -> list[int]:
    """``n_sites`` layers spread evenly: one is the middle, and as many as there are is all."""
    if n_sites >= n_layers:
        return list(range(n_layers))
    return [(nth + 1) * n_layers // (n_sites + 1) for nth in range(n_sites)]


def resid_sites(layers: Sequence[int]) -> tuple[Site, ...]:
    return tuple(Site("resid_post", layer) for layer in layers)


def all_sites(n_layers: int) -> tuple[Site, ...]:
    """Every kind of site of every layer, as the model computes them."""
    return tuple(Site(kind, layer) for layer in range(n_layers) for kind in KINDS)


def write_case(root: Path, shape: Shape, n_lists: int) -> None:
    """The model, the SAEs of the shape's sites and a study with the pairs, where they are not there already."""
    folder = shape.model_folder(root)
    if not (folder / "config.json").exists():
        write_model(shape, folder)
    if not (pairs_folder(root, n_lists) / "study.yaml").exists():
        options = {"sites": ["resid_post.0"], "validate_top": 0, "figures": False, "device": "cpu"}
        saeattr.attribute(GROUP, n_pairs=n_lists, out=pairs_folder(root, n_lists), **options)
    missing = [site for site in shape.sites if not (shape.sae_folder(root, site) / "cfg.json").exists()]
    if missing:
        write_saes(root, shape, missing, read_pairs(root, n_lists))


def pairs_folder(root: Path, n_lists: int) -> Path:
    """A small study of the bundled model, which wrote the lists: a random model writes none."""
    return root / f"lists-{n_lists}"


def read_pairs(root: Path, n_lists: int) -> list[Pair]:
    return stored_pairs(StudyFolder(pairs_folder(root, n_lists)), (GROUP,))


def write_model(shape: Shape, folder: Path) -> None:
    """Random weights in float32, the bundled tokenizer."""
    tokenizer = load_tokenizer(bundle.MODEL_FOLDER)
    config = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        intermediate_size=4 * shape.width,
        num_hidden_layers=shape.n_layers,
        num_attention_heads=6,
        num_key_value_heads=3,
        head_dim=shape.width // 6,
        query_pre_attn_scalar=shape.width // 6,
        max_position_embeddings=512,
    )
    torch.manual_seed(0)
    Gemma2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@torch.no_grad()
def write_saes(root: Path, shape: Shape, sites: Sequence[Site], pairs: Sequence[Pair]) -> None:
    """Unit decoder directions, the encoder their transpose, and one threshold that ``ACTIVE`` features a token pass."""
    lm = load_model(str(shape.model_folder(root)), device="cpu")
    batch = run_batch(lm, pairs, sites, Question(), gradients=False)
    for site in sites:
        x = batch.clean.x[site][batch.usable][:200]
        generator = torch.Generator().manual_seed(100 * site.layer + KINDS.index(site.kind))
        W_dec = torch.nn.functional.normalize(torch.randn(shape.d_sae, x.shape[1], generator=generator), dim=1)
        centre = x.mean(0)
        wanted = min(ACTIVE, shape.d_sae // 8) * len(x)
        threshold = float(((x - centre) @ W_dec.T).flatten().topk(wanted).values[-1])
        tensors = {
            "W_enc": W_dec.T.contiguous(),
            "b_enc": -centre @ W_dec.T,
            "W_dec": W_dec,
            "b_dec": centre,
            "threshold": torch.full((shape.d_sae,), threshold),
        }
        write_sae(shape.sae_folder(root, site), site, tensors)


def write_sae(folder: Path, site: Site, tensors: dict[str, Tensor]) -> None:
    """The weights, and last cfg.json, by which an SAE is known to be there."""
    d_in, d_sae = tensors["W_enc"].shape
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "sae_weights.safetensors")
    config = {
        "architecture": "jumprelu",
        "d_in": d_in,
        "d_sae": d_sae,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": False,
        "metadata": {"hook_name": site.hook_name, "sae_lens_version": version("sae-lens")},
    }
    write_text(folder / "cfg.json", json.dumps(config))


@dataclass(frozen=True)
class Case:
    """What one measurement is of.

    Attributes:
        sites: those of the shape that are used; batch_size: pairs in one forward, for every contestant.
    """

    root: Path
    shape: Shape
    sites: tuple[Site, ...]
    n_lists: int
    batch_size: int = 16

    @property
    def model_folder(self) -> Path:
        return self.shape.model_folder(self.root)

    def sae_folder(self, site: Site) -> Path:
        return self.shape.sae_folder(self.root, site)

    def pairs(self) -> list[Pair]:
        return read_pairs(self.root, self.n_lists)

    def prompts(self) -> list[Prompts]:
        """The pairs as tensors, batch by batch: all that a peer is given of them."""
        pairs = self.pairs()
        size = self.batch_size
        return [Prompts.of(pairs[at : at + size]) for at in range(0, len(pairs), size)]

    def open_model(self) -> LanguageModel:
        return load_model(str(self.model_folder), device="cpu")

    def open_plain(self) -> Gemma2ForCausalLM:
        """Hugging Face's model, its weights frozen."""
        model = Gemma2ForCausalLM.from_pretrained(self.model_folder, attn_implementation="eager").eval()
        return model.requires_grad_(False)  # pyright: ignore[reportReturnType]


@dataclass(frozen=True)
class Prompts:
    """One batch of pairs, padded on the right.

    Attributes:
        clean, corrupted, mask: [pairs, pos]; mask is 1 at real tokens.
        last: where each pair is read; tokens: the two that are contrasted there, wanted first, the same in all pairs.
        used: [pairs, pos], the tokens that can have an effect: from the first that differs to where the pair is read.
    """

    clean: Tensor
    corrupted: Tensor
    mask: Tensor
    last: Tensor
    tokens: Tensor
    used: Tensor

    @classmethod
    def of(cls, pairs: Sequence[Pair]) -> Prompts:
        n = max(len(pair.clean_ids) for pair in pairs)
        clean, corrupted, mask = (torch.zeros(len(pairs), n, dtype=torch.long) for _ in range(3))
        for row, pair in enumerate(pairs):
            here = slice(0, len(pair.clean_ids))
            clean[row, here], corrupted[row, here] = torch.tensor(pair.clean_ids), torch.tensor(pair.corrupted_ids)
            mask[row, here] = 1
        last = torch.tensor([pair.points[-1].position for pair in pairs])
        contrasted = {(pair.points[-1].wanted, pair.points[-1].unwanted) for pair in pairs}
        ((wanted,), (unwanted,)) = next(iter(contrasted))
        assert len(contrasted) == 1
        used = ((clean != corrupted).cumsum(1) > 0) & (torch.arange(n) <= last[:, None])
        return cls(clean, corrupted, mask, last, torch.tensor([wanted, unwanted]), used)


def metric(hidden: Tensor, unembedding: Tensor, prompts: Prompts, cap: float | None) -> Tensor:
    """logit(wanted) - logit(unwanted) of each pair, [pairs], from the final norm's output: two unembedding rows.

    Args:
        hidden: [pairs, pos, width]; unembedding: [vocabulary, width]; cap: of the logits, as Gemma 2 has it.
    """
    logits = hidden[torch.arange(len(hidden)), prompts.last] @ unembedding[prompts.tokens].T
    if cap:
        logits = cap * torch.tanh(logits / cap)
    return logits[:, 0] - logits[:, 1]


def encode_seconds(case: Case, speed: float) -> float:
    """Seconds that the encodes of clean and corrupted tokens take at ``speed`` (operations a second)."""
    n_tokens = 2 * sum(int(prompts.used.sum()) for prompts in case.prompts())
    width = math.fsum(case.shape.width for _ in case.sites)
    return 2 * n_tokens * width * case.shape.d_sae / speed
