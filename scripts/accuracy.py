"""How good are the estimates? Attributions of single (feature, position) pairs against exact ablations.

Every exact effect is a naive full forward of the plain Hugging Face model with one feature changed at one position; no
code of saeattr's capture or recompute is used for it. Writes docs/accuracy.md and docs/accuracy.png.

    python scripts/accuracy.py [--entries 500] [--lists 4] [--out docs]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy.stats import rankdata
from transformers import AutoModelForCausalLM

from saeattr import bundle
from saeattr.analysis.attribution import SiteAttribution, SiteTokens
from saeattr.analysis.batches import BatchRuns, run_batch
from saeattr.analysis.metrics import Metric, make_metric
from saeattr.analysis.topic import AttributionPlan, attribute_site_tokens
from saeattr.model.loading import load_model
from saeattr.prompts.pairs import make_pairs
from saeattr.prompts.sampling import sample_lists
from saeattr.saes.loading import find_saes, load_sae
from saeattr.saes.sae import SparseAutoencoder
from saeattr.sites import KINDS, Site

TOPICS = ("cities", "animals", "rivers", "movies")
BASES = ("zero", "corrupted")
METHODS = ("attribution", "ig")
#: Ranks and signs are compared for exact effects above this share of the largest: below, both are rounding.
SMALLEST = 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--entries", type=int, default=500, help="random active (feature, position) pairs a site")
    parser.add_argument("--lists", type=int, default=4, help="lists for each of four topics")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args()
    lm = load_model("bundled", device="cpu")
    lists = [one for topic in TOPICS for one in sample_lists(lm, topic, options.lists)]
    pairs, _ = make_pairs(lm.tokenizer, lists)
    saes = find_saes("bundled")
    metric = make_metric("end-vs-continue", lm.tokenizer)
    batch = run_batch(lm, pairs, list(saes), metric, "last")
    plain = AutoModelForCausalLM.from_pretrained(bundle.MODEL_FOLDER, attn_implementation="eager", dtype=torch.float32)
    rows, points = [], []
    for site, file in saes.items():
        sae = load_sae(file)
        for base in BASES:
            estimates = {
                method: attribute_site_tokens(lm, sae, batch, AttributionPlan(metric, base=base, method=method))
                for method in METHODS
            }
            found = measure(plain.eval(), sae, batch, metric, estimates, options.entries)
            rows.append(summary(site, base, found, estimates, batch))
            points.append(found.assign(layer=site.layer, kind=site.kind, base=base))
            print(rows[-1])
    measured = pd.concat(points, ignore_index=True)
    write_page(pd.DataFrame(rows), by_layer(measured), options, len(pairs))
    draw(measured, options.out)


Estimate = tuple[SiteTokens, SiteAttribution, torch.Tensor]


def measure(
    model: Any, sae: SparseAutoencoder, batch: BatchRuns, metric: Metric, estimates: dict[str, Estimate], n: int
) -> pd.DataFrame:
    """Estimates and exact effects of ``n`` random active entries."""
    tokens, found, _ = estimates["attribution"]
    picked = np.random.default_rng(0).permutation(len(found.effect))[:n]
    picked = torch.as_tensor(np.sort(picked))
    where = found.token[picked]
    change = (found.act_base - found.act_clean)[picked, None] * sae.W_dec[found.feature[picked]]
    exact = exact_effects(model, sae.site, batch, metric, tokens.row[where], tokens.position[where], change)
    columns = {method: estimate[1].effect[picked].numpy() for method, estimate in estimates.items()}
    return pd.DataFrame({**columns, "exact": exact.numpy()})


@torch.no_grad()
def exact_effects(
    model: Any, site: Site, batch: BatchRuns, metric: Metric, rows: Any, positions: Any, change: torch.Tensor
) -> torch.Tensor:
    """Full forwards of the plain model, one copy of the prompt for each entry, x + change at the entry's position."""
    layer = model.model.layers[site.layer]
    last = batch.reads.last_position()
    out = []
    for start in range(0, len(rows), 64):
        part = slice(start, start + 64)
        ids, at = batch.clean.tokens[rows[part]], positions[part]
        copies = torch.arange(len(at))

        def edit(x: torch.Tensor, at: Any = at, copies: Any = copies, part: slice = part) -> torch.Tensor:
            x = x.clone()
            x[copies, at] += change[part]
            return x

        if site.kind == "attn_z":
            handle = layer.self_attn.o_proj.register_forward_pre_hook(lambda module, args, edit=edit: (edit(args[0]),))
        else:
            module = layer if site.kind == "resid_post" else layer.post_feedforward_layernorm
            handle = module.register_forward_hook(lambda module, args, result, edit=edit: edit(result))
        logits = model(input_ids=ids, attention_mask=batch.clean.mask[rows[part]].long()).logits
        handle.remove()
        at_end = logits[copies, last[rows[part]]]
        out.append(at_end[:, metric.plus] - at_end[:, metric.minus])
    assert batch.clean.metric is not None
    return torch.cat(out) - batch.clean.metric[rows]


