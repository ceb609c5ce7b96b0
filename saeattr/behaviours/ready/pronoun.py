"""Gendered pronouns: "Yesterday Mary was late because" goes on with " she"."""

from __future__ import annotations

import random
from typing import ClassVar

from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.ready.ready import ReadyBehaviour, Row, Source
from saeattr.behaviours.ready.words import fill, is_single, keep_single_pairs, keep_singles, listed
from saeattr.errors import UserError

#: As they are most often given.
HER_NAMES = listed(
    """
    Mary Anna Lisa Sarah Laura Emma Julia Karen Alice Jane Susan Helen Ruth Kate Nancy Linda Claire Diana Grace
    Maria Amy Rachel Sophie Olivia Emily Rose Lucy Carol Elizabeth Margaret Barbara Jennifer Jessica Catherine
    Hannah Charlotte
    """
)
HIS_NAMES = listed(
    """
    John Paul Mark David Peter James Robert Michael Thomas Daniel George Simon Martin Adam Frank Henry Kevin Brian
    Steven Andrew Eric Jack Ryan Scott Jason Patrick Oliver Victor William Richard Charles Joseph Edward Philip
    Stephen
    """
)
#: Hers and his.
NOUNS = (
    ("woman", "man"),
    ("girl", "boy"),
    ("lady", "gentleman"),
    ("mother", "father"),
    ("daughter", "son"),
    ("sister", "brother"),
    ("aunt", "uncle"),
    ("queen", "king"),
    ("princess", "prince"),
    ("actress", "actor"),
    ("wife", "husband"),
    ("grandmother", "grandfather"),
    ("bride", "groom"),
    ("widow", "widower"),
    ("niece", "nephew"),
    ("nun", "monk"),
)
WHEN = ("Yesterday", "Last week", "On Sunday", "That morning", "In the end", "Once again", "This time", "After lunch")
#: After these a pronoun is the subject of the next clause ...
SUBJECT_ENDINGS = (
    "was late because",
    "went home early, since",
    "called the office and said that",
    "stayed in bed because",
    "was so tired that",
    "sang all day, as",
    "told us that",
    "left the room before",
)
#: ... and after these it says whose something is.
POSSESSIVE_ENDINGS = (
    "forgot to lock",
    "was proud of",
    "came to visit us with",
    "took the bus to see",
    "drove to work in",
    "wrote a long letter to",
    "spent the day with",
    "had trouble with",
)


class Pronoun(ReadyBehaviour):
    """She or he, as the name or noun before."""

    name = "pronoun"
    help = "gendered pronouns: she or he, her or his, as the name or noun before; groups are what they follow"
    literature = (
        "Vig et al. 2020 (arXiv 2004.12265) trace gendered pronouns after names and professions in GPT-2 to few "
        "neurons and heads; Mathwin et al. 2023 describe a circuit of few heads for she and he in GPT-2 small."
    )
    group_help: ClassVar = {
        "name": "Yesterday Mary was late because (she, he)",
        "noun": "Yesterday the queen was late because (she, he)",
        "possessive": "Yesterday Mary was proud of (her, his)",
    }
    default_groups = ("name", "noun")
    example: ClassVar = {
        "clean": "Yesterday Mary was late because",
        "corrupted": "Yesterday John was late because",
        "answer": " she",
        "wrong": " he",
        "spans": {"person": "Mary"},
        "gender": "female",
    }

    def source_of(self, group: str, tokenizer: PreTrainedTokenizerBase) -> Source:
        pronouns = (" her", " his") if group == "possessive" else (" she", " he")
        if not all(is_single(tokenizer, pronoun) for pronoun in pronouns):
            said = " and ".join(map(repr, pronouns))
            raise UserError(f"{self.name} cannot be asked of this model: {said} are not single tokens of its tokenizer")
        endings = POSSESSIVE_ENDINGS if group == "possessive" else SUBJECT_ENDINGS
        if group == "noun":
            nouns, note = keep_single_pairs(tokenizer, NOUNS, f"{self.name}: pairs of nouns, hers and his,")
            people, notes = ([pair[0] for pair in nouns], [pair[1] for pair in nouns]), (note,)
        else:
            hers, her_note = keep_singles(tokenizer, HER_NAMES, f"{self.name}: women's names")
            his, his_note = keep_singles(tokenizer, HIS_NAMES, f"{self.name}: men's names")
            people, notes = (hers, his), (her_note, his_note)
        template = "{when} the {person} {ending}" if group == "noun" else "{when} {person} {ending}"

        def draw(rng: random.Random) -> Row:
            gender = rng.randrange(2)
            at = rng.randrange(len(people[gender]))
            # Nouns have their own partner; any name of the other list is one for a name.
            partner = people[1 - gender][at] if group == "noun" else rng.choice(people[1 - gender])
            words = {"when": rng.choice(WHEN), "person": people[gender][at], "ending": rng.choice(endings)}
            clean, places = fill(template, words, {"person": "person"})
            corrupted, _ = fill(template, {**words, "person": partner}, {})
            answers = {"answer": pronouns[gender], "wrong": pronouns[1 - gender]}
            row = {"clean": clean, "corrupted": corrupted, **answers, "spans": places}
            return row | {"gender": ("female", "male")[gender]}

        return Source(draw, notes)


BEHAVIOUR = Pronoun()
