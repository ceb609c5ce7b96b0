"""docs/selection.md, its figure and its tables in docs/measured/selection.md, from what was measured."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from benchmarks.sections import MEASURED, markdown
from benchmarks.selection.figure import draw
from benchmarks.selection.rules import (
    ALL,
    FIT,
    HALF,
    HELD_OUT,
    OFFERS,
    OURS,
    RANDOM_DRAWS,
    SIMPLE,
    STREAM,
    best_simple,
    difference,
    fit_weights,
    interval,
    mean_shares,
    rule_shares,
)
from saeattr.files import write_text
from saeattr.selection.score import DEFAULT_WEIGHTS, ScoreWeights

DISCOUNTS = {
    "none (default)": ScoreWeights(),
    "last_position 0.5": ScoreWeights(last_position=0.5),
    "last_position 0": ScoreWeights(last_position=0),
    "last_layers 0.5": ScoreWeights(last_layers=0.5),
    "last_layers 0": ScoreWeights(last_layers=0),
}


def write_page(rows: pd.DataFrame, out: Path, top: int) -> None:
    have = set(rows["group"])
    fit, held_out = [[topic for topic in half if topic in have] for half in (FIT, HELD_OUT)]
    kept = rule_shares(rows, held_out)
    sections = [definition(rows, fit, held_out, top), conclusion(kept), figure(), formula(), limits(rows, kept)]
    write_text(out / "selection.md", "\n\n".join(sections) + "\n")
    tables = [results(kept), choice(fit_weights(rows, fit)), discounts(rule_shares(rows, held_out, DISCOUNTS))]
    write_text(out / MEASURED / "selection.md", "\n\n".join(tables) + "\n")
    draw(kept, out)


def definition(rows: pd.DataFrame, fit: list[str], held_out: list[str], top: int) -> str:
    metric_drop = rows[(rows["table"] == "lens") & (rows["kind"] == "resid_post")]
    drop = metric_drop.groupby(["group", "pair_id"])["gain"].sum().mean()
    lists = metric_drop.groupby("group")["pair_id"].nunique()
    wanted = f"{lists.max()} lists" if lists.min() == lists.max() else f"{lists.min()} to {lists.max()} lists"
    return f"""# Does layer selection choose the right layers?

Made by `python scripts/benchmark.py selection` on the bundled model (6 layers, 18 sites with an SAE, all SAEs of
one size), {len(fit) + len(held_out)} topics, {wanted} for each; metric end-vs-continue at the last
newline.
The lists differ from their corrupted versions by {drop:.1f} in the metric on average.

**Value of a site**: take its {top} features with the largest |mean attribution| over the topic's lists (corrupted
base). Measure the exact effect of each: the feature alone is set to its corrupted value at all its positions, and the
layers above run again. Average over lists. The value is the sum of the absolute means. **Oracle** at a budget of k
sites: the k sites of the largest values. **Share** of a rule: the value of the k sites it chooses, divided by the
oracle's. 1 is the best that is possible.

The weights were chosen on {len(fit)} topics (every second one of the list). Every number below, unless said otherwise,
is from the other {len(held_out)} (held out): {", ".join(held_out)}."""


def narrower(kept: pd.DataFrame) -> str:
    """Whether ours is the best rule on average when only some kinds of site are on offer."""
    parts = []
    for offer in HALF:
        means = mean_shares(kept, offer)
        best = best_simple(means)
        if offer != ALL:
            is_best = "" if means[OURS] > means[best] else "not "
            parts.append(f"with {offer} ours is {is_best}the best on average ({best} {means[best]:.1%})")
    return f"W{'; '.join(parts)[1:]}."


def conclusion(kept: pd.DataFrame) -> str:
    half, _, _ = interval(kept, ALL, OURS, HALF[ALL])
    first = mean_shares(kept, ALL)
    asked = half >= 0.9 and all(first[OURS] > first[rule] for rule in SIMPLE)
    lines = [
        "## What was found",
        "",
        "Asked for: at least 90 % of the oracle at half the budget, and on average more than every simple rule. "
        f"With all 18 sites on offer this is {'met' if asked else 'not met'}. {narrower(kept)}",
        "",
    ]
    for offer, n_sites in HALF.items():
        means = mean_shares(kept, offer)
        best = best_simple(means)
        mean, low, high = interval(kept, offer, OURS, n_sites)
        lines.append(
            f"- {offer}: ours keeps {mean:.1%} of the oracle ({low:.1%} to {high:.1%}) at half the budget ({n_sites} "
            f"sites), {means[OURS]:.1%} on average over budgets. The best simple rule is {best} with "
            f"{means[best]:.1%}. {difference(kept, [offer], best)}"
        )
    aware = "residual first, last layers"
    return "\n".join(
        [
            *lines,
            f"- The gradient alone keeps {first['gradient only']:.1%} of all 18. "
            f"{difference(kept, [ALL], 'gradient only')} Over the three offers together, "
            f"{difference(kept, list(OFFERS), 'gradient only').replace('Ours', 'ours')} What the ablation adds is in "
            "the choice between attention and MLP sites.",
            f'- A rule that measures nothing but knows this value well, "{aware}" (residual sites from the last down, '
            f"then the others), keeps {first[aware]:.1%} of all 18. {difference(kept, [ALL], aware)}",
        ]
    )


def figure() -> str:
    return f"""## Share of the oracle by budget

