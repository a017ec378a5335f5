"""`layer.trainable = False`: what training leaves alone, what it does not compute, files, resumed runs, transfer."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import FINITE_DIFFERENCE, numerical_gradient, relative_error

import fastlstm as fl
from fastlstm.formats import safetensors
from fastlstm.layers import Layer, Signal

Array = np.ndarray

OPTIMIZERS: dict[str, Callable[[], fl.optimizers.Optimizer]] = {
    "sgd": lambda: fl.SGD(0.1, weight_decay=0.1, clip_norm=0.5),
    "momentum": lambda: fl.SGD(0.05, 0.9, nesterov=True, weight_decay=0.1, clip_value=0.02),
    "rmsprop": lambda: fl.RMSprop(0.01, momentum=0.5, weight_decay=0.1, clip_norm=0.5),
    "adam": lambda: fl.Adam(0.02, weight_decay=0.1, clip_norm=0.1, clip_value=0.05),
    "adamw": lambda: fl.AdamW(0.02, weight_decay=0.1, clip_norm=0.5),
}


def stack() -> list[Layer]:
    return [fl.LSTM(5, return_sequences=True), fl.Dense(4), fl.AttentionPool(3), fl.Dense(2)]


def built(*frozen: int, layers: Callable[[], list[Layer]] = stack, **options: Any) -> fl.Model:
    model = fl.Model(layers(), **{"input_size": 3, "seed": 4, **options})
    for index in frozen:
        model.layers[index].trainable = False
    return model


def data(n: int = 24) -> tuple[Array, Array]:
    rng = np.random.default_rng(1)
    X = rng.standard_normal((n, 6, 3))
    return X, (X[:, :, 0].sum(axis=1) > 0).astype(int)


def parts(model: fl.Model, index: int) -> dict[str, Array]:
    return {name: value for name, value in model.state_dict().items() if name.startswith(f"{index}.")}


# ------------------------------------------------------------------ the update


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("frozen", [(0,), (1,), (3,), (0, 3), (1, 2), (0, 1, 2)], ids=str)
def test_frozen_layers_keep_their_bits_and_the_others_learn(name: str, frozen: tuple[int, ...]) -> None:
    X, y = data()
    model, optimizer = built(*frozen), OPTIMIZERS[name]()
    before = [parts(model, k) for k in range(4)]
    model.fit(X, y, epochs=2, batch_size=8, optimizer=optimizer, verbose=0)
    moments = {key: value for key, value in optimizer.state_dict().items() if isinstance(value, np.ndarray)}
    moved = np.zeros(model.flat_parameters.size, bool)
    for part in model.trainable_ranges or []:
        moved[part] = True
    for k in range(4):
        for key, value in parts(model, k).items():
            assert np.array_equal(value, before[k][key]) == (k in frozen), key
    for key, moment in moments.items():
        assert not moment[~moved].any() and moment[moved].any(), key
    assert not model.flat_gradients[~moved].any()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_rest_is_trained_as_if_it_were_alone(name: str) -> None:
    """Clipping, decay and moments of the head are those of a model that consists of the head."""
    X, y = data()
    whole, optimizer = built(0, 1, dtype="float64"), OPTIMIZERS[name]()
    base = fl.Model(stack()[:2], input_size=3, dtype="float64")
    head = fl.Model(stack()[2:], input_size=4, dtype="float64", seed=4)  # which gives the order of the cases
    base.flat_parameters[:] = whole.flat_parameters[: base.flat_parameters.size]
    head.flat_parameters[:] = whole.flat_parameters[base.flat_parameters.size :]
    whole.fit(X, y, epochs=3, batch_size=8, optimizer=optimizer, verbose=0)
    head.fit(base.predict(X), y, epochs=3, batch_size=8, optimizer=OPTIMIZERS[name](), verbose=0)
    # The norm is summed in pieces of the whole vector; the rest has the same bits.
    np.testing.assert_allclose(
        whole.flat_parameters[base.flat_parameters.size :], head.flat_parameters, rtol=1e-11, atol=1e-14
    )


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_ranges_have_the_bits_of_the_whole(name: str) -> None:
    """Without clipping by the norm, which is that of the trained part, an update does not depend on its neighbours."""

    class Ranges:
        def __init__(self, ranges: list[slice] | None) -> None:
            rng = np.random.default_rng(2)
            self.flat_parameters = rng.standard_normal(97).astype("f4")
            self.flat_gradients = np.zeros(97, "f4")
            self.trainable_ranges = ranges

    def ended(ranges: list[slice] | None) -> tuple[Array, dict[str, Any]]:
        model, optimizer = Ranges(ranges), OPTIMIZERS[name]()
        optimizer.clip_norm = None
        for step in range(5):
            model.flat_gradients[:] = np.random.default_rng(step).standard_normal(97)
            optimizer.step(model)
        return model.flat_parameters, optimizer.state_dict()

    chosen = [slice(3, 20), slice(21, 22), slice(64, 97)]
    (p, state), (whole, all_of_it) = ended(chosen), ended(None)
    inside = np.zeros(97, bool)
    for part in chosen:
        inside[part] = True
    np.testing.assert_array_equal(p[inside], whole[inside])
    np.testing.assert_array_equal(p[~inside], Ranges(None).flat_parameters[~inside])
    for key in state.keys() - {"iterations", "start"}:
        np.testing.assert_array_equal(state[key], np.where(inside, all_of_it[key], 0))
    assert state["iterations"] == 5


def test_gradients_written_by_hand_do_not_count() -> None:
    model, free = built(0), built()
    optimizer = fl.SGD(1.0, clip_norm=1.0)
    model.flat_gradients[:] = np.inf
    size = sum(p.size for p in model.layers[0].parameters.values())
    model.flat_gradients[size:] = 3.0
    before = model.flat_parameters.copy()
    optimizer.step(model)
    rest = before.size - size
    np.testing.assert_array_equal(model.flat_parameters[:size], before[:size])
    np.testing.assert_allclose(model.flat_parameters[size:], before[size:] - 1 / np.sqrt(rest), rtol=1e-6, atol=1e-7)
    assert free.trainable_ranges is None
    assert model.trainable_ranges == [slice(size, before.size)]


def test_an_optimizer_of_a_user() -> None:
    class Momentum(fl.optimizers.Optimizer):
        name = "own"
        _moments = ("velocity",)

        def _update(self, p: Array, g: Array, lr: float, threads: int) -> None:
            self._state["velocity"] = 0.9 * self._state["velocity"] + g  # a new array, not the one that it was given
            p -= lr * self._state["velocity"]

    X, y = data()
    model, optimizer = built(1), Momentum(0.1)
    before = [parts(model, k) for k in range(4)]
    model.fit(X, y, epochs=2, optimizer=optimizer, verbose=0)
    for key, value in parts(model, 1).items():
        np.testing.assert_array_equal(value, before[1][key])
    velocity, [first, last] = optimizer.state_dict()["velocity"], model.trainable_ranges or []
    assert velocity[first].all() and velocity[last].any() and not velocity[first.stop : last.start].any()


def test_nothing_to_learn_is_refused() -> None:
    X, y = data()
    model = built(0, 1, 2, 3)
    with pytest.raises(ValueError, match=r"nothing to learn: .* for example model\.layers\[3\]\.trainable = True"):
        model.fit(X, y, verbose=0)
    with pytest.raises(ValueError, match="no layer is trainable"):
        fl.SGD(0.1).step(model)
    model.layers[3].trainable = True
    model.fit(X, y, epochs=1, verbose=0)


def test_other_values_are_refused() -> None:
    layer = fl.Dense(2)
    with pytest.raises(TypeError, match="trainable must be True or False, got 'no'"):
        layer.trainable = "no"  # type: ignore[assignment]
    assert layer.trainable


# ------------------------------------------------------------------ the backward pass

CELLS: dict[str, dict[str, Any]] = {
    "plain": {},
    "stacked": {"num_layers": 2, "residual": True, "bidirectional": True, "dropout": 0.3},
    "learn_state": {"learn_state": True},
    "projection": {"proj_size": 2, "peepholes": True},
    "layer_norm": {"layer_norm": True, "coupled": True},
}


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_with_a_frozen_layer(cell: str) -> None:
    """A frozen layer passes on the gradient of its input, and those of its parameters are zero."""

    def layers() -> list[Layer]:
        return [
            fl.Dense(4), fl.LSTM(3, return_sequences=True, **CELLS[cell]), fl.AttentionPool(3), fl.Dense(2)
        ]  # fmt: skip

    rng = np.random.default_rng(3)
    x, weight = rng.standard_normal((4, 5, 3)), rng.standard_normal((4, 2))
    free, model = built(layers=layers, dtype="float64"), built(1, 2, 3, layers=layers, dtype="float64")
    for one in (free, model):
        one.forward(x, training=True)
    expected, got = free.backward(weight), model.backward(weight)
    np.testing.assert_array_equal(got, expected)
    for name, gradient in model.gradients().items():
        if name.startswith("0."):
            np.testing.assert_array_equal(gradient, free.gradients()[name])
        else:
            assert not gradient.any() and free.gradients()[name].any(), name
    if "dropout" not in CELLS[cell]:
        f = lambda: float((model.forward(x) * weight).sum())  # noqa: E731
        p = model.parameters()["0.weight"]
        assert relative_error(model.gradients()["0.weight"], numerical_gradient(f, p)) <= FINITE_DIFFERENCE


class Spy(Layer):
    """The identity, which counts its backward passes and has a parameter to whose gradient it always adds."""

    def __init__(self) -> None:
        super().__init__()
        self.passes: list[bool] = []

    def build(self, signal: Signal) -> Signal:
        return signal

    def parameter_specs(self) -> Any:
        yield fl.layers.ParameterSpec("unused", (3,), lambda rng, shape: np.ones(shape))

    def forward(self, x: Array, ctx: Any, cache: Any) -> Array:
        return x

    def backward(self, dy: Array, ctx: Any, cache: Any, need_dx: bool) -> Array | None:
        self.passes.append(need_dx)
        self.gradients["unused"] += 1
        return dy if need_dx else None

    def get_config(self) -> dict[str, Any]:
        return {}


def test_no_backward_pass_below_the_lowest_trainable_layer() -> None:
    X, y = data(8)
    below, inside, above = Spy(), Spy(), Spy()
    layers: list[Layer] = [fl.Dropout(0.1), below, fl.LSTM(4), inside, fl.Dense(3), above, fl.Dense(2)]
    model = fl.Model(layers, input_size=3)
    for layer in (below, layers[2], inside, above):
        layer.trainable = False
    model.fit(X, y, epochs=1, batch_size=8, verbose=0)
    assert (below.passes, inside.passes, above.passes) == ([], [], [True])
    model.layers[2].trainable = True
    model.fit(X, y, epochs=1, batch_size=8, verbose=0)
    assert (below.passes, inside.passes, above.passes) == ([], [True], [True, True])
    below.trainable = True
    model.fit(X, y, epochs=1, batch_size=8, verbose=0)
    assert below.passes == [False]  # the lowest of all
    for name, value in model.gradients().items():
        if name.endswith("unused"):
            assert value.any() == name.startswith("1."), name
    np.testing.assert_array_equal(inside.parameters["unused"], 1)
    model.forward(X, training=True)
    assert model.backward(np.ones((8, 2))).shape == X.shape  # the gradient of the input needs all passes
    assert below.passes == [False, True]


class Plain(Layer):
    """Layer without parameters that returns its input, and records for which calls its backward pass runs."""

    def __init__(self) -> None:
        super().__init__()
        self.passes: list[bool] = []

    def build(self, signal: Any) -> Any:
        return signal

    def forward(self, x: Array, ctx: Any, cache: Any) -> Array:
        return x

    def backward(self, dy: Array, ctx: Any, cache: Any, need_dx: bool) -> Array | None:
        self.passes.append(need_dx)
        return dy if need_dx else None

    def get_config(self) -> dict[str, Any]:
        return {}


def test_no_backward_pass_below_the_lowest_layer_with_parameters() -> None:
    X, y = data(8)
    below, above = Plain(), Plain()
    model = fl.Model([below, fl.LSTM(4), above, fl.Dense(2)], input_size=3)
    model.fit(X, y, epochs=1, batch_size=8, verbose=0)
    assert (below.passes, above.passes) == ([], [True])
    model.forward(X, training=True)
    assert model.backward(np.ones((8, 2))).shape == X.shape
    assert below.passes == [True]


def test_embeddings_and_graphs() -> None:
    tokens, y = np.random.default_rng(5).integers(0, 7, (12, 5)), np.arange(12) % 2
    model = fl.Model([fl.Embedding(7, 3), fl.LSTM(4), fl.Dense(2)])
    model.layers[0].trainable = False
    before = parts(model, 0)
    model.fit(tokens, y, epochs=2, verbose=0)
    np.testing.assert_array_equal(parts(model, 0)["0.weight"], before["0.weight"])
    model.forward(tokens, training=True)
    model.backward(np.ones((12, 2)))
    assert not model.gradients()["0.weight"].any()


def test_lengths_after_a_backward_pass_that_stops_above_a_repeat_vector() -> None:
    X, _ = data(6)
    y = np.zeros((6, 4, 1))
    frozen, lengths = fl.Model([fl.LSTM(3), fl.RepeatVector(4), fl.LSTM(3, return_sequences=True), fl.Dense(1)]), None
    lengths = np.array([6, 1, 3, 2, 5, 6])
    frozen.build(3)
    frozen.layers[0].trainable = False
    code = parts(frozen, 0)
    first = frozen.fit(X, y, lengths=lengths, loss="mse", epochs=3, batch_size=2, verbose=0)
    assert first.history["loss"][-1] < first.history["loss"][0]
    for name, value in parts(frozen, 0).items():
        np.testing.assert_array_equal(value, code[name])


# ------------------------------------------------------------------ training otherwise as it was


def test_dropout_stays_active_in_training() -> None:
    def layers() -> list[Layer]:
        return [fl.LSTM(4, input_dropout=0.5), fl.Dropout(0.5), fl.Dense(2)]

    X, _ = data(8)
    free, model = built(layers=layers), built(0, layers=layers)
    expected = free.forward(X, training=True)
    np.testing.assert_array_equal(model.forward(X, training=True), expected)
    assert not np.array_equal(expected, free.forward(X))


def test_all_trainable_is_the_same_run_as_ever() -> None:
    """Setting and unsetting the attribute leaves no trace."""
    X, y = data()
    plain, turned = built(), built(0, 2)
    for k in (0, 2):
        turned.layers[k].trainable = True
    for model in (plain, turned):
        model.fit(X, y, epochs=2, batch_size=5, verbose=0)
    np.testing.assert_array_equal(turned.flat_parameters, plain.flat_parameters)
    assert plain.get_config() == turned.get_config()


def test_gradual_unfreezing_by_a_callback() -> None:
    class Unfreeze(fl.Callback):
        def on_epoch_begin(self, epoch: int) -> None:
            self.model.layers[0].trainable = epoch > 2  # type: ignore[attr-defined]

        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            seen.append(self.model.parameters()["0.weight_hh_l0"].copy())

    X, y = data()
    model = built()
    seen = [model.parameters()["0.weight_hh_l0"].copy()]
    model.fit(X, y, epochs=3, optimizer=fl.AdamW(0.01), callbacks=[Unfreeze()], verbose=0)
    same = [np.array_equal(a, b) for a, b in pairwise(seen)]
    assert same == [True, True, False]


def test_set_before_the_model_is_built() -> None:
    X, y = data()
    layers = stack()
    layers[0].trainable = False
    model = fl.Model(layers, seed=4)
    model.fit(X, y, epochs=1, verbose=0)
    fresh = built()
    for name, value in parts(model, 0).items():
        np.testing.assert_array_equal(value, fresh.parameters()[name])


def test_frozen_models_and_threads() -> None:
    X, y = data()
    trained = []
    for threads in (1, 3):
        model = built(0, 2)
        model.freeze().unfreeze()
        model.fit(X, y, epochs=2, n_threads=threads, optimizer=fl.Adam(clip_norm=0.01), verbose=0)
        trained.append(model.flat_parameters.copy())
    np.testing.assert_array_equal(*trained)


# ------------------------------------------------------------------ files, copies, resumed runs


def test_files_and_copies(tmp_path: Path) -> None:
    model = built(0, 2)
    model.save(tmp_path / "m.safetensors")
    twins = [fl.load(tmp_path / "m.safetensors"), copy.copy(model), pickle.loads(pickle.dumps(model))]
    for twin in twins:
        assert [layer.trainable for layer in twin.layers] == [False, True, False, True]
        assert twin.get_config() == model.get_config()
    twins[1].layers[0].trainable = True
    assert not model.layers[0].trainable
    config = model.get_config()["layers"]
    assert [one.get("trainable") for one in config] == [False, None, False, None]
    layer = fl.layers.layer_from_config(config[0])
    assert isinstance(layer, fl.LSTM) and not layer.trainable
    with pytest.raises(ValueError, match="wrong settings for a LSTM layer: trainable must be True or False, got 'no'"):
        fl.layers.layer_from_config({**config[0], "trainable": "no"})


def test_summary() -> None:
    text = io.StringIO()
    built(0).summary(text)
    lines = text.getvalue().splitlines()
    assert lines[1].endswith("200  not trainable") and lines[2].endswith(" 24") and lines[5].startswith("total ")
    trained = sum(part.stop - part.start for part in built(0).trainable_ranges or [])
    assert lines[6].split() == ["trainable", str(trained)] and len(lines) == 7
    built().summary(text := io.StringIO())
    assert "trainable" not in text.getvalue()


class Unfrozen(fl.Callback):
    """Makes layer 0 trainable after the first epoch, without a state of its own."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        self.model.layers[0].trainable = True  # type: ignore[attr-defined]


