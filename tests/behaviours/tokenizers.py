"""Small word-level tokenizers with the chat templates of several model families."""

from __future__ import annotations

from dataclasses import dataclass

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from saeattr.behaviours.lists.topics import list_request

WORDS = "user model assistant system You are helpful a short long list of cities Paris Lima Oslo New York Rome"


@dataclass(frozen=True)
class Family:
    """How a family of models writes a conversation.

    Attributes:
        before, after: what its template writes around the user's text, as far as the answer.
        end: the token that closes an answer.
    """

    template: str
    special: tuple[str, ...]
    bos: str | None
    eos: str
    before: str
    after: str
    header: str
    end: str


FAMILIES = {
    "gemma": Family(
        "{{ bos_token }}{% for m in messages %}"
        "<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
        "{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
        "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
        ("<start_of_turn>", "<end_of_turn>"),
        "<bos>",
        "<eos>",
        "<bos><start_of_turn>user\n",
        "<end_of_turn>\n<start_of_turn>model\n",
        "<start_of_turn>model\n",
        "<end_of_turn>",
    ),
    "llama": Family(
        "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
        "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n",
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|eot_id|>",
    ),
    # As Qwen's: a system turn that nobody asked for, and no token at the beginning.
    "chatml": Family(
        "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are helpful.<|im_end|>\n{% endif %}"
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        ("<|im_start|>", "<|im_end|>"),
        None,
        "<|endoftext|>",
        "<|im_start|>system\nYou are helpful.<|im_end|>\n<|im_start|>user\n",
        "<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>assistant\n",
        "<|im_end|>",
    ),
    # Nothing opens an answer but the end of the user's turn, and the end of the text closes it.
    "mistral": Family(
        "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST]{{ m['content'] }}[/INST]"
        "{% else %}{{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}",
        ("[INST]", "[/INST]"),
        "<s>",
        "</s>",
        "<s>[INST]",
        "[/INST]",
        "[/INST]",
        "</s>",
    ),
}


def family_tokenizer(family: Family, *, template: bool = True, words: str = "") -> PreTrainedTokenizerFast:
    """Words with the blank before them, single marks, and runs of blanks and line breaks; all else is unknown.

    Args:
        words: more of them, each known with a blank before it too.
    """
    special = [token for token in ("<unk>", family.bos, family.eos, *family.special) if token]
    known = f"{WORDS} {list_request('x')} {words}".replace(",", "").replace(".", "").split()
    pieces = [*special, "\n", "\n\n", "-", ".", ",", " ", "  ", "a", "1"]
    pieces += [form for word in known for form in (word, f" {word}")]
    vocab = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    backend = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?[^\s\-.,<>]+| +|\n+|[\-.,]"), "isolated")
    backend.decoder = decoders.Fuse()
    if family.bos:
        first = [(family.bos, vocab[family.bos])]
        backend.post_processor = processors.TemplateProcessing(single=f"{family.bos} $A", special_tokens=first)
    names = {"unk_token": "<unk>", "eos_token": family.eos, **({"bos_token": family.bos} if family.bos else {})}
    extra = list(family.special)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, additional_special_tokens=extra, **names)
    tokenizer.chat_template = family.template if template else None
    return tokenizer


def byte_tokenizer(text: str) -> PreTrainedTokenizerFast:
    """As GPT-2's: bytes in pairs, no token that it puts at the beginning, and one name for begin, end and unknown.

    Args:
        text: what it is trained on.
    """
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([text] * 3, trainer)
    names = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)
