"""Frozen models: the bits of the unfrozen model, whatever the workspace held before; nothing can change them."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import in_threads

import fastlstm as fl
from fastlstm import _core

STACKS: dict[str, Callable[[], list[Any]]] = {
    "last step": lambda: [fl.LSTM(17), fl.Dense(3)],
    "bidirectional": lambda: [
        fl.LSTM(9, num_layers=2, bidirectional=True, return_sequences=True),
        fl.Dense(20),
        fl.LSTM(33),
        fl.Dense(2, bias=False),
    ],
    "without bias": lambda: [fl.LSTM(40, num_layers=3, bias=False, return_sequences=True)],
    "wide": lambda: [fl.LSTM(120, return_sequences=True), fl.Dense(4)],
}
SHAPES = [(1, 1), (1, 7), (1, 60), (2, 1), (3, 5), (9, 1), (20, 12), (40, 30)]


def built(name: str = "last step", dtype: str = "float32") -> fl.Model:
    return fl.Model(STACKS[name](), input_size=4, dtype=dtype, seed=3)


def calls(seed: int, dtype: str) -> list[tuple[np.ndarray, np.ndarray | None, int]]:
    """Take every shape twice in a random order, half of them with lengths, on one thread or two."""
    rng = np.random.default_rng(seed)
    made = []
    for index in rng.permutation(2 * len(SHAPES)):
        batch, time = SHAPES[index // 2]
        x = rng.standard_normal((batch, time, 4)).astype(dtype)
        lengths = rng.integers(1, time + 1, batch) if index % 2 else None
        made.append((x, lengths, int(rng.integers(1, 3))))
    return made


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", STACKS)
def test_the_same_bits_for_any_calls_in_any_order(isa: str, name: str, dtype: str) -> None:
    plain, frozen = built(name, dtype), built(name, dtype).freeze()
    for x, lengths, n_threads in calls(5, dtype):
        expected = plain.predict(x, lengths, n_threads=n_threads)
        np.testing.assert_array_equal(frozen.predict(x, lengths, n_threads=n_threads), expected)


def test_changes_of_the_instruction_set_in_between() -> None:
    plain, frozen = built("bidirectional"), built("bidirectional").freeze()
    before = _core.isa()
    rng = np.random.default_rng(0)
    try:
        for x, lengths, n_threads in calls(6, "float32"):
            _core.set_isa(str(rng.choice(_core.available_isas())))
            np.testing.assert_array_equal(frozen.predict(x, lengths), plain.predict(x, lengths, n_threads=n_threads))
    finally:
        _core.set_isa(before)


def test_states_and_empty_batches() -> None:
    plain, frozen = built(), built().freeze()
    rng = np.random.default_rng(1)
    x, state = rng.standard_normal((2, 3, 4)).astype("f4"), tuple(rng.standard_normal((2, 1, 2, 17)).astype("f4"))
    for _ in range(2):
        frozen.network.forward(np.zeros((1, 3, 4), "f4"), np.array([0]), False)
        frozen.network.forward(np.zeros((0, 3, 4), "f4"), None, False)
        out, [(h, c)] = frozen.forward(x, state=state, return_state=True)
        expected, [(h1, c1)] = plain.forward(x, state=state, return_state=True)
        np.testing.assert_array_equal(out, expected)
        np.testing.assert_array_equal(h, h1)
        np.testing.assert_array_equal(c, c1)


def test_each_thread_has_its_own_workspace() -> None:
    plain, frozen = built("bidirectional"), built("bidirectional").freeze()
    work = [calls(seed, "float32") for seed in range(3)]
    expected = [[plain.predict(x, lengths) for x, lengths, _ in some] for some in work]
    got: list[list[np.ndarray]] = [[], [], []]
    in_threads(3, lambda k: got[k].extend(frozen.predict(x, lengths) for x, lengths, _ in work[k]))
    for mine, right in zip(got, expected, strict=True):
        assert len(mine) == len(right)
        for a, b in zip(mine, right, strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_packed_weights_are_used_again() -> None:
    """To see that, the test changes a weight through the array that holds the frozen weights."""
    model = built("without bias").freeze()
    x = np.random.default_rng(2).standard_normal((1, 5, 4)).astype("f4")
    before = model.predict(x)
    memory = model.flat_parameters.base.obj  # type: ignore[union-attr]
    memory[:] = 0
    np.testing.assert_array_equal(model.predict(x), before)
    large = np.ones((400, 50, 4), "f4")
    assert model.predict(large).any()
    in_threads(2, lambda k: np.testing.assert_array_equal(model.predict(x), before))
    np.testing.assert_array_equal(model.stream().run(x), before)
    # Another instruction set packs the present weights.
    active, others = _core.isa(), [name for name in _core.available_isas() if name != _core.isa()]
    for name in others[:1]:
        _core.set_isa(name)
        try:
            assert not model.predict(x).any()
            assert not model.predict(large).any()
        finally:
            _core.set_isa(active)


def test_old_views_cannot_change_a_frozen_model() -> None:
    model = built()
    x = np.random.default_rng(3).standard_normal((3, 5, 4)).astype("f4")
    views = [model.flat_parameters, *model.parameters().values()]
    before = model.predict(x)
    assert model.freeze() is model
    assert model.frozen
    for view in views:
        view[...] = 7
    np.testing.assert_array_equal(model.predict(x), before)
    for view in [model.flat_parameters, *model.parameters().values()]:
        assert not view.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            view[...] = 7
        with pytest.raises(ValueError, match="WRITEABLE"):
            view.flags.writeable = True
    model.state_dict()["0.weight_ih_l0"][...] = 7  # a copy
    np.testing.assert_array_equal(model.predict(x), before)
    assert model.flat_parameters.ctypes.data % 64 == 0


def test_methods_that_would_change_a_frozen_model_raise() -> None:
    model, optimizer = built(), fl.SGD(0.1)
    x = np.zeros((2, 3, 4), "f4")
    model.forward(x, training=True)
    model.freeze()
    changes: dict[str, Callable[[], Any]] = {
        "fit": lambda: model.fit(x, np.zeros(2, int), verbose=0),
        r"forward\(training=True\)": lambda: model.forward(x, training=True),
        "backward": lambda: model.backward(np.zeros((2, 3), "f4")),
        "zero_grad": model.zero_grad,
        "gradients": model.gradients,
        "load_state_dict": lambda: model.load_state_dict(model.state_dict()),
        "step": lambda: optimizer.step(model),
    }
    for what, change in changes.items():
        with pytest.raises(RuntimeError, match=rf"frozen.*unfreeze\(\) before {what}$"):
            change()
    with pytest.raises(RuntimeError, match="not built"):
        fl.Model([fl.LSTM(2)]).freeze()


def test_unfreeze_change_freeze() -> None:
    model, plain = built("wide"), built("wide")
    x = np.random.default_rng(4).standard_normal((2, 6, 4)).astype("f4")
    labels = np.zeros((2, 6), int)
    model.freeze().freeze()
    model.predict(x)
    frozen_views = model.parameters()
    assert model.unfreeze().unfreeze() is model
    assert not model.frozen
    for one in (model, plain):
        one.fit(x, labels, epochs=2, verbose=0, optimizer=fl.SGD(0.5))
    for _ in range(2):
        changed = plain.predict(x)
        np.testing.assert_array_equal(model.predict(x), changed)
        model.freeze()
        np.testing.assert_array_equal(model.predict(x), changed)
        model.unfreeze()
        for one in (model, plain):
            one.flat_parameters[:] *= 0.5
        assert (plain.predict(x) != changed).any()
    # Views of the frozen model are not views of the unfrozen model.
    assert (frozen_views["0.weight_hh_l0"] != model.parameters()["0.weight_hh_l0"]).any()
    model.forward(x, training=True)
    model.backward(np.ones((2, 6, 4), "f4"))
    assert all(gradient.any() for gradient in model.gradients().values())


def test_copies_and_pickles_are_frozen_and_independent(tmp_path: Path) -> None:
    model = built("bidirectional").freeze()
    x = np.random.default_rng(5).standard_normal((2, 6, 4)).astype("f4")
    expected = model.predict(x)
    for other in (copy.deepcopy(model), copy.copy(model), pickle.loads(pickle.dumps(model))):
        assert other.frozen
        np.testing.assert_array_equal(other.predict(x), expected)
        other.unfreeze().flat_parameters[:] = 0
        assert not other.predict(x).any()
    np.testing.assert_array_equal(model.predict(x), expected)
    model.save(tmp_path / "m.safetensors")
    loaded = fl.load(tmp_path / "m.safetensors")
    assert not loaded.frozen
    np.testing.assert_array_equal(loaded.predict(x), expected)
    np.testing.assert_array_equal(loaded.freeze().predict(x), expected)


def test_streams_and_evaluation_of_a_frozen_model() -> None:
    model = built("wide").freeze()
    x = np.random.default_rng(6).standard_normal((2, 6, 4)).astype("f4")
    expected, labels = model.predict(x), np.zeros((2, 6), int)
    stream = model.stream(2)
    np.testing.assert_array_equal(stream.run(x), expected)
    stream.reset()
    scores = model.evaluate(x, labels, loss="cross_entropy")
    model.unfreeze()
    assert model.evaluate(x, labels, loss="cross_entropy") == scores
    model.flat_parameters[:] = 0
    np.testing.assert_array_equal(stream.run(x), expected)


def test_the_kernels_verify_that_weights_are_frozen() -> None:
    """Writable weights are packed anew, whatever the caller claims; so are other weights of the same shape."""
    rng = np.random.default_rng(7)
    x = rng.standard_normal((2, 3)).astype("f4")
    weights = [rng.standard_normal((4, 3)).astype("f4") for _ in range(2)]
    y, workspace, kept = np.empty((2, 4), "f4"), _core.Workspace(), _core.PackedWeights()
    for read_only in (False, True):
        for weight in weights:
            weight.flags.writeable = not read_only
            for k in range(2):
                if not read_only:
                    weight += k
                _core.dense_forward(x, weight, None, y, workspace, packed=kept)
                fresh = np.empty_like(y)
                _core.dense_forward(x, weight, None, fresh, _core.Workspace())
                np.testing.assert_array_equal(y, fresh)
        # The backward pass writes to the same workspace.
        _core.dense_backward(y, x, weights[1], np.empty_like(x), None, None, workspace)
        _core.dense_forward(x, weights[1], None, y, workspace, packed=kept)
        np.testing.assert_array_equal(y, fresh)
