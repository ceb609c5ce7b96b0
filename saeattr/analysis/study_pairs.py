"""The pairs of a finished study, made again from its stored lists."""

from __future__ import annotations

from collections.abc import Sequence

from saeattr.model.loading import LanguageModel
from saeattr.prompts.lists import ListMarkers, decoder
from saeattr.prompts.pairs import Pair, make_pairs
from saeattr.prompts.table import lists_from_rows
from saeattr.prompts.topics import topic_slug
from saeattr.store import StudyFolder, read_table


def study_pairs(lm: LanguageModel, study: StudyFolder, topics: Sequence[str]) -> list[Pair]:
    """All usable pairs of the topics, in order.

    Raises:
        UserError: a topic's lists are missing, or were sampled with another tokenizer.
    """
    markers, decode = ListMarkers.from_tokenizer(lm.tokenizer), decoder(lm.tokenizer)
    pairs: list[Pair] = []
    for topic in topics:
        lists = lists_from_rows(read_table(study.lists_path(topic_slug(topic))), markers, decode)
        pairs += make_pairs(lm.tokenizer, lists)[0]
    return pairs
