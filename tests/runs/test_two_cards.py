"""What stages do with edited copies, on two cards as on one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import Tensor

from saeattr.behaviours.pair import Pair
from saeattr.model.direct import direct_gradients, head_outputs
from saeattr.model.loading import LanguageModel, load_model
from saeattr.patching.components import COMPONENTS, Part, Z
from saeattr.runs.base import SiteBase
from saeattr.runs.batch import run_batch
from saeattr.runs.effects import feature_effects, total_effect
from saeattr.runs.lens import EMBEDDING, as_final, residuals_at
from saeattr.runs.metric import METRICS
from saeattr.runs.patches import ALL_HEADS, Patches, patch_effects
from saeattr.runs.question import Question
from saeattr.saes.loading import SaeFile, load_sae
from saeattr.saes.sae import SparseAutoencoder
from saeattr.sites import Site
from saeattr.validation import joint
from saeattr.validation.joint import FeatureSet, joint_effects
from tests.model.cards import on_two_cards

#: On the first card, on the second, and of a layer of each.
SITES = (Site("attn_z", 1), Site("resid_post", 2), Site("mlp_out", 4), Site("resid_post", 5))
ON_FIRST = 3


def load_on(file: SaeFile, device: torch.device) -> SparseAutoencoder:
    sae = load_sae(file)
    tensors = {name: value.to(device) for name, value in vars(sae).items() if isinstance(value, Tensor)}
    return dataclasses.replace(sae, **tensors)  # pyright: ignore[reportArgumentType]


def parts() -> list[Part | Site]:
    last = Part(COMPONENTS["resid_post"], 5)
    return [*SITES, *(Part(Z, layer) for layer in range(6)), last]


def everything(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], metric: str
) -> Iterator[tuple[str, Tensor]]:
    """What each function finds, on the CPU."""
    batch = run_batch(lm, pairs, parts(), Question(metric=METRICS[metric]))
    tops: dict[Site, list[int]] = {}
    for site in SITES:
        sae = load_on(saes[site], lm.device)
        used = batch.reads.weight > 0
        x = batch.clean.x[site].cpu()[batch.reads.row[used], batch.reads.position[used]]
        tops[site] = load_sae(saes[site]).encode(x).sum(0).topk(3).indices.tolist()
        features = torch.tensor(tops[site]).to(lm.device)
        assert batch.corrupted is not None
        yield f"features of {site}", feature_effects(batch, SiteBase("corrupted", sae), features, 4)
        yield f"total of {site}", total_effect(batch, site, batch.corrupted.x[site])
        rows = torch.arange(len(pairs), device=lm.device)
        patches = Patches(rows, batch.usable, torch.full_like(rows, ALL_HEADS))
        yield f"patches of {site}", patch_effects(batch, site, patches, 4)
    sets = [FeatureSet(tops), FeatureSet(tops, keep=True, errors=True)]
    yield "joint", joint_effects([batch], [saes[site] for site in SITES], sets, 4).effects
    hidden = residuals_at(lm, batch.clean.prompts, batch.reads.row, batch.reads.position, [EMBEDDING])
    yield "lens", as_final(lm, hidden[EMBEDDING])
    z = [batch.clean.x[Part(Z, layer)] for layer in range(6)]
    slopes = direct_gradients(lm, z, batch.clean.x[parts()[-1]], batch.read)
    yield from ((f"direct path of layer {layer}", slope) for layer, slope in enumerate(slopes))
    yield "heads", head_outputs(lm, 4, z[4][:, 3], Z.n_heads(lm))


@pytest.mark.parametrize("metric", ["logit-difference", "probability"])
def test_effects_on_two_cards_are_those_on_one(
    lm: LanguageModel,
    saes: dict[Site, SaeFile],
    pairs: list[Pair],
    metric: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exact effects of features, sites and patches, curves of many features, the lens and the direct path."""

    def stream(files: Sequence[SaeFile], device: torch.device) -> Iterator[SparseAutoencoder]:
        return (load_on(file, device) for file in files)

    # Pretended cards are of one thread.
    monkeypatch.setattr(joint, "stream_saes", stream)
    expected = dict(everything(lm, saes, pairs[:3], metric))
    with on_two_cards(load_model("bundled", device="cpu"), ON_FIRST) as spread:
        found = {name: value.cpu() for name, value in everything(spread, saes, pairs[:3], metric)}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=lambda text, name=name: f"{name}: {text}")
