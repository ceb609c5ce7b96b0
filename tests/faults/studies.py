"""The smallest studies with every stage, and what two folders have in common."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.faults.children import run

#: Two lists of a topic, few controls and no curves.
SMALL = (
    *("--out", "s", "--lists", "2", "--max-new-tokens", "20", "--device", "cpu"),
    *("--validate-top", "2", "--controls", "19", "--validate-lists", "2", "--no-curves"),
)
BOTH = ("--topic", "cities", "--topic", "rivers")
#: Two topics at two sites, without what takes longest: seconds.
ATTRIBUTE = ("attribute", *SMALL, *BOTH, "--sites", "resid_post.2,mlp_out.3", "--no-figures")
#: One topic at one site, with figures and page.
DRAWN = ("attribute", *SMALL, "--topic", "cities", "--sites", "resid_post.2")
#: Every stage, of two topics.
STUDY = ("study", *SMALL, *BOTH, "--sites", "resid_post.2", "--generate-features", "1")

#: Made while figures are drawn.
OVERLAP = "overlap.parquet"
#: What an interrupted run leaves under a name that is not for good.
LEFT_OVER = (".unfinished-*", "*.tmp", ".partial-*")


def made(folder: Path, command: Sequence[str]) -> Path:
    """A study made without any fault, in an empty folder."""
    folder.mkdir(parents=True, exist_ok=True)
    done = run(command, folder)
    assert done.code == 0, done.told
    return folder / "s"


def tables(study: Path) -> dict[str, str]:
    """The checksum of every table of a study, those of single groups and the lists too, and of its record."""
    found = sorted(path for pattern in ("*.parquet", "study.yaml") for path in study.rglob(pattern))
    return {str(path.relative_to(study)): digest(path) for path in found if path.is_file()}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def leftovers(study: Path) -> list[str]:
    return sorted(str(path.relative_to(study)) for pattern in LEFT_OVER for path in study.rglob(pattern))


def shown(study: Path) -> set[str]:
    """Figures and page, by name."""
    pages = [*study.glob("figures/*"), *study.glob("report.html")]
    return {str(path.relative_to(study)) for path in pages if path.stat().st_size}


def difference(study: Path, whole: Path, figures: bool = True) -> str:
    """What a study lacks or has otherwise, in words; blank where nothing.

    Args:
        figures: whether the figures that ``whole`` has must be there too, and the page, and the table that is made
            while they are drawn.
    """
    ours, theirs = tables(study), tables(whole)
    if not figures and OVERLAP not in ours:
        theirs.pop(OVERLAP, None)
    wrong = [name for name in sorted(ours.keys() | theirs.keys()) if ours.get(name) != theirs.get(name)]
    missing = sorted(shown(whole) - shown(study)) if figures else []
    parts = (("differs", wrong), ("missing", missing), ("left over", leftovers(study)))
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in parts if names)


def copied(whole: Path, folder: Path) -> Path:
    """A copy of a study under the name that the commands give it; times are kept."""
    shutil.copytree(whole, folder / "s", symlinks=True)
    return folder / "s"
