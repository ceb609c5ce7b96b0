"""The top features of a study on Neuronpedia: links and labels, quick lists, lists, and pages in its JSON."""

from __future__ import annotations

import functools
import webbrowser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pandas as pd

from saeattr.errors import UserError
from saeattr.features.detail import feature_details
from saeattr.features.recurrence import largest_features
from saeattr.neuronpedia.answers import FeatureAnswer
from saeattr.neuronpedia.client import Client, NoAnswer, Wanted, open_client
from saeattr.neuronpedia.dashboard import write_dashboards
from saeattr.neuronpedia.exports import Exports
from saeattr.neuronpedia.links import Sources, find_sources, link_study, site_notes, top_set, with_source
from saeattr.neuronpedia.lists import ListItem, list_requests, quick_list_urls, read_key, request_text, send_list
from saeattr.neuronpedia.lookup import feature_table, gap_notes, look_up
from saeattr.neuronpedia.source import API_URL
from saeattr.progress import OnProgress, about, quiet
from saeattr.study.lock import locked
from saeattr.study.reopen import opened, study_task
from saeattr.study.results import Study
from saeattr.tables import FEATURE, features_of, row_address

#: Pages opened in the browser where there is no quick list.
OPENED = 20


@dataclass(frozen=True)
class Inspection:
    """What Neuronpedia shows of a study's top features.

    Attributes:
        table: one row a feature, that of the largest effect first: layer, kind, feature, effect (mean over the groups
            that have it), n_groups, model_id, source_id, index, url, embed_url, label, doubtful, exists (on
            Neuronpedia; None where that was not found out), density, top_tokens (it writes for), example (before, at
            and after its largest activation there), note (why there is no page or label).
        quick_lists: addresses of pages that show all features known to be there.
        notes: what a reader should know, one line each.
        path: neuronpedia.json.
        requests: what ``make_list`` would send, with ``dry_run``.
        list_url: the list that was made.
        dashboards: the files that ``export_dashboard`` wrote.
    """

    table: pd.DataFrame
    quick_lists: tuple[str, ...]
    notes: tuple[str, ...]
    path: Path
    requests: tuple[str, ...] = ()
    list_url: str | None = None
    dashboards: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Inspecting:
    """What to look up, and what to do with it.

    Attributes:
        top, layer: so many features are looked up, those of the largest mean effect, of one layer or of all.
        network: False asks nothing and takes what the cache has.
        exports: a folder of Neuronpedia's bulk exports, read before anything is asked for.
        make_list: make a list of this name with the features; needs the key in ``NEURONPEDIA_API_KEY``.
        dry_run: only say which requests would make it.
        open_pages: show the quick lists in the browser (without one, the first features' pages).
        export_dashboard: a folder for the features' pages in Neuronpedia's JSON, computed with the study's model.
    """

    top: int = 20
    layer: int | None = None
    network: bool = True
    exports: str | Path | None = None
    make_list: str | None = None
    dry_run: bool = False
    open_pages: bool = False
    export_dashboard: str | Path | None = None


def inspect(
    study: str | Path | Study, *, client: Client | None = None, on_progress: OnProgress = quiet, **options: Any
) -> Inspection:
    """Find the study's top features on Neuronpedia and write neuronpedia.json.

    Args:
        study: its folder, or what ``attribute`` returned.
        client: how to ask; by default Neuronpedia itself, with the user's cache.
        options: any field of ``Inspecting``, e.g. ``top=50, network=False``.

    Raises:
        UserError: it is no study, has no such feature, an option cannot be used, or the list could not be made.
    """
    known_options = [field.name for field in fields(Inspecting)]
    for name in options:
        if name not in known_options:
            raise UserError(f"{name!r} is not an option of inspect, which takes {', '.join(known_options)}")
    wanted = Inspecting(**options)
    key = _check_list(wanted.make_list, wanted.dry_run, wanted.network)
    known_study = opened(study)
    with locked(known_study.folder.root, on_progress=on_progress):
        return _inspect(known_study, wanted, key, client or open_client(network=wanted.network), on_progress)


