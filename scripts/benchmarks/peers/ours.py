"""saeattr itself: the core (runs, SAEs, tables in memory), and everything that a command does."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

import saeattr
from benchmarks.peers.arithmetic import Effects
from benchmarks.peers.case import GROUP, Case, pairs_folder
from benchmarks.peers.contestant import Contestant
from saeattr.attribution.group import GroupTables, attribute_group
from saeattr.runs.question import Pace, Question
from saeattr.runs.task import Task
from saeattr.saes.formats import config_file
from saeattr.tables import at_site


class Core(Contestant):
    """``attribute_group``: pairs to tables, whole-site checks in a few pairs included."""

    def __init__(self, case: Case) -> None:
        self.lm = case.open_model()

    def run(self, case: Case) -> GroupTables:
        files = [config_file(case.sae_folder(site) / "cfg.json") for site in case.sites]
        return attribute_group(Task(self.lm, case.pairs(), files, Question(), Pace(case.batch_size)))

    def effects(self, case: Case, found: GroupTables) -> Effects:
        return as_effects(case, found.pair_effects, found.site_effects)


@dataclass(frozen=True)
class Stored:
    """What a study's folder holds of a run: ``tables.PAIR_EFFECTS`` and ``tables.SITE_EFFECTS``."""

    pair_effects: pd.DataFrame
    site_effects: pd.DataFrame


class Command(Contestant):
    """``saeattr attribute`` without validation and figures: files checked, plan, attribution, a study on disk.

    The pairs are there already, for peers sample none either. Opening the model is counted apart.
    """

    began = 0.0

    def run(self, case: Case) -> Stored:
        with tempfile.TemporaryDirectory() as name:
            study = saeattr.attribute(
                GROUP,
                out=name,
                figures=False,
                validate_top=0,
                model=str(case.model_folder),
                saes=str(case.sae_folder(case.sites[0]).parent),
                sites=[str(site) for site in case.sites],
                pairs_of=str(pairs_folder(case.root, case.n_lists)),
                batch_size=case.batch_size,
                device="cpu",
                on_progress=self.note,
            )
            began = time.perf_counter()
            parts = [path for path in Path(name).rglob("*.parquet") if "pair_effects" in path.name]
            stored = Stored(pd.concat(map(pd.read_parquet, parts)), study.site_effects())
            self.apart += time.perf_counter() - began
            return stored

    def note(self, group: str, step: str, done: int, total: int) -> None:
        """Time the model's opening by the command's own progress."""
        if step == "loading the model":
            now = time.perf_counter()
            self.began, self.apart = (now, 0.0) if not done else (self.began, now - self.began)

    def effects(self, case: Case, found: Stored) -> Effects:
        return as_effects(case, found.pair_effects, found.site_effects)


def as_effects(case: Case, features: pd.DataFrame, errors: pd.DataFrame) -> Effects:
    """The tables as peers give them: by site [pairs, d_sae + 1]."""
    row = {pair.pair_id: nth for nth, pair in enumerate(case.pairs())}
    found: Effects = {}
    for site in case.sites:
        here, there = (at_site(table, site) for table in (features, errors))
        matrix = torch.zeros(len(row), case.shape.d_sae + 1)
        at = torch.tensor(here["pair_id"].map(row).to_numpy()), torch.tensor(here["feature"].to_numpy()).long()
        matrix[at] = torch.tensor(here["effect"].to_numpy(dtype="float32"))
        rows = torch.tensor(there["pair_id"].map(row).to_numpy())
        matrix[rows, -1] = torch.tensor(there["error_effect"].to_numpy(dtype="float32"))
        found[str(site)] = matrix
    return found
