"""study.yaml, plan.json and neuronpedia.json of a study with anything in them: what they say, or one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from saeattr.neuronpedia.links import FILE, read_links
from saeattr.settings import StudySettings, recorded_settings
from saeattr.study.folder import FORMAT, StudyFolder, differences, read_plan, read_record
from tests.fuzz.cases import fuzz, unless_refused
from tests.fuzz.test_settings_files import ODD_YAML
from tests.fuzz.values import LEAVES, TEXTS, torn, trees

RECORD: dict[str, Any] = {
    "format": FORMAT,
    "settings": StudySettings(group=("cities",)).identity(),
    "model": {"name": "bundled", "sha256": "0" * 64},
    "metric_label": "logit(a) - logit(b)",
    "saes": {"resid_post.3": "0" * 64},
    "groups": ["cities"],
}
PLAN = {"sites": {"resid_post.3": {"width": 64, "sae": "layer_3"}}, "groups": {"cities": {"batch_size": 4}}}
LINK = {"kind": "resid_post", "layer": 3, "feature": 7, "label": "ends", "url": "https://www.neuronpedia.org/x"}
LINKS = {"notes": ["a note"], "sites": {}, "features": [LINK]}


def changed(base: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The same with some fields, at the top or one level below, replaced, added or left out."""

    def change(cells: dict[str, Any], inner: dict[str, Any], lost: str, where: str) -> dict[str, Any]:
        value = {name: own for name, own in {**base, **cells}.items() if name != lost}
        if isinstance(value.get(where), dict):
            value[where] = {**value[where], **inner}
        return value

    keys = st.sampled_from(list(base)) | TEXTS
    inner = st.sampled_from(list(StudySettings.model_fields)) | st.sampled_from(["name", "resid_post.3"]) | TEXTS
    fields, deeper = (st.dictionaries(names, LEAVES | trees(), max_size=2) for names in (keys, inner))
    return st.builds(change, fields, deeper, st.sampled_from(["", "", *base]), st.sampled_from(list(base)))


# JSON is YAML, but for what is no number in either.
RECORDS = torn(changed(RECORD).map(json.dumps)) | changed(RECORD).map(lambda value: yaml.safe_dump(_printable(value)))


def _printable(value: Any) -> Any:
    return json.loads(json.dumps(value).replace("\\ud800", "?"))


@fuzz(RECORDS | st.sampled_from(ODD_YAML) | TEXTS, times=2)
def test_any_record(tmp_path: Path, text: str):
    study = StudyFolder(tmp_path)
    study.record_path.write_bytes(text.encode("utf-8", "surrogatepass"))
    record = unless_refused(lambda: read_record(study))
    if record is None:
        return
    assert record["format"] == FORMAT
    unless_refused(lambda: recorded_settings(record))
    if {"settings", "model"} <= record.keys() and isinstance(record["settings"], dict):
        unless_refused(lambda: list(differences(record, RECORD)))


@fuzz(torn(changed(PLAN).map(json.dumps)) | trees().map(json.dumps) | TEXTS)
def test_any_plan(tmp_path: Path, text: str):
    study = StudyFolder(tmp_path)
    study.plan_path.write_bytes(text.encode("utf-8", "surrogatepass"))
    plan = unless_refused(lambda: read_plan(study))
    if plan:
        assert all(isinstance(plan.get(name, {}), dict) for name in ("sites", "groups"))


@fuzz(torn(changed(LINKS).map(json.dumps)) | changed(LINK).map(lambda row: json.dumps({**LINKS, "features": [row]})))
def test_any_links(tmp_path: Path, text: str):
    (tmp_path / FILE).write_bytes(text.encode("utf-8", "surrogatepass"))
    links = unless_refused(lambda: read_links(StudyFolder(tmp_path)))
    for label in (links.labels if links else {}).values():
        assert all(value is None or isinstance(value, bool) or value.isprintable() for value in label.values())
