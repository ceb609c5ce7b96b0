"""Which rows can be asked: alignment token by token, and a reason for each that cannot."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saeattr.model.loading import LanguageModel
from saeattr.recall.facts.battery import FactRow, read_rows
from saeattr.recall.facts.check import AlignedFact, align_facts, entity_positions
from tests.behaviours.tokenizers import FAMILIES, byte_tokenizer, family_tokenizer
from tests.recall.facts.test_battery import ROW

PLACES = "France Italy Peru Japan Eiffel Tower Brandenburg Gate Big Ben"
WORDS = f"The capital of is stands in Paris Rome Lima Berlin London the city a b c {PLACES}"
TOKENIZER = family_tokenizer(FAMILIES["gemma"], words=WORDS)


def row(**changes: str) -> FactRow:
    return read_rows([{**ROW, **changes}]).rows[0]


def aligned(**changes: str) -> AlignedFact:
    (fact,), faults = align_facts(TOKENIZER, [row(**changes)])
    assert not faults
    return fact


def words(fact: AlignedFact, positions: tuple[int, ...]) -> list[str]:
    return [str(TOKENIZER.decode([fact.pair.clean_ids[at]])) for at in positions]


def test_one_row_token_by_token() -> None:
    fact = aligned()
    tokens = words(fact, tuple(range(len(fact.pair.clean_ids))))
    assert list(zip(tokens, fact.pair.roles, strict=True)) == [
        ("<bos>", "bos"),
        ("The", "common"),
        (" capital", "common"),
        (" of", "common"),
        (" France", "entity"),
        (" is", "last"),
    ]
    (point,) = fact.pair.points
    assert point.position == 5
    assert [TOKENIZER.decode(list(side)) for side in (point.wanted, point.unwanted)] == [" Paris", " Lima"]
    assert entity_positions(fact.pair) == fact.positions == (4,)


@pytest.mark.parametrize("named", ["Eiffel Tower", " Eiffel Tower", "Tower", "Eiffel"])
def test_an_entity_of_two_tokens_is_a_span_even_if_only_a_part_of_it_is_named(named: str) -> None:
    fact = aligned(
        clean_prompt="The Eiffel Tower stands in",
        corrupt_prompt="The Brandenburg Gate stands in",
        corrupt_target=" Berlin",
        entity_token=named,
    )
    assert fact.entity == "Eiffel Tower"
    assert words(fact, fact.positions) == [" Eiffel", " Tower"]
    assert entity_positions(fact.pair) == (2, 3)


def test_a_part_of_the_entity_that_both_prompts_share_belongs_to_it() -> None:
    fact = aligned(
        clean_prompt="The Eiffel Tower stands in",
        corrupt_prompt="The Big Tower stands in",
        entity_token="Eiffel Tower",
    )
    assert words(fact, fact.positions) == [" Eiffel", " Tower"]
    assert fact.pair.changed_positions == (2,)


REFUSED: list[tuple[dict[str, str], str]] = [
    ({"entity_token": "Japan"}, "the entity 'Japan' is not in the clean prompt"),
    (
        {"clean_prompt": "The France capital of France is", "corrupt_prompt": "The Peru capital of Peru is"},
        "the entity 'France' is 2 times in the clean prompt",
    ),
    ({"corrupt_prompt": "The capital of France is"}, "both prompts are the same"),
    (
        {"corrupt_prompt": "The capital of the Big Ben is"},
        "the clean prompt has 6 tokens and the corrupted one 8",
    ),
    ({"clean_target": " New York"}, "clean_target ' New York' is 2 tokens, and must be one"),
    ({"corrupt_target": " New York"}, "corrupt_target ' New York' is 2 tokens, and must be one"),
    ({"clean_target": " Emerald"}, "clean_target: the answer ' Emerald' is unknown to the tokenizer"),
    ({"corrupt_target": " Paris"}, "both answers are ' Paris'"),
    ({"entity_token": "capital"}, "the entity is the same in both prompts"),
    (
        {"clean_prompt": "The capital of France in a", "corrupt_prompt": "The capital of Peru in b"},
        "the prompts differ in more than the entity",
    ),
    (
        {"clean_prompt": "The city of France", "corrupt_prompt": "The city of Peru"},
        "the entity is the last token, where the answer is read",
    ),
]


@pytest.mark.parametrize(("changes", "reason"), REFUSED, ids=[reason for _, reason in REFUSED])
def test_a_row_that_cannot_be_asked_is_told_why_and_the_others_are(changes: dict[str, str], reason: str) -> None:
    battery = read_rows([{**ROW, **changes}, {**ROW, "clean_target": " Rome"}])
    facts, (fault,) = align_facts(TOKENIZER, battery.rows)
    assert [fact.row.row for fact in facts] == [2]
    assert (fault.row, fault.group) == (1, "capitals")
    assert fault.reason == reason
    assert fault.mend
    assert "\n" not in str(fault)


def test_a_target_of_pieces_without_its_leading_space_is_told_to_have_one() -> None:
    pieces = byte_tokenizer("The capital of France is Paris. The capital of Peru is Lima. " * 40)
    _, (fault,) = align_facts(pieces, [row(clean_target="Lxyz")])
    assert "write it with its leading space (' Lxyz')" in str(fault)


def test_a_prompt_longer_than_the_model_reads_is_left_out() -> None:
    _, (fault,) = align_facts(TOKENIZER, [row()], longest=5)
    assert fault.reason == "it has 6 tokens, and the model reads 5"


#: Words of the tokenizer; the entities share none with what surrounds them.
AROUND = st.lists(st.sampled_from(["The", "capital", "of", "in", "the", "city", "a", "b", "c"]), max_size=4)
ENTITY = st.lists(st.sampled_from(PLACES.split()), min_size=1, max_size=3)


@given(AROUND, ENTITY, ENTITY, AROUND.filter(bool))
def test_the_span_is_the_entitys_own_tokens_wherever_it_stands(
    before: list[str], entity: list[str], other: list[str], after: list[str]
) -> None:
    prompts = [" ".join([*before, *middle, *after]) for middle in (entity, other)]
    given_row = row(clean_prompt=prompts[0], corrupt_prompt=prompts[1], entity_token=" ".join(entity))
    facts, faults = align_facts(TOKENIZER, [given_row])
    # By counting words, each of which is one token behind the first.
    possible = len(entity) == len(other) and entity != other
    assert len(facts) == possible == (not faults)
    for fact in facts:
        first = 1 + len(before)
        assert fact.positions == tuple(range(first, first + len(entity)))
        assert fact.pair.roles.count("entity") == len(entity)
        assert set(fact.pair.changed_positions) <= set(fact.positions)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_aligns_with_the_tokenizers_of_other_families(family: str) -> None:
    tokenizer = family_tokenizer(FAMILIES[family], template=False, words=WORDS)
    (fact,), _ = align_facts(tokenizer, [row()])
    assert [tokenizer.decode([fact.pair.clean_ids[at]]) for at in fact.positions] == [" France"]
    assert fact.pair.roles[0] == ("bos" if FAMILIES[family].bos else "common")


def test_a_row_of_the_bundled_model_is_a_pair_as_the_facts_behaviour_makes_it(lm: LanguageModel) -> None:
    from saeattr.behaviours.facts.behaviour import fact_pairs, relations

    theirs: Any = {pair.clean_ids: pair for pair in fact_pairs(lm.tokenizer, relations()["capitals"])[0]}
    (fact,), _ = align_facts(lm.tokenizer, [row(corrupt_prompt="The capital of Germany is", corrupt_target=" Berlin")])
    pair = theirs[fact.pair.clean_ids]
    assert fact.pair.points[0].wanted == pair.points[0].wanted
    assert [role for role in fact.pair.roles if role != "common"] == [role for role in pair.roles if role != "before"]
