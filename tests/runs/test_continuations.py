"""Answers of several tokens and prompts of unequal length, against separate runs of the plain model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from saeattr.attribution.group import attribute_batch, attribute_group
from saeattr.behaviours.given.make import Reading, make_pair
from saeattr.behaviours.given.rows import read_row
from saeattr.behaviours.pair import Pair
from saeattr.model.loading import LanguageModel
from saeattr.runs.base import SiteBase
from saeattr.runs.batch import BatchRuns, run_batch
from saeattr.runs.effects import feature_effects
from saeattr.runs.metric import find_metric
from saeattr.runs.question import Question
from saeattr.runs.task import Task
from saeattr.saes.loading import SaeFile, load_sae
from saeattr.selection.lens import logit_lens
from saeattr.selection.roles import positional_ablation
from saeattr.sites import Site
from saeattr.validation.joint import FeatureSet, joint_effects
from tests import plain

SITES = [Site("resid_post", 1), Site("attn_z", 3), Site("mlp_out", 5)]
ROWS: list[dict[str, Any]] = [
    {
        "clean": "The capital of France is",
        "corrupted": "The capital of Italy is",
        "answer": " Paris is governed",
        "wrong": " Rome city",
    },
    # One token more, and one less, than the clean prompt has.
    {
        "clean": "The capital city of France is called",
        "corrupted": "The city of Italy is called",
        "answer": " Paris",
        "wrong": " Rome city is",
    },
    {
        "clean": "People in Japan mostly speak",
        "corrupted": "The people in the city mostly speak",
        "answer": " Japanese",
        "wrong": " French",
    },
]


def made(lm: LanguageModel, metric: str = "log-prob-difference") -> list[Pair]:
    reading = Reading(metric, unequal="zero")
    return [make_pair(lm.tokenizer, read_row(number, row), reading) for number, row in enumerate(ROWS, 1)]


def sides(lm: LanguageModel, row: dict[str, Any]) -> tuple[list[int], list[int]]:
    """Token ids of the answer and of the wrong one."""
    encode = lm.tokenizer.encode
    return tuple(encode(row[name], add_special_tokens=False) for name in ("answer", "wrong"))  # pyright: ignore[reportReturnType]


def prompt_of(lm: LanguageModel, text: str) -> list[int]:
    return lm.tokenizer.encode(text)


def log_prob(model: Any, prompt: list[int], continuation: list[int]) -> Tensor:
    """log P(continuation | prompt) by the model's own full logits, in float64."""
    ids = prompt + continuation
    log_probs = model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(1)
    return torch.stack([log_probs[len(prompt) - 1 + at, token] for at, token in enumerate(continuation)]).sum()


def expected_metric(lm: LanguageModel, model: Any, row: dict[str, Any], run: str, metric: str) -> Tensor:
    answer, wrong = sides(lm, row)
    prompt = prompt_of(lm, row[run])
    right = log_prob(model, prompt, answer)
    if metric == "log-prob":
        return right
    return right.exp() if metric == "probability" else right - log_prob(model, prompt, wrong)


@pytest.mark.parametrize("metric", ["log-prob-difference", "log-prob", "probability"])
def test_the_metric_is_that_of_separate_runs(lm: LanguageModel, plain_model: Any, metric: str) -> None:
    batch = run_batch(lm, made(lm, metric), SITES, Question(find_metric(metric)), gradients=False)
    assert batch.corrupted is not None
    with torch.no_grad():
        for at, row in enumerate(ROWS):
            for name, run in (("clean", batch.clean), ("corrupted", batch.corrupted)):
                assert run.metric is not None
                expected = float(expected_metric(lm, plain_model, row, name, metric))
                assert float(run.metric[at]) == pytest.approx(expected, abs=2e-4, rel=1e-4)


def test_of_single_tokens_it_is_the_logit_difference(lm: LanguageModel) -> None:
    pairs = [made(lm)[2]]
    values = []
    for name in ("log-prob-difference", "logit-difference"):
        metric = run_batch(lm, pairs, SITES[:1], Question(find_metric(name))).clean.metric
        assert metric is not None
        values.append(float(metric[0]))
    assert values[0] == pytest.approx(values[1], abs=1e-5)


def tail_positions(pair: Pair, branch: int, n_prompt: int) -> list[int]:
    """Where a pair's row holds the text of one branch: the prompt, and the branch's own tokens."""
    branches = pair.branches or (0,) * n_prompt + (1,) * (len(pair.clean_ids) - n_prompt)
    return [at for at, own in enumerate(branches) if own in (0, branch)]


def separate(lm: LanguageModel, model: Any, site: Site, nth: int, x: Tensor) -> Tensor:
    """The difference of log-probabilities with ``x`` of the row, [pos, d_in], put in at a site of two separate runs."""
    row, pair = ROWS[nth], made(lm)[nth]
    prompt, total = prompt_of(lm, row["clean"]), torch.zeros((), dtype=torch.float64)
    tails = [len(ids) - 1 for ids in sides(lm, row)]
    for sign, continuation, branch in zip((1, -1), sides(lm, row), (1, 2), strict=True):
        # With one tail only, the row has no branches and that tail stands behind the prompt.
        own = tail_positions(pair, branch, len(prompt)) if tails[branch - 1] else list(range(len(prompt)))
        if pair.branches is None and tails[branch - 1]:
            own = list(range(len(pair.clean_ids)))
        placed = x[own]

        def put(value: Tensor, placed: Tensor = placed) -> Tensor:
            return torch.cat([placed[None], value[:, len(placed) :]], dim=1)

        # The last token of a continuation is read, but nothing is read after it.
        with plain.edited(model, site, put):
            total = total + sign * log_prob(model, prompt, continuation)
    return total


