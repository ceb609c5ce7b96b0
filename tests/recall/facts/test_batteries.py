"""The batteries that come with the program."""

from __future__ import annotations

from collections import Counter

import pytest

from saeattr import UserError
from saeattr.behaviours.facts.behaviour import fact_pairs, relations
from saeattr.model.loading import LanguageModel
from saeattr.recall.facts.batteries import WORLD_FILE, default_battery, named_battery, read_battery
from saeattr.recall.facts.check import align_facts


def test_the_world_has_more_than_twenty_categories_of_three_facts_in_three_phrasings() -> None:
    world = relations(WORLD_FILE)
    assert len(world) >= 20
    for relation in world.values():
        assert len(relation.facts) >= 3, relation.name
        assert len(set(relation.templates)) == 3, relation.name
        assert len(dict(relation.facts)) == len(relation.facts), relation.name
        # An entity at the beginning would be another token, and one at the end no token before the answer.
        for template in relation.templates:
            assert template.count("{x}") == 1
            assert not template.startswith("{x}")
            assert not template.endswith("{x}")
    assert not named_battery("world").faults


def test_each_row_contrasts_an_entity_with_another_of_its_category_and_its_own_answer() -> None:
    world = relations(WORLD_FILE)
    rows = named_battery("world").rows
    assert len(rows) == sum(len(one.facts) * len(one.templates) for one in world.values())
    for row in rows:
        relation = world[row.category]
        answers = dict(relation.facts)
        assert row.phrasing in relation.templates
        other = next(name for name in answers if row.corrupt_prompt == row.phrasing.replace("{x}", name))
        assert (row.clean_target, row.corrupt_target) == (f" {answers[row.entity]}", f" {answers[other]}")
        assert answers[row.entity] != answers[other]


def test_the_first_phrasing_of_every_fact_comes_first() -> None:
    for category, relation in relations(WORLD_FILE).items():
        phrasings = [row.phrasing for row in named_battery("world").rows if row.category == category]
        assert phrasings == [template for template in relation.templates for _ in relation.facts]


def test_the_bundled_models_facts_are_those_of_the_behaviour_and_all_align(lm: LanguageModel) -> None:
    """The same pairs, though one is made of tokens and the other of texts."""
    battery = named_battery("facts")
    facts, faults = align_facts(lm.tokenizer, battery.rows)
    assert not faults
    ours = {(fact.pair.group, fact.pair.clean_ids, fact.pair.corrupted_ids, fact.pair.points) for fact in facts}
    theirs = {
        (pair.group, pair.clean_ids, pair.corrupted_ids, pair.points)
        for relation in relations().values()
        for pair in fact_pairs(lm.tokenizer, relation)[0]
    }
    assert ours == theirs


def test_ids_are_unique_in_a_category() -> None:
    for name in ("world", "facts"):
        ids = Counter((row.category, row.pair_id) for row in named_battery(name).rows)
        assert set(ids.values()) == {1}


def test_a_battery_is_found_by_name_and_each_model_has_one() -> None:
    assert read_battery("world") is named_battery("world")
    assert read_battery(named_battery("facts")) is named_battery("facts")
    assert (default_battery("bundled"), default_battery("gemma-2-2b")) == ("facts", "world")
    with pytest.raises(UserError, match="there is no battery 'words': choose one of world, facts, or give a file"):
        named_battery("words")
