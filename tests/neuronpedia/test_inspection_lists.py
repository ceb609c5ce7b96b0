"""Lists made of a study's features, and the key that makes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from saeattr.errors import UserError
from saeattr.neuronpedia.client import Client
from saeattr.neuronpedia.inspection import inspect
from tests.neuronpedia.fake_site import FakeSite, Reply, feature_answer
from tests.neuronpedia.studies import gemma_study

AT = "feature/gemma-2-2b/20-gemmascope-res-16k"
KEY = "sk-np-secret-0123456789"


def test_a_list_is_made_of_the_known_features(
    tmp_path: Path, site: FakeSite, client: Client, monkeypatch: pytest.MonkeyPatch
):
    site.say(f"{AT}/7", Reply(200, feature_answer(7)))
    site.say("list/new", Reply(200, {"id": "abc"}))
    site.say("list/add-features", Reply(200, {}))
    study = gemma_study(tmp_path / "run")
    dry = inspect(study, client=client, make_list="ends", dry_run=True)
    assert not any(seen.method == "POST" and seen.path.startswith("list/") for seen in site.seen)
    assert [text.split("\n")[0] for text in dry.requests] == [
        f"POST {site.base_url}/list/new",
        f"POST {site.base_url}/list/add-features",
    ]
    monkeypatch.setenv("NEURONPEDIA_API_KEY", KEY)
    found = inspect(study, client=client, make_list="ends")
    assert found.list_url == "https://www.neuronpedia.org/list/abc"
    made = [seen for seen in site.seen if seen.path.startswith("list/")]
    assert made[1].body["featuresToAdd"] == [
        {
            "modelId": "gemma-2-2b",
            "layer": "20-gemmascope-res-16k",
            "index": "7",
            "description": "resid_post.20/7: effect +2.000",
        }
    ]
    assert json.loads(dry.requests[0].split("\n\n")[1]) == made[0].body
    # The key went to the site, and is nowhere on disk or in what is printed.
    assert all(seen.headers["x-api-key"] == KEY for seen in made)
    assert KEY not in repr(found) + repr(dry)
    assert all(KEY.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_reading_needs_no_key(tmp_path: Path, site: FakeSite, client: Client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NEURONPEDIA_API_KEY", KEY)
    inspect(gemma_study(tmp_path / "run"), client=client)
    assert site.seen
    assert not any("x-api-key" in seen.headers for seen in site.seen)


def test_a_list_that_cannot_be_made_is_refused_before_anything_is_asked(tmp_path: Path, site: FakeSite, client: Client):
    study = gemma_study(tmp_path / "run")
    with pytest.raises(UserError, match="set NEURONPEDIA_API_KEY"):
        inspect(study, client=client, make_list="ends")
    with pytest.raises(UserError, match="leave out --no-network"):
        inspect(study, client=client, make_list="ends", network=False)
    with pytest.raises(UserError, match="give its name with --make-list"):
        inspect(study, client=client, dry_run=True)
    with pytest.raises(UserError, match="no folder of exports"):
        inspect(study, client=client, exports=tmp_path / "gone")
    assert site.seen == []
    assert not (tmp_path / "run" / "neuronpedia.json").exists()
