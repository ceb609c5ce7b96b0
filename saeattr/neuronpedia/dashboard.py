"""A feature's page as Neuronpedia's API writes it, from a study's own computations, for viewers made for that JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from saeattr.errors import UserError
from saeattr.features.activity import Activity, Context, Firing
from saeattr.features.detail import FeatureDetail
from saeattr.features.directions import LOGITS_NOTE
from saeattr.files import write_text
from saeattr.neuronpedia.answers import Example, example_json
from saeattr.neuronpedia.source import NoSource, Source, index_text

#: Fields of the API for which a study has no number; empty here as they are on many of its own pages.
EMPTY_LISTS = ("neuron_alignment_indices", "neuron_alignment_values", "neuron_alignment_l1")
EMPTY_LISTS += ("correlated_neurons_indices", "correlated_neurons_pearson", "correlated_neurons_l1")
EMPTY_LISTS += ("correlated_features_indices", "correlated_features_pearson", "correlated_features_l1")
EMPTY_LISTS += ("decoder_weights_dist", "vector", "lists", "comments")
EMPTY_TEXTS = ("creatorId", "createdAt", "umap_cluster", "umap_log_feature_sparsity", "umap_x", "umap_y")
EMPTY_TEXTS += ("vectorLabel", "vectorDefaultSteerStrength")


def write_dashboards(
    folder: Path,
    details: Iterable[FeatureDetail],
    contexts: Sequence[Context],
    sources: Mapping[Any, Source | NoSource],
    model: str,
    labels: Mapping[str, str],
) -> list[Path]:
    """Write ``kind.layer/FEATURE.json`` for each feature.

    Args:
        contexts: the lists that ``details`` were made from.
        sources: where each site's SAE is on Neuronpedia, if it is.
        model: the model's name in the study.
        labels: by feature address, as far as there are any.

    Raises:
        UserError: ``folder`` is a file, or cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: give --export-dashboard a folder")
    paths = []
    for detail in details:
        source = sources[detail.site]
        label = labels.get(f"{detail.site}/{detail.feature}")
        value = dashboard_json(detail, contexts, source, model, label)
        paths.append(folder / str(detail.site) / f"{detail.feature}.json")
        write_text(paths[-1], json.dumps(value, allow_nan=False) + "\n")
    return paths


def dashboard_json(
    detail: FeatureDetail, contexts: Sequence[Context], source: Source | NoSource, model: str, label: str | None = None
) -> dict[str, Any]:
    """The feature in the API's field names.

    ``activations`` are the study's lists, clean and corrupted (``dataSource`` says which); ``frac_nonzero`` and the
    histogram of activations are of the clean runs. An SAE that is not on Neuronpedia has its site's address as the
    source id.
    """
    known = source if isinstance(source, Source) else Source(model, str(detail.site), "", "")
    key = {"modelId": known.model, "layer": known.source, "index": index_text(detail.feature)}
    activity = detail.activity
    return {
        **key,
        "sourceSetName": known.source.partition("-")[2] or str(detail.site.kind),
        "maxActApprox": _peak(activity),
        "frac_nonzero": activity.active_clean / max(1, activity.n_tokens),
        "pos_str": [token for token, _ in detail.top_logits],
        "pos_values": [value for _, value in detail.top_logits],
        "neg_str": [token for token, _ in detail.bottom_logits],
        "neg_values": [value for _, value in detail.bottom_logits],
        "freq_hist_data_bar_heights": list(activity.counts_clean),
        "freq_hist_data_bar_values": _centres(activity.edges),
        "logits_hist_data_bar_heights": list(detail.logit_counts),
        "logits_hist_data_bar_values": _centres(detail.logit_edges),
        "topkCosSimIndices": [detail.feature, *(feature for feature, _ in detail.neighbours)],
        "topkCosSimValues": [1.0, *(cosine for _, cosine in detail.neighbours)],
        **{name: [] for name in EMPTY_LISTS},
        **dict.fromkeys(EMPTY_TEXTS),
        "hasVector": False,
        "hookName": detail.site.hook_name,
        "model": {"id": known.model, "displayName": model},
        "source": _source_json(known, detail, activity),
        "sourceSet": {"modelId": known.model, "name": known.source.partition("-")[2] or str(detail.site.kind)},
        "activations": [{**key, **one} for one in _activations(activity.firings, contexts)],
        "explanations": [] if label is None else [{**key, "description": label, "scores": []}],
    }


def _source_json(source: Source, detail: FeatureDetail, activity: Activity) -> dict[str, Any]:
    return {
        "id": source.source,
        "modelId": source.model,
        "setName": source.source.partition("-")[2] or str(detail.site.kind),
        "saelensRelease": None,
        "hfRepoId": source.repo or None,
        "hfFolderId": source.path or None,
        "saelensConfig": {"hook_name": detail.site.hook_name, "hook_layer": detail.site.layer},
        "num_prompts": None,
        "num_tokens_in_prompt": None,
        "dataset": "lists sampled by saeattr",
        "notes": f"Written by saeattr from {activity.n_tokens} tokens of the study's lists. Logits: {LOGITS_NOTE}",
    }


def _activations(firings: Sequence[Firing], contexts: Sequence[Context]) -> list[dict[str, Any]]:
    """One entry a list and run in which the feature is active, the largest activation first."""
    entries = []
    for firing in firings:
        context = contexts[firing.context]
        swapped = tuple(context.swaps.get(at, token) for at, token in enumerate(context.tokens))
        for run, tokens, values in (("clean", context.tokens, firing.clean), ("corrupted", swapped, firing.corrupted)):
            if values is not None and max(values, default=0.0) > 0:
                dense = dict(zip(firing.position, values, strict=True))
                example = Example(tokens, tuple(dense.get(at, 0.0) for at in range(len(tokens))))
                entries.append(
                    {**example_json(example), **_activation_rest(f"{context.group} {context.pair_id} {run}")}
                )
    return sorted(entries, key=lambda entry: -entry["maxValue"])


def _activation_rest(where: str) -> dict[str, Any]:
    """The other fields of an activation; -1 stands for no bin, as in the API's answers."""
    nothing = ("dataIndex", "dfaTargetIndex", "dfaMaxValue", "logitContributions", "qualifyingTokenIndex")
    bins = {"binMin": -1, "binMax": -1, "binContains": -1}
    return {"dataSource": where, **bins, "dfaValues": [], "lossValues": [], **dict.fromkeys(nothing)}


def _peak(activity: Activity) -> float:
    """The largest activation in either run: the histogram's last edge, where the feature fires at all."""
    return activity.edges[-1] if activity.firings else 0.0


def _centres(edges: Sequence[float]) -> list[float]:
    return [(low + high) / 2 for low, high in pairwise(edges)]
