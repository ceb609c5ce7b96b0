"""The command line: help is quick, results are printed, and every bad input is one line and exit code 2."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from saeattr import bundle
from saeattr.behaviours.behaviour import BEHAVIOURS, find_behaviour
from saeattr.cli import main
from saeattr.runs.metric import METRICS

COMMANDS = ["attribute", "select", "plan", "validate", "report", "overlap", "inspect", "compare"]
COMMANDS += ["entropy", "lens", "look", "saes", "topics", "behaviours"]
SMALL = ["--lists", "2", "--sites", "resid_post.2", "--device", "cpu"]


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    captured = capsys.readouterr()
    return int(stopped.value.code or 0), captured.out, captured.err


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str], out: Path) -> str:
    """The one line of a refusal that left nothing behind."""
    existed = out.exists()
    code, _, error = run([*arguments, "--out", str(out)], capsys)
    assert code == 2
    assert len(error.strip().splitlines()) == 1
    assert error.startswith("error: ")
    assert out.exists() == existed
    return error


def test_help_and_topics_import_nothing_heavy() -> None:
    code = (
        "import sys\nfrom saeattr.cli import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'sae_lens', 'transformer_lens', 'pandas', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    for arguments in (["--help"], *([name, "--help"] for name in COMMANDS), ["topics"], ["--version"]):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()


def test_the_command_prints_the_top_features_and_where_everything_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Processes of a parallel run are told a width.
    monkeypatch.delenv("COLUMNS", raising=False)
    code, out, _ = run(["attribute", "--topic", "cities", "--out", str(tmp_path / "s"), *SMALL], capsys)
    assert code == 0
    assert "resid_post.2/" in out
    assert "exact median [95 %]" in out
    # So few lists have a table of verdicts, but no verdict.
    assert "too few pairs" in out
    assert (tmp_path / "s" / "features.parquet").is_file()
    pictures = {path.name for path in (tmp_path / "s" / "figures").iterdir()}
    assert pictures == {
        *["metric-cities.png", "metric-cities.svg"],
        *["features-cities-resid_post.png", "features-cities-resid_post.svg"],
        *["validation-cities.png", "validation-cities.svg", "agreement-cities.png", "agreement-cities.svg"],
        *["cumulative-cities.png", "cumulative-cities.svg"],
    }
    page = (tmp_path / "s" / "report.html").read_text(encoding="utf-8")
    assert "cities" in page
    assert "http-equiv" in page


def test_greedy_lists_are_one_list_and_end_without_a_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["attribute", "--temperature", "0", "--no-figures", "--out", str(tmp_path / "s"), *SMALL]
    code, out, _ = run(arguments, capsys)
    assert code == 0
    assert "note cities: 1 distinct list among 2: the same tokens are one pair" in " ".join(out.split())
    assert not any(verdict in out for verdict in ("causal", "not shown", "within controls"))


def test_the_behaviours_are_listed_with_their_metrics_and_groups(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(["behaviours"], capsys)
    assert code == 0
    words = " ".join(out.split())
    for name, (_, help) in BEHAVIOURS.items():
        assert f"{name}: {help}" in words
        for metric, said in find_behaviour(name).metrics.items():
            assert f"--metric {metric}: {said}" in words
        assert ", ".join(find_behaviour(name).groups(["all"])) in words
        assert f"[default: {', '.join(find_behaviour(name).default_groups)}]" in words
        example = find_behaviour(name).example
        assert f"clean: {' '.join(repr(example['clean']).split())} -> " in words
        assert find_behaviour(name).literature in words
    assert "corrupted: 'The war lasted from the year 1701 to the year 17' -> '00', '01', ..., '32'" in words
    for metric in METRICS.values():
        assert f"--metric {metric.name}: {metric.help}" in words


def test_facts_are_attributed_where_they_are_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--behaviour", "facts", "--group", "capitals", "--no-figures", "--no-validate", *SMALL]
    code, out, _ = run(["attribute", *arguments, "--out", str(tmp_path / "s")], capsys)
    assert code == 0
    assert "capitals: top features" in out
    assert "resid_post.2/" in out


def test_overlap_compares_studies_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["layer,kind,feature,group"]
    rows += [f"3,resid_post,{feature},{group}" for group in ("cheeses", "wines") for feature in (1, 2, 3)]
    (tmp_path / "made-elsewhere.csv").write_text("\n".join([*rows, "3,resid_post,9,wines"]), encoding="utf-8")
    code, out, _ = run(["overlap", str(tmp_path / "made-elsewhere.csv")], capsys)
    assert code == 0
    assert "0.75" in out
    assert "resid_post.3/1" in out
    (tmp_path / "wrong.csv").write_text("layer,neuron\n1,2\n", encoding="utf-8")
    code, _, error = run(["overlap", str(tmp_path / "wrong.csv")], capsys)
    assert code == 2
    assert "unknown column 'neuron'" in error


def test_the_report_of_a_study_is_made_with_its_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, _ = run(["attribute", "--out", str(tmp_path / "s"), "--no-figures", *SMALL], capsys)
    assert code == 0
    assert not (tmp_path / "s" / "report.html").exists()
    code, out, _ = run(["report", str(tmp_path / "s"), "--top", "5"], capsys)
    assert code == 0
    assert out.strip().endswith("report.html")
    assert (tmp_path / "s" / "report.html").stat().st_size < 5_000_000
    code, _, error = run(["report", str(tmp_path)], capsys)
    assert code == 2
    assert "is not a study folder" in error


def test_the_plan_is_printed_without_a_model_being_loaded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saeattr.study.hands.load_model", None)
    code, out, _ = run(["plan", "--vram", "1GiB", "--lists", "10"], capsys)
    assert code == 0
    assert all(part in out for part in ("weights", "captured", "working", "sae", "peak", "of 1 GiB"))
    code, _, error = run(["plan", "--vram", "20MiB"], capsys)
    assert code == 2
    assert "the smallest that works here is" in error


def test_the_plan_tells_a_time_where_the_machine_is_measured_and_else_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("saeattr.runs.speed.AT_LEAST", 0.0)
    monkeypatch.setattr("saeattr.runs.speed.FILE_BYTES", 2**24)
    for named in (["--sites", "resid_post.2"], ["--model", "gpt2", "--sites", "resid_post.2"]):
        plan = ["plan", "--lists", "2", "--device", "cpu", *named]
        code, out, _ = run(plan, capsys)
        assert code == 0
        assert "rough estimate" not in out
        code, out, _ = run([*plan, "--measure"], capsys)
        assert code == 0
        for said in ("time on cpu, for one group of 2 pairs; a rough estimate", "sampling", "exact effects", "GFLOP/s"):
            assert said in out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--metric", "lenght"], "'lenght' is not a metric"),
        (["--contrast", " Paris", "qzqz"], "'qzqz' is 4 tokens"),
        (["--contrast", " Paris", " Paris"], "two different tokens"),
        (["--layers", "99"], "no SAE for layer 99"),
        (["--layers", "one"], "--layers cannot be 'one'"),
        (["--kinds", "resid_pre"], "resid_pre"),
        (["--sites", "resid_post.3,mlp.1"], "'mlp.1' is not a site"),
        (["--topic", " "], "topic is blank"),
        (["--behaviour", "nonsense"], "'nonsense' is not a behaviour: choose one of lists, facts"),
        (["--behaviour", "facts", "--group", "capitols"], "did you mean 'capitals'?"),
        (["--controls", "3"], "--controls cannot be 3"),
        (["--method", "gradient"], "--method cannot be 'gradient': choose one of attribution, ig, relp"),
        (["--lists", "2", "--lists", "3"], "--lists is given twice"),
        (["--sites", "resid_post.1", "--sites", "resid_post.2"], "--sites is given twice"),
        (["--figures", "--no-figures"], "--figures or --no-figures is given twice"),
        (["--sites", "resid_post.1", "--layers", "1"], "leave out --layers and --kinds"),
        (["--sites", ","], "--sites cannot be ','"),
        (["--kinds", ""], "--kinds cannot be empty"),
        (["--no-validate", "--validate-top", "3"], "give one of them"),
        (["--lists", "0"], "--n-pairs cannot be 0"),
        (["--base", "median"], "--base cannot be 'median'"),
        (["--model", "no/such/folder", "--saes", "bundled"], "there is no model"),
        (["--saes", "no/such/folder"], "there is no SAE folder"),
        (["--device", "cuda:7"], "cuda:7"),
        (["--config", "no-such.yaml"], "no-such.yaml"),
        (["--temperature", "-1"], "--temperature cannot be -1"),
        (["--lists", "many"], "'--lists'"),
        (["--nonsense"], "--nonsense"),
        (["--vram", "lots"], "'lots' is not an amount of memory"),
        (["--vram", "20MiB"], "the smallest that works here is"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    arguments: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert named in refused(["attribute", *arguments], capsys, tmp_path / "study")


def test_validate_refuses_a_setting_given_twice_and_nothing_to_measure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, error = run(["validate", str(tmp_path), "--top", "3", "--validate-top", "4"], capsys)
    assert (code, error) == (2, "error: --validate-top or --top is given twice: give it once\n")


def test_a_settings_file_with_a_wrong_line_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "settings.yaml"
    for text, named in [
        ("lists: 3\nseed: 1\nlists: 4\n", f"'lists' is given twice in {config}"),
        ("group: cities\ntopic: rivers\n", "'group' is given twice, as group and topic"),
        ("list: 3\n", "'list' is not a setting: the settings are behaviour, pairs, columns, unequal, group, n_pairs"),
        ("lists: many\n", "--n-pairs cannot be 'many'"),
        ("layers: [one]\n", "--layers cannot be"),
        ("kinds: []\n", "--kinds cannot be"),
        ("- lists\n", "is not a mapping of settings"),
        ("lists: [\n", "cannot be read"),
    ]:
        config.write_text(text, encoding="utf-8")
        assert named in refused(["attribute", "--config", str(config)], capsys, tmp_path / "study"), text


def copied_model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(bundle.MODEL_FOLDER, folder)
    return folder


def test_a_model_without_a_tokenizer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = copied_model(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    arguments = ["attribute", "--model", str(folder), "--saes", "bundled"]
    assert "has no tokenizer" in refused(arguments, capsys, tmp_path / "study")


def test_a_model_of_your_own_needs_saes_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["attribute", "--model", str(copied_model(tmp_path))]
    assert "--saes" in refused(arguments, capsys, tmp_path / "study")


def test_a_tokenizer_that_splits_the_length_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = copied_model(tmp_path)
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["\u2581lengthy"] = vocabulary.pop("\u2581long")
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    arguments = ["attribute", "--model", str(folder), "--saes", "bundled"]
    assert "' short' is 1 token and ' long' is 4 tokens" in refused(arguments, capsys, tmp_path / "study")


def test_an_sae_of_another_width(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "saes" / "resid_post.2"
    shutil.copytree(bundle.SAES_FOLDER / "resid_post.2", folder)
    config = json.loads((folder / "cfg.json").read_text(encoding="utf-8"))
    (folder / "cfg.json").write_text(json.dumps({**config, "d_in": 64}), encoding="utf-8")
    tensors = load_file(folder / "sae_weights.safetensors")
    tensors |= {"W_enc": tensors["W_enc"][:64].contiguous(), "W_dec": tensors["W_dec"][:, :64].contiguous()}
    save_file({**tensors, "b_dec": tensors["b_dec"][:64].contiguous()}, folder / "sae_weights.safetensors")
    arguments = ["attribute", "--saes", str(tmp_path / "saes")]
    assert "width 64, but the model has width 128" in refused(arguments, capsys, tmp_path / "study")


def test_a_damaged_sae_is_found_by_its_checksum(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saes = tmp_path / "bundled" / "saes"
    shutil.copytree(bundle.SAES_FOLDER, saes)
    shutil.copy(bundle.BUNDLE_FOLDER / "checksums.json", tmp_path / "bundled")
    weights = saes / "resid_post.2" / "sae_weights.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-100] ^= 1
    weights.write_bytes(bytes(damaged))
    message = refused(["attribute", "--saes", str(saes)], capsys, tmp_path / "study")
    assert "sae_weights.safetensors is damaged" in message
    weights.write_bytes(bytes(damaged[:1000]))
    (tmp_path / "bundled" / "checksums.json").unlink()
    assert "get the file again" in refused(["attribute", "--saes", str(saes)], capsys, tmp_path / "study")


def test_a_folder_that_is_no_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    assert "is not a study folder" in refused(["attribute"], capsys, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_study_of_other_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, _ = run(["attribute", "--out", str(tmp_path / "s"), "--no-figures", *SMALL], capsys)
    assert code == 0
    message = refused(["attribute", *SMALL, "--base", "zero"], capsys, tmp_path / "s")
    assert "settings.base is 'corrupted' there and 'zero' here" in message


def test_an_unwritable_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert "cannot be written" in refused(["attribute", *SMALL], capsys, tmp_path / "file" / "study")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    from saeattr.errors import UserError
    from saeattr.files import replacing

    path = tmp_path / "table.parquet"
    path.write_text("old", encoding="utf-8")

    def fill() -> None:
        with replacing(path) as temporary, open("/dev/full", "w") as full:
            temporary.write_text("half", encoding="utf-8")
            full.write("x" * 100_000)

    with pytest.raises(UserError, match="No space left"):
        fill()
    assert path.read_text(encoding="utf-8") == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.parquet"]


def test_the_saes_of_a_release_are_listed_and_what_cannot_be_used_is_counted_with_the_reason(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = run(["saes", "--release", "pythia-70m-deduped-res-sm"], capsys)
    assert code == 0
    assert "6 SAEs" in out
    assert "1 cannot be used: it reads the embedding, which is no site here (pythia-70m-deduped-res-sm/blocks.0." in out
    code, out, _ = run(["saes", "--release", "gemma-scope-2-4b-pt-transcoders"], capsys)
    assert code == 0
    assert out.startswith("72 cannot be used: a transcoder: it reads one activation and writes another (gemma-scope-2")
    assert " and 69 more)" in " ".join(out.split())
