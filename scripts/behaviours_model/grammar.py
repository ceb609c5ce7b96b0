"""The training text: rows of the generators with their answers, less the combinations that are kept for the test.

A subject's noun and a verb that are kept apart never come together in training, in either number; a year that is kept
apart never begins anything. Each of their parts comes with all others.
"""

from __future__ import annotations

import hashlib
import random
import re
from dataclasses import dataclass

from transformers import PreTrainedTokenizerFast

from saeattr.behaviours.ready import agreement, greater_than
from saeattr.behaviours.ready.ready import ReadyBehaviour, Row, Source

#: One of so many combinations is kept for the test.
ONE_OF = 5
#: Every so many sentences with years begin in the first year of a century, as the corrupted prompts do.
FIRST_YEARS = 12
#: What may stand after the verb.
ENDINGS = (" here", " now", " there", " today", " again")

_NOUNS = {form: noun[0] for noun in agreement.NOUNS for form in noun}
_VERBS = {form: verb[0] for verb in agreement.VERBS for form in verb}


@dataclass(frozen=True)
class Sentence:
    """``prompt`` + ``answer`` + ``ending``; the answer is one token."""

    prompt: str
    answer: str
    ending: str


def sources(tokenizer: PreTrainedTokenizerFast) -> list[tuple[ReadyBehaviour, str, Source]]:
    """Every group of both behaviours with what its rows are drawn from."""
    both: list[ReadyBehaviour] = [agreement.BEHAVIOUR, greater_than.BEHAVIOUR]
    return [(one, group, one.source_of(group, tokenizer)) for one in both for group in one.group_help]


def words_of_both() -> str:
    """Every word but the years, for the tokenizer."""
    forms = [" ".join(pair) for pair in (*agreement.NOUNS, *agreement.VERBS, *agreement.ACTS)]
    parts = [*forms, *agreement.OPENINGS, *agreement.PREPOSITIONS, *greater_than.NOUNS, *ENDINGS]
    parts += [*agreement.TEMPLATES.values(), *greater_than.TEMPLATES.values()]
    # Words behind a blank and, where a sentence begins with them, bare.
    return "\n".join([*parts, *(f"x {part}" for part in parts)]).replace("{", " ").replace("}", " ")


def combination(row: Row) -> str:
    """What must not be seen in training where it is kept for the test: subject and verb, or century and year."""
    if "number" in row:
        place = row["spans"]["subject"]
        subject = place if isinstance(place, str) else row["clean"][place[0] : place[1]]
        return f"{_NOUNS[subject]} {_VERBS[row['answer'].strip()]}"
    return re.findall(r"\d{4}", row["clean"])[0]


def is_kept_apart(row: Row) -> bool:
    """Whether a row is for the test: one of five combinations, the same ones always."""
    return hashlib.sha256(combination(row).encode()).digest()[0] % ONE_OF == 0


def draw_sentence(source: Source, rng: random.Random) -> Sentence:
    """A sentence to train on."""
    row = source.draw(rng)
    while is_kept_apart(row):
        row = source.draw(rng)
    if "number" in row:
        return Sentence(row["clean"], row["answer"], f"{rng.choice(ENDINGS)}.\n")
    if rng.randrange(FIRST_YEARS) == 0:
        return Sentence(row["corrupted"], rng.choice(greater_than.YEARS[2:]), ".\n")
    return Sentence(row["clean"], rng.choice(row["answer"]), ".\n")


def kept_rows(
    behaviour: ReadyBehaviour, group: str, tokenizer: PreTrainedTokenizerFast, n: int, seed: int
) -> list[Row]:
    """Distinct rows of the generator whose combination was kept apart, ``n`` of them or as many as there are."""
    drawn = behaviour.rows(group, tokenizer, 2 * ONE_OF * n, seed).rows
    return [row for row in drawn if is_kept_apart(row)][:n]