def _inspect(
    known_study: Study, wanted: Inspecting, key: str | None, client: Client, on_progress: OnProgress
) -> Inspection:
    features = known_study.features()
    chosen = _chosen(features, wanted.top, wanted.layer)
    sources = find_sources(known_study, features)
    keys = features_of(chosen)
    exported = _exported(wanted.exports, with_source([*keys, *top_set(features)], sources))
    asking = functools.partial(on_progress, "inspect", "asking Neuronpedia")
    on_neuronpedia = look_up(with_source(keys, sources), client, exported, asking)
    told = {**exported, **{one: found.answer for one, found in on_neuronpedia.items()}}
    answers = {one: answer for one, answer in told.items() if isinstance(answer, FeatureAnswer)}
    path, links = link_study(known_study, client=client, answers=answers)
    table = pd.concat([chosen, feature_table(keys, sources, on_neuronpedia, links)], axis=1)
    known = [one for one, found in on_neuronpedia.items() if found.exists]
    quick_lists = tuple(quick_list_urls(f"saeattr: {known_study.record['model']['name']}", known))
    notes = (*site_notes({site: sources[site] for site, _ in keys}), *gap_notes(on_neuronpedia))
    found = Inspection(table, quick_lists, notes, path)
    if wanted.make_list is not None:
        requests, list_url = _make_list(wanted.make_list, table, known, known_study, client, key)
        found = replace(found, requests=requests, list_url=list_url)
    if wanted.export_dashboard is not None:
        labels = {address: link.label for address, link in links.items() if link.label and not link.doubtful}
        folder = Path(wanted.export_dashboard).expanduser()
        found = replace(found, dashboards=_dashboards(known_study, chosen, sources, labels, folder, on_progress))
    if wanted.open_pages:
        for url in quick_lists or table["url"].dropna().head(OPENED):
            webbrowser.open(url)
    return found


def _check_list(make_list: str | None, dry_run: bool, network: bool) -> str | None:
    """The key, where one is needed: a missing one is told before anything is asked."""
    if make_list is None:
        if dry_run:
            raise UserError("--dry-run shows the requests that would make a list: give its name with --make-list")
        return None
    if dry_run:
        return None
    if not network:
        raise UserError("a list is made over the network: leave out --no-network, or look at it with --dry-run")
    return read_key()


def _exported(folder: str | Path | None, wanted: Sequence[Wanted]) -> dict[Wanted, FeatureAnswer | NoAnswer]:
    """What the exports say, of the whole top set: they are read once, whatever is wanted of them."""
    if folder is None:
        return {}
    return dict(zip(wanted, Exports(Path(folder).expanduser()).answers(wanted), strict=True))


def _chosen(features: pd.DataFrame, top: int, layer: int | None) -> pd.DataFrame:
    """layer, kind, feature, effect and n_groups of the features to look up, the largest first."""
    if features.empty:
        raise UserError("the study holds no feature: use more lists or groups")
    own = features if layer is None else features[features["layer"] == layer]
    if own.empty:
        layers = ", ".join(map(str, sorted(features["layer"].unique())))
        raise UserError(f"the study has no feature in layer {layer}: its layers are {layers}")
    means = own.groupby(FEATURE, as_index=False).agg(effect=("effect_mean", "mean"), n_groups=("group", "nunique"))
    return largest_features(own, top)[FEATURE].merge(means, on=FEATURE, how="left")


def _make_list(
    name: str, table: pd.DataFrame, known: Sequence[Wanted], study: Study, client: Client, key: str | None
) -> tuple[tuple[str, ...], str | None]:
    """The requests in words, and the address of the list where a key is there to make it."""
    rows = {(row["source_id"], row["feature"]): row for row in table.to_dict("records")}
    items = []
    for source, feature in known:
        row = rows[source.source, feature]
        words = f"{row_address(row)}: effect {row['effect']:+.3f}"
        items.append(ListItem(source, feature, words))
    requests = list_requests(name, f"saeattr, {study.record['model']['name']}, {study.metric_label}", items)
    if key is None or client.transport is None:
        base_url = API_URL if client.transport is None else client.transport.base_url
        return tuple(request_text(base_url, request) for request in requests), None
    return (), send_list(client.transport, requests, key)


def _dashboards(
    study: Study,
    chosen: pd.DataFrame,
    sources: Sources,
    labels: Mapping[str, str],
    folder: Path,
    on_progress: OnProgress,
) -> tuple[Path, ...]:
    """The features' pages in Neuronpedia's JSON."""
    task = study_task(study, about(on_progress, "inspect"))
    contexts, details = feature_details(task, chosen, with_upstream=False)
    return tuple(write_dashboards(folder, details, contexts, sources, study.record["model"]["name"], labels))
