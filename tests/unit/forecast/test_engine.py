"""The forecaster of panels: each step of the horizon is right to the index, and no bit depends on the way."""

from __future__ import annotations

import numpy as np
import pytest
from panels import engine, noise, panel, series

MEDIAN = 3


@pytest.mark.parametrize("gap", [0, 3])
def test_a_column_that_is_the_target_of_its_own_step_is_copied_to_it(gap: int) -> None:
    known = noise(1200)
    one = engine(6, gap=gap, epochs=40, learning_rate=0.02)
    data = panel(series(known, futr=known))
    one.fit(data)
    origins = np.array([200, 600, 1200 - gap - 7])
    (answers,) = one.at_origins(one.ready(data), [origins])
    for origin, rows in zip(origins, answers[:, :, MEDIAN], strict=True):
        steps = origin + gap + 1 + np.arange(6)
        assert np.abs(rows - known[steps]).max() < 0.15  # the deviation is 1: any shift would be of that size


def test_the_last_input_is_copied_to_each_step() -> None:
    """A forecaster that read one row too late, or one too early, would know nothing of the targets."""
    rng = np.random.default_rng(1)
    blocks = np.repeat(rng.standard_normal(300), 8)  # constant over 8 rows; origins are the last but 7 of a block
    clock = np.arange(len(blocks)) % 8
    one = engine(7, epochs=30, learning_rate=0.02)
    data = panel(series(blocks, futr=np.eye(8)[clock]))
    one.fit(data)
    origins = np.arange(8 * 100, 8 * 290, 8)
    (answers,) = one.at_origins(one.ready(data), [origins])
    assert np.abs(answers[:, :, MEDIAN] - blocks[origins][:, None]).mean(axis=0).max() < 0.05


@pytest.mark.parametrize("gap", [0, 2])
@pytest.mark.parametrize("residual_of", [None, "naive", "seasonal_naive"])
def test_values_of_a_season_ago_are_those_of_the_same_phase(residual_of: str, gap: int) -> None:
    """A random pattern of 30 rows repeats: only its own phase says what a step will be."""
    pattern = noise(30, 5)
    y = np.tile(pattern, 40)
    one = engine(12, gap=gap, residual_of=residual_of, season=30, seasons=((30, 2),), epochs=20, learning_rate=0.02)
    data = panel(series(y))
    one.fit(data)
    origins = np.array([100, 555, len(y) - gap - 13])
    (answers,) = one.at_origins(one.ready(data), [origins])
    truth = y[origins[:, None] + gap + 1 + np.arange(12)]
    # The deviation is 1; from the right naive forecast on there is nothing to learn but noise of the last updates.
    assert np.abs(answers[:, :, MEDIAN] - truth).max() < (2e-3 if residual_of == "seasonal_naive" else 0.2)


