"""Scalers: missing values, quartiles, scaling of each series by itself."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm as fl
from fastlstm import data, reference
from fastlstm.data import quantiles as quantiles_module
from fastlstm.data import sequences
from fastlstm.data.quantiles import quantiles

CLOSE = {"rtol": 1e-12, "atol": 1e-12}
"""Sums of some hundred numbers of size 1, in float64, in another order."""

N, T, F = 30, 11, 4
GAPS = (0, 2)
"""Features with missing values."""


def with_gaps(dtype: Any = np.float64) -> Any:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(N, T, F)) * [1, 10, 0.1, 3] + [0, 1000, 2, -5]
    for feature in GAPS:
        X[:, :, feature][rng.random((N, T)) < 0.3] = np.nan
    return X.astype(dtype)


LENGTHS = np.random.default_rng(4).integers(1, T + 1, N)
SCALERS = [fl.Standardizer, fl.RobustScaler]


def statistics(kind: Any, rows: Any) -> tuple[Any, Any]:
    if kind is fl.Standardizer:
        return np.nanmean(rows, axis=0), np.nanstd(rows, axis=0)
    low, middle, high = np.nanpercentile(rows, [25, 50, 75], axis=0)
    return middle, high - low


# ---------------------------------------------------------------------------------------------- statistics


@pytest.mark.parametrize("block", [7, 2**20])
@pytest.mark.parametrize("form", ["array", "lengths", "list", "rows", "memory map", "windows"])
@pytest.mark.parametrize("kind", SCALERS)
def test_missing_values_do_not_count(kind: Any, form: str, block: int, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setattr(sequences, "BLOCK_VALUES", block)
    X = with_gaps()
    rows, lengths, given = X.reshape(-1, F), None, X
    if form == "lengths":
        valid = np.arange(T) < LENGTHS[:, None]
        X[~valid] = np.nan
        rows, lengths = X[valid], LENGTHS
    elif form == "list":
        given = [one[:n] for one, n in zip(X, LENGTHS, strict=True)]
        rows = np.concatenate(given)
    elif form == "rows":
        given = rows
    elif form == "memory map":
        given = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float64, X.shape)
        given[:] = X
    elif form == "windows":
        given = np.lib.stride_tricks.sliding_window_view(rows, 5, axis=0).transpose(0, 2, 1)
    scaler = kind(missing="mask").fit(given, lengths)
    center, scale = statistics(kind, rows)
    np.testing.assert_allclose(scaler.center(), center, **CLOSE)
    np.testing.assert_allclose(scaler.scale_, scale, **CLOSE)
    assert scaler.missing_features().tolist() == list(GAPS) and scaler.added_channels == 2


@pytest.mark.parametrize("kind", SCALERS)
def test_data_without_missing_values_give_the_same_bits_in_every_mode(kind: Any) -> None:
    X = np.nan_to_num(with_gaps())
    plain, masked, everywhere = (kind(missing=missing).fit(X) for missing in ("error", "mask", "mask-all"))
    for scaler in (masked, everywhere):
        np.testing.assert_array_equal(scaler.center(), plain.center())
        np.testing.assert_array_equal(scaler.scale_, plain.scale_)
    assert masked.added_channels == 0 and everywhere.added_channels == F
    np.testing.assert_array_equal(masked.transform(X), plain.transform(X))
    np.testing.assert_array_equal(everywhere.transform(X)[..., :F], plain.transform(X))
    assert not everywhere.transform(X)[..., F:].any()


@pytest.mark.parametrize("kind", SCALERS)
def test_what_cannot_be_fitted_is_refused(kind: Any) -> None:
    X = with_gaps()
    with pytest.raises(ValueError, match=r"X holds nan at .* scaler=fl.Standardizer\(missing='mask'\)"):
        kind().fit(X)
    X[3, 2, 1] = np.inf
    for missing in ("error", "mask", "mask-all"):
        with pytest.raises(ValueError, match="X holds (nan|inf) at"):
            kind(missing=missing).fit(X)
    X[3, 2, 1] = 1
    X[:, :, 2] = np.nan
    with pytest.raises(ValueError, match=r"feature 2 of X is missing \(nan\) everywhere, expected at least one value"):
        kind(missing="mask").fit(X)
    with pytest.raises(ValueError, match="missing must be 'error', 'mask' or 'mask-all', got 'mean'"):
        kind(missing="mean")
    with pytest.raises(ValueError, match="values too large to square"):
        kind(missing="mask").fit(np.array([1.5e308, -1.5e308, 1.5e308, -1.5e308]))


# ---------------------------------------------------------------------------------------------- channels


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", SCALERS)
@pytest.mark.parametrize("missing", ["mask", "mask-all"])
def test_a_missing_value_becomes_the_center_and_its_channel_says_so(kind: Any, missing: Any, dtype: Any) -> None:
    X = with_gaps(dtype)
    scaler = kind(missing=missing).fit(X)
    index = list(GAPS) if missing == "mask" else list(range(F))
    z = scaler.transform(X)
    assert z.shape == (N, T, F + len(index)) and z.dtype == dtype
    expected = reference.standardize(X, scaler.center(), scaler.scale_, index)
    np.testing.assert_array_equal(z, expected.astype(dtype))
    np.testing.assert_array_equal(z[..., F:], np.isnan(X[..., index]))
    assert (z[..., :F][np.isnan(X)] == 0).all()
    np.testing.assert_array_equal(scaler.transform(list(X))[4], z[4])
    np.testing.assert_allclose(scaler.inverse_transform(z), X, rtol=1e-5 if dtype == np.float32 else 1e-12)
    np.testing.assert_array_equal(
        scaler.inverse_transform(z[..., :F])[~np.isnan(X)], scaler.inverse_transform(z)[~np.isnan(X)]
    )
    np.testing.assert_array_equal(kind(missing=missing).fit_transform(X), z)
    with pytest.raises(ValueError, match="adds [24] indicator channels"):
        scaler.transform_batch_(X)


def test_the_axis_of_one_feature_may_be_left_out() -> None:
    scaler = fl.Standardizer(missing="mask").fit(np.array([1.0, np.nan, 3.0]))
    assert scaler.transform(np.array([3.0, np.nan])).tolist() == [[1, 0], [0, 1]]
    assert scaler.transform(np.array([[3.0, np.nan, 1.0]])).tolist() == [[[1, 0], [0, 1], [-1, 0]]]
    assert scaler.transform(np.array([[3.0], [np.nan]])).tolist() == [[1, 0], [0, 1]]


def test_a_missing_value_without_a_channel_is_refused() -> None:
    X = with_gaps()
    scaler = fl.Standardizer(missing="mask").fit(X)
    X[7, 5, 3] = np.nan
    with pytest.raises(ValueError, match=r"X holds nan at \[7, 5, 3\], .*feature 3 had no missing .*'mask-all'"):
        scaler.transform(X)
    lengths = np.full(N, T)
    lengths[7] = 5
    assert scaler.transform(X, lengths).shape == (N, T, F + 2)  # it is padding
    fl.Standardizer(missing="mask-all").fit(with_gaps()).transform(X)  # the cure


# ---------------------------------------------------------------------------------------------- quartiles


def test_quartiles_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    for rows in (1, 2, 3, 4, 5, 100, 1001):
        X = rng.standard_cauchy((rows, 3))
        scaler = fl.RobustScaler().fit(X)
        low, middle, high = np.percentile(X, [25, 50, 75], axis=0)
        np.testing.assert_allclose(scaler.center_, middle, rtol=1e-14)
        np.testing.assert_allclose(scaler.scale_, np.where(high > low, high - low, 1), rtol=1e-13)


def test_a_scale_of_0_becomes_1() -> None:
    X = np.zeros((8, 2))
    X[0] = 5
    scaler = fl.RobustScaler().fit(X)
    assert scaler.scale_.tolist() == [1, 1] and scaler.center_.tolist() == [0, 0]
    assert scaler.transform(X)[0].tolist() == [5, 5]


@pytest.mark.parametrize("held", [1, 50, 700])
@pytest.mark.parametrize("kind", ["normal", "ties", "far", "few"])
def test_quantiles_of_data_that_are_not_held_are_exact(kind: str, held: int, monkeypatch: Any) -> None:
    """The digits from the sign to the last bit decide: negative and tiny numbers, ties, zeros of both signs."""
    rng = np.random.default_rng(1)
    X = {
        "normal": rng.normal(size=(997, 3)) * [1, 1e-300, 1e300],
        "ties": rng.integers(-2, 3, (997, 3)) * np.array([1.0, -0.0, 0.5]),
        "far": rng.choice([-1e308, -1e-310, -0.0, 0.0, 5e-324, 1.0, np.nextafter(1.0, 2), 1e-5], (997, 3)),
        "few": np.repeat([[3.0, 2.0, 1.0], [1.0, 3.0, 2.0]], [500, 497], axis=0),
    }[kind]
    X[rng.random(X.shape) < 0.2] = np.nan
    passes = []

    def rows() -> Iterator[Any]:
        passes.append(1)
        for start in range(0, len(X), 100):
            yield X[start : start + 100]

    levels = (0.0, 0.25, 0.5, 0.75, 1.0)
    expected = quantiles(rows, levels, True)
    assert len(passes) == 1
    monkeypatch.setattr(quantiles_module, "HELD", held)
    got = quantiles(rows, levels, True)
    np.testing.assert_array_equal(got.values, expected.values)
    np.testing.assert_array_equal(got.counts, (~np.isnan(X)).sum(axis=0))
    assert got.finite and got.rows == len(X) and 2 < len(passes) <= 9
    np.testing.assert_allclose(got.values[1:4], np.nanquantile(X, [0.25, 0.5, 0.75], axis=0), rtol=1e-13)
    assert not quantiles(rows, levels, False).finite


def test_quartiles_of_a_memory_map_take_bounded_memory(monkeypatch: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    X = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (200, 50, 2))
    X[:] = rng.normal(size=X.shape)
    expected = fl.RobustScaler().fit(X)
    monkeypatch.setattr(quantiles_module, "HELD", 1000)
    monkeypatch.setattr(sequences, "BLOCK_VALUES", 512)
    largest = 0
    original = quantiles_module._collected

    def counted(*arguments: Any) -> Any:
        nonlocal largest
        largest += 1
        return original(*arguments)

    monkeypatch.setattr(quantiles_module, "_collected", counted)
    assert fl.RobustScaler().fit(X) == expected and largest == 1


# ---------------------------------------------------------------------------------------------- each series by itself


@pytest.mark.parametrize("missing", ["error", "mask", "mask-all"])
def test_each_series_has_its_own_mean_and_scale(missing: Any) -> None:
    X = with_gaps() if missing != "error" else np.nan_to_num(with_gaps())
    X[5, :, 1] = 7.0  # a constant
    if missing != "error":
        X[6, :, 0] = np.nan
        X[7, :, 0] = np.nan
        X[7, 3, 0] = 2.5  # a single value
    scaler = fl.Standardizer(missing, per_series=True).fit(X)
    z = scaler.transform(X, LENGTHS)
    index = {"error": [], "mask": list(GAPS), "mask-all": list(range(F))}[missing]
    assert z.shape == (N, T, F + len(index))
    for series, scaled, length in zip(X, z, LENGTHS, strict=True):
        known = ~np.isnan(series[:length])
        with np.errstate(invalid="ignore"):
            for k in range(F):
                values = series[:length, k][known[:, k]]
                spread = values.std() if len(np.unique(values)) > 1 else 1
                expected = np.zeros(length)
                expected[known[:, k]] = (values - (values.mean() if len(values) else 0)) / spread
                np.testing.assert_allclose(scaled[:length, k], expected, rtol=1e-11, atol=1e-11)
        np.testing.assert_array_equal(scaled[:length, F:], ~known[:, index])
        assert not scaled[length:].any()
    listed = scaler.transform([one[:n] for one, n in zip(X, LENGTHS, strict=True)])
    for one, whole, n in zip(listed, z, LENGTHS, strict=True):
        np.testing.assert_array_equal(one, whole[:n])


def test_a_series_has_the_same_bits_in_any_batch() -> None:
    X = np.random.default_rng(0).normal(size=(20, 300, 1)) + 1e6
    lengths = np.random.default_rng(1).integers(1, 301, 20)
    scaler = fl.Standardizer(per_series=True).fit(X)
    whole = scaler.scaled_batch(X, np.float32, lengths)
    for case in range(20):
        end = lengths[case]
        np.testing.assert_array_equal(scaler.scaled(X[case, :end], np.float32), whole[case, :end])


def test_scaling_of_a_series_that_is_not_possible_is_refused() -> None:
    X = np.nan_to_num(with_gaps())
    scaler = fl.Standardizer(per_series=True)
    with pytest.raises(ValueError, match="is not fitted"):
        scaler.transform(X)
    scaler.fit(X)
    assert scaler.fitted and scaler.features == F and not hasattr(scaler, "mean_")
    with pytest.raises(ValueError, match="by its own mean and scale, which are not kept"):
        scaler.inverse_transform(X)
    for shape in ((N, T), (N, T, F + 1), (N,)):
        with pytest.raises(ValueError, match=r"expected one series \(time, 4\) or several"):
            scaler.transform(np.zeros(shape))
    for bad in (np.nan, np.inf, 1e200):
        X[3, 2, 1] = bad
        with pytest.raises(ValueError, match="a series holds NaN, infinity or values too large to square"):
            scaler.transform(X)
    targets = data.as_targets(np.zeros((N, 2)), data.as_sequences(X), False, "values")
    with pytest.raises(ValueError, match="per_series=True is for inputs"):
        scaler.fit(targets)


# ---------------------------------------------------------------------------------------------- states and copies


EVERY = [
    fl.Standardizer(),
    fl.Standardizer("mask"),
    fl.Standardizer("mask-all"),
    fl.Standardizer(per_series=True),
    fl.Standardizer("mask", per_series=True),
    fl.RobustScaler(),
    fl.RobustScaler("mask"),
]


@pytest.mark.parametrize("scaler", EVERY, ids=repr)
def test_states_copies_and_pickles_are_equal(scaler: Any) -> None:
    X = with_gaps()
    X = X if scaler.missing != "error" else np.nan_to_num(X)
    fitted = copy.copy(scaler).fit(X)
    assert not scaler.fitted and fitted != scaler
    twin = data.scaler_from_config(fitted.get_config())
    assert twin == scaler and not twin.fitted
    twin.load_state(fitted.state())
    for other in (twin, copy.copy(fitted), copy.deepcopy(fitted), pickle.loads(pickle.dumps(fitted))):
        assert other == fitted and repr(other) == repr(fitted)
        np.testing.assert_array_equal(other.transform(X), fitted.transform(X))
    for other in EVERY:
        assert (copy.copy(other).fit(np.nan_to_num(X)) == fitted) is (other == scaler and other.missing == "error")
    settings = {key: value for key, value in scaler.get_config().items() if key != "type"}
    assert type(fitted).from_state(fitted.state(), **settings) == fitted
    fitted.unfit()
    assert fitted == scaler and not fitted.fitted


def test_names_of_scalers_tell_their_settings() -> None:
    assert repr(fl.Standardizer("mask").fit(with_gaps())) == "Standardizer(missing='mask', 4 features)"
    assert repr(fl.RobustScaler()) == "RobustScaler(not fitted)"
    assert repr(fl.Standardizer(per_series=True)) == "Standardizer(per_series=True, not fitted)"


@pytest.mark.parametrize(
    "settings, state",
    [
        ({"missing": "mask"}, {"mean": [0.0], "scale": [1.0]}),
        ({"missing": "mask"}, {"mean": [0.0], "scale": [1.0], "indicator": [2.0]}),
        ({"missing": "mask"}, {"mean": [0.0], "scale": [1.0], "indicator": [1.0, 0.0]}),
        ({"missing": "mask-all"}, {"mean": [0.0], "scale": [1.0], "indicator": [0.0]}),
        ({"per_series": True}, {"mean": [0.0], "scale": [1.0]}),
        ({"per_series": True}, {"features": [0]}),
        ({"per_series": True}, {"features": [1.5]}),
        ({"per_series": True}, {"features": [1, 2]}),
        ({"per_series": True, "missing": "mask"}, {"features": [2**30], "indicator": [1.0]}),
        ({}, {"center": [0.0], "scale": [1.0]}),
    ],
)
def test_states_that_do_not_fit_are_refused(settings: Any, state: Any) -> None:
    with pytest.raises(ValueError, match="got the|got an"):
        fl.Standardizer.from_state(state, **settings)


@pytest.mark.parametrize(
    "config", [None, {}, {"type": "Model"}, {"type": "Standardizer", "missing": "x"}, {"type": "RobustScaler", "k": 1}]
)
def test_configs_that_do_not_fit_are_refused(config: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        data.scaler_from_config(config)


def test_a_scaler_of_an_older_version_is_plain() -> None:
    """Pickles of the time before there were settings hold mean and scale alone."""
    old = fl.Standardizer.__new__(fl.Standardizer)
    old.__dict__.update(mean_=np.array([1.0]), scale_=np.array([2.0]))
    assert old == fl.Standardizer.from_state({"mean": [1.0], "scale": [2.0]})
    assert old.transform(np.array([3.0])).tolist() == [1.0]
