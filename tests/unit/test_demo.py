"""The two demos, with small models and few epochs; their figures against plain NumPy."""

import dataclasses
import sys

import numpy as np
import pytest

import fastlstm as fl
from fastlstm.demo import power, power_fan, report, run_power, run_vowels, vowels

DAY, WEEK = 96, 672


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for module, settings in (
        (vowels, {"HIDDEN_SIZE": 24, "EPOCHS": 6}),
        (power, {"HIDDEN_SIZE": 8, "EPOCHS": 2}),
        (power_fan, {"EPOCHS": 1}),
    ):
        for name, value in settings.items():
            monkeypatch.setattr(module, name, value)


@pytest.fixture
def no_matplotlib(monkeypatch):
    for name in ("matplotlib", "matplotlib.figure", "matplotlib.backends.backend_agg", "matplotlib.ticker"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture(scope="module")
def steel():
    return fl.datasets.load_steel_power_factor()


def use_lines(printed):
    """Return the Python lines that a demo prints at its end."""
    return [line.strip() for line in printed.partition("To use the model:\n")[2].splitlines()]


def execute(lines):
    """Run the lines; return the value of the last one, an expression."""
    names = {}
    exec("\n".join(lines[:-1]), names)
    return eval(lines[-1], names)


# ----------------------------------------------------------------------------------------------- vowels


def test_vowels_end_to_end(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    result = run_vowels(tmp_path, seed=1, verbose=1)
    data = fl.datasets.load_japanese_vowels()
    assert result["model"] == tmp_path / "vowels.safetensors"
    speakers = fl.load(result["model"]).predict_classes(data.X_test)

    confusion = np.zeros((9, 9), int)
    for true, recognised in zip(data.y_test, speakers, strict=True):
        confusion[true, int(recognised) - 1] += 1
    assert result["confusion"].tolist() == confusion.tolist()
    assert result["accuracy"] == pytest.approx(confusion.trace() / 370)
    assert result["accuracy"] > 0.5  # six epochs are enough to be far better than guessing, 1/9
    assert 0 < result["loss"] and 0 < result["val_loss"]
    assert 0 <= result["val_accuracy"] <= 1
    assert result["epochs"] == 6

    printed = capsys.readouterr().out
    assert "Training on 230 utterances, validating on 40\n" in printed
    assert f"Test accuracy {result['accuracy']:.4f}: {confusion.trace()} of 370 utterances\n" in printed
    last_row = next(line for line in printed.splitlines() if line.startswith("  9 "))
    assert last_row.split()[1:] == [str(n or ".") for n in confusion[8]]
    assert str(result["model"]) in printed
    lines = use_lines(printed)
    assert len(lines) == 2
    assert execute(lines).tolist() == speakers.tolist()


def test_vowels_trains_without_the_test_part_and_finally_on_all_of_the_rest(tmp_path, monkeypatch):
    calls = []
    fit = fl.Model.fit
    monkeypatch.setattr(fl.Model, "fit", lambda *args, **kwargs: calls.append((args, kwargs)) or fit(*args, **kwargs))
    run_vowels(tmp_path, seed=0, verbose=0)
    data = fl.datasets.load_japanese_vowels()
    (_, X_first, y_first), first = calls[0]
    (_, X_second, y_second), second = calls[1]
    X_val, y_val = first["validation_data"]
    assert len(calls) == 2 and second["validation_data"] is None
    assert np.bincount(y_val).min() >= 4
    known = {x.tobytes() for x in data.X_train}
    assert {x.tobytes() for x in X_first} | {x.tobytes() for x in X_val} == known
    assert not {x.tobytes() for x in X_first} & {x.tobytes() for x in X_val}
    assert [x.tobytes() for x in X_second] == [x.tobytes() for x in data.X_train]
    assert sorted([*y_first, *y_val]) == sorted(y_second) == sorted(data.y_train)


# ------------------------------------------------------------------------------------------------ power


def test_power_end_to_end(tmp_path, monkeypatch, capsys, steel):
    monkeypatch.chdir(tmp_path)
    result = run_power(tmp_path, seed=1, verbose=1)
    assert result["model"] == tmp_path / "power.safetensors"
    forecasts = power.forecast(fl.load(result["model"]), steel)
    y = steel.values[:, 4].astype(float)
    for key, start, stop in (("val_mae", 24528, 29784), ("mae", 29784, 35040)):
        for column, (name, ahead) in enumerate({"15 minutes": 1, "1 hour": 4, "24 hours": 96}.items()):
            expected = {"LSTM": 0.0, "persistence": 0.0, "yesterday": 0.0, "last week": 0.0}
            for now in range(start, stop - ahead):
                later = now + ahead
                expected["LSTM"] += abs(forecasts[now, column] - y[later])
                expected["persistence"] += abs(y[now] - y[later])
                expected["yesterday"] += abs(y[later - DAY] - y[later])
                expected["last week"] += abs(y[later - WEEK] - y[later])
            expected = {method: total / (stop - start - ahead) for method, total in expected.items()}
            # The demo subtracts in float32: an error of 6e-8 each, compared with a mean of 0.02 or more.
            assert result[key][name] == pytest.approx(expected, rel=1e-5)
    # The known figures of these baselines.
    persistence = [result["mae"][name]["persistence"] for name in power.HORIZONS]
    assert [round(error, 4) for error in persistence] == [0.0208, 0.0479, 0.0457]
    # Two epochs with 8 units are enough to beat it at one hour.
    assert result["mae"]["1 hour"]["LSTM"] < 0.0479
    assert result["epochs"] == 2 and result["best_epoch"] in (1, 2)

    printed = capsys.readouterr().out
    assert "  test        2018-11-07T06:15 to 2019-01-01T00:00, 5,256 steps\n" in printed
    assert f"  1 hour      {result['mae']['1 hour']['LSTM']:.4f}       0.0479     0.0455     0.0492" in printed
    lines = use_lines(printed)
    assert len(lines) == 2
    assert execute(lines).tolist() == forecasts[-1].tolist()


def altered_after(steel, origin):
    """Return the data with other measurements after a step and the same calendar."""
    values, load_type = steel.values.copy(), steel.load_type.copy()
    values[origin + 1 :] = 1 - values[origin + 1 :]
    load_type[origin + 1 :] = 2 - load_type[origin + 1 :]
    return dataclasses.replace(steel, values=values, load_type=load_type)


def test_inputs_and_forecasts_do_not_know_the_future(steel):
    model = fl.Model([fl.LSTM(4, return_sequences=True), fl.Dense(3)], scaler=fl.Standardizer())
    model.scaler.fit(power.make_inputs(steel)[WEEK:])
    model.build(power.make_inputs(steel).shape[1])
    for origin in (20_000, 20_037):
        other = altered_after(steel, origin)
        inputs, changed = power.make_inputs(steel), power.make_inputs(other)
        assert np.array_equal(inputs[: origin + 1], changed[: origin + 1], equal_nan=True)
        assert (inputs[origin + 1] != changed[origin + 1]).sum() >= 6
        forecasts, changed = power.forecast(model, steel), power.forecast(model, other)
        assert np.array_equal(forecasts[: origin + 1], changed[: origin + 1], equal_nan=True)
        assert (forecasts[origin + 1] != changed[origin + 1]).all()
        for ahead in (1, 4, 96):
            for known, also in zip(
                power.baselines(steel, ahead).values(), power.baselines(other, ahead).values(), strict=True
            ):
                assert np.array_equal(known[: origin + 1], also[: origin + 1], equal_nan=True)


def test_training_does_not_know_the_later_parts(tmp_path, monkeypatch, steel):
    seen = []

    def fit(model, X, y, *, validation_data, **settings):
        seen.append((X, y, *validation_data))
        raise KeyboardInterrupt

    monkeypatch.setattr(fl.Model, "fit", fit)
    train_end, validation_end = 24528, 29784
    for data in (steel, altered_after(steel, validation_end - 1), altered_after(steel, train_end - 1)):
        monkeypatch.setattr(power, "load_steel_power_factor", lambda data=data: data)
        with pytest.raises(KeyboardInterrupt):
            run_power(tmp_path, 0, 0)
    original, other_test, other_validation = seen
    assert all(np.isfinite(array).all() for array in original)
    for array, same in zip(original, other_test, strict=True):
        assert np.array_equal(array, same)
    for array, same in zip(original[:2], other_validation[:2], strict=True):
        assert np.array_equal(array, same)
    # The windows are two days long, a day apart, and the last one's targets end with the training part.
    y = steel.values[:, 4]
    X_train, y_train = original[:2]
    assert X_train.shape[:2] == y_train.shape[:2] == (246, 2 * DAY) and y_train.shape[2] == 3
    assert np.array_equal(X_train[5, DAY:], X_train[6, :DAY])
    last = train_end - DAY - 1
    assert y_train[-1, -1].tolist() == [y[last + ahead] - y[last] for ahead in (1, 4, 96)]
    assert np.array_equal(X_train[-1, -1], power.make_inputs(steel)[last])


def test_inputs_hold_what_was_measured_at_the_time_to_forecast(steel):
    inputs = power.make_inputs(steel)
    y = steel.values[:, 4]
    now = 15_000
    row = inputs[now]
    assert np.array_equal(row[:6], steel.values[now])
    expected = [y[now + ahead - back] for ahead in (1, 4) for back in (DAY, 2 * DAY, 3 * DAY, WEEK)]
    expected += [y[now + 96 - back] for back in (2 * DAY, 3 * DAY, WEEK)]
    assert row[6:17].tolist() == expected
    assert np.isfinite(inputs[WEEK:]).all()


@pytest.mark.parametrize(
    ("now", "flags"),
    [
        # Monday, Saturday, Sunday now; the same in 24 hours. 2018-06-01 was a Friday.
        ("2018-06-01T12:00", [0, 0, 0, 0, 1, 0]),
        ("2018-06-02T12:00", [0, 1, 0, 0, 0, 1]),
        ("2018-06-03T12:00", [0, 0, 1, 1, 0, 0]),
        ("2018-06-04T12:00", [1, 0, 0, 0, 0, 0]),
    ],
)
def test_the_calendar(steel, now, flags):
    row = power.make_inputs(steel)[np.flatnonzero(steel.time == np.datetime64(now))[0]]
    assert row[-6:].tolist() == flags
    # At noon the angle is pi, and its multiples; float32 rounds by 6e-8.
    np.testing.assert_allclose(row[-14:-6], [0, -1, 0, 1, 0, -1, 0, 1], atol=1e-7)


def part_of(steel, start, stop):
    names = ("time", "values", "load_type", "day_of_week", "weekend")
    return dataclasses.replace(steel, **{name: getattr(steel, name)[start:stop] for name in names})


def test_forecasts_do_not_depend_on_where_the_data_begin(steel):
    """Except during the warm-up of a day: the last windows are cut at the end of the data."""
    model = fl.Model([fl.LSTM(4, return_sequences=True), fl.Dense(3)], scaler=fl.Standardizer())
    model.scaler.fit(power.make_inputs(steel)[WEEK:])
    model.build(power.make_inputs(steel).shape[1])
    part, whole = part_of(steel, 20_000 - 9 * DAY - 50, 20_000), part_of(steel, 0, 20_000)
    forecasts = power.forecast(model, part)
    assert np.isnan(forecasts[:-DAY]).all() and np.isfinite(forecasts[-DAY:]).all()
    assert np.array_equal(forecasts[-DAY:], power.forecast(model, whole)[-DAY:])
    assert 0 <= forecasts[-DAY:].min() and forecasts[-DAY:].max() <= 1
    with pytest.raises(ValueError, match="data has 863 steps, expected at least nine days, 864 steps"):
        power.forecast(model, part_of(steel, 0, 863))


# ------------------------------------------------------------------------------------------------- both


@pytest.mark.parametrize("run", [run_vowels, run_power])
def test_silent_and_reproducible(tmp_path, capfd, run):
    results = []
    for seed in (3, 3, 4):
        result = run(tmp_path, seed, 0)
        results.append((result["model"].read_bytes(), result.get("loss", result.get("mae"))))
    assert capfd.readouterr() == ("", "")
    assert results[0] == results[1]
    assert results[0][0] != results[2][0] and results[0][1] != results[2][1]


@pytest.mark.parametrize(
    ("run", "plots"),
    [
        (run_vowels, {"plot": "vowels.png"}),
        (run_power, {"plot": "power.png", "forecast_plot": "power-forecast.png", "fan_plot": "power-fan.png"}),
    ],
)
def test_plots(tmp_path, capsys, run, plots):
    pytest.importorskip("matplotlib")
    pytest.importorskip("pandas")
    result = run(tmp_path, 0, 1)
    printed = capsys.readouterr().out
    for key, name in plots.items():
        assert result[key] == tmp_path / name
        assert result[key].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert f"  {tmp_path / name}: " in printed
    assert "pip install" not in printed


def test_the_fan_is_that_of_the_first_tuesday_and_does_not_know_it(tmp_path, monkeypatch, steel):
    pytest.importorskip("matplotlib")
    pytest.importorskip("pandas")
    drawn = []
    monkeypatch.setattr(power_fan, "fan", lambda *args, **kwargs: drawn.append((args, kwargs)))
    stop = 20_000  # 2018-07-28, a Saturday
    origin = int(np.flatnonzero(steel.time == np.datetime64("2018-07-31"))[0])
    for data in (steel, altered_after(steel, origin)):
        power_fan.draw_fan(data, stop, tmp_path / "fan.png")
    (first, kept), (second, altered) = drawn
    times, quantiles, levels = first
    assert (str(times[0]), str(times[-1])) == ("2018-07-31T00:15", "2018-08-01T00:00")
    assert quantiles.shape == (96, 5) and levels == [0.05, 0.25, 0.5, 0.75, 0.95]
    assert np.array_equal(quantiles, second[1])
    y = steel.values[:, 4].astype(np.float64)
    assert kept["past"].tolist() == altered["past"].tolist() == y[origin - 191 : origin + 1].tolist()
    assert kept["past_times"][-1] == steel.time[origin]
    assert kept["truth"].tolist() == y[origin + 1 : origin + 97].tolist() != altered["truth"].tolist()
    assert "Tuesday, 2018-07-31" in kept["title"]


def test_without_pandas_a_line_says_what_to_install(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert run_power(tmp_path, 0, 1)["fan_plot"] is None
    assert "no power-fan.png: it needs more packages, pip install 'fastlstm[forecast,plot]'" in capsys.readouterr().out


@pytest.mark.parametrize(("run", "plots"), [(run_vowels, ["plot"]), (run_power, ["plot", "forecast_plot", "fan_plot"])])
def test_without_matplotlib_a_line_says_what_to_install(tmp_path, capsys, no_matplotlib, run, plots):
    result = run(tmp_path, 0, 1)
    printed = capsys.readouterr().out
    assert [result[key] for key in plots] == [None] * len(plots)
    lines = [line for line in printed.splitlines() if "it needs more packages, pip install 'fastlstm[" in line]
    assert len(lines) == len(plots)
    assert [file.name for file in tmp_path.iterdir()] == [result["model"].name]
    assert "To use the model:" in printed


@pytest.mark.parametrize("run", [run_vowels, run_power])
def test_ctrl_c_ends_the_demo(tmp_path, monkeypatch, run):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(fl.Model, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, 0, 0)
    assert not list(tmp_path.iterdir())


def test_a_file_that_predicts_otherwise_is_noticed(tmp_path):
    path = tmp_path / "model.safetensors"
    fl.Model([fl.Dense(2)], input_size=2, seed=0).save(path)
    x = np.ones((1, 3, 2))
    report.check_reloaded(path, lambda loaded: loaded.predict(x), fl.load(path).predict(x))
    with pytest.raises(RuntimeError, match="does not predict what the saved one did"):
        report.check_reloaded(path, lambda loaded: loaded.predict(x), fl.load(path).predict(2 * x))


def test_tables_are_aligned():
    assert report.table([["", "a", "bb"], ["name", "10", "1"]]) == "         a  bb\n  name  10   1"
