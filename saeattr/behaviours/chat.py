"""What surrounds the turns of a conversation, found by rendering one with the tokenizer's own chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from saeattr.errors import UserError
from saeattr.model.templates import written_chat

#: Two texts without a token in common: what their renderings share is the template's.
_PROBES = ("a", "1")


@dataclass(frozen=True)
class ChatTurns:
    """The template's tokens around one user's turn and the answer to it.

    Attributes:
        before: up to the user's text, the beginning-of-sequence token included.
        after: from the user's text to where the answer begins.
        header: the end of ``after``, from where the answer's turn opens; all of it where nothing but the end of the
            user's turn opens the answer.
        end: the token that closes the answer; end_text: the same as text.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    header: tuple[int, ...]
    end: int
    end_text: str

    def text_positions(self, prompt_ids: Sequence[int]) -> range:
        """Where the user's text stands in a rendered prompt."""
        return range(len(self.before), len(prompt_ids) - len(self.after))

    def answer_start(self, token_ids: Sequence[int]) -> int | None:
        """The position behind the last answer's header; None where no answer begins."""
        ids, width = tuple(token_ids), len(self.header)
        starts = (at for at in range(len(ids), width - 1, -1) if ids[at - width : at] == self.header)
        return next(starts, None)


def chat_prompt(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """One user's turn as the model sees it, up to where its answer begins.

    Raises:
        UserError: the tokenizer has no chat template.
    """
    return _render(tokenizer, [{"role": "user", "content": text}], answer=True)


def chat_text(tokenizer: PreTrainedTokenizerBase, text: str, system: str | None = None) -> str:
    """One user's turn, behind a system turn if there is one, as the template writes it up to where the answer begins.

    Raises:
        UserError: the tokenizer has no chat template, or its template takes no such turns.
    """
    turns = [{"role": "user", "content": text}]
    if system is not None:
        turns = [{"role": "system", "content": system}, *turns]
    _check_template(tokenizer)
    return written_chat(tokenizer, turns, answer=True)


def conversation(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Mapping[str, str]]) -> list[int]:
    """A conversation as the model sees it; where the last turn is the user's, up to where the answer begins.

    Raises:
        UserError: the tokenizer has no chat template, or its template does not know such turns.
    """
    chat = [dict(turn) for turn in turns]
    if not chat or any(set(turn) != {"role", "content"} for turn in chat):
        raise UserError('a conversation is a list of turns such as {"role": "user", "content": "Hello"}')
    return _render(tokenizer, chat, answer=chat[-1]["role"] == "user")


def chat_turns(tokenizer: PreTrainedTokenizerBase) -> ChatTurns:
    """Read the template's tokens off a few renderings.

    Raises:
        UserError: the tokenizer has no chat template, or its template leaves no mark around an answer.
    """
    prompts = [chat_prompt(tokenizer, probe) for probe in _PROBES]
    before, after = _common_start(*prompts), _common_start(prompts[0][::-1], prompts[1][::-1])[::-1]
    closed = _render(tokenizer, [{"role": "user", "content": _PROBES[0]}], answer=False)
    header = prompts[0][len(_common_start(closed, prompts[0])) :] or after
    answered = [
        _render(tokenizer, [{"role": "user", "content": _PROBES[0]}, {"role": "assistant", "content": probe}], False)
        for probe in _PROBES
    ]
    behind = _common_start(answered[0][::-1], answered[1][::-1])[::-1]
    if not header or not behind or behind[0] == tokenizer.unk_token_id:
        raise UserError(
            "the tokenizer's chat template does not mark where an answer begins and ends: use an instruction-tuned "
            "model whose template does"
        )
    return ChatTurns(tuple(before), tuple(after), tuple(header), behind[0], str(tokenizer.decode([behind[0]])))


def _render(tokenizer: PreTrainedTokenizerBase, chat: list[dict[str, str]], answer: bool) -> list[int]:
    _check_template(tokenizer)
    ids: Any = tokenizer(written_chat(tokenizer, chat, answer), add_special_tokens=False)["input_ids"]
    return [int(token) for token in ids]


def _check_template(tokenizer: PreTrainedTokenizerBase) -> None:
    if not tokenizer.chat_template:
        raise UserError(
            "the tokenizer has no chat template, so nothing can be put as a chat: use an instruction-tuned model, or a "
            "behaviour of plain text (--behaviour facts)"
        )


def _common_start(first: list[int], second: list[int]) -> list[int]:
    same = 0
    while same < min(len(first), len(second)) and first[same] == second[same]:
        same += 1
    return first[:same]
