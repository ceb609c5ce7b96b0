"""Many lists of the model's own, condition by condition, written part by part so that ten thousand take no more memory.

A condition is a topic, a request and a temperature. Its lists are drawn in parts of ``PART`` lists; a part is a Parquet
file of ``tables.LISTS`` that appears when it is whole, so an interrupted run goes on at the first part that is missing.
A list's random numbers follow from (seed, topic, index) alone: list n of a topic draws the same ones at every
temperature and behind every request, which pairs the conditions.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from saeattr.behaviours.lists.sampling import SampledList, Sampling, prompt_ids, sample_lists
from saeattr.behaviours.lists.table import lists_to_arrow
from saeattr.behaviours.lists.topics import REQUEST_WORDS, Length
from saeattr.errors import UserError
from saeattr.files import disk_errors, slug, write_table, write_text
from saeattr.model.loading import LanguageModel
from saeattr.progress import OnCount, OnProgress, quiet
from saeattr.runs.halving import SMALLER_MODEL, until_it_fits
from saeattr.runs.question import Pace
from saeattr.settings.checks import COLDEST, HOTTEST, is_temperature
from saeattr.settings.yaml_files import FAULTS

#: Lists of a part; the most that are held in memory.
PART = 100
RECORD = "lists.yaml"
FORMAT = 1
#: What to do where one list does not fit into memory.
SHORTER = f"lower --max-new-tokens, or {SMALLER_MODEL}"

#: The folder opens as a Hugging Face dataset, whatever its files are called.
CARD = """---
configs:
- config_name: default
  data_files: data/*.parquet
---
# Lists that {model} wrote

One row is one list: `docs/study-folder.md` of saeattr tells the columns of `lists`. Settings are in `lists.yaml`.
"""


@dataclass(frozen=True)
class Generation:
    """Which lists are wanted, and how they are sampled.

    Attributes:
        topics, requests, temperatures: every combination is a condition.
        sampling: what all conditions share; its n_lists is of each condition.

    Raises:
        UserError: a temperature is out of range or given twice, or there is nothing to draw.
    """

    topics: tuple[str, ...]
    requests: tuple[Length, ...] = ("short",)
    temperatures: tuple[float, ...] = (0.8,)
    sampling: Sampling = dataclasses.field(default_factory=Sampling)

    def __post_init__(self) -> None:
        for temperature in self.temperatures:
            if not is_temperature(temperature):
                raise UserError(
                    f"temperature {temperature:g} is not allowed: give 0, or a number from {COLDEST:g} to {HOTTEST:g}"
                )
        for name, values in (("temperature", self.temperatures), ("request", self.requests)):
            if not values or len(set(values)) < len(values):
                raise UserError(f"each {name} is given once, and at least one: {', '.join(map(str, values)) or 'none'}")
        if self.sampling.n_lists < 1:
            raise UserError(f"{self.sampling.n_lists} lists are not allowed: give 1 or more")

    @property
    def conditions(self) -> Iterator[tuple[str, Length, float]]:
        return itertools.product(self.topics, self.requests, self.temperatures)

    @property
    def n_lists(self) -> int:
        """Of all conditions together."""
        return self.sampling.n_lists * len(list(self.conditions))

    def identity(self) -> dict[str, Any]:
        """What decides a condition's lists; conditions are added to a folder, and these stay."""
        sampling = self.sampling
        return {
            "lists": sampling.n_lists,
            "top_p": sampling.top_p,
            "max_new_tokens": sampling.max_new_tokens,
            "seed": sampling.seed,
        }


@dataclass(frozen=True)
class Part:
    """Some of one condition's lists, and the file that they go into."""

    path: Path
    topic: str
    sampling: Sampling

    @property
    def is_done(self) -> bool:
        if not self.path.exists():
            return False
        try:
            return pq.read_metadata(self.path).num_rows == self.sampling.n_lists
        except (OSError, pa.ArrowException):
            # What is damaged is made again.
            return False


def list_parts(generation: Generation, folder: Path) -> Iterator[Part]:
    """The parts of all conditions, in the order in which they are drawn."""
    whole = generation.sampling
    for topic, request, temperature in generation.conditions:
        for first in range(0, whole.n_lists, PART):
            name = f"{slug(topic)}-{REQUEST_WORDS[request]}-t{temperature:g}-{first:05d}.parquet"
            sampling = Sampling(
                n_lists=min(PART, whole.n_lists - first),
                length=request,
                temperature=temperature,
                top_p=whole.top_p,
                max_new_tokens=whole.max_new_tokens,
                batch_size=whole.batch_size,
                seed=whole.seed,
                first=first,
            )
            yield Part(folder / "data" / name, topic, sampling)


def begin_folder(folder: Path, generation: Generation, model: Mapping[str, Any]) -> None:
    """Make the folder with its record, or check that it holds lists of the same settings.

    Args:
        model: what tells the model apart: its name, dtype and fingerprint.

    Raises:
        UserError: it holds lists of other settings, or something else; or it cannot be written.
    """
    record = {"format": FORMAT, "model": dict(model), "settings": generation.identity()}
    if (folder / RECORD).exists():
        known = read_record(folder)
        differing = [
            f"{part}.{name}" for part in ("model", "settings") for name in _differing(known[part], record[part])
        ]
        if differing:
            part, name = differing[0].split(".", 1)
            raise UserError(
                f"{folder} holds lists of other settings ({name} is {known[part].get(name)!r} there and "
                f"{record[part].get(name)!r} here): give the same ones, or another folder with --out"
            )
        for leftover in folder.glob("data/.*.tmp"):
            leftover.unlink(missing_ok=True)
        return
    # Hidden files are no content: the lock of this run is one.
    if folder.exists() and not (folder.is_dir() and all(path.name[0] == "." for path in folder.iterdir())):
        raise UserError(f"{folder} exists and holds no generated lists: give another folder with --out")
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "README.md", CARD.format(model=model["name"]))
    write_text(folder / RECORD, yaml.safe_dump(record, sort_keys=False, allow_unicode=True))


def read_record(folder: Path) -> dict[str, Any]:
    """The record of a folder of generated lists.

    Raises:
        UserError: it is damaged or of another version.
    """
    path = folder / RECORD
    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, *FAULTS) as error:
        raise UserError(f"{path} cannot be read: {(str(error).splitlines() or [type(error).__name__])[0]}") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise UserError(f"{path} is not the record of lists that this version can read")
    return record


def generate(
    lm: LanguageModel, generation: Generation, folder: Path, on_progress: OnProgress = quiet
) -> tuple[int, int]:
    """Draw the lists that a begun folder lacks, part by part.

    Where memory runs out, a part is drawn again with half as many lists at a time, and so are those behind it.

    Returns:
        how many lists were drawn now, and how many were there.

    Raises:
        UserError: the tokenizer lacks a chat template or a mark, one list at a time does not fit into memory, or the
            folder cannot be written.
    """
    for topic, request, _ in generation.conditions:
        prompt_ids(lm.tokenizer, topic, request)
    drawn, there, pace = 0, 0, Pace(generation.sampling.batch_size, copies=1)
    for part in list_parts(generation, folder):
        if part.is_done:
            there += part.sampling.n_lists
            continue

        def on_count(done: int, _: int, before: int = drawn + there) -> None:
            on_progress("sampling", "lists", before + done, generation.n_lists)

        def attempt(pace: Pace, part: Part = part, on_count: OnCount = on_count) -> list[SampledList]:
            sampling = dataclasses.replace(part.sampling, batch_size=pace.batch_size)
            return sample_lists(lm, part.topic, sampling, on_count=on_count)

        lists, pace = until_it_fits(lm.device, pace, attempt, one="one list", mend=SHORTER)
        write_table(part.path, lists_to_arrow(lists))
        drawn += part.sampling.n_lists
    return drawn, there


def _differing(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    return [name for name in dict.fromkeys([*known, *wanted]) if known.get(name) != wanted.get(name)]
