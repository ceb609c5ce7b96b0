"""Facts as a behaviour: which answer does the model recall, that of this entity or that of another one?

Clean: a phrasing of a relation with one entity ("The capital of France is"); corrupted: the same with another entity of
the relation that has as many tokens and another answer. Read at the last token: logit(right answer) - logit(the
other's). The facts that come with the program are those that the bundled model was trained on; any model may be asked.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import yaml
from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.behaviour import Behaviour, Contrast, MadePairs, Request, choose_groups
from saeattr.behaviours.pair import Pair, Point
from saeattr.behaviours.tokens import contrast_tokens, prompt_tokens
from saeattr.errors import UserError

FACTS_FILE = Path(__file__).with_name("facts.yaml")

#: ``entity`` is what differs between the prompts; ``before`` and ``after`` are around it; ``last`` is where the answer
#: is read.
Role = Literal["bos", "before", "entity", "after", "last"]


@dataclass(frozen=True)
class Relation:
    """A relation with its phrasings (``{x}`` is the entity) and its (entity, answer) pairs."""

    name: str
    templates: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class FactPrompt:
    """One phrasing of one fact as tokens; ``answer`` is a single token."""

    template: int
    entity: str
    ids: tuple[int, ...]
    answer: int


class Facts(Behaviour):
    """Which of two answers does the model recall?"""

    name = "facts"
    help = "which of two answers does the model recall? groups are relations"
    metrics: ClassVar = {"right-vs-other": "logit(the entity's answer) - logit(the other entity's) at the last token"}
    default_groups = ("capitals",)
    example: ClassVar = {
        "clean": "The capital of France is",
        "corrupted": "The capital of Italy is",
        "answer": " Paris",
        "wrong": " Rome",
    }

    def groups(self, names: Sequence[str]) -> tuple[str, ...]:
        return choose_groups(
            names,
            tuple(relations()),
            lambda name: " ".join(name.replace("-", " ").replace("_", " ").split()).casefold(),
            "there are no facts about",
            "facts",
        )

    def own_contrast(self, tokenizer: PreTrainedTokenizerBase, name: str) -> Contrast:
        return Contrast(name, "logit(right) - logit(other)")

    def check(self, tokenizer: PreTrainedTokenizerBase, groups: Sequence[str]) -> None:
        for group in groups:
            pairs, skipped = fact_pairs(tokenizer, relations()[group])
            if not pairs:
                raise UserError(
                    f"no fact about {group} can be used with this tokenizer ({skipped[0]}): name another --group"
                )

    def pairs(self, group: str, request: Request) -> MadePairs:
        contrast, tokenizer = request.settings.contrast, request.lm.tokenizer
        tokens = None if contrast is None else contrast_tokens(tokenizer, contrast)
        pairs, skipped = fact_pairs(tokenizer, relations()[group], tokens)
        total = len(pairs) + len(skipped)
        warnings = [f"{group}: {len(skipped)} of {total} facts cannot be used ({skipped[0]})"] if skipped else []
        return MadePairs(pairs, warnings)


@functools.cache
def relations(path: Path = FACTS_FILE) -> dict[str, Relation]:
    """The facts of a YAML file by the relation's name."""
    rows: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {
        row["name"]: Relation(row["name"], tuple(row["templates"]), tuple((x, answer) for x, answer in row["pairs"]))
        for row in rows
    }


def fact_pairs(
    tokenizer: PreTrainedTokenizerBase, relation: Relation, contrast: tuple[int, int] | None = None
) -> tuple[list[Pair], list[str]]:
    """Every phrasing of every fact beside another entity's, and why the others cannot be used, one reason each.

    The other entity is the next one of the relation, in a circle, that aligns and has another answer.

    Args:
        contrast: wanted and unwanted token in place of the two answers.
    """
    prompts: list[FactPrompt] = []
    reasons: list[str] = []
    for template in range(len(relation.templates)):
        for entity, answer in relation.facts:
            prompt = _prompt(tokenizer, relation.templates[template], template, entity, answer)
            if isinstance(prompt, str):
                reasons.append(prompt)
            else:
                prompts.append(prompt)
    pairs = []
    for at, clean in enumerate(prompts):
        circle = [*prompts[at + 1 :], *prompts[:at]]
        corrupted = next((other for other in circle if _aligns(clean, other)), None)
        if corrupted is None:
            reasons.append(f"no other entity has as many tokens as {clean.entity!r} and another answer")
        else:
            pairs.append(_pair(tokenizer, relation.name, clean, corrupted, contrast))
    return pairs, reasons


def _prompt(
    tokenizer: PreTrainedTokenizerBase, template: str, number: int, entity: str, answer: str
) -> FactPrompt | str:
    """The prompt, or why there is none."""
    answer_ids = tokenizer.encode(f" {answer}", add_special_tokens=False)
    if len(answer_ids) != 1 or answer_ids[0] == tokenizer.unk_token_id:
        found = f"{len(answer_ids)} tokens" if len(answer_ids) != 1 else "unknown to the tokenizer"
        return f"the answer {answer!r} is {found}, and must be one token"
    ids = prompt_tokens(tokenizer, template.format(x=entity))
    return FactPrompt(number, entity, tuple(ids), int(answer_ids[0]))


def _aligns(clean: FactPrompt, other: FactPrompt) -> bool:
    same = clean.template == other.template and len(clean.ids) == len(other.ids)
    return same and clean.answer != other.answer and clean.ids != other.ids


def _pair(
    tokenizer: PreTrainedTokenizerBase,
    group: str,
    clean: FactPrompt,
    corrupted: FactPrompt,
    contrast: tuple[int, int] | None,
) -> Pair:
    wanted, unwanted = contrast or (clean.answer, corrupted.answer)
    last = len(clean.ids) - 1
    return Pair(
        group=group,
        pair_id=f"{clean.entity} {clean.template + 1}",
        title=f"{clean.entity}, not {corrupted.entity}",
        clean_ids=clean.ids,
        corrupted_ids=corrupted.ids,
        points=(Point(last, (wanted,), (unwanted,)),),
        roles=_roles(tokenizer, clean.ids, corrupted.ids),
    )


def _roles(tokenizer: PreTrainedTokenizerBase, clean: tuple[int, ...], corrupted: tuple[int, ...]) -> tuple[Role, ...]:
    differ = [at for at, (a, b) in enumerate(zip(clean, corrupted, strict=True)) if a != b]
    roles: list[Role] = ["before"] * len(clean)
    for at in range(len(clean)):
        if at >= differ[0]:
            roles[at] = "entity" if at <= differ[-1] else "after"
    roles[-1] = "last"
    if clean[0] == tokenizer.bos_token_id:
        roles[0] = "bos"
    return tuple(roles)


BEHAVIOUR = Facts()
