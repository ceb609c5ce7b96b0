"""The bundled files are what the model card says: the checks that take seconds; all of them are in build_bundled.py."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from saeattr import bundle
from saeattr.behaviours.lists.topics import TOPICS
from saeattr.model.loading import LanguageModel
from saeattr.saes.loading import SaeFile, load_sae
from saeattr.sites import KINDS, Site

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
from bundled import activations, corpus, evaluate

FIGURES = json.loads((bundle.BUNDLE_FOLDER / "figures.json").read_text(encoding="utf-8"))


def test_every_file_is_the_one_recorded_and_all_fit_14_mb() -> None:
    bundle.verify_checksums(bundle.BUNDLE_FOLDER)
    recorded = json.loads((bundle.BUNDLE_FOLDER / "checksums.json").read_text(encoding="utf-8"))
    read = {path for path in bundle.BUNDLE_FOLDER.rglob("*") if path.suffix in (".json", ".safetensors", ".jinja")}
    assert {str(path.relative_to(bundle.BUNDLE_FOLDER)) for path in read} - {"checksums.json"} == set(recorded)
    assert sum(path.stat().st_size for path in bundle.BUNDLE_FOLDER.rglob("*") if path.is_file()) <= 14e6


def test_nothing_falls_short_of_its_mark() -> None:
    assert evaluate.shortfalls(FIGURES) == FIGURES["shortfalls"] == []


def test_the_corpus_is_as_rich_as_promised() -> None:
    groups, facts = corpus.load_topics(), corpus.load_facts()
    assert set(groups) == set(TOPICS)
    assert min(len(set(items)) for items in groups.values()) >= 30
    by_category: dict[str, set[tuple[str, str]]] = {}
    for fact in facts:
        by_category.setdefault(fact.category, set()).add((fact.entity, fact.answer))
    assert len(by_category) >= 20
    assert min(len(pairs) for pairs in by_category.values()) >= 8


def test_items_are_one_to_three_tokens() -> None:
    tokenizer = AutoTokenizer.from_pretrained(bundle.MODEL_FOLDER)
    items = [f" {item}" for own in corpus.load_topics().values() for item in own]
    sizes = [len(tokenizer.encode(item, add_special_tokens=False)) for item in items]
    assert max(sizes) <= 4
    assert sum(size <= 3 for size in sizes) / len(sizes) > 0.99


def test_the_tokenizer_has_gemmas_special_tokens_and_chat_template() -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(bundle.MODEL_FOLDER)
    for text in (" short", " long", "-", "\n", " ", "<end_of_turn>", "<start_of_turn>"):
        assert len(tokenizer.encode(text, add_special_tokens=False)) == 1, text
    chat = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) == (
        "<bos><start_of_turn>user\nHello<end_of_turn>\n<start_of_turn>model\nHi<end_of_turn>\n<start_of_turn>model\n"
    )
    text = "<start_of_turn>user\nÜber 3 cheeses, please!<end_of_turn>\n- New York \n"
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_the_model_completes_facts_and_follows_the_entity(plain_model: Any) -> None:
    facts = random.Random(0).sample(corpus.load_facts(), 200)
    measured = evaluate.fact_accuracy(plain_model, AutoTokenizer.from_pretrained(bundle.MODEL_FOLDER), facts)
    assert measured["right"] >= 0.95


@pytest.mark.parametrize("kind", KINDS)
def test_saes_reconstruct_held_out_chats(plain_model: Any, saes: dict[Site, SaeFile], kind: Any) -> None:
    tokenizer = AutoTokenizer.from_pretrained(bundle.MODEL_FOLDER)
    batches = activations.draw_batches(tokenizer, corpus.load_topics(), [], 120, seed=77)
    for layer in (0, 3, 5):
        sae = load_sae(saes[Site(kind, layer)])
        quality = evaluate.sae_quality(plain_model, sae, batches)
        assert quality["unexplained"] <= 0.022
        assert 5 <= quality["l0"] <= 25
        assert quality["loss_recovered"] >= 0.98


def test_every_layer_and_kind_has_an_sae_that_sae_lens_opens(saes: dict[Site, SaeFile]) -> None:
    from sae_lens import SAE

    assert set(saes) == {Site(kind, layer) for layer in range(6) for kind in KINDS}
    for site, file in saes.items():
        theirs: Any = SAE.load_from_disk(file.folder)
        x = torch.randn(4, 4, 32) if site.kind == "attn_z" else torch.randn(4, 128)
        torch.testing.assert_close(theirs.encode(x), load_sae(file).encode(x.flatten(1)), rtol=1e-4, atol=1e-4)


def test_lists_are_short_or_long_as_asked(lm: LanguageModel) -> None:
    found = evaluate.list_behaviour(lm, {"rivers": corpus.load_topics()["rivers"]}, 10, seed=5)
    assert 5 <= found["short"]["items_mean"] <= 8
    assert 15 <= found["long"]["items_mean"] <= 32
    assert found["short"]["blank_after_last"] > 0.5 > found["short"]["blank_after_others"]
    assert min(found[length]["on_topic"] for length in found) > 0.9
