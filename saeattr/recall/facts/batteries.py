"""The batteries that come with the program: well-known facts of the world, and those the bundled model was trained on.

Both are written as relations: phrasings, and entities with their answers. Each entity is contrasted with the next one
of its relation, in a circle, that has another answer (and, of the bundled model's facts, as many tokens).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from saeattr import bundle
from saeattr.behaviours.facts.behaviour import Relation, relations
from saeattr.behaviours.tokens import prompt_tokens
from saeattr.errors import UserError
from saeattr.model.loading import load_tokenizer
from saeattr.recall.facts.battery import Battery, check_rows, read_rows

WORLD_FILE = Path(__file__).parent / "data" / "world.yaml"

#: By name, with a line of help each.
BATTERIES = {
    "world": "31 categories of well-known facts, for models with large vocabularies such as Gemma's",
    "facts": "the facts that the bundled model was trained on",
}

#: Whether a prompt can be contrasted with another one.
Aligns = Callable[[str, str], bool]


def read_battery(source: Any) -> Battery:
    """A battery that comes with the program by its name, or the rows of any source.

    Raises:
        UserError: it cannot be read, or no row of it can.
    """
    if isinstance(source, Battery):
        return source
    return named_battery(source) if isinstance(source, str) and source in BATTERIES else read_rows(source)


def default_battery(model: Any) -> str:
    """Which battery suits a model."""
    return "facts" if model == "bundled" else "world"


@functools.cache
def named_battery(name: str) -> Battery:
    """A battery that comes with the program.

    Raises:
        UserError: there is none of that name.
    """
    if name not in BATTERIES:
        raise UserError(f"there is no battery {name!r}: choose one of {', '.join(BATTERIES)}, or give a file")
    if name == "world":
        return check_rows(name, list(_rows_of(relations(WORLD_FILE).values())))
    tokenizer = load_tokenizer(bundle.MODEL_FOLDER)
    length = functools.cache(lambda text: len(prompt_tokens(tokenizer, text)))
    return check_rows(name, list(_rows_of(relations().values(), lambda one, other: length(one) == length(other))))


def _rows_of(found: Iterable[Relation], aligns: Aligns = lambda one, other: True) -> Iterator[dict[str, str]]:
    """Every phrasing of every fact of relations beside another entity's; a fact without such a partner has no row."""
    for relation in found:
        for template in relation.templates:
            for at, (entity, answer) in enumerate(relation.facts):
                clean = template.format(x=entity)
                circle = [*relation.facts[at + 1 :], *relation.facts[:at]]
                other = next(
                    (one for one in circle if one[1] != answer and aligns(clean, template.format(x=one[0]))), None
                )
                if other is not None:
                    yield {
                        "category": relation.name,
                        "clean_prompt": clean,
                        "corrupt_prompt": template.format(x=other[0]),
                        "clean_target": f" {answer}",
                        "corrupt_target": f" {other[1]}",
                        "entity_token": entity,
                    }
