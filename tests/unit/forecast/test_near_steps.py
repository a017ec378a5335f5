"""What helps the first steps of the horizon, and what becomes of the validation part."""

from __future__ import annotations

import numpy as np
import pytest
from panels import engine, noise, panel, series

from fastlstm.forecast.conformal import Corrections
from fastlstm.forecast.layout import Layout
from fastlstm.forecast.network import ForecastNetwork, Widths
from fastlstm.forecast.series import ColumnScales, Scale, ready
from fastlstm.forecast.shares import best_shares
from fastlstm.forecast.training import Part
from fastlstm.layers import LSTM


def layout_of(horizon: int, season: int, gap: int = 0) -> Layout:
    empty = np.zeros(0), np.zeros(0)
    scales = ColumnScales(empty, empty, empty)
    return Layout(horizon, gap, ((season, 2),), (), "auto", season, scales)


@pytest.mark.parametrize("gap", [0, 3])
def test_a_row_reads_the_earlier_values_of_the_step_that_follows(gap: int) -> None:
    y = noise(40)
    y[12] = np.nan
    layout = layout_of(4, 10, gap)
    one = ready(series(y), Scale(1.0, 2.0))
    out = np.zeros((40, layout.n_inputs), np.float32)
    layout.inputs(one, 0, 40, out)
    for row in range(40):
        for place, back in enumerate((10, 20)):
            at = row + gap + 1 - back
            known = at >= 0 and at != 12
            now = out[row, 0]
            expected = (y[at] - 1) / 2 - now if known else 0.0
            assert out[row, 2 + place] == np.float32(expected)


def test_shares_are_those_with_the_least_error() -> None:
    walk, pattern = noise(3000).cumsum(), np.tile(noise(20, 1), 150)
    layout = layout_of(5, 20)
    for y, share in ((walk, 1.0), (pattern, 0.0)):
        found = best_shares(layout, [ready(series(y), Scale(0.0, 1.0))], [Part(50, 2900)])
        assert found.tolist() == [share] * 5
    # A walk around a pattern: the last value tells less and less of it.
    mixed = walk / 20 + 3 * pattern
    found = best_shares(layout, [ready(series(mixed), Scale(0.0, 1.0))], [Part(50, 2900)])
    assert found.max() < 0.3
    nothing = np.full(100, np.nan)
    nothing[0] = 1.0
    assert best_shares(layout, [ready(series(nothing), Scale(0.0, 1.0))], [Part(50, 90)]).tolist() == [0.5] * 5


def test_the_gradient_of_the_head_is_that_of_its_answers() -> None:
    """Along the gradient the answers change as fast as it says, the linear part and the share among them."""
    network = ForecastNetwork([LSTM(4, return_sequences=True)], Widths(3, 5, 2, 3, 4, 3, 8, gate=1), 0)
    network.shares[:] = np.linspace(0.3, 0.7, 5)
    context = noise(6 * 7).reshape(6, 7).astype("f4")
    ahead, weights = noise(6 * 5 * 2, 1).reshape(6, 5, 2).astype("f4"), noise(6 * 5 * 3, 2).reshape(6, 5, 3)

    def value() -> float:
        return float((network.head(context, ahead, True).astype("f8") * weights).sum())

    value()
    network.zero_gradients()
    network.head_backward(weights.astype("f4"))
    for part in (network.common, network.local):
        slope, before, eps = part.flat_gradients.copy(), part.flat_parameters.copy(), 1e-4
        length = float((slope.astype("f8") ** 2).sum())
        ends = []
        for sign in (1, -1):
            part.flat_parameters[:] = before + sign * eps * slope
            ends.append(value())
        part.flat_parameters[:] = before
        # float32, and the kinks of ReLU and of the share: a part that is left out would be a tenth or more.
        assert (ends[0] - ends[1]) / (2 * eps) == pytest.approx(length, rel=0.02)


def test_the_last_epochs_learn_the_validation_part() -> None:
    y = noise(600)
    fitted = {}
    for learns in (False, True):
        one = engine(4, epochs=4, learn_validation=learns)
        one.fit(panel(series(y)))
        fitted[learns] = one
    without, learnt = fitted[False], fitted[True]
    assert without.history is not None and learnt.history is not None
    assert learnt.history.history["loss"][:4] == without.history.history["loss"]
    assert (learnt.history.epochs, len(learnt.history.history["val_loss"])) == (5, 4)
    assert learnt.history.best_epoch == without.history.best_epoch
    # The corrections are those of the network that does not know the validation part.
    assert learnt.coverage == without.coverage
    assert without.corrections is not None and learnt.corrections is not None
    assert np.array_equal(learnt.corrections.shifts, without.corrections.shifts)
    assert not np.array_equal(learnt.network.flat_parameters, without.network.flat_parameters)
    later = y.copy()
    later[590:] += 1  # rows of the last half, on which the epoch was not chosen
    other = engine(4, epochs=4)
    other.fit(panel(series(later)))
    assert other.history is not None
    assert other.history.history["val_loss"] == learnt.history.history["val_loss"]
    assert not np.array_equal(other.network.flat_parameters, learnt.network.flat_parameters)


def test_patience_ends_the_epochs_before_the_last_ones() -> None:
    one = engine(4, epochs=40, patience=1, learning_rate=0.1)
    one.fit(panel(series(noise(600))))
    assert one.history is not None
    first = len(one.history.history["val_loss"])
    assert first < 40
    assert one.history.epochs == first + 10


def test_scores_that_overlap_count_as_one() -> None:
    """99 scores are enough for 0.9 if each counts; if five count as one, the quantile is that of 20 scores."""
    y = np.arange(1.0, 100)[:, None]
    answers = np.zeros((99, 1, 3))
    for overlap, place in ((1, 90), (5, 94), (30, 99)):  # 0.9 * (99 + overlap), and not above 99
        found = Corrections.of((0.05, 0.5, 0.95), [(answers, y)], 1, overlap)
        assert found is not None
        assert found.shifts[0].tolist() == [-place, 0, place]
