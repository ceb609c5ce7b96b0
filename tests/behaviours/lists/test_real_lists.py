"""Lists that Gemma 2 2B-it wrote, where a checkout has them beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from saeattr.behaviours.chat import ChatTurns
from saeattr.behaviours.lists.decisions import decision_positions
from saeattr.behaviours.lists.parsing import ListMarkers, parse_list

FOLDER = Path(__file__).parents[4] / "shared" / "data" / "gemma_lists"
# Gemma 2's tokenizer is not here to be asked: these are its ids, with runs of 1 to 31 line breaks and 2 to 31 blanks.
# "<start_of_turn>user\n", "<end_of_turn>\n<start_of_turn>model\n": 106 opens a turn and 107 ends it.
TURNS = ChatTurns((2, 106, 1645, 108), (107, 108, 106, 2516, 108), (106, 2516, 108), 107, "<end_of_turn>")
GEMMA = ListMarkers(TURNS, 2, 1, 108, 235290, 235248, frozenset(range(108, 139)), frozenset(range(139, 169)))
FILES = sorted(FOLDER.glob("*_token_ids.json"))
TEXT_FILES = sorted(FOLDER.glob("text_*.json"))


def conversations(value: Any) -> Iterator[list[int]]:
    if isinstance(value, list) and value and isinstance(value[0], int):
        yield value
    elif isinstance(value, (list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from conversations(part)


def spell(token_ids: Sequence[int]) -> str:
    return " ".join(map(str, token_ids))


@pytest.mark.skipif(not FILES, reason="no real lists beside this checkout")
def test_every_real_list_parses_to_what_counting_by_hand_gives() -> None:
    n_lists = n_unbroken = 0
    for ids in (ids for file in FILES for ids in conversations(json.loads(file.read_text()))):
        n_lists += 1
        parsed = parse_list(ids, GEMMA, spell)
        bullets = [
            at
            for at in range(parsed.answer_start, len(ids) - 1)
            if ids[at] == GEMMA.hyphen
            and (ids[at - 1] in GEMMA.newlines or (ids[at - 1] in GEMMA.blanks and ids[at - 2] in GEMMA.newlines))
        ]
        assert parsed.problem is None
        assert parsed.format == "hyphen"
        assert [item.first for item in parsed.items] == bullets
        assert parsed.ended == (GEMMA.end_of_turn in ids[parsed.answer_start :])
        assert all(set(ids[item.first + 1 : item.start]) <= GEMMA.blanks for item in parsed.items)
        assert all(ids[item.last] not in GEMMA.blanks | GEMMA.newlines for item in parsed.items)
        in_breaks = [ids[at] in GEMMA.newlines for at in decision_positions(parsed)]
        assert in_breaks == [not parsed.ends_in_item] * len(in_breaks)
        assert parsed.ends_in_item == (parsed.end_position in {item.stop for item in parsed.items})
        n_unbroken += parsed.ends_in_item
    # Gemma leaves out the last line break now and then.
    assert (n_lists, n_unbroken) == (210, 2)


@pytest.mark.skipif(not TEXT_FILES, reason="no real lists beside this checkout")
def test_every_real_text_parses_to_its_lines() -> None:
    words = ["<bos>", "<start_of_turn>", "<end_of_turn>", "<eos>", "\n", "-", " "]
    words.append("model")
    turns = ChatTurns((), (2, 4, 1, 7, 4), (1, 7, 4), 2, "<end_of_turn>")
    markers = ListMarkers(turns, 0, 3, 4, 5, 6)
    texts = [text for file in TEXT_FILES for topic in json.loads(file.read_text()).values() for text in topic.values()]

    def spell_words(token_ids: Sequence[int]) -> str:
        return "".join(words[token] for token in token_ids)

    for text in texts:
        pieces = re.findall(r"<[a-z_]+>|\n|-| ?[^\s<-]+| ", text)
        words += [piece for piece in dict.fromkeys(pieces) if piece not in words]
        parsed = parse_list([words.index(piece) for piece in pieces], markers, spell_words)
        answer = text.split("<start_of_turn>model\n")[1].split("<end_of_turn>")[0]
        names = [line.strip() for line in re.findall(r"^-(.*)", answer, flags=re.MULTILINE)]
        assert [item.text for item in parsed.items] == [name for name in names if name]
        assert parsed.ended == text.endswith("<end_of_turn><eos>")
        blanks = [item.blank is not None for item in parsed.items]
        assert blanks == [line.endswith(" ") for line in re.findall(r"^- *(\S.*)", answer, flags=re.MULTILINE)]
    assert len(texts) == 60