![share of the oracle by budget](selection.png)

random: mean of {RANDOM_DRAWS} draws. evenly spaced: from the first site to the last in the model's order. last layers:
the last sites in that order. Every rule at every budget, how the weights were chosen and what discounts do:
[measured/selection.md](measured/selection.md)."""


def results(kept: pd.DataFrame) -> str:
    parts = [
        "# Layer selection: every rule and budget",
        "",
        "What is measured and what follows from it is in [selection.md](../selection.md).",
        "",
        "## Share of the oracle by rule and budget",
        "",
        "Mean over topics, with the 95 % bootstrap interval of that mean (topics drawn with replacement). "
        f"random: mean of {RANDOM_DRAWS} draws. evenly spaced: from the first site to the last in the model's order; "
        "one alone is the middle one. last layers: the last sites in the model's order (attention, MLP, residual "
        'stream of each layer). The two rules with "residual first" take every residual site before any other.',
    ]
    for offer, (_, budgets) in OFFERS.items():
        means = mean_shares(kept, offer).sort_values(ascending=False)
        table = pd.DataFrame({"rule": means.index})
        n_sites = next(word for word in offer.split() if word.isdigit())
        for n in budgets:
            cells = [interval(kept, offer, rule, n) for rule in means.index]
            table[f"{n} of {n_sites}"] = [f"{mean:.3f} ({low:.2f}-{high:.2f})" for mean, low, high in cells]
        table["mean"] = means.to_numpy()
        parts += ["", f"### {offer} on offer", "", markdown(table)]
    return "\n".join(parts)


def formula() -> str:
    own = DEFAULT_WEIGHTS
    return f"""## How the score is made

Three measurements for each site, from one forward and backward and some patching; no SAE is opened. Lists are averaged
with their signs within a topic, sizes are then averaged over topics.

- L (`lens_gain`): |mean of what the site's write adds to the logit lens' (clean - corrupted)|.
- A (`ablation_effect`): the corrupted x is put into the clean run at all positions of one role; |mean exact effect|,
  summed over roles.
- G (`gradient_effect`): the effect of coordinate j is the mean over lists of sum_pos g_j (x_corrupted - x_clean)_j. G
  is the Euclidean norm over coordinates, for the position where the metric is read and for all others apart, added.

Each is divided by its largest value over the sites:

    score = ({own.lens:g} L/max L + {own.ablation:g} A/max A + {own.gradient:g} G/max G) * layer factor

The layer factor is 1 unless a discount is asked for ([measured/selection.md](measured/selection.md)). Within limits
of bytes and of number the set with the largest total score is found exactly (integer programme). Of several widths of
one site at most one is chosen; twice the width adds {own.doubling:.0%} to the site's score. That is an assumption: the
bundled SAEs come in one width a site, so it was not tested here.

## Within which limits

Where no sites or layers are named, every site that has an SAE is scored with the model alone, and sites are chosen by
the published sizes of their SAEs (in float32). Only those are downloaded, checked and hashed.

- `--download 25GiB`: of published SAEs, at most so much together; 4 GiB where nothing is said, `all` for no limit. What
  is in the hub's cache already counts the same, so that the same command chooses the same sites on every machine. SAEs
  in a folder have no such limit.
- `--vram 8GiB`: SAEs that could be held together in what the model and its runs leave.
- `--max-sites 4`: so many at most.

The output names the sites, the limits, how many sites each limit left out, and the options that take them. `--layers
all` streams every site; sites that are named are never limited. The choice is stored in the study, and every later
command prints it. Limits other than the default are part of the default folder's name; into a study with `--out` other
limits than its own are refused, and without any it goes on with its choice."""


def choice(grid: pd.DataFrame) -> str:
    own = grid[(grid["lens"] == DEFAULT_WEIGHTS.lens) & (grid["ablation"] == DEFAULT_WEIGHTS.ablation)]
    place = int(own.index[0]) + 1
    singles = grid[grid[["lens", "ablation", "gradient"]].max(axis=1) == 1]
    table = pd.concat([grid.head(6), own, singles]).drop_duplicates().sort_values("mean", ascending=False)
    return f"""## How the weights were chosen

