"""Files of forecasters, and trainings that are interrupted."""

from __future__ import annotations

import copy
import pickle
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm as fl
from fastlstm.formats import safetensors

pd = pytest.importorskip("pandas")

SMALL: dict[str, Any] = {"hidden_size": 6, "dropout": 0.2, "epochs": 3, "random_state": 0, "verbose": 0}


def table(rows: int = 400, zone: str | None = "Europe/Berlin") -> Any:
    """Return two series with all kinds of columns."""
    frames = []
    for number, one in enumerate("ab"):
        noise = np.random.default_rng(number).standard_normal((rows, 3))
        frame = pd.DataFrame({"unique_id": one, "ds": pd.date_range("2024-03-20", periods=rows, freq="h", tz=zone)})
        frame["y"] = 5 * number + noise[:, 0].cumsum() / 10
        frame["past"], frame["known"], frame["size"], frame["kind"] = noise[:, 1], noise[:, 2], number + 1.5, one * 2
        frames.append(frame)
    df = pd.concat(frames, ignore_index=True)
    df.loc[5, "past"] = np.nan
    return df


def make(**options: Any) -> fl.Forecaster:
    """Return a forecaster that reads all of them."""
    columns = {"hist_exog": ["past"], "futr_exog": ["known"], "stat_exog": ["size"], "cat_exog": ["kind"]}
    return fl.Forecaster("1D", gap=2, bounds=(None, 100), holidays="DE", **{**SMALL, **columns, **options})


def future(forecaster: fl.Forecaster) -> Any:
    """Return known values of the steps to come."""
    frame = forecaster.make_future()
    for name in forecaster.futr_exog:
        frame[name] = 0.25
    return frame


@pytest.fixture(scope="module")
def fitted() -> fl.Forecaster:
    pytest.importorskip("holidays")
    return make().fit(table())


def test_files_pickles_and_copies_give_the_same_bits(fitted: fl.Forecaster, tmp_path: Path) -> None:
    fitted.save(tmp_path / "f.safetensors")
    expected = fitted.predict(future=future(fitted), level=90)
    later = table(450).groupby("unique_id").tail(50)
    for other in (
        fl.Forecaster.load(tmp_path / "f.safetensors"),
        pickle.loads(pickle.dumps(fitted)),
        copy.deepcopy(fitted),
    ):
        pd.testing.assert_frame_equal(other.predict(future=future(other), level=90), expected, check_exact=True)
        assert (other.ids_, other.coverage_, other.seed_) == (fitted.ids_, fitted.coverage_, fitted.seed_)
        assert repr(other) == repr(fitted)
        answers = [one.stream().step(None, [0.1, 5.1], hist=[[0.2], [0.3]], futr=[[1.0], [2.0]],
                   future=np.ones((2, 27, 1))) for one in (other, fitted)]  # fmt: skip
        assert np.array_equal(*answers)
        scores = [one.evaluate(later).scores for one in (other, fitted)]
        pd.testing.assert_frame_equal(*scores, check_exact=True)
    assert fl.Forecaster.load(tmp_path / "f.safetensors").partial_fit(table(450)).ids_ == ["a", "b"]
    with pytest.raises(ValueError, match="has no history_"):
        fl.Forecaster.load(tmp_path / "f.safetensors").history_  # noqa: B018


@pytest.mark.filterwarnings("ignore:the validation part is too short for the conformal correction")
def test_a_forecaster_without_a_validation_part_is_saved(tmp_path: Path) -> None:
    forecaster = fl.Forecaster(6, validation=0.0, **SMALL).fit({"ds": np.arange(200), "y": np.sin(np.arange(200) / 4)})
    assert forecaster.coverage_ == {}
    forecaster.save(tmp_path / "f")
    loaded = fl.Forecaster.load(tmp_path / "f")
    assert loaded.coverage_ == {}
    assert loaded.predict(level=90).equals(forecaster.predict(level=90))


