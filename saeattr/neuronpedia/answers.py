"""What Neuronpedia knows of a feature: read from its JSON with nothing taken on trust, and written in its names."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from saeattr.errors import UserError, one_line
from saeattr.neuronpedia.source import Source

#: Of the texts in which a feature is active, so many are kept: those with its largest activations.
EXAMPLES = 20
LOGITS = 10
#: Some explanations are whole paragraphs; a label is a line. Names, and what a server says, are shorter.
LONGEST_EXPLANATION, LONGEST_NAME = 2000, 300
#: What is longer is no token of any vocabulary.
LONGEST_TOKEN = 1000
MOST_EXPLANATIONS = 100


class NeuronpediaError(UserError):
    """One request or answer that cannot be used; others may be fine."""


@dataclass(frozen=True)
class Explanation:
    """What a model (``made_by``) wrote about a feature; ``method`` is the way it was asked."""

    text: str
    made_by: str | None = None
    method: str | None = None


@dataclass(frozen=True)
class Example:
    """A text in which the feature is active: tokens, and its activation at each."""

    tokens: tuple[str, ...]
    values: tuple[float, ...]

    @property
    def peak(self) -> float:
        return max(self.values)

    @property
    def peak_at(self) -> int:
        """The token at which it is."""
        return self.values.index(self.peak)


@dataclass(frozen=True)
class FeatureAnswer:
    """One feature, as much of it as was told.

    Attributes:
        repo, path: the weights that the answer is about.
        top_logits, bottom_logits: tokens and what the decoder direction writes on them.
        density: share of tokens at which the feature is active.
    """

    model: str
    source: str
    index: str
    repo: str | None = None
    path: str | None = None
    explanations: tuple[Explanation, ...] = ()
    examples: tuple[Example, ...] = ()
    top_logits: tuple[tuple[str, float], ...] = ()
    bottom_logits: tuple[tuple[str, float], ...] = ()
    density: float | None = None
    max_activation: float | None = None

    @property
    def label(self) -> str | None:
        """The first explanation."""
        return self.explanations[0].text if self.explanations else None

    def is_about(self, source: Source) -> bool:
        """Whether the answer names the very weights of ``source``; False where it names none."""
        same_path = self.path is not None and self.path.strip("/") == source.path
        return same_path and (self.repo is None or self.repo.lower() == source.repo.lower())


def parse_feature(value: Any, model: str, source: str, index: str) -> FeatureAnswer:
    """Read the answer for one feature; fields that are missing or of another type are left out.

    Raises:
        NeuronpediaError: it is no feature, or another one than was asked for.
    """
    named = feature_key(value)
    if named is None:
        raise NeuronpediaError(f"the answer for {model}/{source}/{index} is not a feature")
    if named != (model, source, index):
        raise NeuronpediaError(f"the answer for {model}/{source}/{index} is about {_shown(named)}")
    about = _mapping(value.get("source"))
    examples = filter(None, map(parse_example, _list(value.get("activations"))))
    return FeatureAnswer(
        model,
        source,
        index,
        name_or_none(about.get("hfRepoId")),
        name_or_none(about.get("hfFolderId")),
        tuple(islice(filter(None, map(parse_explanation, _list(value.get("explanations")))), MOST_EXPLANATIONS)),
        largest_examples(examples),
        _logits(value.get("pos_str"), value.get("pos_values")),
        _logits(value.get("neg_str"), value.get("neg_values")),
        _share(value.get("frac_nonzero")),
        _number(value.get("maxActApprox")),
    )


def feature_key(value: Any) -> tuple[str, str, str] | None:
    """(model id, source id, index) of a feature, an activation or an explanation; None where it does not tell.

    ``layer`` is the older name of the source; the index comes as a string or a number.
    """
    value = _mapping(value)
    source, index = value.get("layer"), value.get("index")
    if not isinstance(source, str):
        inner = value.get("source")
        source = _mapping(inner).get("id") if isinstance(inner, Mapping) else inner
    if isinstance(index, int) and not isinstance(index, bool):
        index = str(index)
    model = value.get("modelId")
    if isinstance(model, str) and isinstance(source, str) and isinstance(index, str):
        return model, source, index
    return None


def parse_explanation(value: Any) -> Explanation | None:
    """None where there is no text."""
    value = _mapping(value)
    # The beginning of what may be of any length; one that begins with a page of blanks has none.
    text = one_line((_text(value.get("description")) or "")[: 2 * LONGEST_EXPLANATION], 2 * LONGEST_EXPLANATION)
    if not text:
        return None
    made_by, method = name_or_none(value.get("explanationModelName")), name_or_none(value.get("typeName"))
    return Explanation(text[:LONGEST_EXPLANATION].rstrip(), made_by, method)


def parse_example(value: Any) -> Example | None:
    """None where tokens and values are missing, are not of one length, or are of another type."""
    value = _mapping(value)
    tokens, values = _list(value.get("tokens")), [_number(number) for number in _list(value.get("values"))]
    if not tokens or len(tokens) != len(values) or not all(isinstance(token, str) for token in tokens):
        return None
    numbers = [number for number in values if number is not None]
    if len(numbers) != len(values):
        return None
    return Example(tuple(token[:LONGEST_TOKEN] for token in tokens), tuple(numbers))


def largest_examples(examples: Iterable[Example]) -> tuple[Example, ...]:
    """Those with the largest activations, the largest first."""
    return tuple(sorted(examples, key=lambda example: -example.peak)[:EXAMPLES])


def feature_json(answer: FeatureAnswer) -> dict[str, Any]:
    """The answer in Neuronpedia's field names; ``parse_feature`` reads it back unchanged."""
    key = {"modelId": answer.model, "layer": answer.source, "index": answer.index}
    return {
        **key,
        "maxActApprox": answer.max_activation,
        "frac_nonzero": answer.density,
        "pos_str": [token for token, _ in answer.top_logits],
        "pos_values": [value for _, value in answer.top_logits],
        "neg_str": [token for token, _ in answer.bottom_logits],
        "neg_values": [value for _, value in answer.bottom_logits],
        "source": {
            "id": answer.source,
            "modelId": answer.model,
            "hfRepoId": answer.repo,
            "hfFolderId": answer.path,
        },
        "activations": [{**key, **example_json(example)} for example in answer.examples],
        "explanations": [
            {**key, "description": one.text, "explanationModelName": one.made_by, "typeName": one.method}
            for one in answer.explanations
        ],
    }


def example_json(example: Example) -> dict[str, Any]:
    return {
        "tokens": list(example.tokens),
        "values": list(example.values),
        "maxValue": example.peak,
        "maxValueTokenIndex": example.peak_at,
        "minValue": min(example.values),
    }


def _logits(tokens: Any, values: Any) -> tuple[tuple[str, float], ...]:
    """Tokens with their values, as far as both are there."""
    pairs = zip(_list(tokens), map(_number, _list(values)), strict=False)
    known = ((token[:LONGEST_TOKEN], value) for token, value in pairs if isinstance(token, str) and value is not None)
    return tuple(islice(known, LOGITS))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def name_or_none(value: Any) -> str | None:
    """A name as one line that can be shown; None where it is no text, or a blank one."""
    return one_line(value, LONGEST_NAME) or None if isinstance(value, str) else None


def _shown(key: Iterable[str]) -> str:
    return "/".join(one_line(part, LONGEST_NAME) for part in key)


def _share(value: Any) -> float | None:
    number = _number(value)
    return number if number is not None and 0 <= number <= 1 else None


def _number(value: Any) -> float | None:
    """A finite number; JSON as Python reads it may hold NaN, and whole numbers that no float can hold."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
