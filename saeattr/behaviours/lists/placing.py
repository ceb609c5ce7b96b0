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
    markers, decode = ListMarkers.from_tokenizer(tokenizer), decoder(tokenizer)
    prompt = tuple(prompt_ids(tokenizer, topic, length))
    lists: list[SampledList] = []
    problems: list[str] = []
    for written in file.of_topic(topic):
        try:
            ids = (*prompt, *_answer(written, tokenizer, markers, decode))
            if longest is not None and len(ids) > longest:
                raise UserError(f"has {len(ids)} tokens with its request, and the model reads {longest} at most")
        except UserError as error:
            problems.append(f"{written.row} {error}")
            continue
        lists.append(
            SampledList(
                topic=topic,
                length=length,
                request=list_request(topic, length),
                list_id=f"{len(lists):03d}",
                token_ids=ids,
                prompt_length=len(prompt),
                temperature=float("nan"),
                top_p=float("nan"),
                seed=NO_SEED,
                parsed=parse_list(ids, markers, decode),
                source=f"{file.path.name} {written.row}",
            )
        )
    return lists, problems


def _answer(
    written: WrittenList, tokenizer: PreTrainedTokenizerBase, markers: ListMarkers, decode: Decode
) -> tuple[int, ...]:
    """The answer's tokens, up to and including the end of its turn.

    Token ids are taken as they are where they spell the text or there is none; else the text is encoded, and closed by
    the end of the turn if it was ended.

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
    closed = ids[-1] in markers.stop_ids
    return ids if closed or not written.ended else (*ids, markers.end_of_turn)


def _turn(token_ids: Sequence[int], markers: ListMarkers) -> tuple[int, ...]:
    """The last answer of a conversation, or the tokens of an answer as they are, up to the first that ends it."""
    ids = tuple(token_ids)
    start = markers.turns.answer_start(ids)
    if start is None and markers.bos is not None and markers.bos in ids:
        raise UserError("is a conversation of another chat template than the model's")
    ids = ids[start or 0 :]
    end = next((at for at, token in enumerate(ids) if token in markers.stop_ids), len(ids))
    return ids[: end + 1]
