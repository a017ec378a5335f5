"""`Layer.stages()` tells all that a layer computes in inference: NumPy and the reference compute the same from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from helpers import TOLERANCE, relative_error

import fastlstm as fl
from fastlstm import _core, reference
from fastlstm import layers as layer_types
from fastlstm.cell import CellWeights
from fastlstm.layers import Layer, Stage, join_stages, scaling_stage

Array = np.ndarray
FEATURES = 6

# ------------------------------------------------------------------ the stages in NumPy, of one series (time, features)


def lstm_of(stage: Stage, x: Array) -> Array:
    settings, given = stage.settings, {state.name: state.initial for state in stage.states}
    outputs, ends = [], []
    for tail in ("", "_reverse")[: 2 if settings["bidirectional"] else 1]:
        weights = {name: stage.weights.get(name + tail) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        y, hn, _, _ = reference.lstm_forward(
            x[None],
            **weights,
            h0=None if given["h" + tail] is None else given["h" + tail][None],
            c0=None if given["c" + tail] is None else given["c" + tail][None],
            reverse=settings["reverse"] or tail != "",
            cell=settings["cell"],
            cell_weights=CellWeights(*(stage.weights.get(name + tail) for name in CellWeights._fields)),
        )
        outputs.append(y[0])
        ends.append(hn[0])
    parts = outputs if settings["return_sequences"] else ends
    if len(parts) == 1:
        return parts[0]
    joined = {
        "concat": lambda f, b: np.concatenate([f, b], axis=-1),
        "sum": lambda f, b: f + b,
        "mean": lambda f, b: (f + b) / 2,
        "product": lambda f, b: f * b,
    }
    return joined[settings["merge"]](*parts)


def pool_of(stage: Stage, x: Array, side: dict[str, Array]) -> Array:
    method = stage.settings["method"]
    if method == "attention":
        share = np.exp(side["scores"] - side["scores"].max())
        return (share / share.sum() * x).sum(axis=0)
    return {"last": lambda: x[-1], "mean": lambda: x.mean(axis=0), "max": lambda: x.max(axis=0)}[method]()


def final_of(stage: Stage, x: Array, side: dict[str, Array]) -> Array:
    if stage.settings["bidirectional"]:
        half = x.shape[1] // 2
        return np.concatenate([x[-1, :half], x[0, half:]])
    return x[0 if stage.settings["reverse"] else -1]


def softmax(stage: Stage, x: Array, side: dict[str, Array]) -> Array:
    return reference.softmax(np.atleast_2d(x)).reshape(x.shape)


def conv_of(stage: Stage, x: Array) -> Array:
    return reference.conv_forward(x[None], stage.weights["weight"], stage.weights.get("bias"), **stage.settings)[0]


def windows_of(stage: Stage, x: Array) -> Array:
    settings = dict(stage.settings)
    method, kernel = settings.pop("method"), settings.pop("kernel_size")
    return reference.window_pool_forward(x[None], method, kernel, **settings)[0]


def normed(stage: Stage, x: Array) -> Array:
    weights = stage.weights
    scale = weights.get("weight", 1.0) / np.sqrt(weights["running_var"] + stage.settings["eps"])
    return (x - weights["running_mean"]) * scale + weights.get("bias", 0.0)


def keeps_steps(stage: Stage) -> bool:
    """Return whether the value of windows has a step for each step of its input."""
    if stage.kind == "window_pool":
        return len(windows_of(stage, np.ones((99, 1)))) == 99
    weight = np.ones((1, 1, stage.weights["weight"].shape[2]))
    return reference.conv_forward(np.ones((1, 99, 1)), weight, **{**stage.settings, "groups": 1}).shape[1] == 99


def frame_conv_of(stage: Stage, x: Array) -> Array:
    settings = dict(stage.settings)
    frames = x.reshape(len(x), settings.pop("steps"), -1)
    weights = stage.weights["weight"], stage.weights.get("bias")
    return reference.conv_forward(frames, *weights, **settings).reshape(len(x), -1)


def magnitude_of(stage: Stage, x: Array) -> Array:
    parts = x.reshape(*x.shape[:-1], stage.settings["parts"], -1)
    return reference.magnitude_forward(parts, stage.settings["eps"]).reshape(*x.shape[:-1], -1)


KINDS: dict[str, Callable[[Stage, Array, dict[str, Array]], Array]] = {
    "standardize": lambda stage, x, side: reference.standardize(
        x, stage.weights["mean"], stage.weights["scale"], stage.weights.get("missing", ())
    ),
    "unstandardize": lambda stage, x, side: x * stage.weights["scale"] + stage.weights["mean"],
    "embedding": lambda stage, x, side: stage.weights["weight"][x],
    "lstm": lambda stage, x, side: lstm_of(stage, x),
    "dense": lambda stage, x, side: x @ stage.weights["weight"].T + stage.weights.get("bias", 0.0),
    "conv": lambda stage, x, side: conv_of(stage, x),
    "window_pool": lambda stage, x, side: windows_of(stage, x),
    "batch_norm": lambda stage, x, side: normed(stage, x),
    "layer_norm": lambda stage, x, side: reference.feature_norm_forward(
        x, stage.weights.get("weight", 1.0), stage.weights.get("bias", 0.0), stage.settings["eps"]
    ),
    "flatten": lambda stage, x, side: x.reshape(-1),
    "activation": lambda stage, x, side: stage.settings["function"](x),
    "softmax": softmax,
    "add": lambda stage, x, side: x + side["addend"],
    "multiply": lambda stage, x, side: x * side["factor"],
    "magnitude": lambda stage, x, side: magnitude_of(stage, x),
    "pad": lambda stage, x, side: reference.pad_forward(x[None], **stage.settings)[0],
    "frame_conv": lambda stage, x, side: frame_conv_of(stage, x),
    "take": lambda stage, x, side: np.where(stage.settings["index"] < 0, 0, x[..., stage.settings["index"]]),
    "pool": pool_of,
    "final": final_of,
    "mask": lambda stage, x, side: x,
    "reverse": lambda stage, x, side: x[::-1],
    "stack": lambda stage, x, side: reference.stack_steps_forward(x[None], **stage.settings)[0],
    "differences": lambda stage, x, side: reference.differences_forward(x[None], stage.settings["scale"])[0],
    "deviations": lambda stage, x, side: reference.deviations_forward(x[None], **stage.settings)[0],
    "concat": lambda stage, x, side: np.concatenate([x, side["second"]], axis=-1),
    "repeat": lambda stage, x, side: np.repeat(x[None], stage.settings["steps"], axis=0),
}
SKIP = ("lstm", "conv", "window_pool", "pool", "differences", "final")


def run(stages: Sequence[Stage], x: Array) -> Array:
    """Compute the stages of a whole model for a series (time, features), or of tokens (time,)."""
    values, counts = [x], np.ones(len(x), bool)
    for stage in stages:
        main, side = values[stage.main], {name: values[number] for name, number in stage.side.items()}
        if stage.kind == "embedding" and stage.settings["mask_token"] is not None:
            counts = main != stage.settings["mask_token"]
        if stage.kind == "mask":
            counts = (main != stage.settings["value"]).any(axis=1)
        if stage.kind == "stack":
            main, counts = main[counts], np.ones(-(-counts.sum() // stage.settings["stride"]), bool)
        if stage.kind in ("conv", "window_pool") and not keeps_steps(stage):
            main = main[counts]
            counts = np.ones(len(KINDS[stage.kind](stage, main, side)), bool)
        if stage.kind == "pad":
            main = main[counts]
            counts = np.ones(len(main) + stage.settings["before"] + stage.settings["after"], bool)
        if stage.kind == "repeat":
            counts = np.ones(stage.settings["steps"], bool)
        if stage.kind in SKIP and not counts.all():
            value = KINDS[stage.kind](stage, main[counts], {name: one[counts] for name, one in side.items()})
            if value.ndim == 2:  # a step that does not count gives what the one before it gave
                value = np.concatenate([np.zeros((1, value.shape[1])), value])[np.cumsum(counts)]
        else:
            value = KINDS[stage.kind](stage, main, side)
        assert value.shape[-1] == stage.output_size
        values.append(value)
    return values[-1]


# ------------------------------------------------------------------ every layer

LAYERS: dict[str, list[Callable[[], list[Layer]]]] = {
    "Activation": [lambda: [fl.Activation("elu", 0.7)], lambda: [fl.Activation("softmax")]],
    "AttentionPool": [lambda: [fl.AttentionPool(5), fl.Dense(2)]],
    "AvgPool1D": [
        lambda: [fl.AvgPool1D(3, stride=1, padding="causal")],
        lambda: [fl.Masking(), fl.AvgPool1D(3, stride=1, padding="same"), fl.LSTM(4)],
        lambda: [fl.Masking(), fl.AvgPool1D(4, stride=2, padding=(2, 3), count_include_pad=True), fl.MeanPool()],
    ],
    "BatchNorm": [
        lambda: [fl.BatchNorm(), fl.LSTM(5), fl.BatchNorm(weight=False, eps=0.1), fl.Dense(2)],
        lambda: [fl.Masking(), fl.BatchNorm(bias=False), fl.MeanPool()],
    ],
    "ConcatPool": [
        lambda: [fl.ConcatPool(), fl.Dense(2)],
        lambda: [
            fl.Masking(),
            fl.LSTM(4, bidirectional=True, return_sequences=True),
            fl.ConcatPool(bidirectional=True),
        ],
    ],
    "Conv1D": [
        lambda: [fl.Conv1D(4, 3, padding="causal", activation="relu")],
        lambda: [fl.Conv1D(4, 3, stride=2, groups=2, bias=False), fl.LSTM(5)],
        lambda: [fl.Masking(), fl.Conv1D(9, 2, dilation=2, groups=3, padding="same"), fl.MeanPool()],
        lambda: [fl.Masking(), fl.Conv1D(5, 3, stride=3, padding=(1, 2), activation=("elu", 0.5)), fl.MaxPool()],
        lambda: [fl.LSTM(3), fl.RepeatVector(7), fl.Conv1D(5, 4)],
    ],
    "Dense": [lambda: [fl.Dense(3)], lambda: [fl.Dense(3, bias=False)]],
    "Deviations": [lambda: [fl.Deviations(np.arange(24.0).reshape(4, 6), 0.5), fl.LSTM(5)]],
    "Differences": [
        lambda: [fl.Differences(3.0)],
        lambda: [fl.Masking(), fl.Differences([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), fl.LSTM(5)],
    ],
    "Dropout": [lambda: [fl.Dropout(0.3)]],
    "Embedding": [
        lambda: [fl.Embedding(9, 4)],
        lambda: [fl.Embedding(9, 4, mask_token=2), fl.LSTM(5, return_sequences=True), fl.MeanPool()],
    ],
    "Flatten": [lambda: [fl.LSTM(3, return_sequences=True), fl.Flatten(8), fl.Dense(2)]],
    "GaussianNoise": [lambda: [fl.GaussianNoise(0.3)]],
    "LSTM": [
        lambda: [fl.LSTM(5)],
        lambda: [fl.LSTM(5, num_layers=3, dropout=0.2, residual=True)],
        lambda: [fl.LSTM(5, num_layers=2, residual=True, reverse=True)],
        lambda: [fl.LSTM(5, num_layers=2, residual=True, bidirectional=True)],
        lambda: [fl.LSTM(5, num_layers=2, residual=True, bidirectional=True, merge="sum", return_sequences=True)],
        lambda: [fl.LSTM(5, num_layers=2, bidirectional=True, learn_state=True, merge="product")],
        lambda: [fl.LSTM(5, bidirectional=True, merge="mean", bias=False, return_sequences=True), fl.Dense(2)],
        lambda: [fl.LSTM(5, num_layers=2, learn_state=True, reverse=True, return_sequences=True)],
        lambda: [fl.LSTM(5, num_layers=2, proj_size=3, peepholes=True, bidirectional=True, cell_clip=0.5)],
        lambda: [fl.LSTM(5, coupled=True, peepholes=True, gate_clip=1.0, output_clip=0.4, return_sequences=True)],
        lambda: [fl.LSTM(5, layer_norm=True, zoneout_h=0.2, zoneout_c=0.1, gate_activation="hard_sigmoid")],
        lambda: [fl.LSTM(5, num_layers=2, variational_dropout=0.2, input_dropout=0.1, cell_activation=("elu", 0.5))],
    ],
    "LastStep": [lambda: [fl.LSTM(5, return_sequences=True), fl.LastStep()]],
    "LayerNorm": [
        lambda: [fl.LayerNorm(), fl.LSTM(5), fl.LayerNorm(weight=False, eps=0.1), fl.Dense(2)],
        lambda: [fl.Masking(), fl.LayerNorm(bias=False), fl.MeanPool()],
    ],
    "Magnitude": [lambda: [fl.Magnitude()], lambda: [fl.Magnitude(0.1), fl.LSTM(4)]],
    "Merge": [
        lambda: [
            fl.Tap("a"),
            fl.LSTM(6, return_sequences=True),
            fl.Merge("a"),
            fl.Dense(3),
            fl.Dense(6),
            fl.Merge("a"),
        ],
        lambda: [fl.Masking(), fl.LSTM(5), fl.Tap("a"), fl.Dense(5), fl.Merge("a", "add")],
        lambda: [fl.Dense(3), fl.Tap("b"), fl.LSTM(4, return_sequences=True), fl.Merge("b", "concat")],
    ],
    "Masking": [
        lambda: [fl.Masking(), fl.LSTM(5)],
        lambda: [fl.Masking(0.5), fl.LSTM(5, return_sequences=True), fl.Dense(3), fl.AttentionPool(4)],
    ],
    "MaxPool": [lambda: [fl.MaxPool()]],
    "MaxPool1D": [
        lambda: [fl.MaxPool1D(2), fl.LSTM(5)],
        lambda: [fl.Masking(), fl.MaxPool1D(3, stride=1, padding="causal"), fl.LSTM(4)],
        lambda: [fl.Masking(), fl.MaxPool1D(3, padding="same"), fl.MeanPool()],
    ],
    "MeanPool": [lambda: [fl.LSTM(5, return_sequences=True), fl.MeanPool()]],
    "Pad1D": [
        lambda: [fl.Pad1D(2, 1, value=3.0), fl.MeanPool()],
        lambda: [fl.Masking(), fl.Pad1D(0, 3, "reflect"), fl.Conv1D(4, 3), fl.LSTM(3)],
        lambda: [fl.Pad1D(3, 2, "edge"), fl.LSTM(3)],
    ],
    "RepeatVector": [
        lambda: [fl.LSTM(5), fl.RepeatVector(4), fl.LSTM(3, return_sequences=True), fl.Dense(2)],
        lambda: [fl.Masking(), fl.LSTM(5), fl.RepeatVector(11), fl.Masking(), fl.LSTM(3, return_sequences=True)],
        lambda: [fl.MeanPool(), fl.RepeatVector(3), fl.Masking(0.5), fl.LSTM(3), fl.RepeatVector(2), fl.MaxPool()],
    ],
    "StackSteps": [
        lambda: [fl.StackSteps(3), fl.LSTM(5)],
        lambda: [fl.Masking(), fl.StackSteps(3), fl.MeanPool()],
        lambda: [fl.Differences(), fl.StackSteps(3, stride=2), fl.StackSteps(3), fl.LSTM(4, bidirectional=True)],
    ],
    "Tap": [lambda: [fl.Tap("a"), fl.Dense(2)]],
    "TimeDistributed": [
        lambda: [fl.TimeDistributed([fl.Pad1D(1, 1, "reflect"), fl.Conv1D(4, 3, stride=2), fl.Magnitude()])],
        lambda: [
            fl.TimeDistributed(
                [fl.Conv1D(4, 2, padding="same", groups=2), fl.Activation("tanh"), fl.LastStep()], steps=3
            ),
            fl.LSTM(4),
        ],
        lambda: [fl.TimeDistributed([fl.Tap("a"), fl.Conv1D(3, 2, padding="causal"), fl.Merge("a", "add")], steps=2)],
    ],
    "Reverse": [lambda: [fl.LSTM(5, reverse=True, return_sequences=True), fl.Reverse()]],
}
CASES = [pytest.param(make, id=f"{name} {k}") for name, some in LAYERS.items() for k, make in enumerate(some)]


def test_every_layer_is_tried() -> None:
    assert set(LAYERS) == set(layer_types.registered_layers()) - {"OnnxGraph", "LuongAttention"}  # of no chain


def built(layers: list[Layer], **options: Any) -> fl.Model:
    return fl.Model(layers, input_size=None if layers[0].takes_tokens else FEATURES, **options)


def varied(model: fl.Model) -> fl.Model:
    """No parameter is left at its start, which may be all zeros or ones."""
    model.flat_parameters[:] += np.random.default_rng(3).uniform(-0.3, 0.3, model.flat_parameters.shape)
    return model


@pytest.mark.parametrize("make", CASES)
def test_stages_tell_all_that_a_model_computes(make: Callable[[], list[Layer]]) -> None:
    rng = np.random.default_rng(1)
    model = varied(built(make(), dtype="float64", seed=2))
    X = rng.integers(0, 9, (3, 8)) if model.takes_tokens else rng.standard_normal((3, 8, FEATURES))
    if not model.takes_tokens:
        X[0, :2], X[1, 3:5], X[2, -1] = 0.5, 0.0, 0.0
    expected = model.predict(X)
    stages = join_stages(layer.stages() for layer in model.layers)
    for x, one in zip(X, expected, strict=True):
        assert relative_error(run(stages, x), one) < TOLERANCE["float64"]


@pytest.mark.parametrize("make", CASES)
def test_weights_are_the_arrays_of_the_layer(make: Callable[[], list[Layer]]) -> None:
    model = built(make())
    named: list[Array] = []
    for layer in model.layers:
        for stage in layer.stages():
            arrays = [*stage.weights.values(), *(s.initial for s in stage.states if s.initial is not None)]
            assert all(np.shares_memory(array, model.flat_parameters) for array in arrays)
            named += arrays
    assert sum(array.size for array in named) == model.flat_parameters.size


@pytest.mark.parametrize("make", CASES)
def test_states_have_the_sizes_that_the_layer_carries(make: Callable[[], list[Layer]]) -> None:
    for layer in built(make()).layers:
        states = [state for stage in layer.stages() for state in stage.states]
        if isinstance(layer, fl.LSTM):
            of_h, of_c = layer.state_shapes(1)
            assert [s.size for s in states if s.name.startswith("h")] == [of_h[2]] * of_h[0]
            assert [s.size for s in states if s.name.startswith("c")] == [of_c[2]] * of_c[0]
        elif isinstance(layer, fl.Conv1D):
            earlier = (layer.kernel_size - 1) * layer.dilation
            assert [(s.name, s.size) for s in states] == [("steps", earlier * 6)] * layer.is_causal
        elif isinstance(layer, (fl.MaxPool1D, fl.AvgPool1D)):
            assert [s.name for s in states] == ["steps", "count"] * layer.is_causal
        elif states:
            assert [(s.name, s.dtype) for s in states] == [("sums", "float64"), ("counts", "float64")]


# ------------------------------------------------------------------ the whole model


def test_joined_stages_are_numbered_through_and_may_be_left_out() -> None:
    layers = [fl.LSTM(6, num_layers=2, residual=True), fl.Dropout(), fl.LastStep(), fl.Dense(2)]
    model = fl.Model([layers[0], layers[1], layers[3]], input_size=6)
    kept = join_stages((layer.stages() for layer in model.layers), lambda stage: stage.kind == "final")
    assert [stage.kind for stage in kept] == ["lstm", "lstm", "add", "dense"]
    assert [stage.main for stage in kept] == [0, 1, 2, 3]
    assert kept[2].side == {"addend": 1}
    attention = fl.Model([fl.Dense(4), fl.AttentionPool(3)], input_size=6)
    joined = join_stages(layer.stages() for layer in attention.layers)
    assert [stage.main for stage in joined] == [0, 1, 2, 3, 1]
    assert joined[4].side == {"scores": 4}


def test_scaling_stages_hold_one_number_for_each_feature() -> None:
    one = scaling_stage(np.float32(2.0), [[4.0]], 3, inverse=True)
    assert one.kind == "unstandardize" and one.output_size == 3
    np.testing.assert_array_equal(one.weights["mean"], [2.0, 2.0, 2.0])
    np.testing.assert_array_equal(one.weights["scale"], [4.0, 4.0, 4.0])
    np.testing.assert_array_equal(run(join_stages([[one]]), np.ones((2, 3))), np.full((2, 3), 6.0))
    back = scaling_stage([1.0, 2.0], [3.0, 4.0], 2)
    assert back.kind == "standardize"
    np.testing.assert_array_equal(run(join_stages([[back]]), np.ones((1, 2))), [[0.0, -0.25]])
    masked = scaling_stage([1.0, 2.0], [3.0, 4.0], 2, missing=np.array([1]))
    assert masked.kind == "standardize" and masked.output_size == 3
    x = np.array([[1.0, np.nan], [4.0, 6.0]])
    np.testing.assert_array_equal(run(join_stages([[masked]]), x), [[0.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    assert scaling_stage([1.0], [2.0], 1, missing=np.zeros(0, np.int64)).output_size == 1


def test_layers_without_stages_are_refused() -> None:
    class Doubled(fl.Activation):
        stages = Layer.stages

    model: Any = fl.Model([fl.Dense(3), Doubled("relu")], input_size=2)
    with pytest.raises(TypeError, match=r"Doubled\(.*\) cannot be expressed as stages"):
        model.layers[1].stages()


def test_the_core_refuses_stages_without_features() -> None:
    stages = join_stages([[Stage("dense", 0, weights={"weight": np.zeros((0, 2))})]])
    with pytest.raises(ValueError, match="stage 0, dense, has no features"):
        _core.Chain(stages, 2, "float64")


def test_streams_refuse_layers_without_stages() -> None:
    class Plain(Layer):
        def build(self, signal: Any) -> Any:
            return signal

        def forward(self, x: Any, ctx: Any, cache: Any) -> Any:
            return x

        def backward(self, dy: Any, ctx: Any, cache: Any, need_dx: bool) -> Any:
            return dy

        def get_config(self) -> dict[str, Any]:
            return {}

    with pytest.raises(TypeError, match=r"Plain.* cannot be expressed as stages"):
        fl.Model([fl.Dense(3), Plain()], input_size=2).stream()


def test_streams_refuse_inherited_stages_of_an_overridden_forward() -> None:
    class Twice(fl.Activation):
        def forward(self, x: Any, ctx: Any, cache: Any) -> Any:
            return 2 * x

    with pytest.raises(TypeError, match=r"layer 1, Twice\(.*\), cannot be streamed: Twice overrides forward\(\)"):
        fl.Model([fl.Dense(3), Twice("relu")], input_size=2).stream()
