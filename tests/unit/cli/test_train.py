"""``train``, ``predict``, ``evaluate``, ``detect``, ``export``, ``info`` on tables, without pandas and scikit-learn."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
from cli_data import run, write_beats, write_pump, write_runs

import fastlstm as fl
from fastlstm import cli


def command(*arguments: Any) -> int:
    return cli.main([str(one) for one in arguments])


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture
def beats(tmp_path: Path) -> Path:
    write_beats(tmp_path)
    model = tmp_path / "beats.safetensors"
    options = ["--task", "classify", "--target", "kind", "--id", "id", "--epochs", "8", "--quiet"]
    assert command("train", tmp_path / "beats.csv", *options, "-o", model) == 0
    return model


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    write_runs(tmp_path)
    model = tmp_path / "wear.safetensors"
    options = ["--task", "regress", "--target", "wear", "--group", "run", "--time", "t", "--epochs", "8", "--quiet"]
    assert command("train", tmp_path / "runs.csv", *options, "--quantiles", ".1,.5,.9", "-o", model) == 0
    return model


@pytest.fixture
def pump(tmp_path: Path) -> Path:
    write_pump(tmp_path)
    model = tmp_path / "pump.safetensors"
    options = ["--task", "anomaly", "--time", "time", "--epochs", "5", "--quiet"]
    assert command("train", tmp_path / "normal.csv", *options, "-o", model) == 0
    return model


# ------------------------------------------------------------------------------------------------ classify


def test_classify(beats: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("predict", beats, tmp_path / "beats.csv") == 0
    rows = rows_of(capsys.readouterr().out)
    truth = rows_of((tmp_path / "beats.csv").read_text())
    assert list(rows[0]) == ["id", "prediction", "p_down", "p_up"]
    assert [row["id"] for row in rows] == [row["id"] for row in truth]
    right = [row["prediction"] == one["kind"] for row, one in zip(rows, truth, strict=True)]
    assert np.mean(right) > 0.95  # the classes are three standard deviations apart
    for row in rows:
        assert abs(float(row["p_down"]) + float(row["p_up"]) - 1) < 1e-12
        assert (float(row["p_up"]) > 0.5) == (row["prediction"] == "up")


def test_the_model_is_that_of_the_estimator(beats: Path, tmp_path: Path) -> None:
    estimators = pytest.importorskip("fastlstm.sklearn", exc_type=ImportError)
    table = fl.data.read_csv(tmp_path / "beats.csv")
    X = np.column_stack([table.numbers(f"s{k}") for k in range(8)])
    y = np.array(table.labels("kind"))
    expected = estimators.LSTMClassifier(epochs=8, random_state=0).fit(X, y)
    found = estimators.load(beats)
    assert found.get_params() == expected.get_params()
    assert found.model_.flat_parameters.tobytes() == expected.model_.flat_parameters.tobytes()
    with pytest.warns(UserWarning, match="feature names"):  # X is an array, the file a table
        assert found.predict(X).tolist() == expected.predict(X).tolist()
    assert found.feature_names_in_.tolist() == [f"s{k}" for k in range(8)]
    assert found.loss_curve_ == expected.loss_curve_ and found.n_iter_ == 8


def test_regression_and_detection_are_those_of_the_estimators(runs: Path, pump: Path, tmp_path: Path) -> None:
    estimators = pytest.importorskip("fastlstm.sklearn", exc_type=ImportError)
    table = fl.data.read_csv(tmp_path / "runs.csv")
    groups, channels = table.numbers("run"), np.column_stack([table.numbers("a"), table.numbers("b")])
    X = [channels[groups == group] for group in np.unique(groups)]
    y = [table.numbers("wear")[groups == group][0] for group in np.unique(groups)]
    expected = estimators.LSTMRegressor(epochs=8, quantiles=(0.1, 0.5, 0.9), random_state=0).fit(X, y)
    found = estimators.load(runs)
    assert found.get_params() == expected.get_params() and found.channel_names_ == ("a", "b")
    assert found.predict_quantiles(X).tobytes() == expected.predict_quantiles(X).tobytes()
    table = fl.data.read_csv(tmp_path / "normal.csv")
    X = [np.column_stack([table.numbers("p"), table.numbers("q")])]
    expected = estimators.LSTMAnomalyDetector(epochs=5, random_state=0).fit(X)
    found = estimators.load(pump)
    assert found.threshold_ == expected.threshold_ and found.get_params() == expected.get_params()
    assert found.score_steps(X)[0].tobytes() == expected.score_steps(X)[0].tobytes()


def test_settings_are_those_of_the_estimators() -> None:
    estimators = pytest.importorskip("fastlstm.sklearn", exc_type=ImportError)
    from fastlstm.cli.settings import SETTINGS

    kinds = {"classify": estimators.LSTMClassifier, "regress": estimators.LSTMRegressor}
    kinds["anomaly"] = estimators.LSTMAnomalyDetector
    others = {"layers", "warm_start", "random_state", "n_jobs", "verbose"}
    for task, kind in kinds.items():
        parameters = {name: value for name, value in kind().get_params().items() if name not in others}
        assert parameters == SETTINGS[task]


def test_evaluate_classes(beats: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("evaluate", beats, tmp_path / "beats.csv", "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    truth = [row["kind"] for row in rows_of((tmp_path / "beats.csv").read_text())]
    most = max(truth.count("up"), truth.count("down")) / len(truth)
    assert figures["accuracy_most_frequent"] == most and figures["accuracy"] > 0.95
    assert figures["balanced_accuracy_most_frequent"] == 0.5 and figures["cases"] == len(truth)
    assert abs(figures["log_loss_most_frequent"] - -(most * np.log(most) + (1 - most) * np.log(1 - most))) < 1e-12
    assert command("evaluate", beats, tmp_path / "beats.csv") == 0
    said = capsys.readouterr().out
    assert "most_frequent" in said.splitlines()[0] and "\naccuracy " in said


def test_a_test_part_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_beats(tmp_path)
    options = ["--task", "classify", "--target", "kind", "--id", "id", "--epochs", "6", "--test", "0.25", "--json"]
    assert command("train", data, *options, "-o", tmp_path / "m.safetensors") == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert result["epochs"] == 6 and result["test"]["cases"] == 10 and result["test"]["accuracy"] > 0.8
    assert "10 further cases are kept out for the test" in printed.err
    assert command("info", tmp_path / "m.safetensors", "--json") == 0
    described = json.loads(capsys.readouterr().out)["table"]
    assert described["figures"] == result["test"] and described["data"]["cases"] == 30
    assert command("info", tmp_path / "m.safetensors") == 0
    said = capsys.readouterr().out
    assert "task: classify" in said and "target 'kind'" in said and "on data kept out: accuracy" in said


def test_validation_stops_the_training(tmp_path: Path) -> None:
    data = write_beats(tmp_path)
    options = ["--task", "classify", "--target", "kind", "--id", "id", "--quiet", "--set", "n_iter_no_change=2"]
    options += ["--epochs", "200", "--set", "learning_rate=0.1"]
    for number, validation in enumerate(("0.3", data)):
        model = tmp_path / f"{number}.safetensors"
        assert command("train", data, *options, "--validation", validation, "-o", model) == 0
        described = fl.formats.safetensors.load(model)[1]["estimator"]
        assert described["fitted"]["n_iter_"] < 200 and described["parameters"]["early_stopping"] is True


@pytest.mark.parametrize("labels", ["1 2 3", "0.5 1.5 2.5", "true false true", "x 1 y"])
def test_labels_of_any_kind(tmp_path: Path, labels: str, capsys: pytest.CaptureFixture[str]) -> None:
    names = labels.split()
    lines = ["c,a,b", *(f"{name},{k},{k * k}" for k, name in enumerate(names * 4))]
    (tmp_path / "d.csv").write_text("\n".join(lines) + "\n")
    options = ["--task", "classify", "--target", "c", "--epochs", "2", "--quiet"]
    assert command("train", tmp_path / "d.csv", *options, "-o", tmp_path / "m") == 0
    assert command("predict", tmp_path / "m", tmp_path / "d.csv") == 0
    assert {row["prediction"] for row in rows_of(capsys.readouterr().out)} <= set(names)
    assert command("evaluate", tmp_path / "m", tmp_path / "d.csv") == 0


def test_series_of_different_lengths_in_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "d.csv").write_text("y,0,1,2\n1,1,2,3\n2,2,4,\n3,3,,\n1.5,1,NA,NA\n")
    options = ["--task", "regress", "--target", "y", "--epochs", "2"]
    assert command("train", tmp_path / "d.csv", *options, "--quiet", "-o", tmp_path / "m") == 0
    assert command("train", tmp_path / "d.csv", *options, "--dry-run") == 0
    assert "4 cases of 1 to 3 steps, in the columns 0, 1, 2" in capsys.readouterr().out
    assert command("predict", tmp_path / "m", tmp_path / "d.csv") == 0
    rows = rows_of(capsys.readouterr().out)
    assert [row["row"] for row in rows] == ["1", "2", "3", "4"] and list(rows[0]) == ["row", "prediction"]
    model = fl.load(tmp_path / "m")
    series = [np.array([[1.0], [2], [3]]), np.array([[2.0], [4]]), np.array([[3.0]]), np.array([[1.0]])]
    assert [float(row["prediction"]) for row in rows] == np.asarray(model.predict(series)).ravel().tolist()


# ------------------------------------------------------------------------------------------------ regress


def test_regress_groups(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("predict", runs, tmp_path / "runs.csv", "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["run"] for row in rows] == list(range(24))
    assert list(rows[0]) == ["run", "prediction", "q0.1", "q0.5", "q0.9"]
    assert all(row["q0.1"] <= row["q0.5"] == row["prediction"] <= row["q0.9"] for row in rows)
    assert command("evaluate", runs, tmp_path / "runs.csv", "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert {"mae", "mae_mean", "mae_median", "rmse", "r2", "pinball", "pinball_quantiles", "coverage"} <= set(figures)
    assert figures["mae"] < figures["mae_median"]


def test_rows_of_a_group_are_ordered_by_time(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("predict", runs, tmp_path / "runs.csv") == 0
    expected = rows_of(capsys.readouterr().out)
    head, *lines = (tmp_path / "runs.csv").read_text().splitlines()
    shuffled = [lines[k] for k in np.random.default_rng(0).permutation(len(lines))]
    (tmp_path / "other.csv").write_text("\n".join([head, *shuffled]) + "\n")
    assert command("predict", runs, tmp_path / "other.csv") == 0
    found = rows_of(capsys.readouterr().out)
    assert sorted(found, key=lambda row: int(row["run"])) == expected


# ------------------------------------------------------------------------------------------------ anomaly


def test_detect(pump: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("detect", pump, tmp_path / "today.csv", "--threshold", "10", "--min-gap", "5") == 0
    printed = capsys.readouterr()
    (event,) = rows_of(printed.out)
    assert event["start"] == "2026-01-04 13:00:00" and int(event["steps"]) in range(10, 14)
    assert event["start"] <= event["peak"] <= event["end"] and float(event["score"]) > 10
    assert "1 events with a score above 10" in printed.err
    assert command("detect", pump, tmp_path / "normal.csv", "--threshold", "1e9", "--json", "--quiet") == 0
    printed = capsys.readouterr()
    assert printed.out == printed.err == ""


def test_evaluate_anomalies(pump: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("evaluate", pump, tmp_path / "today.csv", "--json") == 0
    assert "pr_auc" not in json.loads(capsys.readouterr().out)
    assert command("evaluate", pump, tmp_path / "today.csv", "--target", "wrong", "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["pr_auc"] > 0.9 > figures["pr_auc_random"] and figures["event_recall"] == 1
    assert figures["detection_delay"] == 0 and "false_alarms_per_day" in figures


def test_train_a_detector_on_labelled_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, today = write_pump(tmp_path)
    options = ["--task", "anomaly", "--target", "wrong", "--time", "time", "-o", tmp_path / "m"]
    assert command("train", today, *options) == 3
    assert "10 steps are not normal, but a detector is trained on normal data only" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ others


def test_columns_of_new_data(beats: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("predict", beats, tmp_path / "beats.csv") == 0
    expected = rows_of(capsys.readouterr().out)
    lines = (tmp_path / "beats.csv").read_text().splitlines()[1:]
    # Other columns are ignored, the order does not matter, the target and the names of the cases may lack.
    order = np.random.default_rng(0).permutation(8)
    with (tmp_path / "other.csv").open("w") as file:
        file.write("comment;" + ";".join(f"s{k}" for k in order) + "\n")
        for line in lines:
            cells = line.split(",")[2:]
            file.write("x;" + ";".join(cells[k].replace(".", ",") for k in order) + "\n")
    assert command("predict", beats, tmp_path / "other.csv") == 0
    found = rows_of(capsys.readouterr().out)
    assert [row["p_up"] for row in found] == [row["p_up"] for row in expected]
    assert [row["id"] for row in found] == [str(k) for k in range(1, 41)]
    (tmp_path / "other.csv").write_text("S0,s1\n1,2\n")
    assert command("predict", beats, tmp_path / "other.csv") == 3
    message = capsys.readouterr().err
    assert "has no column 's0', 's2', 's3', 's4', 's5', ..., which the model needs" in message
    assert "did you mean 'S0' for 's0'?" in message


def test_standard_input_and_output_files(beats: Path, tmp_path: Path) -> None:
    data = (tmp_path / "beats.csv").read_text()
    first = run("predict", "beats.safetensors", "-", cwd=tmp_path, input=data)
    assert first.returncode == 0 and first.stdout.count("\n") == 41
    second = run("predict", "beats.safetensors", "beats.csv", "-o", "out.csv", cwd=tmp_path)
    assert second.returncode == 0 and second.stdout == "" and "40 answers in out.csv" in second.stderr
    assert (tmp_path / "out.csv").read_text() == first.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes")
def test_a_reader_that_goes_away(beats: Path, tmp_path: Path) -> None:
    done = run("predict", "beats.safetensors", "beats.csv", cwd=tmp_path)
    assert done.returncode == 0
    import subprocess

    reader = 'read -r line && echo "$line"'  # and is gone
    script = f"{sys.executable} -m fastlstm predict beats.safetensors beats.csv | ({reader}); echo ${{PIPESTATUS[0]}}"
    piped = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert piped.stdout.splitlines() == [done.stdout.splitlines()[0], "0"] and piped.stderr == ""


def test_export(beats: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnx")
    assert command("export", beats, "onnx", "-o", tmp_path / "m.onnx") == 0
    imported = fl.from_onnx(tmp_path / "m.onnx")
    x = np.random.default_rng(0).normal(size=(3, 8, 1)).astype(np.float32)
    np.testing.assert_allclose(imported.predict(x), fl.load(beats).predict(x), rtol=1e-4, atol=1e-5)


def test_quantize(beats: Path, pump: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small, data = tmp_path / "small.safetensors", beats.parent / "beats.csv"
    assert command("quantize", beats, "-o", small, "--calibrate", data) == 0
    assert "LSTM" in capsys.readouterr().err
    assert fl.load(small).quantized and small.stat().st_size < beats.stat().st_size
    assert command("predict", small, data) == 0
    found = capsys.readouterr().out.splitlines()
    assert command("predict", beats, data) == 0
    expected = capsys.readouterr().out.splitlines()
    same = [one.split(",")[1] == other.split(",")[1] for one, other in zip(found, expected, strict=True)]
    assert sum(same) > 0.9 * len(same)
    assert command("quantize", pump, "-o", small, "--skip", "-1", "--quiet") == 0
    assert capsys.readouterr().err == ""
    assert command("quantize", small, "-o", small) == 1
    assert "quantized already" in capsys.readouterr().err
    assert command("quantize", pump, "-o", small, "--skip", "one") == 2
    assert "expected numbers of layers" in capsys.readouterr().err


def test_export_to_torch(pump: Path, tmp_path: Path) -> None:
    assert command("export", pump, "torch", "-o", tmp_path / "t.safetensors", "--quiet") == 0
    imported = fl.from_torch(tmp_path / "t.safetensors", order=["0", "1"], return_sequences=True)
    assert imported.flat_parameters.tobytes() == fl.load(pump).flat_parameters.tobytes()
    with safetensors.safe_open(tmp_path / "t.safetensors", "np") as file:
        metadata = file.metadata()
    scaler = fl.load(pump).scaler
    assert json.loads(metadata["input_mean"]) == scaler.mean_.tolist()
    assert json.loads(metadata["input_scale"]) == scaler.scale_.tolist()
    assert metadata["layers"].startswith("[LSTM(hidden_size=32, return_sequences=True), Dense")


def test_export_to_c(pump: Path, beats: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("export", pump, "c", "-o", tmp_path / "fw", "--name", "pump") == 0
    assert sorted(path.name for path in (tmp_path / "fw").iterdir()) == ["pump.c", "pump.h"]
    assert "pump_init" in (tmp_path / "fw" / "pump.h").read_text()
    assert str(tmp_path / "fw") in capsys.readouterr().err
    assert command("export", beats, "c", "-o", tmp_path / "fw") == 1  # both directions
    assert "--set bidirectional=false" in capsys.readouterr().err
    assert command("export", pump, "c", "-o", tmp_path / "fw", "--name", "1") == 1
    message = capsys.readouterr().err
    assert "C identifier" in message
    assert "bidirectional" not in message
    numbered = tmp_path / "2026-pümp.safetensors"
    numbered.write_bytes(pump.read_bytes())
    assert command("export", numbered, "c", "-o", tmp_path / "numbered") == 0
    assert sorted(path.name for path in (tmp_path / "numbered").iterdir()) == [
        "model_2026_p_mp.c", "model_2026_p_mp.h"
    ]  # fmt: skip
    for options, reason in (
        (["c", "-o", "x", "--dtype", "int8"], "--calibrate"), (["onnx", "-o", "x", "--name", "a"], "--name is for c"),
    ):  # fmt: skip
        assert command("export", pump, *options) == 2
        assert reason in capsys.readouterr().err


def test_notes_are_shown(pump: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = fl.load(pump)
    model.metadata = {"version": "7", "by": "Ada"}
    model.save(tmp_path / "noted.safetensors")
    assert command("info", tmp_path / "noted.safetensors") == 0
    assert "version: 7\nby: Ada\n" in capsys.readouterr().out


@pytest.mark.parametrize("seed", ["0", "1"])
def test_threads_and_seeds(tmp_path: Path, seed: str) -> None:
    data = write_runs(tmp_path)
    options = ["--task", "regress", "--target", "wear", "--group", "run", "--time", "t", "--epochs", "2", "--quiet"]
    for threads in ("1", "3"):
        assert command("train", data, *options, "--seed", seed, "--threads", threads, "-o", tmp_path / threads) == 0
    assert (tmp_path / "1").read_bytes() == (tmp_path / "3").read_bytes()
    assert fl.load(tmp_path / "1").seed == np.random.RandomState(int(seed)).randint(2**31 - 1, size=2)[0]


@pytest.mark.parametrize("kind", ["beats", "runs", "pump"])
def test_plots(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    pytest.importorskip("matplotlib")
    model = request.getfixturevalue(kind)
    data = {"beats": "beats.csv", "runs": "runs.csv", "pump": "today.csv"}[kind]
    assert command("evaluate", model, tmp_path / data, "--plot", tmp_path / "p.png") == 0
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_without_pandas_and_scikit_learn(tmp_path: Path) -> None:
    """Every command for tables, in a process in which these packages cannot be imported."""
    write_beats(tmp_path)
    write_pump(tmp_path)
    (tmp_path / "go.py").write_text(
        "import sys\n"
        "for name in ('pandas', 'sklearn', 'matplotlib', 'polars', 'narwhals', 'joblib'):\n"
        "    sys.modules[name] = None\n"
        "from fastlstm.cli import main\n"
        "beats = ['--task', 'classify', '--target', 'kind', '--id', 'id', '--epochs', '2', '--quiet']\n"
        "assert main(['train', 'beats.csv', *beats, '--test', '.2', '-o', 'b']) == 0\n"
        "assert main(['predict', 'b', 'beats.csv']) == 0\n"
        "assert main(['evaluate', 'b', 'beats.csv']) == 0\n"
        "assert main(['info', 'b']) == 0\n"
        "assert main(['init', 'beats.csv']) == 0\n"
        "pump = ['--task', 'anomaly', '--time', 'time', '--epochs', '2', '--quiet']\n"
        "assert main(['train', 'normal.csv', *pump, '-o', 'p']) == 0\n"
        "assert main(['detect', 'p', 'today.csv']) == 0\n"
        "assert main(['evaluate', 'p', 'today.csv', '--target', 'wrong']) == 0\n"
    )
    import subprocess

    done = subprocess.run([sys.executable, "go.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_values_that_are_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    lines = ["unit,flow,heat,state"]
    for unit in range(20):
        for _ in range(12):
            heat = "" if rng.random() < 0.2 else f"{rng.normal() + (unit % 2):.3f}"
            lines.append(f"{unit},{rng.normal():.3f},{heat},{'bad' if unit % 2 else 'ok'}")
    (tmp_path / "units.csv").write_text("\n".join(lines) + "\n")
    model = tmp_path / "units.safetensors"
    options = ["--task", "classify", "--target", "state", "--group", "unit", "--epochs", "60", "--seed", "0", "--quiet"]
    assert command("train", tmp_path / "units.csv", *options, "-o", model) == 3
    assert "the value is missing" in (said := capsys.readouterr().err) and "--set missing=mask" in said
    assert command("train", tmp_path / "units.csv", *options, "--set", "missing=mask", "-o", model) == 0
    assert fl.load(model).scaler.indicator_.tolist() == [False, True]
    capsys.readouterr()
    assert command("evaluate", model, tmp_path / "units.csv", "--json") == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] > 0.9
    lines[5] = lines[5].replace(lines[5].split(",")[1], "", 1)  # a hole in the other column
    (tmp_path / "other.csv").write_text("\n".join(lines) + "\n")
    assert command("predict", model, tmp_path / "other.csv") != 0
    assert "'flow'" in (said := capsys.readouterr().err) and "mask-all" in said
