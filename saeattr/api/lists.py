"""Lists by themselves, before anything is attributed: drawing many, reading others', and counting what they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from saeattr.behaviours.behaviour import find_behaviour
from saeattr.behaviours.lists.sampling import Sampling
from saeattr.behaviours.lists.topics import find_length, resolve_topics
from saeattr.corpus.exceptions import exceptions, odd_lists
from saeattr.corpus.generate import Generation, begin_folder, generate, list_parts
from saeattr.corpus.marks import Marks
from saeattr.corpus.read import ListSource, find_lists
from saeattr.corpus.reading import Reading
from saeattr.corpus.statistics import Counting, Problems, count_lists
from saeattr.corpus.summary import blank_positions, summarise_lists
from saeattr.errors import UserError
from saeattr.files import write_tables
from saeattr.model.loading import find_model, load_model, load_tokenizer, model_name
from saeattr.progress import OnProgress, quiet
from saeattr.settings import StudySettings, make_settings
from saeattr.study.lock import locked
from saeattr.study.passed import take_passed
from saeattr.study.prepare import known_model, resolve
from saeattr.tables import LIST_BLANKS, LIST_EXCEPTIONS, LIST_STATISTICS, LIST_SUMMARY


@dataclass(frozen=True)
class ListStatistics:
    """What lists are like.

    Attributes:
        lists: one row a list (``tables.LIST_STATISTICS``).
        problems: rows that are no list, counted and named.
        tokens_of: whose tokens were counted.
    """

    lists: pd.DataFrame
    problems: Problems
    tokens_of: str

    @cached_property
    def summary(self) -> pd.DataFrame:
        """By topic, request, temperature and source, with intervals (``tables.LIST_SUMMARY``)."""
        return summarise_lists(self.lists)

    @cached_property
    def blanks(self) -> pd.DataFrame:
        """In how many ended lists a blank follows the last item, the one before, ... (``tables.LIST_BLANKS``)."""
        return blank_positions(self.lists)

    @cached_property
    def exceptions(self) -> pd.DataFrame:
        """Topics unlike the others (``tables.LIST_EXCEPTIONS``)."""
        return exceptions(self.lists)

    @cached_property
    def odd(self) -> pd.DataFrame:
        """Lists that end with a blank where nearly all others do not, or without one where they do."""
        return odd_lists(self.lists)

    def write(self, folder: str | Path) -> Path:
        """Write the tables as Parquet and CSV, and the figures as PNG and SVG.

        Raises:
            UserError: the folder cannot be written.
        """
        from saeattr.reporting.figures.of_lists import draw_statistics

        folder = Path(folder).expanduser()
        tables = {
            LIST_STATISTICS: self.lists,
            LIST_SUMMARY: self.summary,
            LIST_BLANKS: self.blanks,
            LIST_EXCEPTIONS: self.exceptions,
        }
        write_tables(folder, tables)
        draw_statistics(self.summary, self.blanks, self.exceptions, folder)
        return folder


#: The settings of a study that its lists are sampled by.
SAMPLED_BY = (
    *("lists", "n_pairs", "temperature", "top_p", "max_new_tokens", "seed"),
    *("model", "dtype", "batch_size", "device"),
)


def generate_lists(
    topic: str | Sequence[str] = "cities",
    *,
    out: str | Path | None = None,
    request: str | Sequence[str] = "short",
    temperatures: Sequence[float] | None = None,
    on_progress: OnProgress = quiet,
    **settings: Any,
) -> Path:
    """Let the model write lists: so many for each topic, request and temperature, into a folder that is a dataset.

    The same call goes on where an interrupted one stopped; topics, requests and temperatures can be added to a folder.
    ``datasets.load_dataset(folder)`` opens it, and ``list_statistics(folder)`` counts it.

    Args:
        topic: one or more topics, or ``all``.
        out: the folder; by default runs/lists-MODEL.
        request: ``short``, ``long``, ``plain`` (a list, without a word of length), ``few``, ``many``, or several.
        temperatures: in place of the single ``temperature``.
        settings: lists (of each condition), temperature, top_p, max_new_tokens, seed, model, dtype, batch_size, device.

    Returns:
        the folder.

    Raises:
        UserError: a value is out of range, or the folder holds lists of other settings.
    """
    passed, settings = take_passed(settings)
    unknown = [name for name in settings if name not in SAMPLED_BY]
    if unknown:
        raise UserError(f"{unknown[0]!r} is no setting of lists, which take {', '.join(SAMPLED_BY)}")
    wanted = make_settings(settings | passed.names)
    if temperatures is not None and settings.get("temperature") is not None:
        raise UserError("--temperatures says it all: leave out --temperature")
    generation = Generation(
        resolve_topics([topic] if isinstance(topic, str) else topic),
        tuple(find_length(word) for word in ([request] if isinstance(request, str) else request)),
        (wanted.temperature,) if temperatures is None else tuple(map(float, temperatures)),
        _sampling(wanted),
    )
    wanted = resolve(wanted, find_behaviour("lists"), passed.model is not None, with_saes=False)
    model = {"asked": wanted.model, **known_model(wanted, passed).named, "dtype": wanted.dtype}
    folder = Path(out).expanduser() if out is not None else Path("runs") / f"lists-{model['name']}"
    with locked(folder, on_progress=on_progress):
        begin_folder(folder, generation, model)
        if all(part.is_done for part in list_parts(generation, folder)):
            return folder
        if passed.model is not None:
            lm = passed.model.lm
        else:
            lm = load_model(wanted.model, device=wanted.device, dtype=wanted.dtype or "float32")
        generate(lm, generation, folder, on_progress)
    return folder


def list_statistics(
    *sources: str | Path,
    topic: str | Sequence[str] = (),
    request: str | None = None,
    model: str | None = None,
    marks: str | None = None,
    on_progress: OnProgress = quiet,
) -> ListStatistics:
    """Count lists: items, tokens, blanks, repeats, Shannon index, by topic, request, temperature and source.

    Args:
        sources: files, generated folders, study folders, folders of files, or ``org/name`` of datasets on the hub.
        topic: only these; or what the lists are of, where they do not say.
        request: what was asked (short, long, plain, few, many), where neither a list nor its conversation says it.
        model: whose tokenizer counts; by default that of the sources' records, else ``bundled``.
        marks: token ids of the marks that give a list its shape, where there is no tokenizer, such as
            ``end=107,newline=108,...`` (``saeattr.corpus.marks``).

    Raises:
        UserError: a source cannot be read, or holds no list.
    """
    if not sources:
        raise UserError("name one or more sources of lists: a file, a folder, or org/name of a dataset on the hub")
    if marks is not None and model is not None:
        raise UserError("--marks stands in place of a tokenizer: leave out --model")
    found = [find_lists(source) for source in sources]
    topics = resolve_topics([topic] if isinstance(topic, str) else topic) if topic else ()
    counting = Counting(topics, None if request is None else find_length(request))
    if marks is not None:
        reading, tokens_of = Reading.of_marks(Marks(marks)), "the ids themselves"
    else:
        name = model or _model_of(found)
        reading, tokens_of = Reading.of_tokenizer(load_tokenizer(find_model(name, weights=False))), model_name(name)

    def on_count(done: int, total: int) -> None:
        on_progress("reading", "lists", done, total)

    lists, problems = count_lists(found, reading, counting, on_count)
    return ListStatistics(lists, problems, tokens_of)


def _model_of(sources: Sequence[ListSource]) -> str:
    """The model that the sources' records name.

    Raises:
        UserError: they name several.
    """
    models = list(dict.fromkeys(source.model for source in sources if source.model is not None))
    if len(models) > 1:
        raise UserError(f"the lists are of the models {', '.join(models)}: say whose tokens count, with --model")
    return models[0] if models else "bundled"


def _sampling(settings: StudySettings) -> Sampling:
    return Sampling(
        n_lists=settings.n_pairs,
        top_p=settings.top_p,
        max_new_tokens=settings.max_new_tokens,
        batch_size=settings.batch_size,
        seed=settings.seed,
    )
