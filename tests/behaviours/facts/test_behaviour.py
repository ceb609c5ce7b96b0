"""Facts: which answer the model recalls, beside that of another entity of the same relation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import saeattr
from saeattr import UserError
from saeattr.behaviours.facts.behaviour import BEHAVIOUR, Relation, fact_pairs, relations
from saeattr.behaviours.pair import Pair
from saeattr.model.loading import LanguageModel
from saeattr.saes.loading import SaeFile, load_sae
from saeattr.sites import Site
from saeattr.study.pairs import stored_pairs
from saeattr.study.results import Study
from saeattr.tables import FEATURE
from saeattr.validation.verdicts import VERDICTS
from tests import plain
from tests.behaviours.tokenizers import FAMILIES, family_tokenizer

CAPITALS = relations()["capitals"]
SITES = [Site("attn_z", 2), Site("resid_post", 3)]
#: Words that a small tokenizer knows; " Rome" is a word of every family's.
SOME = Relation("capitals", ("The capital of {x} is",), (("France", "Paris"), ("Italy", "Rome"), ("Peru", "Lima")))


@pytest.fixture(scope="module")
def made(lm: LanguageModel) -> dict[str, tuple[list[Pair], list[str]]]:
    """The pairs of every relation with the bundled tokenizer, and why other facts make none."""
    return {name: fact_pairs(lm.tokenizer, relation) for name, relation in relations().items()}


def texts(lm: LanguageModel, pair: Pair) -> tuple[str, str]:
    assert pair.corrupted_ids is not None
    clean, corrupted = (lm.tokenizer.decode(list(ids[1:])) for ids in (pair.clean_ids, pair.corrupted_ids))
    return str(clean), str(corrupted)


def test_pairs_align_and_begin_with_bos(made: dict[str, tuple[list[Pair], list[str]]], lm: LanguageModel) -> None:
    bos = lm.tokenizer.bos_token_id
    for pairs, _ in made.values():
        for pair in pairs:
            assert pair.corrupted_ids is not None
            assert len(pair.corrupted_ids) == len(pair.clean_ids)
            assert pair.clean_ids[0] == pair.corrupted_ids[0] == bos
            assert bos not in pair.clean_ids[1:]


def test_both_prompts_are_one_phrasing_of_two_entities_with_different_answers(
    made: dict[str, tuple[list[Pair], list[str]]], lm: LanguageModel
) -> None:
    for name, (pairs, _) in made.items():
        relation = relations()[name]
        prompts = {
            template.format(x=entity): (template, answer)
            for template in relation.templates
            for entity, answer in relation.facts
        }
        for pair in pairs:
            (template, right), (other_template, other) = (prompts[text] for text in texts(lm, pair))
            assert template == other_template
            assert right != other
            (point,) = pair.points
            assert point.position == len(pair.clean_ids) - 1
            assert [lm.tokenizer.decode(list(side)) for side in (point.wanted, point.unwanted)] == [
                f" {right}",
                f" {other}",
            ]


def test_a_position_is_before_in_or_after_the_entity_or_the_last(
    made: dict[str, tuple[list[Pair], list[str]]],
) -> None:
    seen: set[str] = set()
    for pairs, _ in made.values():
        for pair in pairs:
            first, last = pair.changed_positions[0], pair.changed_positions[-1]
            size = len(pair.clean_ids)
            meant = ["bos", *["before"] * (first - 1), *["entity"] * (last - first + 1), *["after"] * (size - 1 - last)]
            assert list(pair.roles) == [*meant[: size - 1], "last"]
            seen |= set(pair.roles)
    assert seen == {"bos", "before", "entity", "after", "last"}


def test_the_roles_of_one_prompt_token_by_token(lm: LanguageModel) -> None:
    pairs, _ = fact_pairs(lm.tokenizer, CAPITALS)
    pair = next(pair for pair in pairs if pair.pair_id == "France 1")
    words = [str(lm.tokenizer.decode([token])) for token in pair.clean_ids]
    assert list(zip(words, pair.roles, strict=True)) == [
        ("<bos>", "bos"),
        ("The", "before"),
        (" capital", "before"),
        (" of", "before"),
        (" France", "entity"),
        (" is", "last"),
    ]
    assert pair.title.startswith("France, not ")


def test_every_fact_makes_a_pair_or_is_given_a_reason(made: dict[str, tuple[list[Pair], list[str]]]) -> None:
    for name, (pairs, reasons) in made.items():
        relation = relations()[name]
        assert len(pairs) + len(reasons) == len(relation.templates) * len(relation.facts)
        assert len({pair.pair_id for pair in pairs}) == len(pairs)
        assert all("\n" not in reason for reason in reasons)
    assert sum(len(pairs) for pairs, _ in made.values()) > 500


def test_answers_of_several_or_unknown_tokens_are_left_out_with_the_reason() -> None:
    tokenizer = family_tokenizer(FAMILIES["llama"], words="The capital France Italy Peru Japan Oz")
    odd = Relation("capitals", SOME.templates, (*SOME.facts, ("Japan", "New York"), ("Oz", "Emerald")))
    pairs, reasons = fact_pairs(tokenizer, odd)
    assert [pair.pair_id for pair in pairs] == ["France 1", "Italy 1", "Peru 1"]
    assert reasons == [
        "the answer 'New York' is 2 tokens, and must be one token",
        "the answer 'Emerald' is unknown to the tokenizer, and must be one token",
    ]


def test_an_entity_without_another_of_its_length_and_another_answer_is_left_out_with_the_reason() -> None:
    tokenizer = family_tokenizer(FAMILIES["llama"], words="The capital France Italy Peru Japan Gaul")
    alone = Relation("capitals", SOME.templates, (("France", "Paris"), ("New York", "Rome"), ("Gaul", "Paris")))
    pairs, reasons = fact_pairs(tokenizer, alone)
    assert pairs == []
    assert reasons == [
        f"no other entity has as many tokens as {entity!r} and another answer"
        for entity in ("France", "New York", "Gaul")
    ]


def test_the_other_entity_is_the_next_in_a_circle_that_fits() -> None:
    tokenizer = family_tokenizer(FAMILIES["gemma"], words="The capital France Italy Peru Gaul")
    relation = Relation("capitals", SOME.templates, (("France", "Paris"), ("Gaul", "Paris"), *SOME.facts[1:]))
    titles = [pair.title for pair in fact_pairs(tokenizer, relation)[0]]
    assert titles == ["France, not Italy", "Gaul, not Italy", "Italy, not Peru", "Peru, not France"]


@pytest.mark.parametrize("family", FAMILIES)
def test_facts_need_no_chat_template(family: str) -> None:
    base = family_tokenizer(FAMILIES[family], template=False, words="The capital is France Italy Peru")
    pairs, reasons = fact_pairs(base, SOME)
    assert len(pairs) == 3
    assert reasons == []
    begins = FAMILIES[family].bos is not None
    assert pairs[0].roles == (*(("bos",) if begins else ()), *("before",) * 3, "entity", "last")
    assert base.convert_ids_to_tokens(list(pairs[0].clean_ids[-2:])) == [" France", " is"]


def test_bos_is_put_before_a_text_where_the_tokenizer_puts_none() -> None:
    """As GPT-2's tokenizer."""
    family = FAMILIES["llama"]
    base = family_tokenizer(family, template=False, words="The capital is France Italy Peru")
    with_bos = [pair.clean_ids for pair in fact_pairs(base, SOME)[0]]
    base.backend_tokenizer.post_processor = family_tokenizer(FAMILIES["chatml"]).backend_tokenizer.post_processor
    assert base.encode("The") == base.encode("The", add_special_tokens=False)
    assert [pair.clean_ids for pair in fact_pairs(base, SOME)[0]] == with_bos


