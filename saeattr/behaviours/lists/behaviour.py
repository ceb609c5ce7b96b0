"""Lists as a behaviour: sampled from the model for each topic, paired with the same answer to a long-list request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.behaviour import Behaviour, Contrast, MadePairs, Request
from saeattr.behaviours.lists.pairs import ListRequest, check_swap, make_pairs
from saeattr.behaviours.lists.parsing import ListMarkers, decoder
from saeattr.behaviours.lists.sampling import SampledList, Sampling, sample_lists
from saeattr.behaviours.lists.table import lists_from_rows, lists_to_rows
from saeattr.behaviours.lists.topics import near_miss, resolve_topics
from saeattr.behaviours.pair import Pair
from saeattr.behaviours.tokens import contrast_label, contrast_tokens
from saeattr.files import read_table, slug, write_table
from saeattr.progress import counting
from saeattr.settings import StudySettings
from saeattr.tables import LISTS


class Lists(Behaviour):
    """When does the model end the list it writes? Clean: a short list was asked for; corrupted: a long one."""

    name = "lists"
    help = "when does the model end a list it writes? groups are topics"
    metrics: ClassVar = {
        "end-vs-continue": "logit(end of turn) - logit(hyphen) at the line break after an item",
        "blank-vs-newline": "logit(blank) - logit(line break) at the last token of an item",
    }
    default_groups = ("cities",)
    unit = "list"
    draws = True

    def groups(self, names: Sequence[str]) -> tuple[str, ...]:
        return resolve_topics(names)

    def contrast(self, tokenizer: PreTrainedTokenizerBase, settings: StudySettings) -> Contrast:
        markers = ListMarkers.from_tokenizer(tokenizer)
        if settings.contrast is not None:
            contrast_tokens(tokenizer, settings.contrast)
            return Contrast("contrast", contrast_label(settings.contrast))
        if settings.metric == "blank-vs-newline":
            return Contrast(settings.metric, "logit(blank) - logit(newline)")
        label = f"logit({markers.turns.end_text}) - logit(-)"
        if settings.metric in (None, "end-vs-continue"):
            return Contrast("end-vs-continue", label)
        return Contrast("end-vs-continue", metric=settings.metric)

    def check(self, tokenizer: PreTrainedTokenizerBase, groups: Sequence[str]) -> None:
        for topic in groups:
            check_swap(tokenizer, topic)

    def pairs(self, group: str, request: Request) -> MadePairs:
        tokenizer, settings = request.lm.tokenizer, request.settings
        lists = topic_lists(group, request)
        contrast: str | tuple[int, int] = request.contrast.name
        if settings.contrast is not None:
            contrast = contrast_tokens(tokenizer, settings.contrast)
        pairs, skipped = make_pairs(tokenizer, lists, ListRequest(contrast))
        return MadePairs(pairs, _warnings(group, lists, pairs, skipped))


def topic_lists(topic: str, request: Request) -> list[SampledList]:
    """The topic's lists: read if as many were sampled before, else sampled and stored."""
    lm, settings = request.lm, request.settings
    path = request.folder / f"{slug(topic)}.parquet"
    if path.exists():
        table = read_table(path, LISTS)
        if len(table) == settings.n_pairs:
            return lists_from_rows(table, ListMarkers.from_tokenizer(lm.tokenizer), decoder(lm.tokenizer))
    sampling = Sampling(
        n_lists=settings.n_pairs,
        temperature=settings.temperature,
        top_p=settings.top_p,
        max_new_tokens=settings.max_new_tokens,
        batch_size=request.batch_size,
        seed=settings.seed,
    )
    lists = sample_lists(lm, topic, sampling, on_count=counting(request.on_step, "sampling lists"))
    write_table(path, lists_to_rows(lists))
    return lists


def _warnings(topic: str, lists: list[SampledList], pairs: list[Pair], skipped: Sequence[tuple[str, str]]) -> list[str]:
    close = near_miss(topic)
    warnings = [f"{topic}: did you mean the topic {close!r}?"] if close else []
    unused = len(lists) - len(pairs)
    if unused:
        reason = f" ({skipped[0][1]})" if skipped else ""
        warnings.append(f"{topic}: {unused} of {len(lists)} lists cannot be used{reason}")
    endless = sum(not sampled.parsed.ended for sampled in lists)
    if endless:
        warnings.append(f"{topic}: {endless} of {len(lists)} lists did not end within the token limit")
    if not pairs:
        warnings.append(f"{topic}: no list can be used, so there is no attribution for this topic")
    return warnings


BEHAVIOUR = Lists()
