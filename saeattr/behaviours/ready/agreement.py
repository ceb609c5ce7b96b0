"""Agreement: the verb has the number of its subject, whatever stands between: "The keys near the door" " are"."""

from __future__ import annotations

import random
from typing import ClassVar

from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.ready.ready import ReadyBehaviour, Row, Source
from saeattr.behaviours.ready.words import fill, keep_single_pairs

#: Singular and plural.
NOUNS = (
    ("boy", "boys"),
    ("girl", "girls"),
    ("teacher", "teachers"),
    ("doctor", "doctors"),
    ("student", "students"),
    ("farmer", "farmers"),
    ("singer", "singers"),
    ("writer", "writers"),
    ("worker", "workers"),
    ("player", "players"),
    ("driver", "drivers"),
    ("lawyer", "lawyers"),
    ("artist", "artists"),
    ("author", "authors"),
    ("king", "kings"),
    ("queen", "queens"),
    ("friend", "friends"),
    ("brother", "brothers"),
    ("sister", "sisters"),
    ("parent", "parents"),
    ("soldier", "soldiers"),
    ("officer", "officers"),
    ("dog", "dogs"),
    ("cat", "cats"),
    ("horse", "horses"),
    ("bird", "birds"),
    ("cow", "cows"),
    ("car", "cars"),
    ("book", "books"),
    ("house", "houses"),
    ("tree", "trees"),
    ("table", "tables"),
    ("door", "doors"),
    ("picture", "pictures"),
    ("letter", "letters"),
    ("flower", "flowers"),
)
#: Those of them who can see and know others.
PEOPLE = NOUNS[:22]
#: Of one and of many.
VERBS = (
    ("is", "are"),
    ("was", "were"),
    ("has", "have"),
    ("does", "do"),
    ("looks", "look"),
    ("seems", "seem"),
    ("needs", "need"),
    ("stands", "stand"),
    ("remains", "remain"),
    ("makes", "make"),
    ("gets", "get"),
    ("comes", "come"),
)
#: What one does to another, in a relative clause.
ACTS = (
    ("knows", "know"),
    ("sees", "see"),
    ("helps", "help"),
    ("likes", "like"),
    ("wants", "want"),
    ("follows", "follow"),
    ("loves", "love"),
    ("remembers", "remember"),
)
OPENINGS = ("The", "Today the", "I think that the", "In this story the", "Every day the", "We all know that the")
PREPOSITIONS = ("near", "behind", "beside", "next to", "in front of", "not far from")

TEMPLATES = {
    "simple": "{opening} {subject}",
    "across-pp": "{opening} {subject} {preposition} the {distractor}",
    "across-rc": "{opening} {subject} that the {distractor} {act}",
}
NUMBERS = ("singular", "plural")


class Agreement(ReadyBehaviour):
    """One is, many are."""

    name = "agreement"
    help = "subject-verb agreement: the verb has its subject's number; groups are what stands between them"
    literature = (
        "Lakretz et al. 2019 (arXiv 1903.07435) find two long-distance number units in an LSTM; Finlayson et al. 2021 "
        "(arXiv 2106.06087) two mechanisms in transformers, with and without words between; Marks et al. 2024 (arXiv "
        "2403.19647) small circuits of SAE features for each of these sentences in Pythia 70M and Gemma 2 2B."
    )
    group_help: ClassVar = {
        "simple": "The boy",
        "across-pp": "The boy near the girls (another noun, in a prepositional phrase)",
        "across-rc": "The boy that the girls know (another noun and its verb, in a relative clause)",
    }
    default_groups = ("simple", "across-pp", "across-rc")
    example: ClassVar = {
        "clean": "The boy near the cars",
        "corrupted": "The boys near the cars",
        "answer": " is",
        "wrong": " are",
        "spans": {"subject": "boy", "distractor": "cars"},
        "number": "singular",
        "distractor_number": "plural",
    }

    def source_of(self, group: str, tokenizer: PreTrainedTokenizerBase) -> Source:
        people = group == "across-rc"
        nouns, nouns_note = keep_single_pairs(
            tokenizer, PEOPLE if people else NOUNS, f"{self.name}: {'people' if people else 'nouns'}, one and many,"
        )
        verbs, verbs_note = keep_single_pairs(tokenizer, VERBS, f"{self.name}: verbs, of one and of many,", least=1)
        acts, acts_note = ACTS, ""
        if people:
            acts, acts_note = keep_single_pairs(tokenizer, ACTS, f"{self.name}: verbs between,", least=1)

        def draw(rng: random.Random) -> Row:
            subject, distractor = rng.sample(nouns, 2)
            number, other = rng.randrange(2), rng.randrange(2)
            verb = rng.choice(verbs)
            words = {
                "opening": rng.choice(OPENINGS),
                "subject": subject[number],
                "distractor": distractor[other],
                "preposition": rng.choice(PREPOSITIONS),
                "act": rng.choice(acts)[other],
            }
            template = TEMPLATES[group]
            clean, places = fill(template, words, {"subject": "subject", "distractor": "distractor"})
            corrupted, _ = fill(template, {**words, "subject": subject[1 - number]}, {})
            answers = {"answer": f" {verb[number]}", "wrong": f" {verb[1 - number]}"}
            row = {"clean": clean, "corrupted": corrupted, **answers, "spans": places, "number": NUMBERS[number]}
            return row if group == "simple" else row | {"distractor_number": NUMBERS[other]}

        return Source(draw, tuple(note for note in (nouns_note, verbs_note, acts_note) if note))


BEHAVIOUR = Agreement()
