"""A local server that answers like Neuronpedia, and made-up answers of the shape of real ones."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

FOLDER_ID = "layer_20/width_16k/average_l0_71"
REPO_ID = "google/gemma-scope-2b-pt-res"


@dataclass(frozen=True)
class Reply:
    """One answer: after ``wait_s`` seconds, or one byte every ``drip_s`` seconds."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    wait_s: float = 0.0
    drip_s: float = 0.0


@dataclass(frozen=True)
class Seen:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class FakeSite:
    """Replies by path, used up in order; the last one stays. What has none is a 404 as Neuronpedia words it."""

    replies: dict[str, list[Reply]] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    base_url: str = ""

    def say(self, path: str, *replies: Reply) -> None:
        self.replies[path] = list(replies)

    def next_reply(self, path: str) -> Reply:
        replies = self.replies.get(path)
        if not replies:
            return Reply(404, {"error": "Not Found"})
        return replies.pop(0) if len(replies) > 1 else replies[0]


@contextmanager
def fake_site() -> Iterator[FakeSite]:
    site = FakeSite()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answer(self, body: Any) -> None:
            path = self.path.removeprefix("/api/")
            names = {name.lower(): value for name, value in self.headers.items()}
            site.seen.append(Seen(self.command, path, names, body))
            reply = site.next_reply(path)
            time.sleep(reply.wait_s)
            content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            try:
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                for start in range(len(content)) if reply.drip_s else ():
                    self.wfile.write(content[start : start + 1])
                    self.wfile.flush()
                    time.sleep(reply.drip_s)
                if not reply.drip_s:
                    self.wfile.write(content)
            except OSError:
                pass  # The client has given up, as it should.

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.base_url = f"http://127.0.0.1:{server.server_address[1]}/api"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()


def feature_answer(index: int, label: str | None = "words for the ends of lists", **changed: Any) -> dict[str, Any]:
    """An answer of the feature API with made-up values and every key of the real one."""
    key = {"modelId": "gemma-2-2b", "layer": "20-gemmascope-res-16k", "index": str(index)}
    explanations = [] if label is None else [{**key, **_explanation(label)}]
    answer = {
        **key,
        **_statistics(),
        "model": {"id": "gemma-2-2b", "displayName": "Gemma-2-2B", "instruct": False, "layers": 26},
        "lists": [],
        "source": {
            "id": key["layer"],
            "modelId": "gemma-2-2b",
            "saelensConfig": {"d_in": 2304, "d_sae": 16384, "hook_name": "blocks.20.hook_resid_post"},
            "saelensRelease": "gemma-scope-2b-pt-res-canonical",
            "hfRepoId": REPO_ID,
            "hfFolderId": FOLDER_ID,
            "visibility": "PUBLIC",
            "setName": "gemmascope-res-16k",
            "creatorId": "made-up",
            "hasUmap": True,
            "num_prompts": 36864,
            "num_tokens_in_prompt": 128,
            "dataset": "some/texts",
            "notes": "average_l0_71",
            "createdAt": "2024-01-01T00:00:00.000Z",
        },
        "sourceSet": {"modelId": "gemma-2-2b", "name": "gemmascope-res-16k", "type": "Residual Stream - 16k"},
        "activations": [{**key, **_activation(peak)} for peak in (3.5, 9.25, 1.0)],
        "explanations": explanations,
        "comments": [],
    }
    return {**answer, **changed}


def _statistics() -> dict[str, Any]:
    lists = ("topkCosSimIndices", "topkCosSimValues", "neuron_alignment_indices", "neuron_alignment_values")
    lists += ("neuron_alignment_l1", "correlated_neurons_indices", "correlated_neurons_pearson")
    lists += ("correlated_neurons_l1", "correlated_features_indices", "correlated_features_pearson")
    lists += ("correlated_features_l1", "decoder_weights_dist")
    return {
        "sourceSetName": "gemmascope-res-16k",
        "creatorId": "made-up",
        "createdAt": "2024-01-01T00:00:00.000Z",
        "maxActApprox": 9.25,
        **{name: [] for name in lists},
        "neg_str": ["nope", "\u2581never"],
        "neg_values": [-0.5, -0.25],
        "pos_str": ["<end_of_turn>", "\n", "end"],
        "pos_values": [0.75, 0.5, 0.25],
        "frac_nonzero": 0.003,
        "freq_hist_data_bar_heights": [10, 2],
        "freq_hist_data_bar_values": [1.0, 5.0],
        "logits_hist_data_bar_heights": [1, 4],
        "logits_hist_data_bar_values": [-0.5, 0.5],
        "umap_cluster": None,
        "umap_log_feature_sparsity": None,
        "umap_x": None,
        "umap_y": None,
    }


def _activation(peak: float) -> dict[str, Any]:
    return {
        "id": f"made-up-{peak}",
        "tokens": ["\u2581a", "\n", "<eos>"],
        "dataIndex": None,
        "dataSource": None,
        "maxValue": peak,
        "maxValueTokenIndex": 1,
        "minValue": 0,
        "values": [0, peak, 0.5],
        "dfaValues": [],
        "dfaTargetIndex": None,
        "dfaMaxValue": None,
        "creatorId": "made-up",
        "createdAt": "2024-01-01T00:00:00.000Z",
        "lossValues": [],
        "logitContributions": None,
        "binMin": -1,
        "binMax": peak,
        "binContains": -1,
        "qualifyingTokenIndex": None,
    }


def _explanation(label: str) -> dict[str, Any]:
    return {
        "id": "made-up",
        "description": label,
        "authorId": "made-up",
        "triggeredByUserId": "made-up",
        "notes": None,
        "createdAt": "2024-01-01T00:00:00.000Z",
        "updatedAt": "2024-01-01T00:00:00.000Z",
        "autoInterpModel": None,
        "scoreV1": 0,
        "scoreV2": None,
        "umap_x": 0,
        "umap_y": 0,
        "umap_cluster": 0,
        "umap_log_feature_sparsity": 0,
        "typeName": "oai_token-act-pair",
        "explanationModelName": "some-model",
        "triggeredByUser": {"name": "someone", "country": "US"},
        "scores": [],
        "votes": [],
    }
