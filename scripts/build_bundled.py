"""Build the bundled model and SAEs: tokenizer, model, SAEs, measurements, model card, checksums.

    python scripts/build_bundled.py [--out saeattr/bundled] [--keep-model] [--steps 1800] [--seed 0]
    python scripts/build_bundled.py --deep runs/deep [--steps 1200] [--seed 0]
    python scripts/build_bundled.py --checkpoints runs/emergence [--at 0,50,100] [--steps 1800] [--seed 0]

Everything is made from scripts/bundled/topics.yaml and saeattr's facts; the same seed on the same machine gives the
same files. About half an hour on two CPU cores. What was there is replaced when everything new is complete.

``--deep`` makes another model in a folder of its own: 16 narrow layers and SAEs of some of its sites, for
the accuracy benchmark. It is not shipped; a quarter of an hour on one core.

``--checkpoints`` trains the bundled model by the same recipe and saves it after the steps of ``--at``, each in a folder
step-N; no SAEs, and what is bundled stays. For what is learned when (scripts/benchmarks/emergence).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from bundled import card, evaluate
from bundled.activations import ALL_SITES, DEEP_SITES, Batch, collect, draw_batches
from bundled.corpus import Fact, chat_prompt, load_facts, load_topics
from bundled.tokenizer import build_tokenizer
from bundled.train_model import DEEP_RECIPE, DEEP_SHAPE, Checkpoints, Recipe, Shape, train_model
from bundled.train_saes import SaeRecipe, save_sae, train_checked
from transformers import AutoTokenizer, Gemma2ForCausalLM

from saeattr import bundle
from saeattr.digests import file_sha256
from saeattr.model.loading import load_model
from saeattr.saes.loading import find_saes, load_sae
from saeattr.sites import Site

LISTS_PER_TOPIC = 10
CHATS_TO_TRAIN, CHATS_TO_TEST = 2400, 400
#: Steps after which --checkpoints saves, about evenly spaced in their logarithm.
CHECKPOINTS = (0, 10, 25, 50, 75, 100, 150, 200, 300, 500, 900, 1800)
#: Of the deep model: how many of the topics it learns, and its SAEs.
DEEP_TOPICS, DEEP_SAE = 8, SaeRecipe(d_sae=256)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=bundle.BUNDLE_FOLDER)
    parser.add_argument(
        "--steps", type=int, help=f"training steps of the model ({Recipe().steps}; deep model {DEEP_RECIPE.steps})"
    )
    parser.add_argument("--deep", type=Path, metavar="FOLDER", help="make the deep model there instead")
    parser.add_argument("--checkpoints", type=Path, metavar="FOLDER", help="save models of the training there instead")
    parser.add_argument(
        "--at", type=_steps, default=CHECKPOINTS, metavar="N,...", help="steps --checkpoints saves after"
    )
    parser.add_argument("--keep-model", action="store_true", help="keep the model that is there, train SAEs only")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.deep is not None:
        build_deep(options.deep, options)
        return
    # The order of sums, and with it every file, depends on the number of threads.
    torch.set_num_threads(2)
    if options.checkpoints is not None:
        recipe = Recipe(options.steps or Recipe().steps, checkpoints=Checkpoints(options.at, options.checkpoints))
        build_model(options.checkpoints / "last", load_topics(), load_facts(), options.seed, recipe, Shape())
        return
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.out.parent, prefix=".building-") as name:
        new = Path(name)
        figures = build(new, options)
        (new / "checksums.json").write_text(json.dumps(checksums(new), indent=1) + "\n", encoding="utf-8")
        for made in sorted(new.iterdir()):
            replace(made, options.out / made.name)
    for line in figures["shortfalls"]:
        print("short of its mark:", line)


def _steps(text: str) -> tuple[int, ...]:
    return tuple(int(step) for step in text.split(","))


def build_deep(folder: Path, options: argparse.Namespace) -> None:
    """The deep model and SAEs of some of its sites, on one thread: few topics, so that it learns them in minutes."""
    torch.set_num_threads(1)
    topics, facts = load_topics(), load_facts()
    topics = {topic: topics[topic] for topic in list(topics)[:DEEP_TOPICS]}
    recipe = dataclasses.replace(DEEP_RECIPE, steps=options.steps or DEEP_RECIPE.steps)
    build_model(folder / "model", topics, facts, options.seed, recipe, DEEP_SHAPE)
    model = Gemma2ForCausalLM.from_pretrained(folder / "model", attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    build_saes(folder / "saes", model, tokenizer, topics, facts, options.seed, dict.fromkeys(DEEP_SITES, DEEP_SAE))


def build(new: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All files of the bundle but the checksums; returns what was measured."""
    topics, facts = load_topics(), load_facts()
    if options.keep_model:
        shutil.copytree(options.out / "model", new / "model")
        before = json.loads((options.out / "figures.json").read_text(encoding="utf-8"))
        minutes_model, steps = before["minutes_model"], before["steps"]
    else:
        recipe = Recipe(steps=options.steps or Recipe().steps)
        minutes_model, steps = build_model(new / "model", topics, facts, options.seed, recipe, Shape()), recipe.steps
    model = Gemma2ForCausalLM.from_pretrained(new / "model", attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(new / "model")
    # One recipe for all, so that no site's numbers come from an SAE that was picked for them.
    recipes = dict.fromkeys(ALL_SITES, SaeRecipe())
    minutes_saes = build_saes(new / "saes", model, tokenizer, topics, facts, options.seed, recipes)
    held_out = draw_batches(tokenizer, topics, [], CHATS_TO_TEST, options.seed + 2)
    figures: dict[str, Any] = {
        "layers": model.config.num_hidden_layers,
        "d_model": model.config.hidden_size,
        "vocabulary": len(tokenizer),
        "parameters": sum(p.numel() for p in model.parameters()),
        "topics": len(topics),
        "steps": steps,
        "minutes_model": minutes_model,
        "minutes_saes": minutes_saes,
        "lists_per_topic": LISTS_PER_TOPIC,
        "facts": evaluate.fact_accuracy(model, tokenizer, facts),
    }
    lm = load_model(str(new / "model"), device="cpu")
    figures["lists"] = evaluate.list_behaviour(lm, topics, LISTS_PER_TOPIC, options.seed)
    figures["metric_after_last"] = evaluate.metric_after_last(lm, list(topics)[:8], LISTS_PER_TOPIC, options.seed)
    figures["saes"] = measure_saes(new / "saes", model, held_out)
    figures["shortfalls"] = evaluate.shortfalls(figures)
    (new / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    (new / "README.md").write_text(card.write_card(figures), encoding="utf-8")
    return figures


def build_model(
    folder: Path, topics: dict[str, list[str]], facts: list[Fact], seed: int, recipe: Recipe, shape: Shape
) -> float:
    """Train and save the model and its tokenizer; returns minutes."""
    started = time.monotonic()
    prompts = [chat_prompt(topic, length) for topic in topics for length in ("short", "none", "long")]
    tokenizer = build_tokenizer(topics, facts, prompts)
    model = train_model(tokenizer, topics, facts, recipe, seed, shape)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return (time.monotonic() - started) / 60


def build_saes(
    folder: Path,
    model: Gemma2ForCausalLM,
    tokenizer: Any,
    topics: dict[str, list[str]],
    facts: list[Fact],
    seed: int,
    recipes: dict[Site, SaeRecipe],
) -> float:
    """Train and save an SAE for every site of ``recipes``; returns minutes."""
    started = time.monotonic()
    activations = collect(model, draw_batches(tokenizer, topics, facts, CHATS_TO_TRAIN, seed + 1), list(recipes))
    # Neither trained on nor reported: which of a few trainings is kept must not be chosen on the test chats.
    checks = collect(model, draw_batches(tokenizer, topics, [], CHATS_TO_TEST, seed + 3), list(recipes))
    for site, recipe in recipes.items():
        weights = train_checked(activations.pop(site), checks.pop(site), site, recipe, seed)
        save_sae(weights, site, folder / str(site))
        print(f"SAE {site}: {time.monotonic() - started:.0f} s", flush=True)
    return (time.monotonic() - started) / 60


def measure_saes(folder: Path, model: Gemma2ForCausalLM, held_out: list[Batch]) -> dict[str, dict[str, float]]:
    """Quality of the SAEs as they were saved."""
    found = {}
    for site, file in find_saes(str(folder)).items():
        found[str(site)] = {"width": file.d_sae, **evaluate.sae_quality(model, load_sae(file), held_out)}
        print(site, {name: round(value, 4) for name, value in found[str(site)].items()}, flush=True)
    return found


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file that is read when the bundle is used."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in (".json", ".safetensors"))
    paths += sorted(folder.rglob("*.jinja"))
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in paths}


def replace(made: Path, target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    os.replace(made, target)


if __name__ == "__main__":
    main()
