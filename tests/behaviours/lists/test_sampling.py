from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from saeattr.behaviours.lists.answers import Asked, choose_tokens, sample_answers
from saeattr.behaviours.lists.sampling import Sampling, list_seed, prompt_ids, sample_lists
from saeattr.behaviours.lists.topics import list_request
from saeattr.errors import UserError
from saeattr.model.loading import LanguageModel
from saeattr.progress import quiet

SEEDS = [list_seed(0, "cities", index) for index in range(7)]


def draw(lm: LanguageModel, seeds: list[int], **settings) -> list[tuple[int, ...]]:
    stop_ids, on_step = settings.pop("stop_ids", STOP_IDS), settings.pop("on_step", quiet)
    sampling = Sampling(**({"temperature": 1.0, "top_p": 0.95, "max_new_tokens": 24, "batch_size": 7} | settings))
    return sample_answers(lm, Asked(prompt_ids(lm.tokenizer, "cities"), seeds), sampling, stop_ids, on_step)


# A random model seldom ends its turn: every third token does, so that rows leave the batch at different steps.
STOP_IDS = range(5, 60, 3)


def test_a_sample_does_not_depend_on_the_batch_it_is_in(lm: LanguageModel) -> None:
    together = draw(lm, SEEDS)
    assert len({len(answer) for answer in together}) > 2
    for batch_size in (1, 2, 3):
        assert draw(lm, SEEDS, batch_size=batch_size) == together
    assert draw(lm, SEEDS[::-1]) == together[::-1]
    assert draw(lm, SEEDS[3:4]) == together[3:4]


def test_different_seeds_give_different_answers(lm: LanguageModel) -> None:
    answers = draw(lm, SEEDS, stop_ids=[])
    assert len(set(answers)) == len(SEEDS)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_answers_are_those_of_full_forwards_without_a_cache(lm: LanguageModel, temperature: float) -> None:
    prompt = prompt_ids(lm.tokenizer, "cities")
    answers = draw(lm, SEEDS[:3], temperature=temperature, stop_ids=[], max_new_tokens=12)
    for seed, answer in zip(SEEDS, answers, strict=False):
        generator = torch.Generator().manual_seed(seed)
        ids = list(prompt)
        assert len(set(answer)) > 4
        for token in answer:
            with torch.no_grad():
                logits = lm.hf(input_ids=torch.tensor([ids])).logits[:, -1].float()
            uniform = torch.rand(1, generator=generator, dtype=torch.float64)
            expected = logits.argmax(-1) if temperature == 0 else choose_tokens(logits, 0.95, uniform)
            assert token == int(expected)
            ids.append(token)


def test_an_answer_ends_with_the_first_stop_token_or_at_the_limit(lm: LanguageModel) -> None:
    for answer in draw(lm, SEEDS, max_new_tokens=4):
        assert all(token not in STOP_IDS for token in answer[:-1])
        assert answer[-1] in STOP_IDS or len(answer) == 4


def test_progress_counts_finished_answers_over_all_batches(lm: LanguageModel) -> None:
    counts: list[int] = []
    draw(lm, SEEDS, batch_size=3, on_step=counts.append, max_new_tokens=50)
    assert counts == sorted(counts)
    assert counts[-1] == len(SEEDS)


def test_choose_tokens_follows_the_distribution_within_top_p() -> None:
    probs = torch.tensor([0.05, 0.5, 0.15, 0.3])
    uniforms = (torch.arange(1000) + 0.5) / 1000
    logits = probs.log().expand(1000, -1)
    everything = torch.bincount(choose_tokens(logits, 1.0, uniforms), minlength=4) / 1000
    torch.testing.assert_close(everything, probs, atol=0.002, rtol=0)
    # 0.5 and 0.3 reach 0.7; what is left out keeps no probability.
    nucleus = torch.bincount(choose_tokens(logits, 0.7, uniforms), minlength=4) / 1000
    torch.testing.assert_close(nucleus, torch.tensor([0.0, 0.625, 0.0, 0.375]), atol=0.002, rtol=0)
    assert (choose_tokens(logits, 1e-9, uniforms) == 1).all()


