from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerFast

from tests.behaviours.ready.tokenizers import every_word, word_tokenizer


@pytest.fixture(scope="session")
def whole() -> PreTrainedTokenizerFast:
    """A tokenizer that has every word of the ready behaviours, years as a century and two digits."""
    return word_tokenizer(every_word())
