"""Gemma's turn format, for tokenizers that know its markers but come without a chat template (the base models)."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

#: One conversation as Gemma 2 and 3 were tuned on it: every turn between markers, the model's role named ``model``.
GEMMA_CHAT = (
    "{{ bos_token }}{% for message in messages %}"
    "<start_of_turn>{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
    "{{ message['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)

_MARKERS = ("<start_of_turn>", "<end_of_turn>")


def give_chat_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Set Gemma's chat template where there is none and both markers are single known tokens."""
    if tokenizer.chat_template:
        return
    ids = [tokenizer.encode(marker, add_special_tokens=False) for marker in _MARKERS]
    if all(len(one) == 1 and one[0] != tokenizer.unk_token_id for one in ids):
        tokenizer.chat_template = GEMMA_CHAT
