"""The pairs of a finished study, made again from its stored lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from saeattr import bundle
from saeattr.behaviours.lists.pairs import make_pairs
from saeattr.behaviours.lists.parsing import ListMarkers, decoder
from saeattr.behaviours.lists.table import lists_from_rows
from saeattr.behaviours.lists.topics import group_slug
from saeattr.behaviours.pair import Pair
from saeattr.errors import UserError
from saeattr.files import read_table
from saeattr.model.loading import LanguageModel, find_model, load_model, site_widths
from saeattr.saes.loading import SaeFile, find_saes
from saeattr.settings import StudySettings
from saeattr.sites import Site, parse_site
from saeattr.study.folder import StudyFolder
from saeattr.study.results import Study


def study_pairs(lm: LanguageModel, study: StudyFolder, groups: Sequence[str]) -> list[Pair]:
    """All usable pairs of the groups, in order.

    Raises:
        UserError: a group's lists are missing, or were sampled with another tokenizer.
    """
    markers, decode = ListMarkers.from_tokenizer(lm.tokenizer), decoder(lm.tokenizer)
    pairs: list[Pair] = []
    for group in groups:
        lists = lists_from_rows(read_table(study.lists_path(group_slug(group))), markers, decode)
        pairs += make_pairs(lm.tokenizer, lists)[0]
    return pairs


def open_study_model(study: Study) -> tuple[LanguageModel, dict[Site, SaeFile]]:
    """The model and the SAEs that a study was made with.

    Raises:
        UserError: they are no longer where they were.
    """
    fields = {name: study.record["settings"].get(name) for name in StudySettings.model_fields}
    settings = StudySettings.model_validate({name: value for name, value in fields.items() if value is not None})
    widths = site_widths(find_model(settings.model))
    found = find_saes(settings.saes or "bundled", widths, width=settings.sae_width, l0=settings.sae_l0)
    saes = {site: found[site] for site in map(parse_site, study.record["saes"]) if site in found}
    return load_model(settings.model, device=settings.device, dtype=settings.dtype or "float32"), saes


def check_same(record: Mapping[str, Any], saes: Mapping[Site, SaeFile]) -> None:
    """Pages of another model or other SAEs would show other features under the same numbers.

    Raises:
        UserError: the model or an SAE is not the one in study.yaml.
    """
    recorded = record["model"]["sha256"]
    if recorded is not None and bundle.fingerprint(find_model(record["settings"]["model"])) != recorded:
        raise UserError(
            f"the model {record['model']['name']} has changed since the study was made: make the study again with --out"
        )
    for site, file in saes.items():
        known = record["saes"].get(str(site))
        if known is not None and bundle.file_sha256(file.weights) != known:
            raise UserError(f"the SAE for {site} has changed since the study was made: make the study again with --out")
