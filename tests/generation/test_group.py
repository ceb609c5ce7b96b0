"""Ablation while generating for a topic: each site with its own top features, controls and steering."""

from __future__ import annotations

import pandas as pd

from saeattr.behaviours.pair import Pair
from saeattr.generation.ablation import Ablation, Sampling, generate_conditions
from saeattr.generation.group import GenerationPlan, generate_group
from saeattr.generation.moves import mean_difference
from saeattr.generation.summary import CONDITIONS
from saeattr.model.loading import LanguageModel
from saeattr.runs.base import SiteBase
from saeattr.runs.batch import run_batch
from saeattr.runs.question import Pace, Question
from saeattr.runs.task import Task
from saeattr.saes.loading import SaeFile, load_sae
from saeattr.sites import Site
from saeattr.validation.controls import draw_stand_ins, profile_site

BRIEF = Sampling(n_lists=1, temperature=0, max_new_tokens=8)


def test_a_group_is_generated_for_each_site_with_its_own_top_features(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair]
) -> None:
    sites = [Site("resid_post", 1), Site("attn_z", 3), Site("mlp_out", 4)]
    ranked = [(1, "resid_post", 5), (3, "attn_z", 7), (1, "resid_post", 9), (1, "resid_post", 2)]
    features = pd.DataFrame(ranked, columns=["layer", "kind", "feature"]).assign(rank=range(1, 5))
    task = Task(lm, pairs, [saes[site] for site in sites], pace=Pace(batch_size=2))
    found = generate_group(task, features, GenerationPlan(n_features=(2,)), BRIEF)
    assert set(zip(found["kind"], found["layer"], strict=True)) == {("resid_post", 1), ("attn_z", 3)}
    assert set(found["condition"]) == set(CONDITIONS)
    sae = load_sae(saes[sites[0]])
    batch = run_batch(lm, pairs, [sae.site], Question())
    base = SiteBase("corrupted", sae)
    controls = draw_stand_ins(sae, profile_site(base, [batch]), [5, 9], 3, seed=0)
    steering = mean_difference([batch], sae.site)
    alone = generate_conditions(lm, "cities", Ablation(base, [5, 9], controls, steering), BRIEF)
    own = found[found["kind"] == "resid_post"].reset_index(drop=True)
    pd.testing.assert_frame_equal(own, alone)
