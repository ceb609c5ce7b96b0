"""The settings files in configs/: each is valid, and says what the model's name alone would give."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

import saeattr
from saeattr import bundle
from saeattr.behaviours.behaviour import find_behaviour
from saeattr.behaviours.facts.behaviour import relations
from saeattr.cli import main
from saeattr.model.hub import MODELS
from saeattr.model.loading import find_model, load_tokenizer
from saeattr.saes.catalogue import pick_saes
from saeattr.settings import PARTS, SETTINGS, StudySettings, make_settings, read_config
from saeattr.study.prepare import resolve

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
import make_random_checkpoint as checkpoint

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
WRITER = runpy.run_path(str(ROOT / "scripts" / "docs" / "settings.py"))


def test_every_named_model_has_one() -> None:
    assert {path.stem for path in CONFIGS} == {"bundled", *MODELS}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_gives_what_the_name_and_the_behaviour_alone_give(path: Path) -> None:
    written = make_settings({}, path)
    assert written.model == path.stem
    assert written.behaviour == ("facts" if path.stem in ("gemma-2b", "gpt2") else "lists")
    behaviour = find_behaviour(written.behaviour)
    by_name = resolve(StudySettings(model=path.stem, behaviour=written.behaviour, device="cpu"), behaviour)
    assert resolve(written.model_copy(update={"device": "cpu"}), behaviour).identity() == by_name.identity()
    assert behaviour.groups(written.group or ("all",))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_uses_the_names_of_the_fields_and_no_other_names(path: Path) -> None:
    assert set(read_config(path)) <= set(SETTINGS)


def test_the_page_and_the_written_out_settings_are_those_of_the_fields() -> None:
    """Else: python scripts/docs/settings.py."""
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == WRITER["page"]()
    assert (ROOT / "configs" / "bundled.yaml").read_text(encoding="utf-8") == WRITER["example"]()


def test_the_page_and_the_written_out_settings_have_every_field_once() -> None:
    assert sorted(read_config(ROOT / "configs" / "bundled.yaml")) == sorted(StudySettings.model_fields)
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert [page.count(f"\n| `{name}` |") for name in StudySettings.model_fields] == [1] * len(SETTINGS)
    assert {setting.part for setting in SETTINGS.values()} == set(PARTS)


def test_a_default_that_is_no_value_is_said_in_words_that_hold() -> None:
    for name in ("lists", "facts"):
        assert find_behaviour(name).default_groups[0] in SETTINGS["group"].without
    assert next(iter(find_behaviour("lists").metrics)) in SETTINGS["metric"].without
    for setting in SETTINGS.values():
        assert bool(setting.without) == (setting.default in (None, ()))


@pytest.fixture
def gpt2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub cache with GPT-2 very small, its kind of tokenizer and SAEs of its layers 1 and 2."""
    import huggingface_hub.constants as constants

    import saeattr.saes.loading as loading

    repo = MODELS["gpt2"].hub
    checkpoint.write_model(tmp_path, repo, checkpoint.toy("gpt2"), load_tokenizer(bundle.MODEL_FOLDER), 200_000)
    folder = checkpoint.snapshot(tmp_path, repo)
    for path in (*folder.glob("tokenizer*"), *folder.glob("*chat_template*"), *folder.glob("special_tokens*")):
        path.unlink()
    write_byte_tokenizer(folder)
    chosen = {site: sae for site, sae in pick_saes(MODELS["gpt2"].releases).items() if site.layer in (1, 2)}
    checkpoint.write_published(tmp_path, chosen.values(), repo)
    # The toy has four layers, the release twelve.
    monkeypatch.setattr(loading, "pick_saes", lambda *_: chosen)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def write_byte_tokenizer(folder: Path) -> None:
    """Byte-level BPE as GPT-2's: no token before a text, no chat template, <|endoftext|> for everything special."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    made, end = ByteLevelBPETokenizer(), "<|endoftext|>"
    relation = relations()["capitals"]
    texts = [f"{text.format(x=entity)} {answer}" for text in relation.templates for entity, answer in relation.facts]
    made.train_from_iterator(texts, vocab_size=2048, min_frequency=1, special_tokens=[end])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made._tokenizer, bos_token=end, eos_token=end, unk_token=end)
    tokenizer.save_pretrained(folder)


@pytest.mark.usefixtures("gpt2")
def test_gpt2s_file_plans_and_attributes_facts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = ["--config", str(ROOT / "configs" / "gpt2.yaml"), "--device", "cpu"]
    tokenizer = load_tokenizer(find_model("gpt2"))
    assert tokenizer.chat_template is None
    assert len(tokenizer.encode("The capital of France is")) == 5
    with pytest.raises(SystemExit) as planned:
        main(["plan", *config])
    assert not planned.value.code, capsys.readouterr().err
    assert "of 4 GiB" in capsys.readouterr().out
    out = tmp_path / "study"
    with pytest.raises(SystemExit) as attributed:
        main(["attribute", *config, "--no-figures", "--no-validate", "--out", str(out)])
    assert not attributed.value.code, capsys.readouterr().err
    study = saeattr.load_study(out)
    assert study.groups == ("capitals",)
    features = study.features()
    assert set(zip(features["kind"], features["layer"], strict=True)) == {("resid_post", 1), ("resid_post", 2)}
    assert (features["effect_mean"] != 0).any()
