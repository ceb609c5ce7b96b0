"""Each flag arrives as the setting of its name; what is not given is left to the settings file and the defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from saeattr.cli import main
from saeattr.settings import StudySettings


class Called(Exception):
    """What a command called, in place of any work."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("called")
        self.args_given, self.settings = args, kwargs


def call(monkeypatch: pytest.MonkeyPatch, target: str, arguments: list[str]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The positional and keyword arguments with which a command calls ``target``, but for ``on_progress``."""

    def stop(*args: Any, **kwargs: Any) -> None:
        raise Called(*args, **kwargs)

    monkeypatch.setattr(target, stop)
    with pytest.raises(Called) as called:
        main(arguments)
    settings = dict(called.value.settings)
    settings.pop("on_progress", None)
    return called.value.args_given, settings


FLAGS: dict[str, tuple[list[str], Any]] = {
    "lists": (["--lists", "7"], 7),
    "model": (["--model", "gemma-2-2b-it"], "gemma-2-2b-it"),
    "saes": (["--saes", "some/folder"], "some/folder"),
    "sae_width": (["--sae-width", "65k"], "65k"),
    "sae_l0": (["--sae-l0", "70.5"], 70.5),
    "layers": (["--layers", "0, 3"], (0, 3)),
    "max_sites": (["--max-sites", "4"], 4),
    "kinds": (["--kinds", "attn_z,mlp_out"], ("attn_z", "mlp_out")),
    "sites": (["--sites", "resid_post.3, attn_z.2"], ("resid_post.3", "attn_z.2")),
    "metric": (["--metric", "neg-log-prob"], "neg-log-prob"),
    "contrast": (["--contrast", " Paris", " Tokyo"], (" Paris", " Tokyo")),
    "decision": (["--decision", "all"], "all"),
    "base": (["--base", "zero"], "zero"),
    "method": (["--method", "ig"], "ig"),
    "ig_steps": (["--ig-steps", "3"], 3),
    "validate_top": (["--validate-top", "5"], 5),
    "temperature": (["--temperature", "0.5"], 0.5),
    "top_p": (["--top-p", "0.7"], 0.7),
    "max_new_tokens": (["--max-new-tokens", "30"], 30),
    "seed": (["--seed", "11"], 11),
    "batch_size": (["--batch-size", "2"], 2),
    "vram": (["--vram", "8GiB"], "8GiB"),
    "device": (["--device", "cuda:1"], "cuda:1"),
    "dtype": (["--dtype", "bfloat16"], "bfloat16"),
}
#: The commands whose flags are settings, and those that they have.
COMMANDS = {
    "attribute": set(FLAGS),
    "select": {
        *["lists", "kinds", "max_sites", "model", "saes", "sae_width", "sae_l0"],
        *["batch_size", "vram", "device", "dtype"],
    },
    "plan": {
        *["lists", "layers", "kinds", "sites", "model", "saes", "sae_width", "sae_l0"],
        *["batch_size", "vram", "device", "dtype"],
    },
}


def test_attribute_has_a_flag_for_every_setting() -> None:
    assert set(FLAGS) | {"groups"} == set(StudySettings.model_fields)


@pytest.mark.parametrize(
    ("command", "name"), [(command, name) for command, known in COMMANDS.items() for name in sorted(known)]
)
def test_a_flag_is_the_setting_of_its_name_and_sets_no_other(
    monkeypatch: pytest.MonkeyPatch, command: str, name: str
) -> None:
    flag, value = FLAGS[name]
    _, settings = call(monkeypatch, f"saeattr.api.{command}", [command, *flag])
    given = {key: given for key, given in settings.items() if key in StudySettings.model_fields and given is not None}
    assert given == {name: value}
    assert type(given[name]) is type(value)


def test_attributes_other_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ["--topic", "cities", "--topic", "TV shows", "--out", "a/b", "--config", "c.yaml", "--no-figures"]
    args, settings = call(monkeypatch, "saeattr.api.attribute", ["attribute", *flags, "--no-validate"])
    assert args == (["cities", "TV shows"],)
    assert {name: value for name, value in settings.items() if value is not None} == {
        **{"out": Path("a/b"), "config": Path("c.yaml"), "figures": False, "validate_top": 0}
    }
    args, settings = call(monkeypatch, "saeattr.api.attribute", ["attribute"])
    assert not args[0]
    assert {name: value for name, value in settings.items() if value is not None} == {"figures": True}
    _, settings = call(monkeypatch, "saeattr.api.attribute", ["attribute", "--layers", "all"])
    assert settings["layers"] == "all"


def test_selects_other_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ["--topic", "cities", "--topic", "rivers", "--out", "a/b", "--config", "c.yaml"]
    args, settings = call(monkeypatch, "saeattr.api.select", ["select", *flags])
    assert args == (["cities", "rivers"],)
    given = {name: value for name, value in settings.items() if value is not None}
    assert given == {"out": Path("a/b"), "config": Path("c.yaml")}


def test_plans_other_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    _, settings = call(monkeypatch, "saeattr.api.plan", ["plan", "--length", "33", "--config", "c.yaml"])
    given = {name: value for name, value in settings.items() if value is not None}
    assert given == {"length": 33, "config": Path("c.yaml")}


VALIDATE: dict[str, Any] = {
    **{"top": 20, "positions": "all", "curves": True, "generate": False, "generate_features": 5},
    **{"figures": True, "batch_size": None, "vram": None, "device": None},
}
REPORT: dict[str, Any] = {"top": 100, "model": True, "open_page": False}
INSPECT: dict[str, Any] = {
    **{"top": 20, "layer": None, "network": True, "exports": None, "make_list": None, "dry_run": False},
    **{"open_pages": False, "export_dashboard": None},
}


@pytest.mark.parametrize(
    ("target", "command", "defaults", "flags", "changes"),
    [
        ("saeattr.api.validate", "validate", VALIDATE, flags, changes)
        for flags, changes in [
            ([], {}),
            (["--top", "7"], {"top": 7}),
            (["--single"], {"positions": "single"}),
            (["--no-curves"], {"curves": False}),
            (["--generate"], {"generate": True}),
            (["--generate-features", "3"], {"generate_features": 3}),
            (["--batch-size", "2"], {"batch_size": 2}),
            (["--vram", "8GiB"], {"vram": "8GiB"}),
            (["--device", "cpu"], {"device": "cpu"}),
            (["--no-figures"], {"figures": False}),
        ]
    ]
    + [
        ("saeattr.api.report", "report", REPORT, flags, changes)
        for flags, changes in [
            ([], {}),
            (["--top", "7"], {"top": 7}),
            (["--no-model"], {"model": False}),
            (["--open"], {"open_page": True}),
        ]
    ]
    + [
        ("saeattr.neuronpedia.inspection.inspect", "inspect", INSPECT, flags, changes)
        for flags, changes in [
            ([], {}),
            (["--top", "7"], {"top": 7}),
            (["--layer", "3"], {"layer": 3}),
            (["--no-network"], {"network": False}),
            (["--exports", "e"], {"exports": Path("e")}),
            (["--make-list", "mine"], {"make_list": "mine"}),
            (["--dry-run"], {"dry_run": True}),
            (["--open"], {"open_pages": True}),
            (["--export-dashboard", "d"], {"export_dashboard": Path("d")}),
        ]
    ],
)
def test_a_flag_of_a_command_on_a_study_changes_one_argument(
    monkeypatch: pytest.MonkeyPatch,
    target: str,
    command: str,
    defaults: dict[str, Any],
    flags: list[str],
    changes: dict[str, Any],
) -> None:
    args, settings = call(monkeypatch, target, [command, "runs/mine", *flags])
    assert args == (Path("runs/mine"),)
    assert settings == {**defaults, **changes}


def test_overlaps_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    args, settings = call(monkeypatch, "saeattr.api.overlap", ["overlap", "a", "b.csv"])
    assert (args, settings) == (([Path("a"), Path("b.csv")],), {"depth": 30})
    _, settings = call(monkeypatch, "saeattr.api.overlap", ["overlap", "a", "--depth", "4"])
    assert settings == {"depth": 4}