def test_relations_are_named_in_any_spelling_and_once() -> None:
    assert BEHAVIOUR.groups(["Capitals", "animal-sounds", "animal_sounds", " capitals "]) == (
        "capitals",
        "animal sounds",
    )
    assert BEHAVIOUR.groups(["all"]) == tuple(relations())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("capitol", "there are no facts about 'capitol': did you mean 'capitals'. there are capitals, languages,"),
        ("zzz", "there are no facts about 'zzz': there are capitals, languages,"),
    ],
)
def test_an_unknown_relation_is_refused_with_those_there_are(name: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as refusal:
        BEHAVIOUR.groups([name])
    assert "\n" not in str(refusal.value)


def test_a_relation_that_a_tokenizer_cannot_say_is_refused_before_anything_is_loaded() -> None:
    base = family_tokenizer(FAMILIES["gemma"], template=False, words="The capital is France Italy Peru")
    BEHAVIOUR.check(base, ["capitals"])
    with pytest.raises(UserError, match="no fact about gods can be used with this tokenizer .*name another --group"):
        BEHAVIOUR.check(base, ["capitals", "gods"])


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    out = tmp_path_factory.mktemp("facts") / "s"
    sites = [str(site) for site in SITES]
    return saeattr.attribute(
        "capitals", behaviour="facts", sites=sites, validate_top=3, figures=False, device="cpu", out=out
    )


def test_a_study_of_facts_has_all_its_tables(study: Study, lm: LanguageModel) -> None:
    assert study.groups == ("capitals",)
    assert study.metric_label == "logit(right) - logit(other)"
    assert stored_pairs(study.folder, ["capitals"]) == fact_pairs(lm.tokenizer, CAPITALS)[0]
    assert set(study.attributions()["role"]) <= {"entity", "after", "last"}
    assert set(study.attributions()["role"]) >= {"entity", "last"}
    # Three of each half, which may name the same ones.
    assert 3 <= len(study.validation("capitals")) <= 6
    assert set(study.validation("capitals")["verdict"]) <= set(VERDICTS)
    points = study.metric_by_point()
    assert (points["n_points"] == 1).all()
    means = points.groupby("run")["metric"].mean()
    # The model knows its facts: the clean prompt's answer is likelier in the clean run, and not in the other.
    assert means["clean"] > 2 > -2 > means["corrupted"]
    assert not study.folder.lists.exists()


def test_a_half_of_the_facts_tests_only_what_the_other_half_ranks(study: Study) -> None:
    """By hand: halves from the rows that test, rankings from the attributions of the pairs that do not."""
    exact = pd.read_parquet(study.folder.root / "validation" / "capitals" / "exact.parquet")
    exact = exact[(exact["evidence"] == "test") & (exact["along"] == exact["feature"])]
    tested = {key: set(own["pair_id"]) for key, own in exact.groupby(FEATURE)}
    pairs = study.pairs().set_index("pair_id")
    everything = set(pairs.index)
    # A feature that one half ranks is tested in the other, and one that both rank in all pairs.
    half = next(ids for ids in tested.values() if ids != everything)
    assert all(ids in (half, everything - half, everything) for ids in tested.values())
    changed = [
        {tuple(a for a, b in zip(row["clean_ids"], row["corrupted_ids"], strict=True) if a != b) for _, row in rows}
        for rows in (pairs.loc[sorted(ids)].iterrows() for ids in (half, everything - half))
    ]
    assert not changed[0] & changed[1]
    for ranking in (half, everything - half):
        rows = study.attributions()
        sums = rows[rows["pair_id"].isin(ranking)].groupby(FEATURE)["effect"].sum() / len(ranking)
        first = set(sums.abs().sort_values(ascending=False).index[:3])
        assert first == {key for key, ids in tested.items() if everything - ranking <= ids}
    numbers = study.validation().set_index(FEATURE)["n_pairs"]
    assert {key: len(ids) for key, ids in tested.items()} == numbers.to_dict()
    assert study.test_pairs().empty


@pytest.mark.parametrize("site", SITES, ids=str)
def test_effects_are_those_of_plain_autograd_on_the_plain_model(
    study: Study, lm: LanguageModel, plain_model: Any, saes: dict[Site, SaeFile], site: Site
) -> None:
    pair = stored_pairs(study.folder, ["capitals"])[4]
    assert pair.corrupted_ids is not None
    (point,) = pair.points
    x = plain.read(plain_model, site, pair.clean_ids).requires_grad_()
    with plain.edited(plain_model, site, lambda _: x[None]):
        value = plain.metric(plain_model, pair.clean_ids, point.position, point.wanted[0], point.unwanted[0])
    (gradient,) = torch.autograd.grad(value, [x])
    sae = load_sae(saes[site])
    clean, corrupted = (sae.encode(plain.read(plain_model, site, ids)) for ids in (pair.clean_ids, pair.corrupted_ids))
    effects = ((corrupted - clean) * (gradient @ sae.W_dec.T)).detach()
    rows = study.attributions()
    rows = rows[(rows["pair_id"] == pair.pair_id) & (rows["layer"] == site.layer) & (rows["kind"] == site.kind)]
    assert len(rows) > 20
    expected = effects[rows["position"].tolist(), rows["feature"].tolist()].numpy()
    largest = float(effects.abs().max())
    assert (rows["effect"] - expected).abs().max() < 1e-4 * largest
    # No effect is left out, up to activations at the threshold: rows are all there is from the entity to the end.
    whole = float(effects[pair.changed_positions[0] :].sum())
    assert rows["effect"].sum() == pytest.approx(whole, abs=1e-3 * largest)


def test_generating_lists_from_facts_is_refused_before_a_model_is_loaded(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saeattr.study.hands.load_model", None)
    with pytest.raises(UserError, match="--generate writes lists, and this study is of facts: leave it out"):
        saeattr.validate(study, top=3, curves=False, generate=True, figures=False, device="cpu")


def test_facts_that_make_no_pair_are_counted_in_a_warning(lm: LanguageModel, study: Study) -> None:
    pairs, reasons = fact_pairs(lm.tokenizer, CAPITALS)
    told = [warning for warning in study.warnings if "facts cannot be used" in warning]
    total = len(pairs) + len(reasons)
    assert told == ([f"capitals: {len(reasons)} of {total} facts cannot be used ({reasons[0]})"] if reasons else [])


def test_the_same_facts_give_the_same_tables(study: Study, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"sites": ["attn_z.2"], "validate_top": 0, "figures": False, "device": "cpu"}
    again = saeattr.attribute("Capitals", behaviour="facts", out=tmp_path / "s", **settings)
    ours = study.attributions()
    ours = ours[ours["kind"] == "attn_z"].reset_index(drop=True)
    pd.testing.assert_frame_equal(again.attributions(), ours)