def test_a_run_is_resumed_with_the_same_layers_frozen(tmp_path: Path) -> None:
    X, y = data()

    def trained(epochs: int, resume: bool, frozen: tuple[int, ...] = (0, 2), callbacks: Any = ()) -> fl.Model:
        model = built(*frozen)
        saved = fl.Checkpoint(tmp_path / "run.safetensors")
        optimizer = fl.Adam(0.02, clip_norm=0.1)
        model.fit(
            X,
            y,
            epochs=epochs,
            optimizer=optimizer,
            callbacks=[*callbacks, saved],
            resume=resume,
            batch_size=7,
            verbose=0,
        )
        return model

    straight = trained(4, False).flat_parameters.copy()
    trained(2, False)
    for other in ((), (0,), (0, 1, 2)):
        index = {(): 0, (0,): 2, (0, 1, 2): 1}[other]
        was, now = (str(index not in one) for one in ((0, 2), other))
        with pytest.raises(
            ValueError, match=rf"started with model\.layers\[{index}\]\.trainable={was}, got {now}: give fit the same"
        ):
            trained(4, True, other)
    np.testing.assert_array_equal(trained(4, True).flat_parameters, straight)

    straight = trained(3, False, callbacks=[Unfrozen()]).flat_parameters.copy()
    trained(2, False, callbacks=[Unfrozen()])
    again = trained(3, True, callbacks=[Unfrozen()])  # what is trainable when the run was saved is restored
    np.testing.assert_array_equal(again.flat_parameters, straight)
    assert again.layers[0].trainable


