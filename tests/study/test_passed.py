"""Models and SAEs passed as objects give what their files give, and are known again by their weights."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import saeattr
from saeattr import UserError, bundle
from saeattr.behaviours.pair import Pair
from saeattr.model.loading import LanguageModel
from saeattr.runs.base import SiteBase
from saeattr.runs.batch import run_batch
from saeattr.runs.effects import feature_effects
from saeattr.runs.question import Question
from saeattr.saes.held import held_saes
from saeattr.saes.loading import load_sae, stream_saes
from saeattr.sites import Site
from tests import plain

SITES = ("resid_post.3", "mlp_out.4")
SMALL: dict[str, Any] = {"lists": 3, "validate_top": 2, "controls": 19, "curves": False, "figures": False}
TABLES = ("attributions", "site_effects", "validation")


def hf_model() -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(bundle.MODEL_FOLDER)


def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(bundle.MODEL_FOLDER)


def lens_saes() -> dict[str, Any]:
    """The bundled SAEs as sae-lens opens them."""
    from sae_lens import SAE

    return {site: SAE.load_from_disk(bundle.SAES_FOLDER / site, dtype="float32") for site in SITES}


def top_k(k: int = 20) -> Any:
    """A TopK SAE with the weights of a bundled one, never saved; it fires elsewhere than that one."""
    from sae_lens import TopKSAE, TopKSAEConfig

    theirs = lens_saes()["resid_post.3"]
    made = TopKSAE(TopKSAEConfig(d_in=theirs.cfg.d_in, d_sae=theirs.cfg.d_sae, k=k, apply_b_dec_to_input=False))
    for name in ("W_enc", "b_enc", "W_dec", "b_dec"):
        getattr(made, name).data.copy_(getattr(theirs, name).data)
    return made


@pytest.fixture(scope="module")
def by_name(tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("named") / "s"
    return saeattr.attribute("cities", sites=list(SITES), device="cpu", out=out, **SMALL)


@pytest.fixture(scope="module")
def objects() -> dict[str, Any]:
    return {"model": hf_model(), "tokenizer": tokenizer(), "saes": lens_saes()}


@pytest.fixture(scope="module")
def by_objects(objects: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("passed") / "s"
    return saeattr.attribute("cities", out=out, **objects, **SMALL)


def check_alike(one: Any, other: Any) -> None:
    for table in TABLES:
        pd.testing.assert_frame_equal(getattr(one, table)(), getattr(other, table)(), check_exact=False, rtol=1e-5)


def test_objects_give_the_numbers_of_their_files(by_name: Any, by_objects: Any) -> None:
    check_alike(by_name, by_objects)
    record = by_objects.record
    assert record["model"]["passed"]
    assert record["settings"]["saes"] == "passed from Python"
    assert set(record["saes"]) == set(SITES)
    assert all(len(value) == 64 for value in [record["model"]["sha256"], *record["saes"].values()])


def test_a_pair_of_model_and_tokenizer_and_a_bridge_are_the_same_model(
    by_objects: Any, objects: dict[str, Any], tmp_path: Path
) -> None:
    from transformer_lens.model_bridge import TransformerBridge

    bridge = TransformerBridge.boot_transformers(
        str(bundle.MODEL_FOLDER), tokenizer=tokenizer(), device="cpu", dtype=torch.float32
    )
    for number, model in enumerate(((hf_model(), tokenizer()), bridge)):
        again = saeattr.attribute("cities", model=model, saes=objects["saes"], out=tmp_path / str(number), **SMALL)
        check_alike(by_objects, again)
        assert again.record["model"] == by_objects.record["model"]


def test_a_passed_model_with_saes_by_name_and_the_other_way_round(
    by_name: Any, objects: dict[str, Any], tmp_path: Path
) -> None:
    mixed = {**objects, "saes": str(bundle.SAES_FOLDER)}
    check_alike(by_name, saeattr.attribute("cities", sites=list(SITES), out=tmp_path / "a", **mixed, **SMALL))
    saes = {"saes": objects["saes"], "device": "cpu"}
    check_alike(by_name, saeattr.attribute("cities", out=tmp_path / "b", **saes, **SMALL))


def test_an_sae_that_load_sae_opened_may_be_passed(by_name: Any, tmp_path: Path) -> None:
    found = saeattr.find_saes()
    opened = {str(site): load_sae(file) for site, file in found.items() if str(site) in SITES}
    check_alike(by_name, saeattr.attribute("cities", saes=opened, device="cpu", out=tmp_path / "s", **SMALL))


def test_a_study_goes_on_with_the_same_objects(by_objects: Any, objects: dict[str, Any]) -> None:
    more = saeattr.validate(by_objects, top=3, figures=False, **objects)
    assert len(more.validation()) == 3
    page = saeattr.report(by_objects, top=2, **objects)
    assert page.exists()


def test_what_is_missing_or_other_is_said_in_one_line(by_objects: Any, by_name: Any, objects: dict[str, Any]) -> None:
    def of_other_weights() -> dict[str, Any]:
        saes = {site: copy.deepcopy(sae) for site, sae in objects["saes"].items()}
        saes["mlp_out.4"].W_dec.data[0, 0] += 1e-3
        return saes

    other_model = hf_model()
    other_model.model.norm.weight.data[0] += 1e-3
    model = {"model": objects["model"], "tokenizer": objects["tokenizer"]}
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (by_objects, {}, r"made with a model passed from Python \(model\): pass it again, with model= and tokenizer="),
        (by_objects, model, r"made with SAEs passed from Python: pass those of resid_post.3, mlp_out.4 again"),
        (by_objects, {**model, "saes": {"mlp_out.4": objects["saes"]["mlp_out.4"]}}, "pass those of resid_post.3"),
        (by_objects, {**objects, "saes": of_other_weights()}, "the SAE passed for mlp_out.4 has other weights"),
        (by_objects, {**objects, "model": other_model}, "the model passed has other weights"),
        (by_name, model, "made with the model bundled: leave out model="),
        (by_name, {"saes": objects["saes"]}, "made with the SAEs bundled: leave out saes="),
    ]
    for study, passed, message in cases:
        for operation in (saeattr.validate, saeattr.report):
            with pytest.raises(UserError, match=message) as refused:
                operation(study, **passed)
            assert "\n" not in str(refused.value)
    saeattr.report(by_objects, model=False)


def test_what_is_no_model_and_no_sae_is_refused_before_anything_is_written(
    objects: dict[str, Any], tmp_path: Path
) -> None:
    from transformer_lens.model_bridge import TransformerBridge

    folded = TransformerBridge.boot_transformers(
        str(bundle.MODEL_FOLDER), tokenizer=tokenizer(), device="cpu", dtype=torch.float32
    )
    folded.enable_compatibility_mode()
    sae = objects["saes"]["resid_post.3"]
    named = copy.deepcopy(sae)
    named.cfg.metadata.hook_name = "blocks.3.hook_resid_post"
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"model": objects["model"]}, "needs its tokenizer"),
        ({"model": 3}, "model is a int: give a name or a folder"),
        ({"tokenizer": objects["tokenizer"]}, "goes with a model that is passed"),
        ({"model": folded}, "compatibility mode"),
        ({**objects, "dtype": "bfloat16"}, "is in float32 already: leave out dtype='bfloat16'"),
        ({"saes": {"resid_post.3": torch.nn.Linear(2, 2)}}, "the SAE passed for resid_post.3 is a Linear"),
        ({"saes": {"resid_mid.3": sae}}, "'resid_mid.3' is not a site"),
        ({"saes": [sae]}, "saes is a list: give names"),
        ({"saes": {}}, "names no SAE"),
        ({"saes": {"resid_post.2": named}}, "says that it was made for resid_post.3"),
        ({"saes": {"resid_post.7": sae}}, "there is no resid_post.7"),
    ]
    for number, (passed, message) in enumerate(wrong):
        with pytest.raises(UserError, match=message):
            saeattr.attribute("cities", out=tmp_path / str(number), **passed, **SMALL)
        assert not (tmp_path / str(number)).exists()


def test_a_plan_is_that_of_the_named_model(objects: dict[str, Any]) -> None:
    passed = saeattr.plan("cities", lists=5, **objects)
    named = saeattr.plan("cities", lists=5, sites=list(SITES), device="cpu")
    assert (passed.weights, passed.captured, passed.working) == (named.weights, named.captured, named.working)
    assert passed.download == 0


def test_passed_saes_are_streamed_and_not_copied(objects: dict[str, Any]) -> None:
    files = list(held_saes(objects["saes"]).values())
    for file, sae in zip(files, stream_saes(files, torch.device("cpu")), strict=True):
        assert sae.W_dec.data_ptr() == objects["saes"][str(file.site)].W_dec.data_ptr()


def test_a_top_k_feature_has_the_exact_effect_of_a_full_forward(
    lm: LanguageModel, pairs: list[Pair], plain_model: Any
) -> None:
    """f is encoded anew, token by token, by the definition: relu of the k largest pre-activations, 0 elsewhere."""
    k, site, theirs = 20, Site("resid_post", 3), top_k()
    (file,) = held_saes({str(site): theirs}).values()
    sae, some = load_sae(file), pairs[:3]
    weights = {name: value.detach() for name, value in theirs.named_parameters()}

    def encode(ids: tuple[int, ...]) -> torch.Tensor:
        rows = []
        for x in plain.read(plain_model, site, ids):
            pre = x @ weights["W_enc"] + weights["b_enc"]
            kept = pre.argsort(descending=True)[:k]
            rows.append(torch.zeros_like(pre).index_put((kept,), pre[kept].clamp(min=0)))
        return torch.stack(rows)

    batch = run_batch(lm, some, [site], Question())
    base = SiteBase.of(sae, [batch])
    f_all = [encode(pair.clean_ids) for pair in some]
    features = torch.stack([f[pair.points[-1].position] for f, pair in zip(f_all, some, strict=True)]).sum(0).topk(3)
    found = feature_effects(batch, base, features.indices, 4)
    for row, pair in enumerate(some):
        assert pair.corrupted_ids is not None
        moved = encode(pair.corrupted_ids) - f_all[row]
        moved[0] = 0
        x = plain.read(plain_model, site, pair.clean_ids)
        with torch.no_grad():
            clean = plain.at_point(plain_model, pair.clean_ids, pair.points[-1])
            for nth, feature in enumerate(features.indices.tolist()):
                put_in = x + moved[:, [feature]] * weights["W_dec"][feature]
                with plain.edited(plain_model, site, lambda _, put_in=put_in: put_in[None]):
                    effect = plain.at_point(plain_model, pair.clean_ids, pair.points[-1]) - clean
                assert float(found[nth, row]) == pytest.approx(float(effect), abs=2e-4)
    assert found.abs().max() > 0.01


def test_a_top_k_sae_goes_through_every_stage(tmp_path: Path) -> None:
    saes = {"resid_post.3": top_k()}
    study = saeattr.attribute("cities", saes=saes, device="cpu", out=tmp_path / "s", lists=3, figures=False)
    active = study.attributions().query("act_clean > 0").groupby(["pair_id", "position"]).size()
    assert active.max() <= 20
    sums = study.site_effects()
    assert len(study.validation()) > 0
    # The base x splits into features and error term exactly, whatever encodes.
    rows = study.attributions().groupby("pair_id")["effect"].sum()
    own = sums.groupby("pair_id")["features_effect"].sum()
    pd.testing.assert_series_equal(rows, own, check_names=False, check_dtype=False, rtol=1e-3, atol=1e-4)
    assert saeattr.report(study, top=3, saes=saes).exists()
