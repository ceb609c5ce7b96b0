"""Studies of the published study's second pair of requests, whose prompts have unequally many tokens here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import saeattr
from saeattr import UserError
from saeattr.behaviours.lists.sampling import Sampling, sample_lists
from saeattr.cli import main
from saeattr.model.loading import LanguageModel
from saeattr.saes.loading import SaeFile, load_sae
from saeattr.settings import StudySettings
from saeattr.sites import Site
from saeattr.study.generation import Generating
from saeattr.study.pairs import fresh_seed, stored_pairs
from saeattr.study.results import Study
from saeattr.tables import GENERATED
from tests import plain

SITE = Site("resid_post", 2)
SMALL: dict[str, Any] = {"lists": 4, "sites": [str(SITE)], "figures": False, "device": "cpu", "validate_top": 0}
FEW: dict[str, Any] = {"swap": "few", "unequal": "zero"}
#: How the bundled tokenizer reads the swapped words; it knows none but the first of each.
SHORT, LONG = ("▁short", "▁f", "e", "w"), ("▁long", "▁m", "a", "n", "y")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return saeattr.attribute("cities", out=tmp_path_factory.mktemp("swap") / "s", **SMALL, **FEW)


def test_lists_are_sampled_behind_the_clean_request_and_read_behind_both(study: Study, lm: LanguageModel) -> None:
    lists = study.lists()
    assert set(lists["length"]) == {"few"}
    assert {text.partition(". ")[0] for text in lists["request"]} == {"Provide me with a short list with a few cities"}
    for pair in stored_pairs(study.folder, ["cities"]):
        clean, corrupted = (str(lm.tokenizer.decode(list(ids or ()))) for ids in (pair.clean_ids, pair.corrupted_ids))
        assert "a short list with a few cities." in clean
        assert corrupted == clean.replace("a short list with a few", "a long list with a many")
        words = lm.tokenizer.convert_ids_to_tokens(list(pair.clean_ids))
        assert tuple(w for w, role in zip(words, pair.roles, strict=True) if role == "length") == SHORT


def test_effects_are_those_of_plain_autograd_with_zero_where_a_token_has_no_partner(
    study: Study, lm: LanguageModel, plain_model: Any, saes: dict[Site, SaeFile]
) -> None:
    pair = stored_pairs(study.folder, ["cities"])[0]
    assert pair.corrupted_ids is not None
    clean_words, corrupted_words = (
        lm.tokenizer.convert_ids_to_tokens(list(ids)) for ids in (pair.clean_ids, pair.corrupted_ids)
    )
    first, behind = clean_words.index(SHORT[0]), clean_words.index(SHORT[-1]) + 1
    assert corrupted_words.index(LONG[-1]) + 1 == behind + 1
    point = pair.points[-1]
    x = plain.read(plain_model, SITE, pair.clean_ids).requires_grad_()
    with plain.edited(plain_model, SITE, lambda _: x[None]):
        value = plain.at_point(plain_model, pair.clean_ids, point)
    (gradient,) = torch.autograd.grad(value, [x])
    sae = load_sae(saes[SITE])
    clean, corrupted = (sae.encode(plain.read(plain_model, SITE, ids)) for ids in (pair.clean_ids, pair.corrupted_ids))
    base = torch.cat([corrupted[:first], torch.zeros_like(clean[first:behind]), corrupted[behind + 1 :]])
    effects = ((base - clean) * (gradient @ sae.W_dec.T)).detach()
    rows = study.attributions()
    rows = rows[rows["pair_id"] == pair.pair_id]
    assert set(rows["position"]) & set(range(first, behind))
    expected = effects[rows["position"].tolist(), rows["feature"].tolist()].numpy()
    largest = float(effects.abs().max())
    assert abs(rows["effect"] - expected).max() < 1e-4 * largest
    # No effect is left out, up to activations at the threshold.
    assert rows["effect"].sum() == pytest.approx(float(effects[first : point.position + 1].sum()), abs=1e-3 * largest)


def test_lists_from_elsewhere_stand_behind_the_same_request(study: Study, tmp_path: Path) -> None:
    stored = study.folder.lists / "cities.parquet"
    again = saeattr.attribute(lists_from=str(stored), out=tmp_path / "s", **SMALL, **FEW)
    assert [list(ids) for ids in again.lists()["token_ids"]] == [list(ids) for ids in study.lists()["token_ids"]]


def test_without_unequal_the_swap_is_refused_in_one_line_that_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "s"
    with pytest.raises(SystemExit) as ended:
        main(["attribute", "--swap", "few", "--sites", str(SITE), "--device", "cpu", "--out", str(out)])
    assert ended.value.code == 2
    told = capsys.readouterr().err.strip()
    assert "' few' is 3 tokens and ' many' is 4 tokens in this tokenizer; use --unequal zero" in told
    assert "\n" not in told
    assert not out.exists()


def test_a_swap_is_refused_for_what_is_no_list(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--swap is of requests for lists, and this study is of facts: leave it out"):
        saeattr.attribute(behaviour="facts", swap="few", out=tmp_path / "s", device="cpu")


def test_generating_with_the_corrupted_base_is_refused_before_a_model_is_loaded(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saeattr.study.hands.load_model", None)
    with pytest.raises(UserError, match="the requests for cities have 34 and 35 tokens.*use --base zero or mean"):
        saeattr.validate(study, top=1, curves=False, generate=True, figures=False)


def test_generating_with_the_zero_base_writes_behind_the_clean_request(tmp_path: Path, lm: LanguageModel) -> None:
    """With nothing ablated: what sampling behind that request alone gives, and no other request's lists."""
    asked = {**SMALL, **FEW, "lists": 2, "max_new_tokens": 40}
    study = saeattr.attribute("cities", out=tmp_path / "s", base="zero", **asked)
    saeattr.validate(study, top=1, curves=False, controls=19, generate=True, figures=False)
    rows = Generating.read(study.folder, GENERATED, "cities")
    nothing = rows[rows["condition"] == "nothing"]
    drawn = {length: texts_of(lm, length) for length in ("few", "short")}
    assert nothing["text"].tolist() == drawn["few"] != drawn["short"]


def texts_of(lm: LanguageModel, length: Any) -> list[str]:
    sampling = Sampling(2, length=length, max_new_tokens=40, seed=fresh_seed(StudySettings()))
    return [one.parsed.text for one in sample_lists(lm, "cities", sampling)]