def small_data(rows: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a series with gaps, and columns."""
    y, futr, hist = noise(rows).cumsum() / 5, noise(rows, 1), noise(rows, 2)
    y[50:55] = y[rows - 3] = np.nan
    hist[60] = np.nan
    return y, hist, futr


OPTIONS = [
    {},
    {"gap": 2, "residual_of": "naive"},
    {"residual_of": None},
    {"gap": 1, "season": 7},
    {"residual_of": "seasonal_naive", "season": 7, "seasons": ((7, 2), (20, 1)), "bounds": (-50.0, 50.0)},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_a_forecast_has_the_same_bits_however_the_past_was_read(options: dict) -> None:
    y, hist, futr = small_data()
    cut = 290
    data = panel(*(series(y, hist, futr, id=name) for name in "ab"), series(y[70:], hist[70:], futr[70:], id="c"))
    one = engine(5, epochs=2, **options)
    one.fit(data)
    gap = one.settings.gap
    (whole, _, _) = one.at_origins(one.ready(data), [np.array([cut - 1])] * 2 + [np.array([], int)])
    head = panel(series(y[:cut], hist[:cut], futr[:cut]))
    future = futr[cut : cut + gap + 5, None]
    (memory,) = one.read(head)
    assert np.array_equal(one.forecast([memory], [future])[0], whole[0])
    one.memories = {}
    one.update(panel(series(y[:100], hist[:100], futr[:100])))
    for row in range(100, cut):
        one.update(panel(series(y[row : row + 1], hist[row : row + 1], futr[row : row + 1], start=row)))
    assert one.memories["a"].rows == cut
    assert np.array_equal(one.forecast([one.memories["a"]], [future])[0], whole[0])


def test_training_has_the_same_bits_with_any_number_of_threads() -> None:
    y, hist, futr = small_data()
    data = panel(series(y, hist, futr))
    weights = []
    for n_threads in (1, 2, 3):
        one = engine(5, epochs=2, dropout=0.2, n_threads=n_threads)
        one.fit(data)
        weights.append(one.network.flat_parameters.copy())
    assert np.array_equal(weights[0], weights[1])
    assert np.array_equal(weights[0], weights[2])


def test_nothing_after_a_row_reaches_the_forecasts_before_it() -> None:
    y, hist, futr = small_data()
    one = engine(5, epochs=1)
    data = panel(series(y, hist, futr))
    one.fit(data)
    origins = np.arange(20, 200)
    (before,) = one.at_origins(one.ready(data), [origins])
    for planted in (y, hist):
        planted[200:] = 1e3
    (after,) = one.at_origins(one.ready(panel(series(y, hist, futr))), [origins])
    assert np.array_equal(before, after)


def test_scales_weights_and_corrections_know_nothing_of_later_parts() -> None:
    """Rows of the validation part change neither scales nor, without validation, weights."""
    y, hist, futr = small_data(400)
    fitted = []
    for planted in (0.0, 7.0):
        later = y.copy()
        later[340:] += planted
        one = engine(5, epochs=2, patience=None, learn_validation=False)
        one.fit(panel(series(later, hist, futr)))
        fitted.append(one)
    a, b = fitted
    assert a.scales == b.scales
    assert a.history.history["loss"] == b.history.history["loss"]
    assert a.history.history["val_loss"] != b.history.history["val_loss"]


def test_intervals_are_corrected_to_their_level() -> None:
    """The scale of the noise doubles after the training: only the correction can know."""
    y = noise(4000)
    y[3400:] *= 2
    one = engine(4, epochs=3, validation=0.15, learn_validation=False)
    one.fit(panel(series(y)))
    found = one.coverage["90"]
    assert found["network"] < 0.75  # of a normal distribution of twice the deviation 0.59
    assert abs(found["corrected"] - 0.9) < 0.01
    fresh = noise(4000, 9) * 2
    (answers,) = one.at_origins(one.ready(panel(series(fresh))), [np.arange(100, 3900)])
    truth = fresh[np.arange(100, 3900)[:, None] + 1 + np.arange(4)]
    inside = (answers[:, :, 0] <= truth) & (truth <= answers[:, :, -1])
    assert np.abs(inside.mean(axis=0) - 0.9).max() < 0.05  # 300 scores of a quantile have a deviation of 0.017


def test_bounds_hold() -> None:
    y = (noise(500) > 0.5).astype(float)
    one = engine(4, epochs=3, bounds=(0.0, 1.0))
    one.fit(panel(series(y)))
    (answers,) = one.at_origins(one.ready(panel(series(y))), [np.arange(400, 490)])
    assert answers.min() >= 0
    assert answers.max() <= 1
    with pytest.raises(ValueError, match=r"holds 1\.5 at 7, outside the bounds \(0\.0, 1\.0\)"):
        one.fit(panel(series(np.where(np.arange(500) == 7, 1.5, y))))


def test_odd_series_are_read_or_refused() -> None:
    constant = engine(3, epochs=3)
    constant.fit(panel(series(np.full(500, 1e9))))
    (memory,) = constant.read(panel(series(np.full(50, 1e9))))
    answers = constant.forecast([memory], [np.zeros((3, 0))])
    assert np.abs(answers - 1e9).max() < 1
    with pytest.raises(ValueError, match="the series 'a' has no observed value"):
        constant.fit(panel(series(np.full(200, np.nan))))
    with pytest.raises(ValueError, match="holds inf at 3"):
        constant.fit(panel(series([1, 2, 3, np.inf])))
    with pytest.raises(ValueError, match="the longest series has 3 rows"):
        constant.fit(panel(series([1, 2, 3])))
    with pytest.raises(ValueError, match="has no value at 5, expected one"):
        engine(3, missing="error").fit(panel(series(np.where(np.arange(100) == 5, np.nan, 1.0))))


def test_a_forecast_keeps_digits_that_float32_does_not_have() -> None:
    y = 1e9 + noise(400) * 1e-3
    one = engine(3, epochs=2)
    one.fit(panel(series(y)))
    (memory,) = one.read(panel(series(y)))
    answers = one.forecast([memory], [np.zeros((3, 0))])
    assert 1e-4 < answers[0, 0, -1] - answers[0, 0, 0] < 1e-2
