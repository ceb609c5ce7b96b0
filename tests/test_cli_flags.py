"""Each flag arrives as the setting of its name; what is not given is left to the settings file and the defaults."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

import saeattr
import saeattr.api.begin
from saeattr import UserError
from saeattr.attribution.methods import METHODS
from saeattr.behaviours.behaviour import BEHAVIOURS
from saeattr.cli import app, main
from saeattr.settings import StudySettings, make_settings, taken_by


class Called(BaseException):
    """What a command called, in place of any work; the command line answers for every other exception."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("called")
        self.args_given, self.settings = args, kwargs


def raise_called(*args: Any, **kwargs: Any) -> None:
    raise Called(*args, **kwargs)


def call(monkeypatch: pytest.MonkeyPatch, target: str, arguments: list[str]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The positional and keyword arguments with which a command calls ``target``, but for ``on_progress``."""

    monkeypatch.setattr(target, raise_called)
    with pytest.raises(Called) as called:
        main(arguments)
    settings = dict(called.value.settings)
    settings.pop("on_progress", None)
    return called.value.args_given, settings


#: For each field: its option, the same in YAML, and the value that arrives.
FIELDS: dict[str, tuple[list[str], str, Any]] = {
    "behaviour": (["--behaviour", "facts"], "facts", "facts"),
    "group": (["--group", "cities", "--group", "TV shows"], "[cities, TV shows]", ("cities", "TV shows")),
    "pairs": (["--pairs", "mine.jsonl"], "mine.jsonl", "mine.jsonl"),
    "columns": (["--columns", "clean=a, wrong=b"], "[clean=a, wrong=b]", ("clean=a", "wrong=b")),
    "unequal": (["--unequal", "zero"], "zero", "zero"),
    "n_pairs": (["--n-pairs", "7"], "7", 7),
    "swap": (["--swap", "few"], "few", "few"),
    "lists_from": (["--lists-from", "some/lists.json"], "some/lists.json", "some/lists.json"),
    "pairs_of": (["--pairs-of", "runs/base"], "runs/base", "runs/base"),
    # Not one that plan knows by name, and answers for without any operation.
    "model": (["--model", "org/name"], "org/name", "org/name"),
    "saes": (["--saes", "some/folder"], "some/folder", "some/folder"),
    "sae_width": (["--sae-width", "65k"], "65k", "65k"),
    "sae_l0": (["--sae-l0", "70.5"], "70.5", 70.5),
    "layers": (["--layers", "0, 3"], "[0, 3]", (0, 3)),
    "max_sites": (["--max-sites", "4"], "4", 4),
    "download": (["--download", "25GiB"], "25GiB", "25GiB"),
    "kinds": (["--kinds", "attn_z,mlp_out"], "[attn_z, mlp_out]", ("attn_z", "mlp_out")),
    "sites": (["--sites", "resid_post.3, attn_z.2"], "[resid_post.3, attn_z.2]", ("resid_post.3", "attn_z.2")),
    "metric": (["--metric", "neg-log-prob"], "neg-log-prob", "neg-log-prob"),
    "contrast": (["--contrast", " Paris", " Tokyo"], "[' Paris', ' Tokyo']", (" Paris", " Tokyo")),
    "decision": (["--decision", "all"], "all", "all"),
    "base": (["--base", "zero"], "zero", "zero"),
    "method": (["--method", "ig"], "ig", "ig"),
    "ig_steps": (["--ig-steps", "3"], "3", 3),
    "check_pairs": (["--check-pairs", "5"], "5", 5),
    "keep_from": (["--keep-from", "0.02"], "0.02", 0.02),
    "validate_top": (["--validate-top", "5"], "5", 5),
    "validate_pairs": (["--validate-pairs", "12"], "12", 12),
    "controls": (["--controls", "19"], "19", 19),
    "smallest": (["--smallest", "0.02"], "0.02", 0.02),
    "positions": (["--positions", "single"], "single", "single"),
    "curves": (["--no-curves"], "false", False),
    "generate_features": (["--generate-features", "1, 3"], "[1, 3]", (1, 3)),
    "generate_sites": (["--generate-sites", "attn_z,mlp_out.2"], "[attn_z, mlp_out.2]", ("attn_z", "mlp_out.2")),
    "temperature": (["--temperature", "0.5"], "0.5", 0.5),
    "top_p": (["--top-p", "0.7"], "0.7", 0.7),
    "max_new_tokens": (["--max-new-tokens", "30"], "30", 30),
    "seed": (["--seed", "11"], "11", 11),
    "batch_size": (["--batch-size", "2"], "2", 2),
    "vram": (["--vram", "8GiB"], "8GiB", "8GiB"),
    "device": (["--device", "cuda:1"], "cuda:1", "cuda:1"),
    "dtype": (["--dtype", "bfloat16"], "bfloat16", "bfloat16"),
    "wait": (["--wait"], "true", True),
    "workers": (["--workers", "2"], "2", 2),
    "scheduler": (["--scheduler", "tcp://node7:8786"], "tcp://node7:8786", "tcp://node7:8786"),
}
#: What each command takes, written out: a field's ``commands`` must say the same.
WHICH_PAIRS = {"behaviour", "pairs", "columns", "unequal", "n_pairs", "lists_from", "pairs_of", "swap"}
WHICH_MODEL = {
    *["model", "saes", "sae_width", "sae_l0", "dtype", "kinds", "max_sites", "download", "batch_size", "vram", "device"]
}
HANDED_OUT = {"workers", "scheduler"}
EXPLORED = {
    *WHICH_PAIRS,
    *HANDED_OUT,
    *["model", "dtype", "batch_size", "device", "wait"],
    *["group", "temperature", "top_p", "max_new_tokens", "seed", "metric", "contrast", "decision"],
}
COMMANDS = {
    "attribute": set(FIELDS) - {"generate_features", "generate_sites"},
    "select": {
        *WHICH_PAIRS,
        *WHICH_MODEL,
        *HANDED_OUT,
        *["wait", "group", "temperature", "top_p", "max_new_tokens", "seed", "metric", "contrast", "decision"],
    },
    "plan": {*WHICH_PAIRS, *WHICH_MODEL, "layers", "sites"},
    "entropy": EXPLORED,
    "lens": EXPLORED,
    "patch": EXPLORED,
    "study": set(FIELDS),
    "validate": {
        *["validate_top", "validate_pairs", "controls", "smallest", "positions", "curves"],
        *["generate_features", "generate_sites"],
        *["batch_size", "vram", "device", "wait"],
        *HANDED_OUT,
    },
    "recall run": {"saes", "sae_width", "sae_l0", "layers", "kinds", "sites", "download", "wait", *HANDED_OUT},
}
#: Options of a command's own that a field has the name of: how patch measures is no setting; a triage names a model.
OWN = {"patch": {"method"}, "recall run": {"model", "dtype", "device", "batch_size"}}
#: What is written before the options.
ARGUMENTS = {"validate": ["runs/mine"]}
#: The function of a command that has another name: ``saeattr.study`` is a package.
FUNCTIONS = {"study": "run_study", "recall run": "run_recall"}
TAKEN = [(command, name) for command, known in COMMANDS.items() for name in sorted(known)]


def options(command: str) -> dict[str, Any]:
    """The command's options by the name under which they arrive."""
    found: Any = typer.main.get_command(app)
    for name in command.split():
        found = found.commands[name]
    return {param.name: param for param in found.params if param.param_type_name == "option"}


def test_every_field_is_here_and_some_command_takes_it() -> None:
    assert set(FIELDS) == set(StudySettings.model_fields) == set().union(*COMMANDS.values())


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_takes_exactly_the_fields_that_name_it(command: str) -> None:
    assert set(taken_by(command)) == COMMANDS[command]
    known = set(StudySettings.model_fields) - OWN.get(command, set())
    assert set(options(command)) & known == COMMANDS[command]
    for name in COMMANDS[command]:
        assert "--" + name.replace("_", "-") in options(command)[name].opts


@pytest.mark.parametrize(("command", "name"), TAKEN)
def test_an_option_is_the_setting_of_its_name_and_sets_no_other(
    monkeypatch: pytest.MonkeyPatch, command: str, name: str
) -> None:
    flags, _, value = FIELDS[name]
    target = f"saeattr.api.{FUNCTIONS.get(command, command)}"
    _, settings = call(monkeypatch, target, [*command.split(), *ARGUMENTS.get(command, []), *flags])
    known = set(StudySettings.model_fields) - OWN.get(command, set())
    given = {key: given for key, given in settings.items() if key in known and given is not None}
    assert given == {name: value}
    assert type(given[name]) is type(value)


@pytest.mark.parametrize(("command", "name"), TAKEN)
def test_help_says_the_fields_default(command: str, name: str) -> None:
    default = StudySettings.model_fields[name].default
    text = options(command)[name].help
    if default not in (None, ()):
        shown = {True: "yes", False: "no"}[default] if isinstance(default, bool) else default
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else shown
        assert text.endswith(f" [default: {shown}]")
    assert text.count("[default: ") == 1


@pytest.mark.parametrize("name", sorted(COMMANDS["attribute"]))
def test_a_field_has_the_same_name_and_value_in_python_in_yaml_and_as_an_option(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """All three through ``saeattr.attribute`` as the user calls it, up to where the settings are checked."""
    flags, text, value = FIELDS[name]
    (tmp_path / "settings.yaml").write_text(f"{name}: {text}\n", encoding="utf-8")

    def checked(ask: Callable[[], object]) -> StudySettings:
        with monkeypatch.context() as patched:
            patched.setattr(saeattr.api.begin, "prepare", raise_called)
            # No study is there to borrow from.
            patched.setattr(saeattr.api.begin, "with_borrowed", lambda settings: (settings, None))
            with pytest.raises(Called) as called:
                ask()
        return called.value.args_given[0]

    given = checked(lambda: saeattr.attribute(**{name: value}))
    assert getattr(given, name) == value != StudySettings.model_fields[name].default
    implied = {"behaviour": "pairs"} if name == "pairs" else {}
    assert given == StudySettings(**{name: value, **implied})
    assert checked(lambda: saeattr.attribute(config=tmp_path / "settings.yaml")) == given
    assert checked(lambda: main(["attribute", *flags])) == given
    assert checked(lambda: main(["attribute", "--config", str(tmp_path / "settings.yaml")])) == given


def test_an_option_wins_over_the_file_and_a_field_has_other_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "settings.yaml").write_text("topic: cities\nlists: 3\nseed: 4\n", encoding="utf-8")
    config = tmp_path / "settings.yaml"
    assert make_settings({"lists": 5}, config) == StudySettings(group=("cities",), n_pairs=5, seed=4)
    assert make_settings({"topic": "rivers"}, config).group == ("rivers",)
    _, settings = call(monkeypatch, "saeattr.api.attribute", ["attribute", "--topic", "a", "--group", "b"])
    assert settings["group"] == ("a", "b")


@pytest.mark.parametrize(("written", "sizes"), [(5, (5,)), ((1, 20), (1, 20)), ([3], (3,)), ("1, 5", (1, 5))])
def test_one_number_of_features_or_several_are_taken(tmp_path: Path, written: Any, sizes: tuple[int, ...]) -> None:
    assert make_settings({"generate_features": written}).generate_features == sizes
    text = f"generate_features: {list(written) if isinstance(written, tuple) else written}\n"
    (tmp_path / "settings.yaml").write_text(text, encoding="utf-8")
    assert make_settings({}, tmp_path / "settings.yaml").generate_features == sizes


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (0, "--generate-features cannot be 0: input should be greater than or equal to 1"),
        ("5,x", "--generate-features cannot be '5,x': write numbers with commas, e.g. 1,5,20"),
        ((), "--generate-features cannot be \\(\\): tuple should have at least 1 item"),
    ],
)
def test_what_is_no_number_of_features_is_refused_in_one_line(written: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        make_settings({"generate_features": written})


def test_registered_names_stand_in_help_with_what_they_are() -> None:
    text = options("attribute")
    assert all(f"{name}: {help}" in text["behaviour"].help for name, (_, help) in BEHAVIOURS.items())
    assert all(f"{method.name}: {method.help}" in text["method"].help for method in METHODS.values())
    assert "corrupted, zero or mean" in text["base"].help
    assert "float32, bfloat16 or float16" in text["dtype"].help


def test_attributes_other_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ["--out", "a/b", "--config", "c.yaml", "--no-figures", "--no-validate"]
    args, settings = call(monkeypatch, "saeattr.api.attribute", ["attribute", *flags])
    assert args == ()
    assert {name: value for name, value in settings.items() if value is not None} == {
        **{"out": Path("a/b"), "config": Path("c.yaml"), "figures": False, "report": False, "validate_top": 0}
    }
    _, settings = call(monkeypatch, "saeattr.api.attribute", ["attribute"])
    assert {name: value for name, value in settings.items() if value is not None} == {"figures": True, "report": True}
    _, settings = call(monkeypatch, "saeattr.api.attribute", ["attribute", "--layers", "all"])
    assert settings["layers"] == "all"


def test_studys_other_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ["--out", "a/b", "--config", "c.yaml", "--no-figures", "--no-generate"]
    _, settings = call(monkeypatch, "saeattr.api.run_study", ["study", *flags])
    assert {name: value for name, value in settings.items() if value is not None} == {
        **{"out": Path("a/b"), "config": Path("c.yaml"), "figures": False, "generate": False}
    }


def test_selects_other_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    _, settings = call(monkeypatch, "saeattr.api.select", ["select", "--out", "a/b", "--config", "c.yaml"])
    given = {name: value for name, value in settings.items() if value is not None}
    assert given == {"out": Path("a/b"), "config": Path("c.yaml")}


def test_plans_other_flags(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    # It is read before the operation: a model that is known by name needs none.
    config.write_text("lists: 10", encoding="utf-8")
    _, settings = call(monkeypatch, "saeattr.api.plan", ["plan", "--length", "33", "--config", str(config)])
    given = {name: value for name, value in settings.items() if value is not None}
    assert given == {"length": 33, "config": config, "measure": False}


def test_entropys_other_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ["--out", "a/b", "--config", "c.yaml", "--at", "item", "--at", "newline", "--no-figures"]
    _, settings = call(monkeypatch, "saeattr.api.entropy", ["entropy", *flags])
    assert {name: value for name, value in settings.items() if value is not None} == {
        **{"out": Path("a/b"), "config": Path("c.yaml"), "at": ["item", "newline"], "figures": False}
    }
    _, settings = call(monkeypatch, "saeattr.api.entropy", ["entropy"])
    assert {name: value for name, value in settings.items() if value is not None} == {"figures": True}


def test_lens_other_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ["--out", "a/b", "--config", "c.yaml", "--direction", "metric", "--direction", "end-vs-continue"]
    flags += ["--tokens", " Paris", " Tokyo", "--at", "item", "--temperatures", "0.1, 1.2", "--no-figures"]
    _, settings = call(monkeypatch, "saeattr.api.lens", ["lens", *flags])
    assert {name: value for name, value in settings.items() if value is not None} == {
        **{"out": Path("a/b"), "config": Path("c.yaml"), "direction": ["metric", "end-vs-continue"]},
        **{"tokens": (" Paris", " Tokyo"), "at": ["item"], "temperatures": [0.1, 1.2], "figures": False},
    }
    _, settings = call(monkeypatch, "saeattr.api.lens", ["lens"])
    assert {name: value for name, value in settings.items() if value is not None} == {"figures": True}


PATCH: dict[str, Any] = {
    **{"component": "", "by": "role", "direction": "noising", "method": "exact", "most_pairs": 20, "heads": True},
    **{"out": None, "config": None, "figures": True},
}


@pytest.mark.parametrize(
    ("flags", "changes"),
    [
        ([], {}),
        (["--component", "z,v"], {"component": "z,v"}),
        (["--by", "head"], {"by": "head"}),
        (["--direction", "denoising"], {"direction": "denoising"}),
        (["--method", "both"], {"method": "both"}),
        (["--most-pairs", "3"], {"most_pairs": 3}),
        (["--no-heads"], {"heads": False}),
        (["--no-figures"], {"figures": False}),
        (["--out", "a/b", "--config", "c.yaml"], {"out": Path("a/b"), "config": Path("c.yaml")}),
    ],
)
def test_patchs_other_flags(monkeypatch: pytest.MonkeyPatch, flags: list[str], changes: dict[str, Any]) -> None:
    args, settings = call(monkeypatch, "saeattr.api.patch", ["patch", *flags])
    assert args == ()
    assert settings == {**PATCH, **changes}


VALIDATE: dict[str, Any] = {
    **{"generate": False, "figures": True},
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
            (["--top", "7"], {"validate_top": 7}),
            (["--validate-lists", "12"], {"validate_pairs": 12}),
            (["--controls", "19"], {"controls": 19}),
            (["--smallest", "0.02"], {"smallest": 0.02}),
            (["--positions", "single"], {"positions": "single"}),
            (["--no-curves"], {"curves": False}),
            (["--generate"], {"generate": True}),
            (["--generate-features", "3"], {"generate_features": (3,)}),
            (["--generate-features", "20,1"], {"generate_features": (20, 1)}),
            (["--generate-sites", "all"], {"generate_sites": ("all",)}),
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
