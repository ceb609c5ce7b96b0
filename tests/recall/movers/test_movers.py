"""Movers: copying by the weights' formula, removals and displacements by plain hooks, choices by hand, one study."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import saeattr
from saeattr import Study
from saeattr.behaviours.pair import Pair
from saeattr.model.loading import LanguageModel, load_model
from saeattr.patching.components import Part, Z
from saeattr.recall.facts.batteries import named_battery
from saeattr.recall.facts.check import align_facts
from saeattr.recall.final_runs import Edit, edited_changes, final_batches, final_position
from saeattr.recall.movers.controls import CONTROLS, other_sets, random_directions
from saeattr.recall.movers.heads import choose_movers, measure_heads
from saeattr.recall.movers.removal import remove_movers
from saeattr.recall.movers.removed import summarise_removal
from saeattr.runs.task import Task
from saeattr.tables import RECALL_ATTENTION, RECALL_CLAIMS, RECALL_MOVERS, RECALL_REMOVAL, RECALL_REMOVED
from tests.model.toys import FAMILIES, make_toy
from tests.recall.facts_of_toys import blocks, difference, outputs, plainly, toy_facts
from tests.recall.localisation.test_curves import battery
from tests.runs.test_unedited import rounding_by_shape


def gains(model: Any, norm: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """A norm's linear part, scale apart."""
    if hasattr(model, "transformer"):
        return lambda x: norm.weight * (x - x.mean())
    return lambda x: (norm.weight + (1 if "gemma" in model.config.model_type else 0)) * x


