"""What the terminal shows of a study: progress by stage, then the top features and where everything lies."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from saeattr.neuronpedia.study_file import read_links
from saeattr.report.labels import label_texts
from saeattr.report.study_tables import check_table, generation_table, shared_table, topic_table
from saeattr.results import Study

#: With more topics than this, only the shared features are printed.
TOPICS_IN_FULL = 3


class StageProgress:
    """A progress bar for each stage of each topic, on standard error; called as ``OnProgress``."""

    def __init__(self) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )
        self._tasks: dict[tuple[str, str], TaskID] = {}

    def __enter__(self) -> StageProgress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._tasks:
            self._progress.stop()

    def __call__(self, topic: str, stage: str, done: int, total: int) -> None:
        key = (topic, stage)
        if not self._tasks:
            # Not before there is something to show: a refusal prints its one line only.
            self._progress.start()
        if key not in self._tasks:
            self._tasks[key] = self._progress.add_task(f"{escape(topic)}: {stage}", total=total)
        self._progress.update(self._tasks[key], completed=done, total=total)


def print_study(study: Study, top: int, console: Console | None = None) -> None:
    """Print the top features of each topic (of all topics, if many), the checks and the files."""
    console = console or Console()
    features = study.features()
    labels = label_texts(read_links(study.folder).labels)
    if len(study.topics) <= TOPICS_IN_FULL:
        for topic in study.topics:
            console.print(topic_table(features[features["topic"] == topic].head(top), topic, study, labels))
    if len(study.topics) > 1:
        console.print(shared_table(features, len(study.topics), top, labels))
    console.print(check_table(study.site_effects()))
    generation = study.generation()
    if not generation.empty:
        console.print(generation_table(generation))
    for warning in study.warnings:
        console.print(f"[yellow]note[/] {escape(warning)}")
    console.print(f"tables   {escape(str(study.folder.root))}/*.parquet", highlight=False)
    if study.figures:
        console.print(f"figures  {escape(str(study.folder.figures))}/*.png (and .svg)", highlight=False)
        for path in study.figures:
            console.print(f"         {escape(path.name)}", highlight=False)