def test_parameters_that_are_set_after_fit_act_at_the_next_one(tmp_path: Path) -> None:
    data = {"ds": np.arange(300), "y": np.sin(np.arange(300) / 4)}
    forecaster = fl.Forecaster(6, **SMALL).fit(data)
    expected = forecaster.predict()
    forecaster.set_params(horizon=9, bounds=(0.0, 1.0))
    assert forecaster.predict().equals(expected)
    forecaster.save(tmp_path / "f")
    loaded = fl.Forecaster.load(tmp_path / "f")
    assert (loaded.horizon, loaded.bounds) == (6, None)
    assert loaded.predict().equals(expected)
    assert len(forecaster.fit({**data, "y": data["y"] ** 2}).predict()) == 9


def test_equal_forecasters_give_equal_files(fitted: fl.Forecaster, tmp_path: Path) -> None:
    fitted.save(tmp_path / "a")
    fl.Forecaster.load(tmp_path / "a").save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_files_of_another_kind_are_named(fitted: fl.Forecaster, tmp_path: Path) -> None:
    fl.Model([fl.LSTM(2)], input_size=1).save(tmp_path / "model")
    with pytest.raises(ValueError, match="a file without a forecaster: fl.load reads the model in it"):
        fl.Forecaster.load(tmp_path / "model")
    fitted.save(tmp_path / "f")
    with pytest.raises(ValueError, match=r"holds a forecaster: fl\.Forecaster\.load reads it"):
        fl.load(tmp_path / "f")
    tensors, config = safetensors.load(tmp_path / "f")
    config["forecaster"]["version"] = 3
    safetensors.save(tmp_path / "f", tensors, config)
    with pytest.raises(ValueError, match="has version 3, this fastlstm reads 1 to 2: a newer one has written it"):
        fl.Forecaster.load(tmp_path / "f")


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the places of all values inside nested dicts and lists."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, child in children for place in places(child, (*at, key)))]


def test_files_are_not_trusted(fitted: fl.Forecaster, tmp_path: Path) -> None:
    """Change each value of the description in turn: a clear error, or a forecaster that predicts."""
    fitted.save(tmp_path / "f")
    tensors, config = safetensors.load(tmp_path / "f")
    odd = [None, -1, 0, 3, 10**12, 1e308, "x", [], ["a", "b"], {}, {"tuple": 3}, True]
    refused = kept = 0
    all_places = places(config["forecaster"])[1:]
    for number, place in enumerate(all_places):
        for value in odd if number % 3 == 0 or len(place) < 3 else odd[number % 4 :: 4]:
            changed = copy.deepcopy(config)
            inside = changed["forecaster"]
            for key in place[:-1]:
                inside = inside[key]
            inside[place[-1]] = value
            safetensors.save(tmp_path / "changed", tensors, changed)
            try:
                found = fl.Forecaster.load(tmp_path / "changed")
            except ValueError as error:
                refused += 1
                assert "changed: " in str(error)
                continue
            kept += 1
            try:
                rows = found.predict(future=future(found))
            except ValueError:  # a horizon that does not lie on the grid, a zone that the times do not have
                continue
            assert len(rows) >= 2
    assert refused > 2 * kept > 0


def test_tensors_are_not_trusted(fitted: fl.Forecaster, tmp_path: Path) -> None:
    fitted.save(tmp_path / "f")
    tensors, config = safetensors.load(tmp_path / "f")
    for name, tensor in tensors.items():
        others: list[Any] = [None, tensor[:-1], tensor[None]]
        if name.partition(".")[0] not in ("encoder", "common", "local"):  # whose types are converted
            others.append(tensor.astype("f8" if tensor.dtype != np.float64 else "f4"))
        for other in others:
            if name == "corrections" and other is None:  # conformal=False has none
                continue
            changed = {**tensors, name: other}
            if other is None:
                del changed[name]
            safetensors.save(tmp_path / "changed", changed, config)
            with pytest.raises(ValueError, match="changed: "):
                fl.Forecaster.load(tmp_path / "changed")