def test_a_tiny_temperature_is_greedy(lm: LanguageModel) -> None:
    assert draw(lm, SEEDS[:2], temperature=0.001) == draw(lm, SEEDS[:2], temperature=0.0)
    with pytest.raises(UserError, match="temperature 1e-30 is not allowed: give 0"):
        draw(lm, SEEDS[:2], temperature=1e-30)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("max_new_tokens", 0),
        ("batch_size", 0),
    ],
)
def test_settings_out_of_range_are_named(lm: LanguageModel, setting: str, value: float) -> None:
    with pytest.raises(UserError, match=f"{setting} .* is not allowed: give"):
        draw(lm, SEEDS[:1], **{setting: value})


def test_list_seeds_never_change_and_are_all_different() -> None:
    assert list_seed(7, "TV shows", 3) == 8521297319913858276
    seeds = {list_seed(s, t, i) for s in range(3) for t in ("a", "a 1", "b") for i in range(12)}
    assert len(seeds) == 108
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_prompt_is_the_request_as_a_chat(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = prompt_ids(tokenizer, "TV shows", "long")
    assert tokenizer.decode(ids) == (
        "<bos><start_of_turn>user\nProvide me with a long list of TV shows. Just provide the names, "
        "no need for any other information.<end_of_turn>\n<start_of_turn>model\n"
    )


def test_a_tokenizer_without_a_chat_template_is_refused(make_tokenizer) -> None:
    with pytest.raises(UserError, match="no chat template"):
        prompt_ids(make_tokenizer(template=None), "cities")


def test_sampled_lists_carry_what_they_were_made_with(lm: LanguageModel) -> None:
    steps: list[tuple[int, int]] = []
    settings = {"length": "long", "seed": 5, "temperature": 0.7, "top_p": 0.8, "max_new_tokens": 6}
    lists = sample_lists(lm, "cities", Sampling(3, batch_size=2, **settings), on_count=lambda *at: steps.append(at))
    prompt = tuple(prompt_ids(lm.tokenizer, "cities", "long"))
    assert [sampled.list_id for sampled in lists] == ["000", "001", "002"]
    assert [sampled.seed for sampled in lists] == [list_seed(5, "cities", index) for index in range(3)]
    for sampled in lists:
        assert sampled.token_ids[: sampled.prompt_length] == prompt
        assert sampled.parsed.token_ids == sampled.token_ids
        assert sampled.parsed.answer_start == sampled.prompt_length
        assert sampled.request == list_request("cities", "long")
        assert (sampled.length, sampled.temperature, sampled.top_p) == ("long", 0.7, 0.8)
    assert all(total == 3 and finished <= 3 for finished, total in steps)
    again = sample_lists(lm, "cities", Sampling(2, batch_size=1, **settings))
    assert [dataclasses.asdict(sampled) for sampled in again] == [dataclasses.asdict(s) for s in lists[:2]]


@pytest.mark.parametrize("top_p", [0.3, 0.9, 1.0])
@pytest.mark.parametrize("spread", [0.1, 3.0])
def test_the_likeliest_few_choose_the_token_that_the_whole_vocabulary_would(top_p: float, spread: float) -> None:
    """Flat rows, for which a few do not reach top_p, beside steep ones; many tokens are equally probable."""
    generator = torch.Generator().manual_seed(1)
    logits = (torch.randn(200, 700, generator=generator) * spread).round(decimals=1)
    logits[::2] *= 3
    uniforms = torch.rand(200, generator=generator, dtype=torch.float64)
    found = choose_tokens(logits, top_p, uniforms).tolist()
    for row, uniform, token in zip(torch.softmax(logits, -1), uniforms.tolist(), found, strict=True):
        line = sorted(range(700), key=lambda at: (-float(row[at]), at))
        upto = np.cumsum([float(row[at]) for at in line])
        kept = int(np.searchsorted(upto, top_p, side="left")) + 1
        kept = min(kept, 700)
        assert token == line[min(int(np.searchsorted(upto[:kept], uniform * upto[kept - 1], side="right")), kept - 1)]
