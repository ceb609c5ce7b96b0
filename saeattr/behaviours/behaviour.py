"""What a behaviour is: groups of prompt pairs, and what its metrics contrast. ``BEHAVIOURS`` names those there are.

A behaviour turns settings into pairs; runs, selection, attribution, validation, features and reporting know pairs only.
docs/extending.md writes one step by step.
"""

from __future__ import annotations

import difflib
import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from saeattr.behaviours.tokens import contrast_label, contrast_tokens
from saeattr.errors import UserError
from saeattr.progress import OnStep, quiet

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from saeattr.behaviours.pair import Pair
    from saeattr.model.loading import LanguageModel
    from saeattr.settings import StudySettings


@dataclass(frozen=True)
class Contrast:
    """What is read at the decision points.

    Attributes:
        name: as written for ``--metric``; it decides which points a behaviour marks, and their tokens.
        label: for figures, such as ``logit(<end_of_turn>) - logit(-)``; empty where the metric's own name says it all.
        metric: the entry of ``saeattr.runs.metric.METRICS`` that reads it.
    """

    name: str
    label: str = ""
    metric: str = "logit-difference"


@dataclass(frozen=True)
class Direction:
    """Two sides of tokens that a logit lens contrasts, and where it does.

    Attributes:
        name: as written for ``--direction``; label: for figures.
        wanted, unwanted: token ids.
        role: of the positions at which it is read: the last of each run of them.
    """

    name: str
    label: str
    wanted: tuple[int, ...]
    unwanted: tuple[int, ...]
    role: str


@dataclass(frozen=True)
class Request:
    """What a behaviour is asked for.

    Attributes:
        settings: of the study; contrast: as the behaviour resolved it.
        folder: where the behaviour may keep what its pairs are made of, such as sampled lists.
        batch_size: prompts in one forward.
    """

    lm: LanguageModel
    settings: StudySettings
    contrast: Contrast
    folder: Path
    batch_size: int = 16
    on_step: OnStep = quiet


@dataclass(frozen=True)
class MadePairs:
    """The pairs of one group, and what a reader should know of them, one line each.

    ``label`` is the contrast's where the pairs decide it; blank leaves that of ``Contrast``.
    """

    pairs: list[Pair]
    warnings: list[str] = field(default_factory=list)
    label: str = ""


class Behaviour(ABC):
    """Where prompt pairs come from.

    Attributes:
        name: for ``--behaviour``; help: one line.
        metrics: the names of its own contrasts, the default first, with a line of help each.
        default_groups: those of a study that names none.
        unit: what a reader calls a pair of it.
        draws: whether another seed gives other pairs, so that what some pairs rank others can test. Without it the
            pairs of a group are halved: each half tests what the other ranks.
        example: a pair of it as a row of a file of pairs; literature: what others found, with references.
        locations: roles that are patched together too, by what a reader calls them.
    """

    name: ClassVar[str]
    help: ClassVar[str]
    metrics: ClassVar[Mapping[str, str]]
    default_groups: ClassVar[tuple[str, ...]]
    unit: ClassVar[str] = "pair"
    draws: ClassVar[bool] = False
    example: ClassVar[Mapping[str, Any]] = {}
    literature: ClassVar[str] = ""
    locations: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    @abstractmethod
    def groups(self, names: Sequence[str]) -> tuple[str, ...]:
        """The groups that a user named, each once; ``all`` stands for every one that comes with the behaviour.

        Raises:
            UserError: a name cannot be a group.
        """

    def asked_groups(self, settings: StudySettings) -> tuple[str, ...]:
        """The groups that the settings name, or the default ones.

        Raises:
            UserError: a name cannot be a group, or a file that the settings name cannot be read.
        """
        return self.groups(settings.group or self.default_groups)

    def most_pairs(self, settings: StudySettings) -> int:
        """How many pairs a group has at most, for plans that are made before there are any."""
        return settings.n_pairs

    def draws_pairs(self, settings: StudySettings) -> bool:
        """``draws``, unless the settings fix the pairs."""
        return self.draws

    def inputs(self, settings: StudySettings) -> Sequence[Path]:
        """Files that the pairs are made of: a study with others is another study."""
        return ()

    def contrast(self, tokenizer: PreTrainedTokenizerBase, settings: StudySettings) -> Contrast:
        """What the settings' metric contrasts here: two tokens of theirs, a contrast of its own, or any metric.

        Raises:
            UserError: a token of it is not exactly one token.
        """
        first = next(iter(self.metrics))
        if settings.contrast is not None:
            contrast_tokens(tokenizer, settings.contrast)
            return Contrast("contrast", contrast_label(settings.contrast))
        name = settings.metric or first
        return self.own_contrast(tokenizer, name) if name in self.metrics else Contrast(first, metric=name)

    @abstractmethod
    def own_contrast(self, tokenizer: PreTrainedTokenizerBase, name: str) -> Contrast:
        """What one of the behaviour's ``metrics`` contrasts.

        Raises:
            UserError: a token of it is not exactly one token.
        """

    @abstractmethod
    def check(self, tokenizer: PreTrainedTokenizerBase, groups: Sequence[str]) -> None:
        """Refuse what can be refused before anything is loaded or written.

        Raises:
            UserError: the tokenizer cannot serve the behaviour, or a group has nothing for it.
        """

    def check_settings(  # noqa: B027 (most behaviours serve all settings)
        self, tokenizer: PreTrainedTokenizerBase, groups: Sequence[str], settings: StudySettings, contrast: Contrast
    ) -> None:
        """Refuse settings that the groups' pairs do not serve, where that can be told before the model is opened.

        Raises:
            UserError: they do not.
        """

    def directions(self, tokenizer: PreTrainedTokenizerBase, settings: StudySettings) -> Sequence[Direction]:
        """What a logit lens reads beside the metric; nothing where the metric says it all."""
        return ()

    def reversed_pairs(self, group: str, request: Request) -> MadePairs | None:
        """Pairs whose answers were written to the corrupted prompt, which is their clean one; None without such."""
        return None

    @property
    def source(self) -> dict[str, str]:
        """What the pairs come from, where it is no part of the program: its name and its SHA-256; else nothing."""
        return {}

    @abstractmethod
    def pairs(self, group: str, request: Request) -> MadePairs:
        """Make the pairs of one group; the same request gives the same pairs.

        Raises:
            UserError: a pair does not align.
        """


