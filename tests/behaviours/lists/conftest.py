"""A word-level tokenizer with Gemma's turn markers, and a tiny random model that reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import Gemma2Config, Gemma2ForCausalLM, PreTrainedTokenizerFast

from saeattr.behaviours.lists.parsing import Decode, ListMarkers, decoder, parse_list
from saeattr.behaviours.lists.sampling import SampledList, prompt_ids
from saeattr.behaviours.lists.topics import list_request
from saeattr.model.loading import LanguageModel, load_model

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ m['role'] }}\n{{ m['content'] | trim }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
WORDS = "user model a short long list of cities TV shows Paris Lima Oslo New York Rome"
#: What else can open an item, or close a heading.
MARKS = "*):\u20220123456789"
MakeTokenizer = Callable[..., PreTrainedTokenizerFast]


def build_tokenizer(
    *, cut_long: bool = False, turn_markers: bool = True, marks: str = MARKS, template: str | None = CHAT_TEMPLATE
) -> PreTrainedTokenizerFast:
    """Words with the blank before them, single marks, runs of blanks and of line breaks; " long" is two if cut."""
    pattern = ("| lo|ng" if cut_long else "") + r"| ?[^\s\-.,:<>*)\d•]+| +|\n+|[\-.,:*)\d•]"
    words = f"{WORDS} {list_request('x')}".replace(",", "").replace(".", "").split()
    pieces = [*SPECIAL, "\n", "\n\n", "-", ".", ",", " ", "  ", " lo", "ng", *marks]
    pieces += [form for word in words for form in (word, f" {word}")]
    vocab = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    backend = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(pattern[1:]), "isolated")
    backend.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=SPECIAL[4:] if turn_markers else [],
    )
    tokenizer.chat_template = template
    return tokenizer


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """A model this small is slower, and on a busy machine far slower, on several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def make_tokenizer() -> MakeTokenizer:
    return build_tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return build_tokenizer()


@pytest.fixture(scope="session")
def markers(tokenizer: PreTrainedTokenizerFast) -> ListMarkers:
    return ListMarkers.from_tokenizer(tokenizer)


@pytest.fixture(scope="session")
def decode(tokenizer: PreTrainedTokenizerFast) -> Decode:
    return decoder(tokenizer)


@pytest.fixture(scope="session")
def lm(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    """Two layers, one of them with a sliding window shorter than the prompt; weights random but fixed."""
    tokenizer = build_tokenizer(marks="")
    folder: Path = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        sliding_window=8,
        max_position_embeddings=256,
        bos_token_id=2,
        eos_token_id=1,
        pad_token_id=0,
        # A random model with tied embeddings says one token over and over.
        tie_word_embeddings=False,
    )
    model = Gemma2ForCausalLM(config)
    # Wider than the usual initialisation, or every next token would be about equally likely.
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.data.normal_(0.0, 0.25)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return load_model(str(folder), device="cpu")


@pytest.fixture(scope="session")
def write_list(tokenizer: PreTrainedTokenizerFast) -> Callable[..., SampledList]:
    """A list as if a model had written ``text`` after the request."""

    def write(
        text: str,
        *,
        topic: str = "cities",
        list_id: str = "000",
        seed: int = 1,
        tokenizer: PreTrainedTokenizerFast = tokenizer,
    ) -> SampledList:
        prompt = prompt_ids(tokenizer, topic, "short")
        ids = (*prompt, *tokenizer.encode(text, add_special_tokens=False))
        parsed = parse_list(ids, ListMarkers.from_tokenizer(tokenizer), decoder(tokenizer))
        request = list_request(topic, "short")
        return SampledList(topic, "short", request, list_id, ids, len(prompt), 0.8, 0.9, seed, parsed)

    return write
