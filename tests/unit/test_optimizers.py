"""Optimizers: several steps against the formulas in NumPy and against torch; clipping, schedules, state."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import dataclass
from typing import Any
from weakref import ref

import numpy as np
import pytest
from numpy.typing import NDArray

import fastlstm as fl
from fastlstm.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop, get_optimizer
from fastlstm.schedules import CosineLR, StepLR, WarmupLR

Array = NDArray[Any]

STEPS = 5
# A few roundings of each step; float64 formulas are the reference for both.
TOLERANCE = {np.float32: {"rtol": 2e-5, "atol": 2e-6}, np.float64: {"rtol": 1e-12, "atol": 1e-13}}

SETTINGS: list[tuple[type[Optimizer], dict[str, Any]]] = [
    (SGD, {"lr": 0.1}),
    (SGD, {"lr": 0.1, "weight_decay": 0.1}),
    (SGD, {"lr": 0.1, "momentum": 0.9}),
    (SGD, {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.05}),
    (RMSprop, {"lr": 0.01}),
    (RMSprop, {"lr": 0.01, "alpha": 0.9, "eps": 1e-3, "momentum": 0.7, "weight_decay": 0.1}),
    (Adam, {"lr": 0.01}),
    (Adam, {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1}),
    (AdamW, {"lr": 0.02}),
    (AdamW, {"lr": 0.02, "betas": (0.5, 0.9), "weight_decay": 0.3}),
]


@dataclass
class Parameters:
    """The part of a model that an optimizer uses."""

    flat_parameters: Array
    flat_gradients: Array


def start(dtype: Any, size: int = 37) -> Array:
    return np.random.default_rng(0).normal(size=size).astype(dtype)


def gradient(step: int, dtype: Any, size: int = 37) -> Array:
    return np.random.default_rng(step + 1).normal(size=size).astype(dtype)


def run(optimizer: Optimizer, dtype: Any) -> Array:
    model = Parameters(start(dtype), np.zeros(37, dtype))
    for step in range(STEPS):
        model.flat_gradients[:] = gradient(step, dtype)
        optimizer.step(model)
    return model.flat_parameters


def by_formula(kind: type[Optimizer], settings: dict[str, Any], dtype: Any) -> Array:
    """Compute the formulas of the docstrings in float64."""
    p = start(dtype).astype(np.float64)
    m, v = np.zeros_like(p), np.zeros_like(p)
    lr, decay = settings["lr"], settings.get("weight_decay", 0.01 if kind is AdamW else 0.0)
    momentum = settings.get("momentum", 0.0)
    for t in range(1, STEPS + 1):
        g = gradient(t - 1, dtype).astype(np.float64)
        if kind is AdamW:
            p -= lr * decay * p
        else:
            g = g + decay * p
        if kind is SGD:
            m = momentum * m + g
            p -= lr * (g + momentum * m if settings.get("nesterov") else m)
        elif kind is RMSprop:
            alpha = settings.get("alpha", 0.99)
            v = alpha * v + (1 - alpha) * g**2
            m = momentum * m + g / (np.sqrt(v) + settings.get("eps", 1e-8))
            p -= lr * m
        else:
            beta1, beta2 = settings.get("betas", (0.9, 0.999))
            m = beta1 * m + (1 - beta1) * g
            v = beta2 * v + (1 - beta2) * g**2
            p -= lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + settings.get("eps", 1e-8))
    return p


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("kind", "settings"), SETTINGS)
def test_steps_follow_the_formula(kind: type[Optimizer], settings: dict[str, Any], dtype: Any) -> None:
    result = run(kind(**settings), dtype)
    assert result.dtype == dtype
    np.testing.assert_allclose(result, by_formula(kind, settings, dtype), **TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("kind", "settings"), SETTINGS)
def test_steps_agree_with_torch(kind: type[Optimizer], settings: dict[str, Any], dtype: Any) -> None:
    torch = pytest.importorskip("torch")
    p = torch.nn.Parameter(torch.from_numpy(start(dtype)))
    theirs = getattr(torch.optim, kind.__name__)([p], **settings)
    for step in range(STEPS):
        p.grad = torch.from_numpy(gradient(step, dtype))
        theirs.step()
    np.testing.assert_allclose(run(kind(**settings), dtype), p.detach().numpy(), **TOLERANCE[dtype])


@pytest.mark.parametrize("kind", [SGD, RMSprop, Adam, AdamW])
def test_threads_do_not_change_a_bit(kind: type[Optimizer]) -> None:
    results = []
    for n_threads in (1, 2, 3):
        optimizer = kind(lr=0.01, clip_norm=1.0)
        model = Parameters(start(np.float32, 50_021), gradient(0, np.float32, 50_021))
        for _ in range(2):
            optimizer.step(model, n_threads=n_threads)
        results.append(model.flat_parameters.tobytes())
    assert results[0] == results[1] == results[2]


def test_clip_norm_scales_a_large_gradient_and_leaves_a_small_one() -> None:
    model = Parameters(np.zeros(2), np.array([3.0, 4.0]))
    SGD(lr=1.0, clip_norm=2.5).step(model)
    np.testing.assert_allclose(model.flat_parameters, [-1.5, -2.0], rtol=1e-15)
    model = Parameters(np.zeros(2), np.array([3.0, 4.0]))
    SGD(lr=1.0, clip_norm=5.0).step(model)
    np.testing.assert_array_equal(model.flat_parameters, [-3.0, -4.0])


def test_clip_value_comes_before_clip_norm() -> None:
    model = Parameters(np.zeros(3), np.array([-8.0, 0.5, 3.0]))
    SGD(lr=1.0, clip_value=3.0).step(model)
    np.testing.assert_array_equal(model.flat_parameters, [3.0, -0.5, -3.0])
    model = Parameters(np.zeros(2), np.array([300.0, -4.0]))
    SGD(lr=1.0, clip_value=4.0, clip_norm=2.0).step(model)
    # (4, -4) scaled to norm 2; clipping the norm first would give nearly (2, 0).
    np.testing.assert_allclose(model.flat_parameters, [-np.sqrt(2.0), np.sqrt(2.0)], rtol=1e-15)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_changes_nothing(bad: float) -> None:
    optimizer = Adam(clip_value=1.0)
    model = Parameters(np.ones(3), np.array([0.0, bad, 1.0]))
    with pytest.raises(FloatingPointError, match="gradient is not finite"):
        optimizer.step(model)
    np.testing.assert_array_equal(model.flat_parameters, np.ones(3))
    assert optimizer.iterations == 0


def rates(schedule: Any, *runs: tuple[int, int]) -> list[list[float]]:
    """Return the rates of runs of (steps per epoch, epochs) of one model."""
    optimizer, model = SGD(lr=schedule), Parameters(np.zeros(1), np.ones(1))
    found = []
    for steps_per_epoch, epochs in runs:
        optimizer.bind(steps_per_epoch, epochs, model)
        model.flat_parameters[:] = 0.0
        found.append([])
        for _ in range(steps_per_epoch * epochs):
            before = model.flat_parameters[0]
            optimizer.step(model)
            found[-1].append(before - model.flat_parameters[0])
    assert optimizer.iterations == sum(map(len, found))
    return found


def test_schedules_that_depend_on_the_number_of_epochs_restart_and_others_go_on() -> None:
    halves = StepLR(1.0, step_size=1, gamma=0.5)
    assert rates(halves, (2, 2), (2, 1)) == [[1, 1, 0.5, 0.5], [0.25, 0.25]]
    assert rates(halves, (2, 1), (1, 3), (4, 1)) == [[1, 1], [0.5, 0.25, 0.125], [0.0625] * 4]  # epochs count
    assert rates(WarmupLR(1.0, warmup_steps=4), (3, 1), (3, 1)) == [[0.25, 0.5, 0.75], [1, 1, 1]]
    whole, first = rates(CosineLR(1.0), (4, 1), (4, 1))
    assert whole == first
    assert rates(WarmupLR(CosineLR(1.0), warmup_steps=2), (4, 1), (4, 1))[1][0] == 0.5


def test_setting_lr_replaces_the_schedule() -> None:
    optimizer = SGD(lr=CosineLR(1.0).bind(1, 1))
    optimizer.lr = 0.25
    model = Parameters(np.zeros(1), np.ones(1))
    optimizer.step(model)
    assert model.flat_parameters[0] == -0.25
    with pytest.raises(ValueError, match="lr"):
        optimizer.lr = -1.0


class Slotted:
    """Model without weak references."""

    __slots__ = ("flat_gradients", "flat_parameters")

    def __init__(self, parameters: Array, gradients: Array) -> None:
        self.flat_parameters, self.flat_gradients = parameters, gradients


@pytest.mark.parametrize("kind", [Parameters, Slotted])
def test_each_model_has_a_state_of_its_own(kind: Any) -> None:
    shared = Adam(0.1)
    models = [kind(start(dtype, size), gradient(0, dtype, size)) for dtype, size in (("f4", 37), ("f4", 37), ("f8", 5))]
    for step in range(3):
        for model in models:
            model.flat_gradients[:] = gradient(step, "f8", model.flat_gradients.size)
            shared.step(model)
            assert shared.iterations == step + 1
    for model in models:
        twin = kind(start(model.flat_parameters.dtype, model.flat_parameters.size), model.flat_gradients.copy())
        alone = Adam(0.1)
        for step in range(3):
            twin.flat_gradients[:] = gradient(step, "f8", twin.flat_gradients.size)
            alone.step(twin)
        np.testing.assert_array_equal(model.flat_parameters, twin.flat_parameters)


def test_the_state_lasts_as_long_as_the_model() -> None:
    optimizer, model = Adam(), Parameters(np.ones(3), np.ones(3))
    optimizer.step(model)
    moment = ref(optimizer._state["m"])
    other = Parameters(np.ones(3), np.ones(3))
    optimizer.step(other)
    assert moment() is not None
    del model
    optimizer.step(Parameters(np.ones(3), np.ones(3)))
    assert moment() is None


def test_a_loaded_state_goes_to_the_next_model_and_must_fit_it() -> None:
    first, other = (Parameters(start(np.float64), gradient(0, np.float64)) for _ in range(2))
    optimizer = Adam(0.1)
    optimizer.step(first)
    other.flat_parameters[:] = first.flat_parameters
    optimizer.load_state_dict(optimizer.state_dict())
    small = Parameters(np.zeros(5, np.float32), np.zeros(5, np.float32))
    with pytest.raises(ValueError, match=r"37 float64 .* 5 float32: load the state .*reset\(\)"):
        optimizer.step(small)
    optimizer.step(other)
    optimizer.step(first)
    assert optimizer.iterations == 2
    np.testing.assert_array_equal(other.flat_parameters, first.flat_parameters)
    optimizer.step(small)
    assert optimizer.iterations == 1


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_reset_and_copies_start_anew(copied: Any) -> None:
    optimizer = Adam(0.1)
    optimizer.step(Parameters(start(np.float64), gradient(0, np.float64)))
    twin = copied(optimizer)
    assert twin.get_config() == optimizer.get_config() and optimizer.iterations == 1
    optimizer.reset()
    for one in (optimizer, twin):
        fresh, again = (Parameters(start(np.float64), gradient(0, np.float64)) for _ in range(2))
        one.step(again)
        Adam(0.1).step(fresh)
        np.testing.assert_array_equal(again.flat_parameters, fresh.flat_parameters)


def test_names_and_config() -> None:
    assert isinstance(get_optimizer(None), Adam)
    for name, kind in (("sgd", SGD), ("rmsprop", RMSprop), ("Adam", Adam), ("adamw", AdamW)):
        made = get_optimizer(name)
        assert type(made) is kind
        config = json.loads(json.dumps(made.get_config()))
        assert config["name"] == name.lower()
        assert config["lr"] == made.lr
    given = SGD(lr=CosineLR(0.5), clip_norm=1.0)
    assert get_optimizer(given) is given
    assert given.get_config()["lr"] == {"name": "CosineLR", "lr": 0.5, "min_lr": 0.0}
    assert "clip_norm=1.0" in repr(given)
    with pytest.raises(ValueError, match="adam, adamw, rmsprop, sgd"):
        get_optimizer("adamm")
    with pytest.raises(TypeError, match="Adam"):
        get_optimizer(Adam)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: Adam(lr=-1.0), ValueError),
        (lambda: Adam(betas=(0.9, 1.0)), ValueError),
        (lambda: Adam(betas=0.9), ValueError),  # type: ignore[arg-type]
        (lambda: Adam(eps=0.0), ValueError),
        (lambda: Adam(weight_decay=-0.1), ValueError),
        (lambda: Adam(clip_norm=0.0), ValueError),
        (lambda: Adam(clip_value=np.inf), ValueError),
        (lambda: SGD(nesterov=True), ValueError),
        (lambda: SGD(momentum=1.0), ValueError),
        (lambda: RMSprop(alpha="0.9"), TypeError),  # type: ignore[arg-type]
    ],
)
def test_bad_arguments_are_refused(make: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        make()


def test_the_vectors_of_an_update_begin_at_different_places_of_a_page() -> None:
    """At equal places a load would wait for the store before it, which makes an update up to three times as slow."""
    model, optimizer = fl.Model([fl.LSTM(40)], input_size=3), fl.Adam()
    optimizer.step(model)
    for refrozen in range(2):
        vectors = [model.flat_parameters, model.flat_gradients, *optimizer._state.values()]
        assert [vector.ctypes.data % 4096 for vector in vectors] == [0, 1024, 2048, 3072], refrozen
        model.freeze().unfreeze()
