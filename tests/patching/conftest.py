"""A model of these tests' own: another test's use of the shared one may turn off the hooks in attention."""

from __future__ import annotations

import pytest

from saeattr.model.loading import LanguageModel, load_model


@pytest.fixture(scope="session")
def lm() -> LanguageModel:
    return load_model("bundled", device="cpu")
