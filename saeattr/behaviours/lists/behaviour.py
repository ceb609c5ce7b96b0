"""Lists as a behaviour: sampled from the model for each topic, paired with the same answer to a long-list request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.behaviour import Behaviour, Contrast, Direction, MadePairs, Request
from saeattr.behaviours.lists.decisions import contrasted, end_label
from saeattr.behaviours.lists.pairs import ListRequest, make_pairs
from saeattr.behaviours.lists.parsing import ListMarkers, ParsedList, decoder
from saeattr.behaviours.lists.placing import place_lists
from saeattr.behaviours.lists.sampling import SampledList, Sampling, list_seed, prompt_ids, sample_lists
from saeattr.behaviours.lists.swap import check_swap
from saeattr.behaviours.lists.table import lists_from_rows, lists_to_rows
from saeattr.behaviours.lists.topics import SWAPS, Length, list_request, near_miss, resolve_topics
from saeattr.behaviours.lists.written import read_list_file
from saeattr.behaviours.pair import Pair
from saeattr.behaviours.tokens import contrast_tokens
from saeattr.files import fault, read_table, slug, write_table
from saeattr.model.loading import longest_input
from saeattr.progress import counting
from saeattr.settings import StudySettings
from saeattr.tables import LISTS

#: Rows that a warning names.
SHOWN = 5

BLANK_LABEL = "logit(blank) - logit(newline)"


class Lists(Behaviour):
    """When does the model end the list it writes? Clean: a short list was asked for; corrupted: a long one."""

    name = "lists"
    help = "when does the model end a list it writes? groups are topics"
    metrics: ClassVar = {
        "end-vs-continue": "logit(end of turn) - logit(what opens the next item) at the line break after an item",
        "blank-vs-newline": "logit(blank) - logit(line break) at the last token of an item",
    }
    default_groups = ("cities",)
    example: ClassVar = {
        "clean": f"{list_request('cities')}\n- Paris\n- Lima\n",
        "corrupted": f"{list_request('cities', 'long')}\n- Paris\n- Lima\n",
        "answer": "<end_of_turn>",
        "wrong": "-",
    }
    unit = "list"
    draws = True
    locations: ClassVar = {"item breaks": ("marker", "newline"), "white space": ("blank",)}
    read_roles = ("item",)

    def groups(self, names: Sequence[str]) -> tuple[str, ...]:
        return resolve_topics(names)

    def asked_groups(self, settings: StudySettings) -> tuple[str, ...]:
        if settings.lists_from is None:
            return super().asked_groups(settings)
        return read_list_file(settings.lists_from).groups(settings.group)

    def draws_pairs(self, settings: StudySettings) -> bool:
        return settings.lists_from is None

    def inputs(self, settings: StudySettings) -> Sequence[Path]:
        return () if settings.lists_from is None else (Path(settings.lists_from).expanduser(),)

    def own_contrast(self, tokenizer: PreTrainedTokenizerBase, name: str) -> Contrast:
        if name == "blank-vs-newline":
            return Contrast(name, BLANK_LABEL)
        return Contrast(name, end_label(ListMarkers.from_tokenizer(tokenizer).turns.end_text, ()))

    def check(self, tokenizer: PreTrainedTokenizerBase, groups: Sequence[str]) -> None:
        for topic in groups:
            prompt_ids(tokenizer, topic)

    def check_settings(
        self, tokenizer: PreTrainedTokenizerBase, groups: Sequence[str], settings: StudySettings, contrast: Contrast
    ) -> None:
        for topic in groups:
            check_swap(tokenizer, topic, *SWAPS[settings.swap], settings.unequal)

    def directions(self, tokenizer: PreTrainedTokenizerBase, settings: StudySettings) -> Sequence[Direction]:
        markers = ListMarkers.from_tokenizer(tokenizer)
        end, hyphen = (markers.end_of_turn,), (markers.hyphen,)
        blank, newline = (markers.blank,), (markers.newline,)
        return (
            Direction("end-vs-continue", end_label(markers.turns.end_text, ()), end, hyphen, "newline"),
            Direction("blank-vs-newline", BLANK_LABEL, blank, newline, "item"),
        )

    def pairs(self, group: str, request: Request) -> MadePairs:
        if request.settings.lists_from is None:
            lists, told = topic_lists(group, request), []
        else:
            lists, told = written_lists(group, request)
        pairs, skipped = _put_behind(lists, request, SWAPS[request.settings.swap])
        used = [sampled.parsed for sampled in lists if sampled.list_id not in dict(skipped)]
        return MadePairs(pairs, [*told, *_warnings(group, lists, pairs, skipped)], _label(request, used))

    def run_names(self, settings: StudySettings) -> tuple[str, str]:
        return SWAPS[settings.swap]

    def writes(self, settings: StudySettings) -> bool:
        return settings.lists_from is None and settings.pairs_of is None

    def reversed_pairs(self, group: str, request: Request) -> MadePairs | None:
        if request.settings.lists_from is not None:
            return None
        clean, corrupted = SWAPS[request.settings.swap]
        lists = topic_lists(group, request, corrupted)
        pairs, skipped = _put_behind(lists, request, (corrupted, clean))
        return MadePairs(pairs, _warnings(group, lists, pairs, skipped))


def _put_behind(
    lists: Sequence[SampledList], request: Request, lengths: tuple[Length, Length]
) -> tuple[list[Pair], list[tuple[str, str]]]:
    """Pairs of lists behind two requests, and (list_id, reason) of lists that make none."""
    tokenizer, settings = request.lm.tokenizer, request.settings
    contrast: str | tuple[int, int] = request.contrast.name
    if settings.contrast is not None:
        contrast = contrast_tokens(tokenizer, settings.contrast)
    return make_pairs(tokenizer, lists, ListRequest(contrast, *lengths, settings.unequal))


def topic_lists(topic: str, request: Request, length: Length | None = None) -> list[SampledList]:
    """The topic's lists: those that were sampled before are read, and what is missing is sampled and stored with them.

    A list depends on its number and the seed alone, so it is the same whenever it is sampled.

    Args:
        length: of the request; by default that of the clean prompts.
    """
    lm, settings = request.lm, request.settings
    path = request.folder / f"{slug(topic)}.parquet"
    length = length or SWAPS[settings.swap][0]
    there = _stored_lists(path, topic, length, request)
    if len(there) > settings.n_pairs:
        # As if more had never been asked for: the folder shows what the tables were made of.
        there = there[: settings.n_pairs]
        write_table(path, lists_to_rows(there))
    if len(there) == settings.n_pairs:
        return there
    sampling = Sampling(
        n_lists=settings.n_pairs - len(there),
        first=len(there),
        length=length,
        temperature=settings.temperature,
        top_p=settings.top_p,
        max_new_tokens=settings.max_new_tokens,
        batch_size=request.batch_size,
        seed=settings.seed,
    )
    lists = there + sample_lists(lm, topic, sampling, on_count=counting(request.on_step, "sampling lists"))
    write_table(path, lists_to_rows(lists))
    return lists


def _stored_lists(path: Path, topic: str, length: Length, request: Request) -> list[SampledList]:
    """The lists of a file as they were sampled; none where it is damaged, or is of another topic or other settings.

    What is not taken is sampled again.
    """
    tokenizer, settings = request.lm.tokenizer, request.settings
    if not path.exists() or fault(path) is not None:
        return []
    lists = lists_from_rows(read_table(path, LISTS), ListMarkers.from_tokenizer(tokenizer), decoder(tokenizer))
    wanted = [
        (topic, length, settings.temperature, settings.top_p, list_seed(settings.seed, topic, number))
        for number in range(len(lists))
    ]
    found = [(one.topic, one.length, one.temperature, one.top_p, one.seed) for one in lists]
    return lists if found == wanted else []


def written_lists(topic: str, request: Request) -> tuple[list[SampledList], list[str]]:
    """The topic's lists from the file of the settings, stored like sampled ones; and what cannot be used, in a line."""
    lm, settings = request.lm, request.settings
    assert settings.lists_from is not None
    file = read_list_file(settings.lists_from)
    clean = SWAPS[settings.swap][0]
    lists, problems = place_lists(file, topic, lm.tokenizer, longest_input(lm.hf.config), clean)
    problems = [*file.problems, *problems]
    if lists:
        write_table(request.folder / f"{slug(topic)}.parquet", lists_to_rows(lists))
    if not problems:
        return lists, []
    more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    rows = f"{len(problems)} row{'' if len(problems) == 1 else 's'} of {file.path.name}"
    return lists, [f"{topic}: {rows} left out: {'; '.join(problems[:SHOWN])}{more}"]


