"""Docstrings: after two parameters are described, the third argument's name comes next."""

from __future__ import annotations

import random
from typing import ClassVar

from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.ready.ready import ReadyBehaviour, Row, Source
from saeattr.behaviours.ready.words import fill, keep_singles, listed

#: Names of arguments.
NAMES = listed(
    """
    file size name path port host user key value mode type data text line page limit level start end count index
    time date width height color image table row field group role node root parent child source target model state
    code token message number format list item label title version
    """
)
#: What a function is called, and of what its parameters are described: any words.
FUNCTIONS = listed("load send draw check build merge open scan print store clean copy")
SAID = listed(
    """
    old river small paper first garden other season common winter second street local island
    """
)

TEMPLATE = '''def {function}(self, {arg1}, {arg2}, {arg3}, {arg4}):
    """{said0} {said1}

    :param {doc1}: {said2} {said3}
    :param {doc2}: {said4} {said5}
    :param'''


class Docstring(ReadyBehaviour):
    """The next parameter to describe is the next argument."""

    name = "docstring"
    help = "docstrings: the parameter described next is the function's next argument; groups are what is changed"
    literature = (
        "Heimersheim and Janiak 2023 (A circuit for Python docstrings in a 4-layer attention-only transformer): eight "
        "heads, composed over three layers, carry most of it."
    )
    group_help: ClassVar = {
        "replaced": "corrupted: the third argument has another name",
        "swapped": "corrupted: the third and the fourth argument change places",
    }
    default_groups = ("replaced", "swapped")
    example: ClassVar = {
        "clean": 'def load(self, size, host, file, mode):\n    """old paper\n\n    :param size: first street\n'
        "    :param host: small island\n    :param",
        "corrupted": 'def load(self, size, host, user, mode):\n    """old paper\n\n    :param size: first street\n'
        "    :param host: small island\n    :param",
        "answer": " file",
        "wrong": " user",
        "spans": {"next": "file", "following": "mode"},
    }

    def source_of(self, group: str, tokenizer: PreTrainedTokenizerBase) -> Source:
        names, note = keep_singles(tokenizer, NAMES, f"{self.name}: names of arguments", least=5)

        def draw(rng: random.Random) -> Row:
            first, second, third, fourth, other = rng.sample(names, 5)
            words = {"function": rng.choice(FUNCTIONS), "arg1": first, "arg2": second, "arg3": third, "arg4": fourth}
            words |= {"doc1": first, "doc2": second}
            words |= {f"said{at}": word for at, word in enumerate(rng.sample(SAID, 6))}
            changed = {"arg3": fourth, "arg4": third} if group == "swapped" else {"arg3": other}
            spans = {"arg1": "first", "arg2": "second", "arg3": "next", "arg4": "following", "doc2": "described"}
            clean, places = fill(TEMPLATE, words, spans)
            corrupted, _ = fill(TEMPLATE, words | changed, {})
            answers = {"answer": f" {third}", "wrong": f" {changed['arg3']}"}
            return {"clean": clean, "corrupted": corrupted, **answers, "spans": places}

        return Source(draw, (note,))


BEHAVIOUR = Docstring()
