"""Lists written elsewhere, put behind this model's request for one: what it reads, not what it would write."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.lists.formats import Decode
from saeattr.behaviours.lists.parsing import ListMarkers, decoder, parse_list
from saeattr.behaviours.lists.sampling import SampledList, prompt_ids
from saeattr.behaviours.lists.topics import Length, list_request
from saeattr.behaviours.lists.written import ListFile, WrittenList
from saeattr.errors import UserError

#: Of a list that was not drawn here.
NO_SEED = -1


def place_lists(
    file: ListFile,
    topic: str,
    tokenizer: PreTrainedTokenizerBase,
    longest: int | None = None,
    length: Length = "short",
) -> tuple[list[SampledList], list[str]]:
    """A topic's lists behind a request for a list of it, and what is wrong with the others, a line each.

    Args:
        longest: tokens that the model can read; None for no limit.
        length: of the request.
    """
    placing = Placing(file.path.name, tokenizer, longest)
    lists: list[SampledList] = []
    problems: list[str] = []
    for written in file.of_topic(topic):
        try:
            lists.append(placing.place(written, topic, length, len(lists)))
        except UserError as error:
            problems.append(f"{written.row} {error}")
    return lists, problems


class Placing:
    """Puts written lists behind a model's own requests, one at a time.

    Args:
        name: of the file that they are from.
        longest: tokens that the model can read; None for no limit.
    """

    def __init__(self, name: str, tokenizer: PreTrainedTokenizerBase, longest: int | None = None) -> None:
        self.name, self.tokenizer, self.longest = name, tokenizer, longest
        self.markers, self.decode = ListMarkers.from_tokenizer(tokenizer), decoder(tokenizer)
        self._prompts: dict[tuple[str, Length], tuple[int, ...]] = {}

    def place(self, written: WrittenList, topic: str, length: Length, index: int) -> SampledList:
        """A list behind the request for one of ``topic``; ``index`` counts the lists of the topic.

        Raises:
            UserError: why it cannot be read.
        """
        prompt = self._prompts.setdefault((topic, length), tuple(prompt_ids(self.tokenizer, topic, length)))
        ids = (*prompt, *_answer(written, self.tokenizer, self.markers, self.decode))
        if self.longest is not None and len(ids) > self.longest:
            raise UserError(f"has {len(ids)} tokens with its request, and the model reads {self.longest} at most")
        return SampledList(
            topic=topic,
            length=length,
            request=list_request(topic, length),
            list_id=f"{index:03d}",
            token_ids=ids,
            prompt_length=len(prompt),
            temperature=written.temperature,
            top_p=float("nan"),
            seed=NO_SEED,
            parsed=parse_list(ids, self.markers, self.decode),
            source=f"{self.name} {written.row}",
        )


def _answer(
    written: WrittenList, tokenizer: PreTrainedTokenizerBase, markers: ListMarkers, decode: Decode
) -> tuple[int, ...]:
    """The answer's tokens, up to and including the end of its turn.

    Token ids are taken as they are where they spell the text or there is none; else the text is encoded, and closed by
    the end of the turn if it is an answer that was ended.

    Raises:
        UserError: a token is not of this tokenizer, or the conversation is of another template.
    """
    in_vocabulary = all(0 <= token < len(tokenizer) for token in written.token_ids)
    if not written.text:
        if not in_vocabulary:
            raise UserError(f"has a token id that the model does not have: it has 0 to {len(tokenizer) - 1}")
        return _turn(written.token_ids, markers)
    if written.token_ids and in_vocabulary and markers.turns.answer_start(written.token_ids) is not None:
        ids = _turn(written.token_ids, markers)
        if decode([token for token in ids if token not in markers.stop_ids]) == written.text:
            return ids
    encoded = [int(token) for token in tokenizer.encode(written.text, add_special_tokens=False)]
    if tokenizer.unk_token_id in encoded:
        raise UserError("has text that the model's tokenizer does not know")
    ids = _turn(encoded, markers)
    # The text of a whole conversation shows by itself whether it was ended.
    ended = written.ended and markers.turns.answer_start(encoded) is None
    return ids if ids[-1] in markers.stop_ids or not ended else (*ids, markers.end_of_turn)


def _turn(token_ids: Sequence[int], markers: ListMarkers) -> tuple[int, ...]:
    """The last answer of a conversation, or the tokens of an answer as they are, up to the first that ends it."""
    ids = tuple(token_ids)
    start = markers.turns.answer_start(ids)
    if start is None and markers.bos is not None and markers.bos in ids:
        raise UserError("is a conversation of another chat template than the model's")
    ids = ids[start or 0 :]
    end = next((at for at, token in enumerate(ids) if token in markers.stop_ids), len(ids))
    return ids[: end + 1]