All {len(grid)} ways to split the score into eighths were tried on the {len(FIT)} topics that the tables above leave
out. mean: over the three offers, each the mean over its budgets and topics. The default is number {place} of
{len(grid)}. The first six, and each measurement alone:

{markdown(table)}

The lens gets no weight: it sees only what is written at the position where the metric is read, and nothing of what acts
at earlier positions. It is still measured and drawn.

The weights were fitted three times, on the same topics. First with the SAEs that are bundled now: 0, 0.25 and 0.75.
Then, while the SAE of attn_z.1 was a nested one ([saes-decide.md](../saes-decide.md)), to 0.125, 0.375 and 0.5, the
best on average over both sets of SAEs: what each of its few large features does is hardly first order, so that site's
value grew and the gradient's order got worse (alone it kept 0.800 of 12 attention and MLP sites). That SAE is gone, so
they were fitted a third time, by the table above and on new measurements, and are the first ones again. Which weights
are best is a fact about the SAEs too: one SAE in 18 moved all three.

G was changed once, at the first fit. It was the sum of the absolute coordinate effects. Eleven other forms were
compared once, by hand, on the same {len(FIT)} topics, and the Euclidean norm replaced it: it ranks sites better
(gradient alone, mean over offers and budgets: 0.971 against 0.952) and does not depend on the choice of axes. The
principal directions of x_corrupted - x_clean as axes did slightly better still (0.977), but they need an SVD for each
site, and rounding moves directions of nearly equal size; they were left out. One first look at the old score's shares
took in five of the held-out topics; no weight and no form was chosen by it."""


def discounts(kept: pd.DataFrame) -> str:
    table = pd.DataFrame({"discount": list(DISCOUNTS)})
    for offer, half in HALF.items():
        own = kept[(kept["offer"] == offer) & (kept["n_sites"] == half)].groupby("rule")["share"].mean()
        table[f"{half} of {offer}"] = own[list(DISCOUNTS)].to_numpy()
    weights = DEFAULT_WEIGHTS
    return f"""## What the discounts do

Two discounts exist, both off by default: `last_position` multiplies the parts of A and G at the position where the
metric is read (0 asks where the answer comes from, not where it stands ready); `last_layers` is the factor of the last
layer, reached in equal steps over the last `last_share` ({weights.last_share:g}) of the layers. Both, and the weights,
are changed from Python:

    from saeattr.selection.measure import select_sites
    from saeattr.selection.score import ScoreWeights

    select_sites(task, weights=ScoreWeights(last_position=0.5))

Share of the oracle at half the budget. The value here counts features at the last position and in the last layer in
full, so this table can only say what a discount costs by this measure, not whether it is right for another question.

{markdown(table)}"""


def limits(rows: pd.DataFrame, kept: pd.DataFrame) -> str:
    exact = rows[rows["table"] == "exact"]
    values = exact["exact"].abs().groupby([exact["kind"], exact["layer"], exact["group"]]).sum()
    stream = values.groupby(["kind", "layer"]).mean()["resid_post"]
    share = stream.sum() / values.groupby(["kind", "layer"]).mean().sum()
    blind, ours = mean_shares(kept, STREAM)["last layers"], mean_shares(kept, STREAM)[OURS]
    return f"""## What this cannot show

- **Double counting.** A residual site carries what earlier sites wrote. So the values of residual sites overlap, and
  the value of a set is not what its features do together. Residual sites hold {share:.0%} of the value of all sites
  here, and their mean value goes from {stream.iloc[0]:.1f} at layer 0 to {stream.iloc[-1]:.1f} at layer
  {stream.index[-1]} (all topics). The oracle therefore takes residual sites first, and the last ones above all, where
  the answer stands ready. Among residual sites alone the rule "last layers" keeps {blind:.1%} and ours {ours:.1%}: by
  this value nothing beats taking the last ones. Attention and MLP sites alone overlap less (their writes differ, though
  later ones still depend on earlier ones), and they are the harder test.
- **One tiny model, one behaviour.** 6 layers, a behaviour that was trained in, SAEs of one width. The topics share one
  model, so the intervals over topics say nothing about other models. Whether the weights fit a model of 26 layers, or
  other SAEs of this one, is not known.
- **Single features.** The value adds up exact effects of features patched one at a time. Features that matter only
  together are missed.
- **The features are found by attribution**, which uses the same gradient as G. The effects are exact, but a feature
  that attribution overlooks counts in no site's value; this favours rules with the gradient.
- **Budgets in sites.** All bundled SAEs cost the same, so the choice between widths is not tested."""