def _warnings(topic: str, lists: list[SampledList], pairs: list[Pair], skipped: Sequence[tuple[str, str]]) -> list[str]:
    close = near_miss(topic)
    warnings = [f"{topic}: did you mean the topic {close!r}?"] if close else []
    unused = len(lists) - len(pairs)
    if unused:
        reason = f" ({skipped[0][1]})" if skipped else ""
        warnings.append(f"{topic}: {unused} of {len(lists)} lists cannot be used{reason}")
    warnings += _formats(topic, [sampled.parsed for sampled in lists if sampled.list_id not in dict(skipped)])
    endless = sum(not sampled.parsed.ended for sampled in lists)
    if endless:
        warnings.append(f"{topic}: {endless} of {len(lists)} lists did not end within the token limit")
    if not pairs:
        warnings.append(f"{topic}: no list can be used, so there is no attribution for this topic")
    return warnings


def _formats(topic: str, used: list[ParsedList]) -> list[str]:
    """Lines about lists whose decisions are not between the end of the turn and a hyphen."""
    told = []
    counts = Counter(parsed.format for parsed in used)
    if set(counts) - {"hyphen"}:
        listed = ", ".join(f"{number} {form}" for form, number in counts.most_common())
        told.append(f"{topic}: formats of the lists: {listed}; each is read against what opens its own next item")
    unbroken = sum(parsed.ends_in_item for parsed in used)
    if unbroken:
        told.append(
            f"{topic}: {unbroken} of {len(used)} lists end without a line break: they are read at the last token of "
            "each item, end of turn against line break"
        )
    return told


def _label(request: Request, used: list[ParsedList]) -> str:
    """What end-vs-continue contrasted in these lists; blank for another metric."""
    if request.contrast.name != "end-vs-continue" or request.contrast.metric != "logit-difference":
        return ""
    end_text = ListMarkers.from_tokenizer(request.lm.tokenizer).turns.end_text
    return end_label(end_text, map(contrasted, used))


BEHAVIOUR = Lists()