def interrupted(forecaster: fl.Forecaster, path: Path, updates: int, resume: bool) -> bool:
    """Fit with Ctrl-C after a number of updates; return whether it came before the end."""
    from fastlstm.forecast.training import Trainer

    step, done = Trainer.step, [0]

    def counted(self: Trainer, *given: Any) -> None:
        step(self, *given)
        done[0] += 1
        if done[0] == updates:
            signal.raise_signal(signal.SIGINT)

    Trainer.step = counted  # type: ignore[method-assign]
    try:
        forecaster.fit(table(), checkpoint=path, resume=resume)
    except KeyboardInterrupt:
        return True
    finally:
        Trainer.step = step  # type: ignore[method-assign]
    return False


@pytest.mark.usefixtures("default_sigint")
@pytest.mark.parametrize("every", [1, 3, 7])
def test_an_interrupted_training_goes_on_to_the_same_bits(every: int, tmp_path: Path) -> None:
    pytest.importorskip("holidays")
    whole = make(verbose=0).fit(table())
    path = tmp_path / "run.checkpoint"
    times = 0
    forecaster = make()
    while interrupted(forecaster, path, every, resume=times > 0):
        assert path.exists()
        times += 1
        forecaster = make()  # as in a new process
    assert times >= 2
    assert list(tmp_path.iterdir()) == []
    expected = whole.predict(future=future(whole), level=90)
    pd.testing.assert_frame_equal(forecaster.predict(future=future(whole), level=90), expected, check_exact=True)
    assert forecaster.history_.history == whole.history_.history


@pytest.mark.usefixtures("default_sigint")
def test_another_run_is_not_continued(tmp_path: Path) -> None:
    pytest.importorskip("holidays")
    path = tmp_path / "run.checkpoint"
    assert interrupted(make(), path, 2, False)
    for name, value in {
        "horizon": 23, "gap": 1, "context": 30, "season": 12, "residual_of": None, "quantiles": (0.1, 0.5, 0.9),
        "conformal": False, "bounds": (None, 101), "missing": "error", "min_observed": 0.6, "scaler": "robust",
        "hidden_size": 7, "num_layers": 2, "dropout": 0.1, "layers": [fl.LSTM(6, return_sequences=True)],
        "learning_rate": 0.02, "weight_decay": 0.0, "batch_size": 2, "epochs": 4, "patience": 2, "validation": 0.2,
        "learn_validation": False,
    }.items():  # fmt: skip
        other = make().set_params(**{"season_length" if name == "season" else name: value})
        with pytest.raises(ValueError, match=rf"the run was started with another ([a-z_]+, )*{name}\b"):
            other.fit(table(), checkpoint=path, resume=True)
    levels = np.linspace(0.001, 0.999, 101)  # the texts of long lists differ where messages cut them off
    assert interrupted(make(quantiles=levels), path, 2, False)
    with pytest.raises(ValueError, match="the run was started with another quantiles: give the same"):
        make(quantiles=[*levels[:-1], 0.9985]).fit(table(), checkpoint=path, resume=True)
    with pytest.raises(ValueError, match="resume=True needs the file of the interrupted run"):
        make().fit(table(), resume=True)
    assert interrupted(make(), path, 2, False)
    with pytest.raises(ValueError, match="the run was started with another data"):
        make().fit(table(401), checkpoint=path, resume=True)
    with pytest.raises(ValueError, match="the run was started with another seed"):
        make(random_state=5).fit(table(), checkpoint=path, resume=True)
    drawn = make(random_state=None)
    assert interrupted(drawn, path, 2, False)
    make(random_state=None).fit(table(), checkpoint=path, resume=True)  # takes the seed of the file
    assert interrupted(make(), path, 2, False)
    make().fit(table(), checkpoint=path)
    assert not path.exists()
    fl.Model([fl.LSTM(2)], input_size=1).save(path)
    with pytest.raises(ValueError, match="holds no interrupted training"):
        make().fit(table(), checkpoint=path, resume=True)
