"""Which Neuronpedia source shows an SAE: looked up by the weights' path in sae-lens' directory, never built by hand."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from saeattr.errors import UserError
from saeattr.saes.catalogue import PublishedSae, pick_saes, published_saes, sae_directory
from saeattr.sites import Site

#: Models whose name on the hub is not the one Neuronpedia uses.
_OTHER_NAMES = {"gpt2": "gpt2-small"}


@dataclass(frozen=True)
class Source:
    """An SAE on Neuronpedia.

    Attributes:
        model, source: its ids there, e.g. ``gemma-2-2b`` and ``20-gemmascope-res-16k``.
        repo, path: where the weights lie on the hub; a label is doubtful if Neuronpedia names others.
        note: what a reader of the page should know.
    """

    model: str
    source: str
    repo: str
    path: str
    note: str = ""


@dataclass(frozen=True)
class NoSource:
    """Why an SAE has no page on Neuronpedia."""

    note: str


def find_source(repo: str, path: str) -> Source | None:
    """The source of the weights at ``path`` in a hub repository: the canonical release first, then the full ones.

    The same weights occur in both, and often only the canonical entry carries an id; where both do, the canonical one
    is used.
    """
    found = _ids_by_path().get((repo, path.strip("/")))
    if not found:
        return None
    model, _, source = found[0].partition("/")
    return Source(model, source, repo, path.strip("/"))


def study_sources(
    record: Mapping[str, Any], sites: Iterable[Site], used: Mapping[str, str] | None = None
) -> dict[Site, Source | NoSource]:
    """The source of each site's SAE in a study, or why there is none.

    Args:
        record: study.yaml.
        used: the SAE of each site as the study recorded it, ``release/sae_id``. Without it the SAEs are picked again
            from the settings, which is the same unless sae-lens' directory has changed.
    """
    settings = record["settings"]
    saes, model = settings.get("saes") or "bundled", str(settings["model"])
    releases = [name.strip() for name in saes.split(",") if name.strip()]
    if saes == "bundled":
        reason = NoSource("the bundled SAEs are not on Neuronpedia: the feature pages of report.html show the same")
        return dict.fromkeys(sites, reason)
    if Path(saes).expanduser().is_dir() or not all(name in sae_directory() for name in releases):
        folders = _local_folders(Path(saes).expanduser())
        return {site: _of_local(folders.get(site), model) for site in sites}
    picked = pick_saes(releases, settings.get("sae_width"), settings.get("sae_l0"))
    return {site: _of_published(_by_name((used or {}).get(str(site))) or picked.get(site), model) for site in sites}


def _by_name(name: str | None) -> PublishedSae | None:
    release, _, sae_id = (name or "").partition("/")
    if release not in sae_directory():
        return None
    return next((sae for sae in published_saes(release) if sae.sae_id == sae_id), None)


def _local_folders(root: Path) -> dict[Site, Path]:
    """Where each site's SAE lies; nothing where the folder is gone or no longer holds SAEs."""
    from saeattr.saes.loading import find_saes

    try:
        return {site: file.folder for site, file in find_saes(str(root)).items()}
    except UserError:
        return {}


def _of_local(folder: Path | None, ran_on: str) -> Source | NoSource:
    """A local copy is known by its place: in the hub's cache, or below a folder with the repository's name."""
    place = "" if folder is None else folder.resolve().as_posix()
    for repo, path in _ids_by_path():
        above = place.removesuffix("/" + path)
        if above == place:
            continue
        cached = above.rpartition("/snapshots/")[0].rpartition("/")[2] == f"models--{repo.replace('/', '--')}"
        if cached or above.rpartition("/")[2] == repo.rpartition("/")[2]:
            source = find_source(repo, path)
            assert source is not None
            return _with_note(source, ran_on, source.model)
    return NoSource("local SAEs are not on Neuronpedia: the feature pages of report.html show the same")


def _of_published(sae: PublishedSae | None, ran_on: str) -> Source | NoSource:
    if sae is None:
        return NoSource("the study's SAE is no longer in sae-lens' directory")
    source = find_source(sae.repo, sae.path)
    if source is None:
        return NoSource(f"Neuronpedia has no page for {sae.repo} {sae.path}: the feature pages of report.html stand in")
    return _with_note(source, ran_on, sae.model)


def _with_note(source: Source, ran_on: str, trained_on: str) -> Source:
    """The source, saying so where the study ran on another model than the page shows."""
    name = ran_on.rstrip("/").rpartition("/")[2]
    if _is_chat(name) == _is_chat(source.model) and _plain(name) in (_plain(source.model), _plain(trained_on)):
        return source
    note = f"the study ran on {name}; the page shows the SAE on {source.model}, which it was trained on"
    return Source(source.model, source.source, source.repo, source.path, note)


def _plain(model: str) -> str:
    name = model.rpartition("/")[2].lower().removesuffix("-pt")
    return _OTHER_NAMES.get(name, name)


def _is_chat(model: str) -> bool:
    return any(part in ("it", "instruct", "chat") for part in model.lower().split("-"))


@functools.cache
def _ids_by_path() -> dict[tuple[str, str], list[str]]:
    """Neuronpedia ids by repository and path, those of canonical releases first."""
    found: dict[tuple[str, str], list[str]] = {}
    directory = sae_directory()
    for release in sorted(directory, key=lambda name: not name.endswith("-canonical")):
        for sae in directory[release]["saes"]:
            if sae.get("neuronpedia"):
                key = (directory[release]["repo_id"], str(sae["path"]).strip("/"))
                found.setdefault(key, []).append(sae["neuronpedia"])
    return found


SITE_URL = "https://www.neuronpedia.org"
API_URL = f"{SITE_URL}/api"


def index_text(feature: int | str) -> str:
    """A feature's index as Neuronpedia compares it: a string of digits, without leading zeros.

    Raises:
        UserError: it is not a whole number from zero up.
    """
    text = str(feature)
    if isinstance(feature, bool) or not (text.isascii() and text.isdigit()):
        raise UserError(f"{feature!r} is not a feature's index: it is a whole number from 0 up")
    return str(int(text))


def feature_url(model: str, source: str, feature: int | str) -> str:
    """The page of a feature, e.g. ``https://www.neuronpedia.org/gemma-2-2b/20-gemmascope-res-16k/16323``."""
    return f"{SITE_URL}/{_path(model, source, feature)}"


def embed_url(model: str, source: str, feature: int | str) -> str:
    """The page of a feature for an iframe, with all its parts (Neuronpedia leaves out those switched off by name)."""
    return f"{feature_url(model, source, feature)}?embed=true"


def api_url(model: str, source: str, feature: int | str, base_url: str = API_URL) -> str:
    """Where a feature's JSON lies."""
    return f"{base_url}/feature/{_path(model, source, feature)}"


def _path(model: str, source: str, feature: int | str) -> str:
    return f"{quote(model, safe='')}/{quote(source, safe='')}/{index_text(feature)}"