@pytest.mark.parametrize("family", FAMILIES)
def test_ranks_are_those_of_the_formula_in_every_family(family: str, tmp_path: Path) -> None:
    lm, plain = make_toy(family, tmp_path)
    model: Any = plain
    facts = toy_facts()
    heads = measure_heads(Task(lm, facts))[1].set_index(["pair_id", "layer", "head"])
    fact, seen = facts[0], {}
    block = blocks(model)[1]
    joint = hasattr(model, "transformer")
    source = block.attn.c_attn if joint else block.self_attn.v_proj
    handle = source.register_forward_hook(lambda m, args, out: seen.update(v=out[0, 4]))
    with torch.no_grad():
        model(input_ids=torch.tensor([fact.clean_ids]))
        handle.remove()
        values = seen["v"][64:] if joint else seen["v"]
        for head in range(4):
            # Two query heads share a key and value head where they are grouped.
            read = values[8 * head : 8 * head + 8] if joint else values[8 * (head // 2) : 8 * (head // 2) + 8]
            own = slice(8 * head, 8 * head + 8)
            written = read @ block.attn.c_proj.weight[own] if joint else block.self_attn.o_proj.weight[:, own] @ read
            if "gemma" in family:
                written = gains(model, block.post_attention_layernorm)(written)
            final = model.transformer.ln_f if joint else model.model.norm
            logits = model.get_output_embeddings().weight @ gains(model, final)(written)
            for name, token in (
                ("entity", fact.clean_ids[4]),
                ("answer", fact.points[-1].wanted[0]),
                ("other", fact.points[-1].unwanted[0]),
            ):
                expected = 1 + int((logits > logits[token]).sum())
                assert int(heads.loc[("p0", 1, head), f"{name}_rank"]) == expected
    assert heads["entity_rank"].between(1, 64).all()
    assert heads["entity_rank"].nunique() > 10


def test_attention_is_the_plain_models_token_by_token(tmp_path: Path) -> None:
    lm, model = make_toy("gemma3", tmp_path)
    fact = toy_facts()[1]
    attention = measure_heads(Task(lm, toy_facts()))[0]
    own = attention[(attention["pair_id"] == "p1") & (attention["layer"] == 2) & (attention["head"] == 3)]
    for run, ids in (("clean", fact.clean_ids), ("corrupted", fact.corrupted_ids or ())):
        with torch.no_grad():
            patterns = model(input_ids=torch.tensor([ids]), output_attentions=True).attentions
        assert np.allclose(own[f"attention_{run}"], patterns[2][0, 3, -1].double(), atol=1e-5)
    assert list(own["role"]) == list(fact.roles)
    assert np.allclose(attention.groupby(["pair_id", "layer", "head"])["attention_clean"].sum(), 1)


@pytest.fixture(scope="module", params=FAMILIES)
def removed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every fact of a toy with movers named by hand: 0.3 alone, then with 2.1."""
    lm, model = make_toy(request.param, tmp_path_factory.mktemp(request.param))
    facts = toy_facts()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("saeattr.recall.movers.removal.choose_movers", lambda summary: [(0, 3), (2, 1)])
        attention, heads = measure_heads(task := Task(lm, facts))
        table, told = remove_movers(task, heads, attention)
    assert told == []
    return {"lm": lm, "model": model, "facts": facts, "table": table}


def z_of(model: Any, ids: tuple[int, ...], layer: int) -> torch.Tensor:
    seen: list[torch.Tensor] = []
    handle = outputs(blocks(model)[layer])[0].register_forward_pre_hook(lambda m, args: seen.append(args[0][0, -1]))
    with torch.no_grad():
        model(input_ids=torch.tensor([ids]))
    handle.remove()
    return seen[0]


def replaced(model: Any, fact: Pair, facts: list[Pair], removal: str, layer: int) -> torch.Tensor:
    """What z becomes: the corrupted run's, or the mean of the other category's clean runs."""
    if removal == "corrupted":
        return z_of(model, fact.corrupted_ids or (), layer)
    return torch.stack([z_of(model, one.clean_ids, layer) for one in facts if one.group != fact.group]).mean(0)


@pytest.mark.parametrize("removal", ["mean", "corrupted"])
def test_a_removed_head_is_one_replaced_by_plain_hooks(removed: dict[str, Any], removal: str) -> None:
    model, facts, table = removed["model"], removed["facts"], removed["table"]
    for fact in facts:
        changes = {}
        for layer, head in ((0, 3), (2, 1)):
            new = replaced(model, fact, facts, removal, layer)

            def put(
                x: torch.Tensor, new: torch.Tensor = new, own: slice = slice(8 * head, 8 * head + 8)
            ) -> torch.Tensor:
                x = x.clone()
                x[:, own] = new[own]
                return x

            changes[layer] = put
        for chosen, layers in (("first", (0,)), ("all", (0, 2))):
            own = table[(table["pair_id"] == fact.pair_id) & (table["removal"] == removal) & (table["control"] == "")]
            row = own[own["chosen"] == chosen].iloc[0]
            with plainly(model, {}) as before:
                clean = difference(model, fact)
            with plainly(model, {layer: changes[layer] for layer in layers}) as after:
                assert row["change"] == pytest.approx(difference(model, fact) - clean, abs=2e-4)
            if chosen == "first":
                moved = (after["attn", 0] - before["attn", 0]).norm()
                assert row["size"] == pytest.approx(float(moved), abs=1e-4)
            assert row["clean"] == pytest.approx(clean, abs=1e-4)
    assert table[table["control"] == ""]["change"].abs().max() > 0.05


def test_a_random_control_moves_what_attention_adds_equally_far(removed: dict[str, Any]) -> None:
    model, facts, table = removed["model"], removed["facts"], removed["table"]
    fact, unit = facts[2], random_directions(1, 32, 0)[17, 0]
    own = table[(table["pair_id"] == fact.pair_id) & (table["removal"] == "corrupted") & (table["chosen"] == "first")]
    size = float(own[own["control"] == ""]["size"].iloc[0])
    row = own[(own["control"] == "random") & (own["draw"] == "17")].iloc[0]
    with plainly(model, {}):
        clean = difference(model, fact)
    # A key below zero edits what the layer's attention adds.
    with plainly(model, {-1: lambda x: x + size * unit}):
        assert row["change"] == pytest.approx(difference(model, fact) - clean, abs=2e-4)
    assert row["size"] == pytest.approx(size)
    for control, count in (("random", CONTROLS), ("directions", 10), ("heads", 3)):
        assert own[own["control"] == control]["draw"].nunique() == count


def test_another_heads_direction_is_that_of_its_own_removal(removed: dict[str, Any]) -> None:
    model, facts, table = removed["model"], removed["facts"], removed["table"]
    fact = facts[1]
    own = table[(table["pair_id"] == fact.pair_id) & (table["removal"] == "corrupted") & (table["chosen"] == "first")]
    new = z_of(model, fact.corrupted_ids or (), 1)

    def put(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x[:, :16], new[None, 16:24], x[:, 24:]], dim=1)

    with plainly(model, {}) as before:
        clean = difference(model, fact)
    with plainly(model, {1: put}) as after:
        difference(model, fact)
    way = (after["attn", 1] - before["attn", 1])[0]
    size = float(own[own["control"] == ""]["size"].iloc[0])
    with plainly(model, {-1: lambda x: x + size * way / way.norm()}):
        expected = difference(model, fact) - clean
    row = own[(own["control"] == "directions") & (own["draw"] == "1.2")].iloc[0]
    assert row["change"] == pytest.approx(expected, abs=3e-4)


def test_other_sets_are_of_the_same_thirds_without_the_movers_and_the_same_every_time() -> None:
    movers = [(0, 1), (4, 2)]
    sets = other_sets(movers, [*movers, (0, 0)], (6, 4), 0)
    # Six others in layers 0 and 1, seven in layers 4 and 5.
    assert len(sets) == len(set(sets)) == 6 * 7
    assert all(len(some) == 2 and some[0][0] < 2 and some[1][0] >= 4 for some in sets)
    many = other_sets([(0, 0), (0, 1), (1, 0)], [(0, 0), (0, 1), (1, 0)], (6, 16), 0)
    assert len(set(many)) == CONTROLS
    assert many == other_sets([(0, 0), (0, 1), (1, 0)], [(0, 0), (0, 1), (1, 0)], (6, 16), 0)
    assert other_sets([(0, 0)], [(0, 0), (0, 1)], (3, 2), 0) == []


def test_movers_look_at_the_entity_and_carry_some_of_the_gap() -> None:
    rows = [
        # layer, head, attention, exact and its interval's lower end
        (0, 0, 0.9, 0.30, 0.20),
        (0, 1, 0.1, 0.50, 0.40),
        (1, 0, 0.8, 0.40, -0.01),
        (1, 1, 0.7, 0.04, 0.03),
        (2, 0, 0.6, 0.35, 0.30),
    ]
    names = ["layer", "head", "attention_entity", "exact", "exact_low"]
    table = pd.DataFrame(rows, columns=pd.Index(names)).assign(attention_uniform=0.2)
    assert choose_movers(table) == [(2, 0), (0, 0)]
    assert choose_movers(table[table["layer"] == 1]) == [(1, 1)]
    assert choose_movers(table[table["head"] == 1][:1]) == []


def test_a_removal_is_summarised_by_hand() -> None:
    def row(fact: str, control: str, draw: str, change: float, size: float) -> dict[str, object]:
        about = {"group": "c", "pair_id": fact, "half": 1, "chosen": "first", "movers": "0.1", "removal": "mean"}
        return {
            **about,
            "control": control,
            "draw": draw,
            "change": change,
            "size": size,
            "clean": 3.0,
            "corrupted": -1.0,
        }

    rows = [row("a", "", "", -2.0, 4.0), row("b", "", "", -1.0, 2.0)]
    rows += [row("a", "random", "0", -1.0, 4.0), row("b", "random", "0", -1.5, 2.0)]
    rows += [row("a", "random", "1", -2.5, 4.0), row("b", "random", "1", -2.0, 2.0)]
    found = summarise_removal(pd.DataFrame(rows)).set_index("control")
    assert found.loc["", "damage"] == pytest.approx(3 / 8)
    assert found.loc["random", "damage"] == pytest.approx((2.5 / 8 + 4.5 / 8) / 2)
    # Draw 0 hurts less in the mean over facts (2.5 against 3), draw 1 does not.
    assert found.loc["random", "hurt_less"] == 0.5
    assert found.loc["random", "n_controls"] == 2
    # Of fact a one of two hurts less, of fact b none: in no fact do 95 % of them.
    assert found.loc["random", "facts"] == 0
    assert found.loc["random", "relative_size"] == 1


def test_facts_that_no_head_moves_are_left_alone_with_a_note(tmp_path: Path) -> None:
    lm, _ = make_toy("llama", tmp_path)
    task = Task(lm, toy_facts())
    attention, heads = measure_heads(task)
    still = heads.assign(exact_effect=0.0)
    table, told = remove_movers(task, still, attention)
    assert table.empty
    assert len(told) == 2
    assert "no head moves the entity of 2 facts" in told[0]
    table, told = remove_movers(dataclasses.replace(task, pairs=toy_facts((9,))), heads, attention)
    assert table.empty
    assert "two facts at least" in told[0]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Study:
    out = tmp_path_factory.mktemp("recall") / "study"
    return saeattr.run_recall(battery(), parts="movers,suppression", selection="C", out=out, device="cpu")


def test_in_the_bundled_model_one_head_moves_the_entity_more_than_equally_large_controls(
    found: Study, lm: LanguageModel
) -> None:
    movers, removed = found.recall(RECALL_MOVERS), found.recall(RECALL_REMOVED)
    n_heads = lm.hf.config.get_text_config().num_attention_heads
    assert len(movers) == lm.n_layers * n_heads
    first = movers.iloc[0]
    assert first["first"] == 2
    assert first["attention_entity"] > 0.8
    own = removed[(removed["chosen"] == "first") & (removed["removal"] == "corrupted")].set_index("control")
    assert own.loc["random", "hurt_less"] == 1
    assert own.loc["random", "n_controls"] == CONTROLS
    assert np.allclose(removed.loc[removed["control"].isin(["random", "directions"]), "relative_size"], 1, atol=0.1)
    claims = found.recall(RECALL_CLAIMS).set_index("name")
    assert claims.loc["first-corrupted-random", "verdict"] == "holds"
    assert claims.loc["third-log-odds", "verdict"] == "broken"


def test_a_study_of_both_parts_has_its_tables_and_figures(found: Study) -> None:
    names = [path.stem for path in found.figures]
    assert {"recall-movers", "recall-removal", "recall-suppression"} <= set(names)
    attention = found.recall(RECALL_ATTENTION)
    assert set(attention["role"]) >= {"bos", "entity", "last"}
    removal = found.recall(RECALL_REMOVAL)
    facts = removal[removal["control"] == ""].groupby(["chosen", "removal"])["pair_id"].size()
    assert facts.eq(len(attention[["group", "pair_id"]].drop_duplicates())).all()


def test_in_bfloat16_an_edit_that_changes_nothing_has_no_effect_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    rounded = load_model("bundled", device="cpu", dtype="bfloat16")
    facts = [fact.pair for fact in align_facts(rounded.tokenizer, named_battery("facts").rows[:12])[0]]
    with rounding_by_shape(rounded) as sizes:
        for batch in final_batches(Task(rounded, facts), [Part(Z, layer) for layer in range(rounded.n_layers)]):
            rows = torch.arange(len(batch.pairs)).repeat(9)
            width = batch.clean.x[Part(Z, 1)].shape[2]
            nothing = [Edit(Part(Z, 1), torch.ones(1, width), torch.zeros(len(rows), width))]
            for copies in (1, 2, 32):
                sizes.clear()
                assert not edited_changes(batch, rows, nothing, copies).any()
                assert max(sizes) <= copies * (final_position(batch) + 1)
            monkeypatch.setattr("saeattr.recall.final_runs.needs_unedited", lambda batch: False)
            assert edited_changes(batch, rows, nothing, 32).any()
            monkeypatch.undo()