@pytest.mark.parametrize("site", SITES, ids=str)
def test_one_backward_gives_the_gradient_of_both_continuations(lm: LanguageModel, plain_model: Any, site: Site) -> None:
    pairs = made(lm)
    batch = run_batch(lm, pairs, SITES, Question(find_metric("log-prob-difference")))
    for nth, pair in enumerate(pairs):
        x = batch.clean.x[site][nth, : len(pair.clean_ids)].clone().requires_grad_()
        (expected,) = torch.autograd.grad(separate(lm, plain_model, site, nth, x), [x])
        found = batch.clean.g[site][nth, : len(pair.clean_ids)]
        assert float(found.abs().max()) > 1e-3
        torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-5)


def plain_read(model: Any, site: Site, ids: list[int]) -> Tensor:
    return plain.read(model, site, tuple(ids))


@pytest.mark.parametrize("site", SITES, ids=str)
def test_exact_effects_are_those_of_separate_hooked_runs(
    lm: LanguageModel, saes: dict[Site, SaeFile], plain_model: Any, site: Site
) -> None:
    """A feature without a partner is patched to zero; all of a row's branches see the edited prompt."""
    pairs, sae = made(lm), load_sae(saes[site])
    batch = run_batch(lm, pairs, [site], Question(find_metric("log-prob-difference")))
    base = SiteBase.of(sae, [batch])
    tokens = attribute_batch(base, batch, 8)
    features = torch.bincount(tokens.found.feature, tokens.found.effect.abs(), sae.d_sae).topk(3).indices
    found = feature_effects(batch, base, features, 4)
    for nth, pair in enumerate(pairs):
        x = batch.clean.x[site][nth, : len(pair.clean_ids)]
        f = sae.encode(x)
        change = by_hand(lm, batch, sae, nth, plain_model) - f
        change[: pair.first_change] = 0.0
        last = max(point.position for point in pair.points)
        change[last + 1 :] = 0.0
        with torch.no_grad():
            clean = separate(lm, plain_model, site, nth, x)
            for at, feature in enumerate(features.tolist()):
                moved = x + change[:, feature, None] * sae.W_dec[feature]
                effect = separate(lm, plain_model, site, nth, moved) - clean
                assert float(found[at, nth]) == pytest.approx(float(effect), abs=3e-4, rel=1e-3)
    assert float(found.abs().max()) > 1e-2


def by_hand(lm: LanguageModel, batch: BatchRuns, sae: Any, nth: int, model: Any) -> Tensor:
    """f_base of a row: each token's partner in separate runs of the corrupted prompt, 0 where there is none."""
    pair = batch.pairs[nth]
    assert pair.corrupted_ids is not None
    answer, wrong = sides(lm, ROWS[nth])
    prompt = prompt_of(lm, ROWS[nth]["corrupted"])
    runs = [sae.encode(plain_read(model, sae.site, prompt + ids[:-1])) for ids in (answer, wrong)]
    # The corrupted row is laid out as prompt, answer's tail, wrong one's tail.
    laid = torch.cat([runs[0], runs[1][len(prompt) :]])
    assert len(laid) == len(pair.corrupted_ids)
    partners = torch.tensor(pair.partners or tuple(range(len(laid))))
    return torch.where((partners >= 0)[:, None], laid[partners.clamp(min=0)], 0.0)


def test_every_stage_agrees_on_them(lm: LanguageModel, saes: dict[Site, SaeFile]) -> None:
    """The lens after the last layer is the metric, and one feature in a set does what it does alone."""
    question = Question(find_metric("log-prob-difference"))
    task = Task(lm, made(lm), [saes[site] for site in SITES], question)
    batch = run_batch(lm, task.pairs, SITES, question)
    assert batch.corrupted is not None
    lens = logit_lens(task)
    last = lens[(lens["layer"] == lm.n_layers - 1) & (lens["kind"] == "resid_post")]
    for name, run in (("clean", batch.clean), ("corrupted", batch.corrupted)):
        assert run.metric is not None
        torch.testing.assert_close(torch.tensor(last[name].to_numpy()).float(), run.metric, rtol=1e-4, atol=1e-4)
    tables = attribute_group(task)
    assert set(tables.metric_by_point["n_points"]) == {1}
    assert len(tables.metric_by_point) == 2 * len(ROWS)
    top = tables.features.iloc[0]
    site = Site(str(top["kind"]), int(top["layer"]))  # pyright: ignore[reportArgumentType]
    sae, feature = load_sae(saes[site]), int(top["feature"])
    alone = feature_effects(batch, SiteBase.of(sae, [batch]), torch.tensor([feature]), 4)
    together = joint_effects([batch], [saes[site]], [FeatureSet({site: [feature]})], 4).effects
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)
    roles = positional_ablation(batch, SITES, 8)
    assert {"changed", "after", "answer", "wrong"} & set(roles["role"])
    assert roles["effect"].abs().max() > 0.1
