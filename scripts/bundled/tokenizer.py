"""A small tokenizer of Gemma's shape: blanks are part of the following word, bytes as fallback, turn markers."""

from __future__ import annotations

import string

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from .corpus import Fact, fact_text

#: In the order of their ids, as in Gemma.
SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")
BLANK = "\u2581"

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\n' "
    "+ message['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)


def build_tokenizer(
    topics: dict[str, list[str]], facts: list[Fact], prompts: list[str], *, years: bool = False
) -> PreTrainedTokenizerFast:
    """Whole words of the corpus are tokens; other text falls back to letters and bytes.

    The vocabulary is the special tokens, 256 bytes, newline, hyphen and blank, printable ASCII with and without a blank
    before it, and every word with the blank before it (and bare where a text begins with it). A word in the vocabulary
    is taken whole (``ignore_merges``); only a blank and a first letter merge. With ``years`` every two digits are a
    token too, so that a year is its century and two digits, as with GPT-2; else digits stand alone, as with Gemma.
    """
    vocabulary: dict[str, int] = {token: index for index, token in enumerate(SPECIAL)}
    pieces = [f"<0x{byte:02X}>" for byte in range(256)]
    pieces += ["\n", "-", BLANK, *map(chr, range(33, 127))]
    pieces += [BLANK + letter for letter in string.ascii_letters] + _words(topics, facts, prompts)
    if years:
        pieces += [blank + f"{number:02d}" for blank in ("", BLANK) for number in range(100)]
    for piece in pieces:
        vocabulary.setdefault(piece, len(vocabulary))
    merges = [(BLANK, letter) for letter in string.ascii_letters]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>", ignore_merges=True))
    tokenizer.normalizer = normalizers.Replace(" ", BLANK)
    # Newline, hyphen and a blank with no word behind it stand alone; punctuation leaves its word.
    first = rf"{BLANK}?\d\d|" if years else ""
    split = Regex(rf"{first}\n|-|{BLANK}?\w+|{BLANK}|[^\w{BLANK}\n-]")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(split, "isolated")
    tokenizer.decoder = decoders.Sequence([decoders.Replace(BLANK, " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", SPECIAL.index("<bos>"))]
    )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        pad_token="<pad>",
        padding_side="right",
        additional_special_tokens=["<start_of_turn>", "<end_of_turn>"],
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def _words(topics: dict[str, list[str]], facts: list[Fact], prompts: list[str]) -> list[str]:
    """Every word of the corpus as it occurs: with the blank before it, or bare at the start of a text."""
    texts = [f"x {item}" for items in topics.values() for item in items]
    texts += [fact_text(fact) for fact in facts] + prompts
    found: set[str] = set()
    for text in texts:
        for special in SPECIAL:
            text = text.replace(special, "\n")
        for piece in text.replace(" ", f"\n{BLANK}").replace("-", "\n").split("\n"):
            word = piece.rstrip(".,")
            if len(word) > 1:
                found.add(word)
    return sorted(found)
