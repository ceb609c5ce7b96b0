"""The stage that reads the logit lens over layers, one direction at a time."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from saeattr.behaviours.behaviour import Direction
from saeattr.behaviours.pair import DECISION, Pair, distinct_pairs
from saeattr.behaviours.tokens import contrast_label, contrast_tokens
from saeattr.errors import UserError
from saeattr.files import slug
from saeattr.reading.layers import lens_onsets
from saeattr.reading.lens import LensQuestion, lens_rows
from saeattr.settings.checks import COLDEST, HOTTEST, is_temperature
from saeattr.study.entropy import check_roles
from saeattr.study.prepare import Prepared
from saeattr.study.stage import Outcome, Stage, Work
from saeattr.tables import LENS_ONSET, LOGIT_LENS, Table

#: The direction of the study's own metric.
METRIC = "metric"
#: Where a study keeps answers that were sampled at other temperatures than its own.
AT_TEMPERATURES = "lists_at"


@dataclass(frozen=True)
class Lens(Stage):
    """The logit lens of one direction at the last token of each span, after every layer.

    Attributes:
        direction: one of the behaviour's, or ``metric``; without meaning where there are tokens.
        tokens: two texts, a token each: the first against the second.
        at: the roles of the spans; None for the direction's own: the behaviour says which. Of the metric: the decision
            points and, where the behaviour names no direction, every role.
        temperatures: answers are sampled at these too.
    """

    direction: str = METRIC
    tokens: tuple[str, str] | None = None
    at: tuple[str, ...] | None = None
    temperatures: tuple[float, ...] | None = None

    name: ClassVar[str] = "lens"
    joined: ClassVar[tuple[Table, ...]] = (LOGIT_LENS, LENS_ONSET)
    opens_saes: ClassVar[bool] = False
    has_variants: ClassVar[bool] = True

    @property
    def title(self) -> str:
        """The direction's name in the tables: with its tokens, and with the roles that were named for it."""
        own = self.direction if self.tokens is None else f"{self.tokens[0]!r} against {self.tokens[1]!r}"
        return own if self.at is None else f"{own} at {', '.join(self.at)}"

    @property
    def variant(self) -> str:
        return self.title if re.fullmatch(r"[a-z0-9-]+", self.title) else slug(self.title)

    @property
    def kept_in(self) -> tuple[str, ...]:
        return tuple(f"{AT_TEMPERATURES}/{temperature:g}" for temperature in dict.fromkeys(self.temperatures or ()))

    def run(self, work: Work) -> Outcome:
        settings, behaviour = work.prepared.settings, work.prepared.behaviour
        question, label = self.question(work.prepared)
        check_roles(work.task.pairs, question.roles)
        own = settings.temperature if behaviour.writes(settings) else np.nan
        tables, told = [lens_rows(work.task, question).assign(temperature=own)], []
        for temperature in dict.fromkeys(self.temperatures or ()):
            if temperature == own:
                continue
            pairs, lines = pairs_at(work, temperature)
            told += lines
            if pairs:
                task = dataclasses.replace(work.task, pairs=pairs)
                tables.append(lens_rows(task, question).assign(temperature=temperature))
        rows = pd.concat(tables, ignore_index=True)
        onsets = lens_onsets(rows, {question.direction: label})
        return Outcome({LOGIT_LENS.name: rows, LENS_ONSET.name: onsets}, told)

    def question(self, prepared: Prepared) -> tuple[LensQuestion, str]:
        """What is read and where, and its label.

        Raises:
            UserError: there is no such direction, or a text is not exactly one token.
        """
        if self.tokens is not None:
            wanted, unwanted = contrast_tokens(prepared.tokenizer, self.tokens)
            return LensQuestion(self.title, self.at or (), ((wanted,), (unwanted,))), contrast_label(self.tokens)
        known = {one.name: one for one in directions(prepared)}
        if self.direction in known:
            one = known[self.direction]
            return LensQuestion(self.title, self.at or (one.role,), (one.wanted, one.unwanted)), one.label
        if self.direction != METRIC:
            offered = ", ".join((*known, METRIC))
            raise UserError(f"{self.direction!r} is not a direction here: choose one of {offered}, or --tokens A B")
        # Where a behaviour has directions of its own, they say what happens elsewhere.
        roles = self.at or ((DECISION,) if known else ())
        return LensQuestion(self.title, roles, None, prepared.question.metric), prepared.record["metric_label"]


def directions(prepared: Prepared) -> Sequence[Direction]:
    """Those that the behaviour has beside its metric."""
    return prepared.behaviour.directions(prepared.tokenizer, prepared.settings)


def usual_directions(prepared: Prepared) -> list[str]:
    """Those that are read where none is named: the behaviour's, and the metric unless it is one of them."""
    names = [one.name for one in directions(prepared)]
    contrast = prepared.contrast
    said = contrast.name in names and contrast.metric == "logit-difference"
    return names if said else [*names, METRIC]


def check_temperatures(prepared: Prepared, temperatures: Sequence[float]) -> None:
    """Refuse temperatures where the model writes nothing, or out of range.

    Raises:
        UserError: they cannot be used.
    """
    if not prepared.behaviour.writes(prepared.settings):
        raise UserError("--temperatures is of answers that the model writes, and here it writes none: leave it out")
    wrong = [value for value in temperatures if not is_temperature(value)]
    if wrong:
        raise UserError(f"a temperature cannot be {wrong[0]:g}: give 0, or numbers from {COLDEST:g} to {HOTTEST:g}")


def pairs_at(work: Work, temperature: float) -> tuple[list[Pair], list[str]]:
    """The distinct pairs of answers sampled at another temperature, made or read; and what is to be said."""
    settings = work.prepared.settings.model_copy(update={"temperature": temperature})
    request = work.request(f"{AT_TEMPERATURES}/{temperature:g}", settings)
    made = work.prepared.behaviour.pairs(work.group, request)
    return distinct_pairs(made.pairs), [f"{line} (temperature {temperature:g})" for line in made.warnings]
