"""Clean and corrupted prompts: one conversation, twice, that differs in the words of the length only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.given.align import align
from saeattr.behaviours.lists.decisions import decision_points, decision_positions
from saeattr.behaviours.lists.parsing import ListMarkers, ParsedList, decoder, parse_list
from saeattr.behaviours.lists.roles import assign_roles, topic_positions
from saeattr.behaviours.lists.sampling import SampledList, prompt_ids
from saeattr.behaviours.lists.swap import check_swap
from saeattr.behaviours.lists.topics import Length
from saeattr.behaviours.pair import Pair
from saeattr.errors import UserError
from saeattr.settings import Unequal


@dataclass(frozen=True)
class ListRequest:
    """The two requests that a list is put behind, and the metric's name, which says where it is read.

    Attributes:
        contrast: ``end-vs-continue``, ``blank-vs-newline``, or two token ids (wanted, unwanted) to be contrasted
            where the first of these is read.
        unequal: what becomes of requests of unequally many tokens.
    """

    contrast: str | tuple[int, int] = "end-vs-continue"
    clean: Length = "short"
    corrupted: Length = "long"
    unequal: Unequal = "refuse"


def make_pair(tokenizer: PreTrainedTokenizerBase, sampled: SampledList, request: ListRequest = ListRequest()) -> Pair:
    """Put a sampled answer behind either request.

    Raises:
        UserError: the two requests do not align, or the list was sampled with another request.
    """
    clean_prompt = tuple(prompt_ids(tokenizer, sampled.topic, request.clean))
    corrupted_prompt = tuple(prompt_ids(tokenizer, sampled.topic, request.corrupted))
    swaps = check_swap(tokenizer, sampled.topic, request.clean, request.corrupted, request.unequal)
    if sampled.length == request.clean and sampled.token_ids[: sampled.prompt_length] != clean_prompt:
        raise UserError(
            f"list {sampled.list_id} of {sampled.topic!r} was sampled with another request or tokenizer: "
            "sample the lists again with this model"
        )
    markers = ListMarkers.from_tokenizer(tokenizer)
    answer = sampled.token_ids[sampled.prompt_length :]
    parsed = sampled.parsed
    if sampled.length != request.clean:
        parsed = parse_list(clean_prompt + answer, markers, decoder(tokenizer))
    in_topic = topic_positions(tokenizer, sampled.topic, request.clean)
    return Pair(
        group=sampled.topic,
        pair_id=sampled.list_id,
        title=f"{sampled.topic} {sampled.list_id}",
        clean_ids=clean_prompt + answer,
        corrupted_ids=corrupted_prompt + answer,
        points=decision_points(tokenizer, parsed, markers, request.contrast),
        roles=assign_roles(parsed, markers, length_positions=swaps, topic_positions=in_topic),
        partners=align(clean_prompt + answer, corrupted_prompt + answer, request.unequal),
    )


def make_pairs(
    tokenizer: PreTrainedTokenizerBase, lists: Sequence[SampledList], request: ListRequest = ListRequest()
) -> tuple[list[Pair], list[tuple[str, str]]]:
    """Pairs of the lists that have a decision to look at, and (list_id, reason) of those that have none.

    Raises:
        UserError: as ``make_pair``.
    """
    pairs: list[Pair] = []
    skipped: list[tuple[str, str]] = []
    for sampled in lists:
        reason = skip_reason(sampled.parsed)
        if reason is None:
            pairs.append(make_pair(tokenizer, sampled, request))
        else:
            skipped.append((sampled.list_id, reason))
    return pairs, skipped


def skip_reason(parsed: ParsedList) -> str | None:
    """Why a list makes no pair, in one sentence; None if it does."""
    if parsed.problem is not None:
        return parsed.problem
    if not parsed.complete_items:
        return "the list was cut off before its first item was complete"
    if all(position + 1 == len(parsed.token_ids) for position in decision_positions(parsed)):
        return "nothing follows the line break after its only complete item"
    return None
