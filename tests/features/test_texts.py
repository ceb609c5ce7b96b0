"""Features in texts of one's own: against the plain model's activations, BOS left out, chats, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import saeattr
from saeattr import UserError
from saeattr.behaviours.chat import chat_prompt
from saeattr.features import texts
from saeattr.features.texts import Look, look_at, read_text
from saeattr.model.loading import LanguageModel
from saeattr.saes.loading import SaeFile, load_sae
from saeattr.saes.sae import ReluAutoencoder
from saeattr.sites import Site
from saeattr.study.looking import as_texts, named_features
from saeattr.tables import FIRING, at_site
from tests.plain import read
from tests.runs.short_of_memory import no_more_than, of_prompts

SITE, OTHER = Site("resid_post", 3), Site("attn_z", 1)
TEXTS = ["The capital of France is", "- Paris\n- Tokyo"]


@pytest.fixture(scope="module")
def look(lm: LanguageModel, saes: dict[Site, SaeFile]) -> Look:
    return look_at(lm, [read_text(lm, text) for text in TEXTS], [saes[OTHER], saes[SITE]], top=4)


def activations(model: Any, file: SaeFile, ids: tuple[int, ...]) -> np.ndarray:
    """Of every feature at every token, from the plain model, by the definition of an SAE."""
    sae = load_sae(file)
    assert isinstance(sae, ReluAutoencoder)
    pre = read(model, file.site, ids) @ sae.W_enc + sae.b_enc
    return (torch.relu(pre) if sae.threshold is None else torch.relu(pre) * (pre > sae.threshold)).numpy()


def test_every_row_is_what_the_plain_model_has_there_and_no_firing_is_missing(
    look: Look, plain_model: Any, saes: dict[Site, SaeFile]
) -> None:
    for site in (SITE, OTHER):
        features = [feature for of, feature in look.features if of == site]
        assert len(features) == 4
        for number, text in enumerate(look.texts):
            f = activations(plain_model, saes[site], text.ids)
            own = at_site(look.table, site)
            own = own[own["text"] == number].pivot(index="position", columns="feature", values="activation")
            own = own.reindex(index=range(1, len(text.ids)), columns=features).fillna(0.0)
            np.testing.assert_allclose(own.to_numpy(), f[1:, features], atol=2e-4)


def test_the_features_shown_are_those_that_fire_most(look: Look, plain_model: Any, saes: dict[Site, SaeFile]) -> None:
    total = sum(activations(plain_model, saes[SITE], text.ids)[1:].sum(0) for text in look.texts)
    size = total * load_sae(saes[SITE]).W_dec.norm(dim=1).numpy()
    assert [feature for site, feature in look.features if site == SITE] == np.argsort(-size)[:4].tolist()


def test_bos_is_left_out_and_the_tokens_are_the_texts(look: Look) -> None:
    assert (look.table["position"] >= 1).all()
    for text, given in zip(look.texts, TEXTS, strict=True):
        assert text.tokens[0] == "<bos>"
        assert "".join(text.tokens[text.start :]) == given
    row = look.table.iloc[0]
    assert row["token"] == look.texts[row["text"]].tokens[row["position"]]
    assert list(look.table.columns) == FIRING.names


def test_what_a_text_gives_does_not_depend_on_the_others(lm: LanguageModel, saes: dict[Site, SaeFile]) -> None:
    features = {SITE: [239, 397]}
    alone = look_at(lm, [read_text(lm, TEXTS[0])], [saes[SITE]], features).table
    both = look_at(lm, [read_text(lm, text) for text in TEXTS], [saes[SITE]], features).table
    first = both[both["text"] == 0].reset_index(drop=True)
    pd.testing.assert_frame_equal(first, alone)


def test_a_feature_that_never_fires_has_no_row_and_is_still_listed(
    lm: LanguageModel, saes: dict[Site, SaeFile]
) -> None:
    f = activations_of(lm, saes, "Tokyo")
    silent = int(np.flatnonzero(f.sum(0) == 0)[0])
    look = look_at(lm, [read_text(lm, "Tokyo")], [saes[SITE]], {SITE: [silent]})
    assert look.features == ((SITE, silent),)
    assert look.table.empty
    assert list(look.table.columns) == FIRING.names


def activations_of(lm: LanguageModel, saes: dict[Site, SaeFile], text: str) -> np.ndarray:
    look = look_at(lm, [read_text(lm, text)], [saes[SITE]], {SITE: list(range(saes[SITE].d_sae))})
    found = np.zeros((len(look.texts[0].ids), saes[SITE].d_sae))
    found[look.table["position"], look.table["feature"]] = look.table["activation"]
    return found


def test_a_chat_is_the_template_around_the_text(lm: LanguageModel) -> None:
    asked = read_text(lm, "Name a city", chat=True)
    assert list(asked.ids) == chat_prompt(lm.tokenizer, "Name a city")
    assert asked.ids == read_text(lm, [{"role": "user", "content": "Name a city"}]).ids
    turns = [{"role": "user", "content": "Name a city"}, {"role": "assistant", "content": "Paris"}]
    answered = read_text(lm, turns)
    assert "".join(answered.tokens).count("<end_of_turn>") == 2
    assert answered.ids[: len(asked.ids)] == asked.ids


def test_a_conversation_that_the_template_refuses_is_one_line(
    lm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="a conversation is a list of turns such as"):
        read_text(lm, [{"role": "user"}])
    monkeypatch.setattr(lm.tokenizer, "chat_template", "{{ raise_exception('no system turn') }}")
    with pytest.raises(UserError, match=r"the chat template refuses these turns \(no system turn\)"):
        read_text(lm, [{"role": "system", "content": "x"}])


def test_a_text_beyond_the_models_context_is_refused(lm: LanguageModel) -> None:
    longest = lm.hf.config.get_text_config().max_position_embeddings
    with pytest.raises(UserError, match=f"tokens and the model reads {longest}"):
        read_text(lm, " Paris" * longest)


def test_one_text_several_texts_and_conversations_are_told_apart() -> None:
    turns = [{"role": "user", "content": "a"}]
    assert as_texts("a") == ["a"]
    assert as_texts(["a", "b"]) == ["a", "b"]
    assert as_texts(turns) == [turns]
    assert as_texts([turns, "a"]) == [turns, "a"]
    for nothing in ([], [" "], ""):
        with pytest.raises(UserError, match="text"):
            as_texts(nothing)


def test_features_are_named_by_index_address_or_table() -> None:
    assert named_features(None, [SITE]) is None
    assert named_features(423, [SITE]) == named_features("423", [SITE]) == {SITE: [423]}
    assert named_features(["resid_post.3/4", "attn_z.1/2", "resid_post.3/4"], [SITE, OTHER]) == {OTHER: [2], SITE: [4]}
    table = pd.DataFrame({"layer": [3], "kind": ["resid_post"], "feature": [9]})
    assert named_features(table, [SITE, OTHER]) == {SITE: [9]}


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ("x", "is not a feature"),
        (["-1"], "is not a feature"),
        (3, "could be of 2 sites: write an address like resid_post.3/3"),
        ("mlp_out.2/1", "there is no SAE for mlp_out.2"),
        ([], "no feature is named"),
    ],
)
def test_what_is_no_feature_is_refused(features: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        named_features(features, [SITE, OTHER])


def test_a_study_and_its_parts_named_give_the_same_table(tmp_path: Any) -> None:
    small: dict[str, Any] = {"lists": 2, "sites": [str(SITE)], "device": "cpu", "figures": False, "validate_top": 0}
    study = saeattr.attribute("cities", out=tmp_path / "s", **small)
    ours = study.activations(TEXTS, [239, 397])
    theirs = saeattr.look(TEXTS, features=["resid_post.3/239", "resid_post.3/397"], device="cpu")
    pd.testing.assert_frame_equal(ours, theirs.table)
    assert study.activations("Paris", study.features().head(2))["feature"].nunique() <= 2
    # On a pair's own prompt it is what the attribution has as the clean activation.
    pair = study.pairs().iloc[0]
    rows = study.attributions().query("pair_id == @pair.pair_id and act_clean > 0").head(50)
    text = "".join(pair["clean_tokens"][1:])
    found = study.activations(text, rows).set_index(["position", "feature"])["activation"]
    for row in rows.to_dict("records"):
        assert found[row["position"], row["feature"]] == pytest.approx(row["act_clean"], abs=1e-3)
    with pytest.raises(UserError, match="leave out sites"):
        saeattr.look("x", study=study, sites=["mlp_out.1"])


def test_where_not_even_one_text_fits_one_line_says_so(
    lm: LanguageModel, saes: dict[Site, SaeFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts, "capture", no_more_than(0, texts.capture, of_prompts, []))
    with pytest.raises(UserError) as end:
        look_at(lm, [read_text(lm, text) for text in TEXTS], [saes[SITE]])
    assert str(end.value) == (
        "cpu has too little memory for one text at a time: give shorter ones, or use --device cpu"
    )