@pytest.mark.parametrize("damage", ["value", "missing", "number"])
def test_a_damaged_run_is_refused(damage: str, tmp_path: Path) -> None:
    X, y = data()
    saved = fl.Checkpoint(tmp_path / "run.safetensors")
    built(0).fit(X, y, epochs=1, callbacks=[saved], verbose=0)
    tensors, config = safetensors.load(tmp_path / "run.safetensors")
    if damage == "value":
        config["layers"][0]["trainable"] = "no"
    elif damage == "missing":
        del config["layers"]
    else:
        config["layers"].pop()
    safetensors.save(tmp_path / "damaged.safetensors", tensors, config)
    model = built(0)
    before = model.flat_parameters.copy()
    with pytest.raises(ValueError, match="does not describe a training run|do not fit the model"):
        model.fit(X, y, epochs=2, callbacks=[saved], resume=tmp_path / "damaged.safetensors", verbose=0)
    np.testing.assert_array_equal(model.flat_parameters, before)


# ------------------------------------------------------------------ transfer learning


def test_the_head_of_a_read_model_learns_another_task(tmp_path: Path) -> None:
    """A file's LSTM is kept to the bit, and only the new head is trained."""
    rng = np.random.default_rng(8)
    X = rng.standard_normal((96, 8, 3))
    base = fl.Model([fl.LSTM(16), fl.Dense(2)], seed=1)
    base.fit(X, (X[:, :, 0].sum(axis=1) > 0).astype(int), epochs=15, optimizer=fl.Adam(0.02), verbose=0)
    base.save(tmp_path / "base.safetensors")
    read = fl.load(tmp_path / "base.safetensors")
    with pytest.warns(UserWarning, match="a state dict holds weights"):
        by_torch = fl.from_torch(base.to_torch_state_dict())

    for source in (read, by_torch):
        model = fl.Model([fl.LSTM(16), fl.Dense(3)], input_size=3, seed=2)
        for name, value in model.layers[0].parameters.items():
            value[:] = source.layers[0].parameters[name]
        model.layers[0].trainable = False
        y = np.digitize(X[:, :, 0].sum(axis=1), [-1.5, 1.5])
        history = model.fit(X, y, epochs=60, optimizer=fl.AdamW(0.05, weight_decay=0.1), verbose=0)
        assert history.history["accuracy"][-1] > 0.8
        for name, value in model.layers[0].parameters.items():
            np.testing.assert_array_equal(value, base.layers[0].parameters[name])

    read.layers[0].trainable = False  # the model of the file itself, with its own head
    kept = {name: value.copy() for name, value in read.layers[0].parameters.items()}
    head = read.parameters()["1.weight"].copy()
    read.fit(X, (X[:, :, 1].sum(axis=1) > 0).astype(int), epochs=3, verbose=0)
    for name, value in read.layers[0].parameters.items():
        np.testing.assert_array_equal(value, kept[name])
    assert not np.array_equal(read.parameters()["1.weight"], head)