#: Where each behaviour is defined, with its one line of help; a module is imported when its behaviour is asked for.
BEHAVIOURS: dict[str, tuple[str, str]] = {
    "lists": ("saeattr.behaviours.lists.behaviour", "when does the model end a list it writes? groups are topics"),
    "facts": ("saeattr.behaviours.facts.behaviour", "which of two answers does the model recall? groups are relations"),
    "ioi": (
        "saeattr.behaviours.ready.ioi",
        "indirect objects: of two people one gives, so the other is given; groups are orders of the names",
    ),
    "greater-than": (
        "saeattr.behaviours.ready.greater_than",
        "years: what began in 1732 ends in 17.., a number greater than 32; groups are sentences",
    ),
    "agreement": (
        "saeattr.behaviours.ready.agreement",
        "subject-verb agreement: the verb has its subject's number; groups are what stands between them",
    ),
    "pronoun": (
        "saeattr.behaviours.ready.pronoun",
        "gendered pronouns: she or he, her or his, as the name or noun before; groups are what they follow",
    ),
    "docstring": (
        "saeattr.behaviours.ready.docstring",
        "docstrings: the parameter described next is the function's next argument; groups are what is changed",
    ),
    "antonyms": (
        "saeattr.behaviours.ready.antonyms",
        "antonyms: the opposite of a word; groups are a sentence that asks for it, and two examples",
    ),
    "country-capital": (
        "saeattr.behaviours.ready.country_capital",
        "capitals: the capital of a country; groups are a sentence that asks for it, and two examples",
    ),
    "refusal": (
        "saeattr.behaviours.ready.refusal",
        "refusal by a chat model: a mildly harmful request against a harmless one; groups are the word that differs",
    ),
}


def choose_groups(
    names: Sequence[str], known: Collection[str], fold: Callable[[str], str], lacking: str, of: str
) -> tuple[str, ...]:
    """The known groups that are named, each once; ``all`` names every one.

    Args:
        fold: from a name as it was written to the group's own spelling.
        lacking: begins the refusal of an unknown name; of: what the groups are of.

    Raises:
        UserError: a name is no known group, or there is none.
    """
    found: dict[str, None] = {}
    for name in names:
        folded = fold(name)
        if folded != "all" and folded not in known:
            close = difflib.get_close_matches(folded, known, n=1)
            meant = f"did you mean {close[0]!r}? " if close else ""
            raise UserError(f"{lacking} {name!r}: {meant}there are {', '.join(known)}, or all")
        found |= dict.fromkeys(known if folded == "all" else (folded,))
    if not found:
        raise UserError(f"no group of {of} was given: name one or more of {', '.join(known)}, or all")
    return tuple(found)


#: The behaviour of ``--pairs``: made of what the user gives.
GIVEN = "pairs"


def find_behaviour(name: str) -> Behaviour:
    """The behaviour of that name.

    Raises:
        UserError: there is none.
    """
    if name == GIVEN:
        raise UserError("--behaviour pairs is for pairs of your own: give them with --pairs FILE")
    if name not in BEHAVIOURS:
        raise UserError(f"{name!r} is not a behaviour: choose one of {', '.join(BEHAVIOURS)}")
    return importlib.import_module(BEHAVIOURS[name][0]).BEHAVIOUR
