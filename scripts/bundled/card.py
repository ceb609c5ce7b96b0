"""The model card, from measured figures alone."""

from __future__ import annotations

from typing import Any


def write_card(figures: dict[str, Any]) -> str:
    """saeattr/bundled/README.md as text."""
    facts, lists, saes = figures["facts"], figures["lists"], figures["saes"]
    curves = figures["metric_after_last"]
    parts = [
        "# The bundled model and its SAEs",
        "",
        "Made by `python scripts/build_bundled.py`, which also measured every figure below and wrote this page. "
        "The training text is made of the topics in `scripts/bundled/` and the facts in `saeattr/behaviours/facts/`; "
        "no other text or model went in.",
        "",
        "## Model",
        "",
        f"A `Gemma2ForCausalLM` with Gemma 2's architecture (grouped-query attention, sliding and full attention in "
        f"turns, soft-caps, pre- and post-norms, tied embeddings): {figures['layers']} layers, width "
        f"{figures['d_model']}, {figures['vocabulary']} tokens, {figures['parameters']:,} parameters, float32. Trained "
        f"from scratch on {figures['steps']} batches of 40 list chats and 64 facts in {figures['minutes_model']:.0f} "
        "minutes on two CPU cores. Gemma's special tokens and chat template.",
        "",
        "It knows two things. Asked `Provide me with a short list of {topic}. Just provide the names, no need for any "
        f'other information.` it writes a list on one of {figures["topics"]} topics, of the length asked for ("short", '
        '"long" or neither). And it completes sentences such as `The capital of France is`. Anything else it answers '
        "badly.",
        "",
        f"Lists, sampled at temperature 0.8, top-p 0.9, {figures['lists_per_topic']} of every topic and length:",
        "",
        "| asked for | lists | ended | items, mean (sd) | on topic | repeated items | blank after the last item | "
        "after other items |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for length, row in lists.items():
        parts.append(
            f"| {'neither' if length == 'none' else length} | {row['lists']} | {row['ended']:.1%} | "
            f"{row['items_mean']:.1f} ({row['items_sd']:.1f}) | {row['on_topic']:.1%} | {row['repeated_items']:.1%} | "
            f"{row['blank_after_last']:.1%} | {row['blank_after_others']:.1%} |"
        )
    parts += [
        "",
        "logit(<end_of_turn>) - logit(-) after each of the last seven items of short lists, mean; corrupted: the same "
        'list behind the request for a "long" one:',
        "",
        "| run | " + " | ".join(str(back) if back else "last" for back in range(-6, 1)) + " |",
        "| --- |" + " ---: |" * 7,
        *(f"| {run} | " + " | ".join(f"{value:+.1f}" for value in values) + " |" for run, values in curves.items()),
        "",
        f"Facts: {facts['facts']} sentences ({facts['categories']} relations, three phrasings each), all in the "
        f"training text; the right word is the likeliest next one in {facts['right']:.1%} of them "
        f"(lowest relation: {facts['lowest_category']:.1%}).",
        "",
        "## SAEs",
        "",
        "JumpReLU, one for each site, all by one recipe, in sae-lens' format, stored in float16; trained as BatchTopK "
        f"with a fixed threshold afterwards, in {figures['minutes_saes']:.0f} minutes for all. Measured on "
        f"{next(iter(saes.values()))['tokens']:,} tokens of chats drawn with another seed, BOS excluded. unexplained: "
        "fraction of variance. recovered: (loss with the site at zero - loss with the SAE spliced in) / (loss with the "
        f"site at zero - plain loss), the plain loss on answers being {next(iter(saes.values()))['loss']:.3f}.",
        "",
        "| site | width | unexplained | L0 | dead | loss, site at zero | loss, SAE | recovered |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for site, row in saes.items():
        parts.append(
            f"| {site} | {row['width']} | {row['unexplained']:.2%} | {row['l0']:.1f} | {row['dead']:.1%} | "
            f"{row['loss_zero']:.3f} | {row['loss_spliced']:.3f} | {row['loss_recovered']:.2%} |"
        )
    missed = figures["shortfalls"]
    parts += ["", "Below the marks set for it: " + "; ".join(missed) + "." if missed else ""]
    return "\n".join(parts).rstrip() + "\n"
