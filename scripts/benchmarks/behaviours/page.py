"""docs/behaviours.md, from what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.sections import markdown
from saeattr.behaviours.behaviour import find_behaviour
from saeattr.behaviours.ready import READY
from saeattr.files import write_text
from saeattr.study.results import Study

TOP_SITES, TOP_FEATURES = 5, 6


@dataclass(frozen=True)
class Measured:
    """A behaviour's study."""

    name: str
    study: Study


def write_page(measured: list[Measured], figures: dict[str, Any], out: Path, n_pairs: int) -> None:
    sections = [HEAD, ready_table(), TYPED, model_section(figures)]
    sections += [behaviour_section(one, n_pairs) for one in measured]
    write_text(out / "behaviours.md", "\n\n".join(sections) + "\n")


HEAD = """# Ready behaviours

Rows of prompts drawn from templates and words written for this program, for any tokenizer: names, nouns, verbs and
years are used only where they are single tokens, and how many are is said. The page was made by
`python scripts/benchmark.py behaviours`; every number below is measured by it, on a model that
`python scripts/build_behaviours.py` trains. Nothing below was measured on GPT-2 or Gemma."""

TYPED = """## What to type

    saeattr behaviours                                               # all of them, with an example each
    saeattr attribute --behaviour ioi --model gpt2
    saeattr attribute --behaviour greater-than --model gpt2 --n-pairs 50
    saeattr attribute --behaviour agreement --group across-rc --model gemma-2-2b --max-sites 4
    saeattr attribute --behaviour refusal --model gemma-2-2b-it
    saeattr pairs write --behaviour ioi --model gpt2 --n-pairs 100 --out ioi.jsonl
    saeattr attribute --pairs ioi.jsonl --model gpt2                 # after editing it

`--group` names groups (`all` for every one), `--n-pairs` how many rows of each, `--seed` others. Tests use rows of
another seed, none of which is among the first. What a tokenizer cannot say is refused in a line: GPT-2 has no chat
template, so no `refusal`; Gemma writes years digit by digit, so `greater-than` asks for the tens digit there; a
tokenizer that writes digits in threes has no `greater-than`."""


def ready_table() -> str:
    rows = []
    for name in READY:
        one = find_behaviour(name)
        groups = ", ".join(one.groups(("all",)))
        rows.append({"behaviour": f"`{name}`", "asks": one.help, "groups": groups, "reported": one.literature})
    return markdown(pd.DataFrame(rows)).replace("---:", "---")


def model_section(figures: dict[str, Any]) -> str:
    held_out = pd.DataFrame(figures["held_out"])
    parts = ["" if part == "" else f", {part}" for part in held_out["part"]]
    held_out["group"] = held_out["group"] + parts
    shown = held_out[["behaviour", "group", "rows", "right", "difference", "number_difference"]]
    shown = shown.astype(object).where(shown.notna(), "")
    saes = pd.DataFrame([{"site": site, **row} for site, row in figures["saes"].items()])
    saes = saes[["site", "width", "l0", "unexplained", "dead", "loss_recovered"]]
    return f"""## The small model

    python scripts/build_behaviours.py

trains a Gemma 2 of {figures["parameters"]:,} parameters from scratch on sentences of the two generators
({figures["steps"]} steps), then an SAE for each of {len(saes)} sites, into `models/behaviours`:
{figures["processor_minutes"]:.1f} minutes of one processor on one thread ({figures["minutes"]:.1f} by the clock on a
machine that had other work). A fifth of all combinations of subject and verb never came in training, in
either number, and a fifth of all years (century and two digits) never began anything. On rows with just those:

{markdown(shown)}

right: share of rows in which the answers together are likelier than the wrong ones. difference: of their probabilities,
mean. number_difference: of the probabilities of all verbs of the right number and of the other. The difference of one
verb is small because a dozen verbs share the probability, and this one was never seen behind its subject.

What this does not show: every noun, verb and two-digit number was seen with others, so the test is of combining them,
not of new words; and the sentences are those of the templates.

{markdown(saes)}

On sentences of another seed. unexplained: fraction of variance; dead: features that never fired there; loss_recovered:
(loss with the site at zero - with the SAE) / (loss with the site at zero - plain)."""


def behaviour_section(one: Measured, n_pairs: int) -> str:
    study = one.study
    points = study.metric_by_point().groupby(["group", "run"])["metric"].mean().unstack()
    points = points.reset_index()[["group", "clean", "corrupted"]]
    tested = study.validation()
    verdicts = pd.crosstab(tested["group"], tested["verdict"]).reset_index()
    return f"""## {one.name}

    saeattr attribute --behaviour {one.name} --group all --n-pairs {n_pairs} \\
      --model models/behaviours/model --saes models/behaviours/saes --out runs/behaviours/{one.name}

The metric, {study.metric_label}, mean over pairs:

{markdown(points)}

**Selection.** The {TOP_SITES} sites of the highest scores of {len(study.layer_scores())}:

{markdown(_sites(study))}

**Attribution.** The features of the largest |mean effect| of each group; negative: it supports the answer.

{markdown(_features(study))}

![{one.name}: estimated effects by site and role](behaviours-{one.name}.png)

Estimated effects of all features at a site, by what their tokens are; the scale is the same in all panels. Of their
absolute sum at residual sites {_share_last(study):.1%} is at the last token{_FIRST_LAYER}

**Validation.** Verdicts of the tested features, on pairs that did not rank them:

{markdown(verdicts)}

{markdown(_tested(study))}

**Report.** `saeattr report runs/behaviours/{one.name}` writes one page with all figures and a page of each feature."""


#: What a share near one says of so small a model.
_FIRST_LAYER = """: the first layer's attention has brought what is needed there already,
before any residual site with an SAE. Larger models take several layers, as the papers report."""


def _share_last(study: Study) -> float:
    """Part of the absolute effects at residual sites that is where the metric is read."""
    rows = study.attributions()
    rows = rows[rows["kind"] == "resid_post"]
    return float(rows.loc[rows["role"] == "last", "effect"].abs().sum() / rows["effect"].abs().sum())


def _sites(study: Study) -> pd.DataFrame:
    scores = study.layer_scores().sort_values("score", ascending=False).head(TOP_SITES)
    scores["site"] = scores["kind"] + "." + scores["layer"].astype(str)
    return scores[["site", "score", "lens_gain", "ablation_effect"]]


def _address(rows: pd.DataFrame) -> pd.Series:
    return rows["kind"] + "." + rows["layer"].astype(str) + "/" + rows["feature"].astype(str)


def _features(study: Study) -> pd.DataFrame:
    rows = study.features()
    rows = rows[rows["rank"] <= TOP_FEATURES].sort_values(["group", "rank"], kind="stable")
    rows = rows.assign(feature=_address(rows), token=[repr(token) for token in rows["top_token"]])
    columns = ["group", "rank", "feature", "effect_mean", "effect_low", "effect_high", "n_pairs", "top_role", "token"]
    return rows[columns]


def _tested(study: Study) -> pd.DataFrame:
    """The features of the largest exact effects of each group."""
    rows = study.validation()
    rows = rows.assign(feature=_address(rows), size=rows["exact_median"].abs())
    rows = rows.sort_values(["group", "size"], ascending=[True, False], kind="stable").groupby("group").head(3)
    columns = [
        "group",
        "feature",
        "exact_median",
        "exact_low",
        "exact_high",
        "share",
        "control_high",
        "q_value",
        "verdict",
    ]
    return rows[columns]
