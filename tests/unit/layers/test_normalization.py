"""`BatchNorm` and `LayerNorm`: values, gradients, statistics, masks, streams, files, and what they refuse."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import check_gradients, relative_error

import fastlstm as fl
from fastlstm import reference
from fastlstm.layers import Layer, Signal, copied_layer

Array = np.ndarray
LENGTHS = np.array([12, 5, 9, 1])


def data(features: int = 4) -> Array:
    return 2 + np.random.default_rng(3).standard_normal((4, 12, features))


def counted(x: Array, lengths: Array | None) -> Array:
    """Return the steps that are neither padding nor all zeros."""
    valid = (x != 0).any(axis=2)
    return valid if lengths is None else valid & (np.arange(12) < lengths[:, None])


# ------------------------------------------------------------------ batch normalisation


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
def test_statistics_are_of_the_valid_unmasked_steps(lengths: Array | None, masked: bool) -> None:
    layers: list[Layer] = [fl.BatchNorm(momentum=0.25)]
    model = fl.Model([fl.Masking(), *layers] if masked else layers, input_size=4, dtype="float64")
    x = data()
    if masked:
        x[0, 3:5] = x[2, 0] = 0.0
    if lengths is not None:
        x[1, 5:] = 99.0  # padding
    rows = x[counted(x, lengths)]
    y = model.forward(x, lengths, training=True)
    expected, mean, variance = reference.batch_norm_forward(rows, np.ones(4), np.zeros(4))
    assert relative_error(y[counted(x, lengths)], expected) < 1e-12
    index = int(masked)
    running = model.layers[index].parameters
    np.testing.assert_array_equal(running["running_mean"], 0.0)  # the backward pass moves them
    model.backward(np.zeros_like(y))
    np.testing.assert_allclose(running["running_mean"], 0.25 * mean, rtol=1e-12)
    np.testing.assert_allclose(running["running_var"], 0.75 + 0.25 * variance * len(rows) / (len(rows) - 1), rtol=1e-12)
    seen = model.predict(x, lengths)[counted(x, lengths)]
    scaled = (rows - running["running_mean"]) / np.sqrt(running["running_var"] + 1e-5)
    np.testing.assert_allclose(seen, scaled, rtol=1e-12)


def test_training_passes_agree_with_pytorch() -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.BatchNorm1d(4, momentum=0.3, eps=1e-3)
    model = fl.Model([fl.BatchNorm(momentum=0.3, eps=1e-3)], input_size=4)
    for seed in range(3):
        x = data().astype("f4") * (seed + 1)
        expected = module(torch.from_numpy(x.swapaxes(1, 2))).detach().numpy().swapaxes(1, 2)
        np.testing.assert_allclose(model.forward(x, training=True), expected, atol=2e-6)
        model.backward(np.ones_like(x))
    for name in ("running_mean", "running_var"):
        np.testing.assert_allclose(model.parameters()[f"0.{name}"], getattr(module, name).numpy(), rtol=1e-6)
    module.eval()
    expected = module(torch.from_numpy(x.swapaxes(1, 2))).detach().numpy().swapaxes(1, 2)
    np.testing.assert_allclose(model.predict(x), expected, atol=2e-6)


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
def test_batch_norm_gradients_by_finite_differences(lengths: Array | None, masked: bool, trainable: bool) -> None:
    layers: list[Layer] = [
        fl.LSTM(5, return_sequences=True),
        fl.BatchNorm(),
        fl.LSTM(3, return_sequences=True),
        fl.BatchNorm(bias=False),
        fl.MeanPool(),
        fl.BatchNorm(weight=False),
        fl.Dense(2),
    ]
    model = fl.Model([fl.Masking(), *layers] if masked else layers, input_size=4, dtype="float64", seed=5)
    model.flat_parameters[:] += np.random.default_rng(1).uniform(0, 0.3, model.flat_parameters.shape)
    x = data()
    if masked:
        x[0, 3:5] = x[2, 0] = 0.0
    if not trainable:
        for layer in model.layers:
            layer.trainable = not isinstance(layer, fl.BatchNorm)
        model.forward(x, lengths, training=True)
        model.zero_grad()
        before = model.flat_parameters.copy()
        dx = model.backward(np.ones((4, 2)))
        np.testing.assert_array_equal(model.flat_parameters, before)
        h = 1e-6
        moved = x.copy()
        moved[0, 0, 0] += h
        sides = [float(model.forward(moved, lengths, training=True).sum())]
        moved[0, 0, 0] -= 2 * h
        sides.append(float(model.forward(moved, lengths, training=True).sum()))
        np.testing.assert_allclose(dx[0, 0, 0], (sides[0] - sides[1]) / (2 * h), rtol=1e-5)  # type: ignore[index]
        np.testing.assert_array_equal(model.forward(x, lengths, training=True), model.forward(x, lengths))
        return
    dx = check_gradients(
        model, x, lengths, np.random.default_rng(4).standard_normal((4, 2)), of_input=not masked, training=True
    )
    if lengths is not None:
        for one, end in zip(dx, lengths, strict=True):
            assert (one[end:] == 0).all()


def test_optimizers_leave_statistics_alone() -> None:
    """Neither weight decay nor momentum changes them; a layer that is not trainable keeps all of its numbers."""
    x, y = data().astype("f4"), np.array([0, 1, 0, 1])
    for optimizer in (fl.AdamW(0.1, weight_decay=0.5), fl.SGD(0.1, momentum=0.9, weight_decay=0.5)):
        model = fl.Model([fl.BatchNorm(momentum=1.0), fl.MeanPool(), fl.Dense(2)], seed=1)
        model.fit(x, y, epochs=3, batch_size=4, optimizer=optimizer, verbose=0)
        running = model.layers[0].parameters
        rows = x.reshape(-1, 4).astype("f8")
        np.testing.assert_allclose(running["running_mean"], rows.mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(running["running_var"], rows.var(axis=0, ddof=1), rtol=1e-6)
        assert (running["weight"] != 1).all()
        model.layers[0].trainable = False
        before = {name: array.copy() for name, array in running.items()}
        model.fit(x + 3, y, epochs=2, optimizer=optimizer, verbose=0)
        for name, array in before.items():
            np.testing.assert_array_equal(running[name], array)
    assert model.trainable_ranges == [slice(16, 26)]
    model.layers[0].trainable = True
    assert model.trainable_ranges == [slice(0, 8), slice(16, 26)]


def test_statistics_alone_are_moved_too() -> None:
    """A layer without weight and bias has a backward pass, though nothing below it has parameters."""
    x, y = data().astype("f4"), np.array([0, 1, 0, 1])
    model = fl.Model([fl.BatchNorm(weight=False, bias=False, momentum=1.0), fl.MeanPool(), fl.Dense(2)], seed=1)
    model.fit(x, y, epochs=1, batch_size=4, verbose=0)
    np.testing.assert_allclose(model.parameters()["0.running_mean"], x.reshape(-1, 4).mean(axis=0), rtol=1e-5)
    alone = fl.Model([fl.MeanPool(), fl.BatchNorm(weight=False, bias=False)], input_size=4)
    assert alone.trainable_ranges == []
    with pytest.raises(ValueError, match="nothing to learn"):
        alone.fit(x, np.zeros((4, 4)), loss="mse", verbose=0)


def test_a_batch_of_one_step_and_of_none() -> None:
    model = fl.Model([fl.BatchNorm(momentum=0.5)], input_size=2, dtype="float64")
    x = np.array([[[3.0, -1.0]]])
    np.testing.assert_array_equal(model.forward(x, training=True), np.zeros((1, 1, 2)))
    np.testing.assert_array_equal(model.backward(np.ones_like(x)), np.zeros((1, 1, 2)))
    running = model.layers[0].parameters
    np.testing.assert_array_equal(running["running_mean"], [1.5, -0.5])
    np.testing.assert_array_equal(running["running_var"], [1.0, 1.0])
    masked = fl.Model([fl.Masking(), fl.BatchNorm()], input_size=2, dtype="float64")
    assert np.isfinite(masked.forward(np.zeros((2, 3, 2)), training=True)).all()
    masked.backward(np.zeros((2, 3, 2)))
    np.testing.assert_array_equal(masked.parameters()["1.running_mean"], [0.0, 0.0])


def test_diverged_training_leaves_the_last_good_statistics() -> None:
    x, y = data().astype("f4"), np.zeros((4, 1), "f4")
    model = fl.Model([fl.BatchNorm(), fl.MeanPool(), fl.Dense(1)], seed=1)
    with pytest.raises(fl.TrainingDiverged):
        model.fit(x, y, loss="mse", epochs=50, optimizer=fl.SGD(1e20), verbose=0)
    assert np.isfinite(model.flat_parameters).all() and np.isfinite(model.predict(x)).all()


def test_resumed_training_has_the_same_statistics(tmp_path: Path) -> None:
    x, y = data().astype("f4"), np.array([0, 1, 0, 1])

    def trained(epochs: int, **options: Any) -> fl.Model:
        model = fl.Model([fl.BatchNorm(), fl.LSTM(3), fl.BatchNorm(), fl.Dense(2)], seed=1)
        model.fit(x, y, epochs=epochs, batch_size=3, verbose=0, **options)
        return model

    class Crash(fl.Callback):
        def on_epoch_end(self, epoch: int, logs: Any) -> None:
            if epoch == 2:
                raise RuntimeError("crash")

    whole, path = trained(4), tmp_path / "run"
    with pytest.raises(RuntimeError, match="crash"):
        trained(4, callbacks=[fl.Checkpoint(path), Crash()])
    resumed = trained(4, resume=path)
    np.testing.assert_array_equal(resumed.flat_parameters, whole.flat_parameters)


# ------------------------------------------------------------------ layer normalisation


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
def test_layer_norm_gradients_by_finite_differences(lengths: Array | None, masked: bool) -> None:
    layers: list[Layer] = [
        fl.LayerNorm(),
        fl.LSTM(3, return_sequences=True),
        fl.LayerNorm(bias=False, eps=0.01),
        fl.MeanPool(),
        fl.LayerNorm(weight=False),
        fl.Dense(2),
    ]
    model = fl.Model([fl.Masking(), *layers] if masked else layers, input_size=4, dtype="float64", seed=5)
    model.flat_parameters[:] += np.random.default_rng(1).uniform(0, 0.3, model.flat_parameters.shape)
    x = data()
    if masked:
        x[0, 3:5] = x[2, 0] = 0.0
    check_gradients(model, x, lengths, np.random.default_rng(4).standard_normal((4, 2)), of_input=not masked)


def test_layer_norm_agrees_with_pytorch() -> None:
    torch = pytest.importorskip("torch")
    x = data(37).astype("f4")
    module = torch.nn.LayerNorm(37, eps=1e-3)
    expected = module(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(fl.Model([fl.LayerNorm(eps=1e-3)], input_size=37).predict(x), expected, atol=2e-6)


# ------------------------------------------------------------------ both


def stack(normal: type[fl.BatchNorm] | type[fl.LayerNorm], causal: bool = True) -> list[Layer]:
    layers: list[Layer] = [
        normal(),
        fl.Conv1D(20, 3, padding="causal"),
        normal(eps=0.1),
        fl.LSTM(5, return_sequences=True),
        normal(bias=False),
    ]
    return layers if causal else [*layers, fl.MeanPool(), normal(weight=False), fl.Dense(3)]


@pytest.mark.parametrize("normal", [fl.BatchNorm, fl.LayerNorm])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_streams_give_the_bits_of_predict(normal: Any, dtype: str, isa: str) -> None:
    model = fl.Model(stack(normal), input_size=4, dtype=dtype, seed=3)
    model.flat_parameters[:] += np.random.default_rng(1).uniform(0, 0.3, model.flat_parameters.shape)
    x = data().astype(dtype)
    expected = model.predict(x)
    for frozen in (False, True):
        if frozen:
            model.freeze()
        np.testing.assert_array_equal(model.predict(x), expected)
        stream = model.stream(4)
        np.testing.assert_array_equal(np.stack([stream.step(x[:, t]) for t in range(12)], axis=1), expected)
        assert stream.step(x[:, 0]).dtype == dtype


@pytest.mark.parametrize("normal", [fl.BatchNorm, fl.LayerNorm])
def test_frozen_models_files_and_copies(normal: Any, tmp_path: Path) -> None:
    model = fl.Model(stack(normal, causal=False), seed=3)
    model.fit(data().astype("f4"), [0, 1, 2, 1], epochs=2, batch_size=3, verbose=0)
    expected = model.predict(data(), LENGTHS)
    model.save(tmp_path / "m.safetensors")
    for twin in (fl.load(tmp_path / "m.safetensors"), copy.copy(model), copy.deepcopy(model)):
        np.testing.assert_array_equal(twin.predict(data(), LENGTHS), expected)
    model.freeze()
    np.testing.assert_array_equal(model.predict(data(), LENGTHS), expected)
    np.testing.assert_array_equal(model.predict(data()[1:2], [5]), expected[1:2])
    text = io.StringIO()
    model.summary(text)
    assert ("trainable" in text.getvalue()) == (normal is fl.BatchNorm)


@pytest.mark.parametrize("normal", [fl.BatchNorm, fl.LayerNorm])
def test_training_gives_the_same_bits_for_any_number_of_threads(normal: Any) -> None:
    x, y = data().astype("f4").repeat(5, axis=0), np.arange(20) % 3
    trained = []
    for threads in (1, 2):
        model = fl.Model(stack(normal, causal=False), seed=1)
        model.fit(x, y, lengths=np.tile(LENGTHS, 5), epochs=3, batch_size=7, n_threads=threads, verbose=0)
        trained.append(model.flat_parameters.copy())
    np.testing.assert_array_equal(*trained)


@pytest.mark.parametrize("normal", [fl.BatchNorm, fl.LayerNorm])
def test_padding_is_never_read(normal: Any) -> None:
    model = fl.Model([normal(), fl.MeanPool()], input_size=4, dtype="float64")
    x = data()
    expected = model.predict(x, LENGTHS)
    x[1, 5:] = np.nan
    np.testing.assert_array_equal(model.predict(x, LENGTHS), expected)


def test_tbptt_and_states() -> None:
    model = fl.Model([fl.LSTM(3, return_sequences=True), fl.BatchNorm(), fl.LayerNorm(), fl.Dense(2)], seed=1)
    model.fit(data(), np.zeros((4, 12, 2)), loss="mse", epochs=1, tbptt_steps=4, verbose=0)
    whole, state = model.predict(data(), return_state=True)
    first, state = model.predict(data()[:, :7], return_state=True)
    rest, _ = model.predict(data()[:, 7:], state=state, return_state=True)
    np.testing.assert_array_equal(np.concatenate([first, rest], axis=1), whole)


def test_arguments_and_places() -> None:
    assert repr(copied_layer(fl.BatchNorm(momentum=0.2, bias=False))) == "BatchNorm(momentum=0.2, bias=False)"
    assert repr(copied_layer(fl.LayerNorm(eps=0.5))) == "LayerNorm(eps=0.5)"
    for momentum in (0, 1.5, -0.1):
        with pytest.raises(ValueError, match="momentum is .*, expected a number above 0 and up to 1"):
            fl.BatchNorm(momentum=momentum)
    for normal in (fl.BatchNorm, fl.LayerNorm):
        with pytest.raises(ValueError, match="eps"):
            normal(eps=0)
        with pytest.raises(ValueError, match="gets token ids: put it after the fl.Embedding"):
            normal().build(Signal(0, True, True))
        built = fl.Model([normal(), fl.LSTM(2)], input_size=4, seed=4)
        model = fl.Model([normal(), fl.LSTM(2)])
        model.load_state_dict(built.state_dict())
        np.testing.assert_array_equal(model.predict(data()), built.predict(data()))