def summary(
    site: Site, base: str, measured: pd.DataFrame, estimates: dict[str, Estimate], batch: BatchRuns
) -> dict[str, Any]:
    """One line of the table."""
    exact = measured["exact"].to_numpy()
    row: dict[str, Any] = {"layer": site.layer, "kind": site.kind, "base": base, "entries": len(exact)}
    for method in METHODS:
        estimate = measured[method].to_numpy()
        tokens, found, total = estimates[method]
        sums = (found.features_effect + found.error_effect).new_zeros(len(batch.pairs))
        sums = sums.index_add(0, tokens.row, found.features_effect + found.error_effect)
        large = np.abs(exact) > SMALLEST * np.abs(exact).max()
        row |= {
            f"{method} pearson": np.corrcoef(estimate, exact)[0, 1],
            f"{method} spearman": rank_correlation(estimate[large], exact[large]),
            f"{method} sign": float(np.mean(np.sign(estimate[large]) == np.sign(exact[large]))),
            f"{method} sum/total": float(sums.sum() / total.sum()),
        }
    return row


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def by_layer(points: pd.DataFrame) -> pd.DataFrame:
    """Attribution patching against exact effects, all kinds of a layer together."""
    rows = []
    for (layer, base), own in points.groupby(["layer", "base"]):
        exact, estimate = own["exact"].to_numpy(), own["attribution"].to_numpy()
        large = np.abs(exact) > SMALLEST * np.abs(exact).max()
        rows.append(
            {
                "layer": layer,
                "base": base,
                "entries": len(own),
                "pearson": np.corrcoef(estimate, exact)[0, 1],
                "spearman": rank_correlation(estimate[large], exact[large]),
                "sign": float(np.mean(np.sign(estimate[large]) == np.sign(exact[large]))),
            }
        )
    return pd.DataFrame(rows)


def write_page(table: pd.DataFrame, layers: pd.DataFrame, options: argparse.Namespace, n_pairs: int) -> None:
    """docs/accuracy.md."""
    lines = [
        "# How good are the estimates?",
        "",
        "Made by `python scripts/accuracy.py`. Bundled model, "
        f"{n_pairs} pairs ({', '.join(TOPICS)}; {options.lists} lists each), metric end-vs-continue, last newline.",
        f"For every site {options.entries} random active (feature, position) pairs: the estimated effect of setting "
        "that one feature to its base value at that one position, against the exact effect from a naive full forward "
        "of the plain Hugging Face model.",
        "",
        "spearman, sign (share of equal signs): among the entries whose exact effect is above a thousandth of the "
        "largest; in late layers most positions have none. "
        "sum/total: sum of all features' effects and the error term's, over all lists, divided by the exact effect of "
        "patching the whole site to its base (1 is perfect; attribution patching is first-order, so it need not be).",
        "",
        "ig averages the gradient on the way from clean to base of the *whole* site: it answers for the joint patch "
        "(its sum/total is close to 1), not for single features.",
        "",
        "![estimated against exact effects, by layer](accuracy.png)",
        "",
        "## attribution patching, all kinds of a layer together",
        "",
        markdown(layers.sort_values(["base", "layer"])),
    ]
    for base in BASES:
        for kind in KINDS:
            part = table[(table["base"] == base) & (table["kind"] == kind)].drop(columns=["base", "kind"])
            lines += ["", f"## {kind}, base {base}", "", markdown(part)]
    worst = table.sort_values("attribution pearson").iloc[0]
    lines += [
        "",
        f"Lowest Pearson of attribution patching: {worst['attribution pearson']:.3f} "
        f"({worst['kind']}.{worst['layer']}, base {worst['base']}).",
        "",
    ]
    (options.out / "accuracy.md").write_text("\n".join(lines), encoding="utf-8")


def markdown(table: pd.DataFrame) -> str:
    def cell(value: Any) -> str:
        return f"{value:.3f}" if isinstance(value, float) else str(value)

    head = "| " + " | ".join(table.columns) + " |"
    rule = "|" + " ---: |" * len(table.columns)
    body = ["| " + " | ".join(cell(v) for v in row.values()) + " |" for row in table.to_dict("records")]
    return "\n".join([head, rule, *body])


def draw(points: pd.DataFrame, folder: Path) -> None:
    """Estimates against exact effects, one panel for each layer and base, kinds by colour."""
    layers = sorted(points["layer"].unique())
    figure = Figure(figsize=(2.6 * len(layers), 5.4), layout="constrained")
    axes = figure.subplots(len(BASES), len(layers), squeeze=False)
    for row, base in enumerate(BASES):
        for column, layer in enumerate(layers):
            ax = axes[row][column]
            part = points[(points["layer"] == layer) & (points["base"] == base)]
            for colour, kind in zip(("#0173b2", "#de8f05", "#029e73"), KINDS, strict=True):
                own = part[part["kind"] == kind]
                ax.scatter(own["exact"], own["attribution"], s=5, alpha=0.5, color=colour, label=kind)
            limit = 1.05 * float(np.abs(part[["exact", "attribution"]].to_numpy()).max())
            ax.plot([-limit, limit], [-limit, limit], color="0.6", linewidth=0.8, zorder=0)
            ax.set(xlim=(-limit, limit), ylim=(-limit, limit), title=f"layer {layer}, base {base}")
            ax.tick_params(labelsize=7)
    axes[0][0].legend(fontsize=7, markerscale=2)
    figure.supxlabel("exact effect (logits)")
    figure.supylabel("attribution patching (logits)")
    figure.savefig(folder / "accuracy.png", dpi=110)


if __name__ == "__main__":
    main()
