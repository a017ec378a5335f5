"""`Model.to_onnx`: the same results in ONNX Runtime, for any batch and time, and as a model again."""

from __future__ import annotations

import errno
import inspect
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
from onnx_graphs import LSTMCase, model_of, op  # noqa: E402

import fastlstm as fl  # noqa: E402
from fastlstm import onnx_backend  # noqa: E402
from fastlstm.activations import KINDS  # noqa: E402
from fastlstm.formats.onnx.graph.layer import OnnxGraph  # noqa: E402
from fastlstm.formats.onnx.write.builder import GraphBuilder  # noqa: E402
from fastlstm.formats.onnx.write.stages import KINDS as KINDS_OF_STAGES  # noqa: E402
from fastlstm.layers import LSTM, registered_layers, stages  # noqa: E402

FLOAT32 = 3e-6
"""Absolute, of outputs of size 1: 25 ulps. ONNX Runtime's tanh and exp are approximations."""

TOKENS, FEATURES = 11, 3


def standardizer(size: int) -> fl.Standardizer:
    rng = np.random.default_rng(size)
    state = {"mean": rng.standard_normal(size), "scale": rng.uniform(0.5, 2.0, size)}
    return fl.Standardizer.from_state(state)


def known(settings: dict[str, Any]) -> bool:
    return settings.keys() <= inspect.signature(LSTM).parameters.keys()


def models() -> dict[str, Any]:
    """Return functions that make models; together they have every kind of layer and option."""
    made: dict[str, Any] = {
        "steps": lambda: [fl.LSTM(4, return_sequences=True), fl.Dense(2)],
        "last": lambda: [fl.LSTM(4), fl.Dense(2)],
        "last, no bias": lambda: [fl.LSTM(4, bias=False), fl.Dense(2, bias=False)],
        "stacked": lambda: [fl.LSTM(4, num_layers=3, dropout=0.5), fl.Dense(2)],
        "both": lambda: [fl.LSTM(4, num_layers=2, bidirectional=True), fl.Dense(2)],
        "both, steps": lambda: [fl.LSTM(4, num_layers=2, bidirectional=True, return_sequences=True), fl.Dense(2)],
        "two": lambda: [fl.LSTM(4, return_sequences=True), fl.Dropout(0.5), fl.LSTM(5, bidirectional=True)],
        "noise": lambda: [fl.GaussianNoise(0.5), fl.Dense(4), fl.LSTM(3), fl.Activation("softmax")],
        "tokens": lambda: [fl.Embedding(TOKENS, 3), fl.LSTM(4), fl.Dense(2)],
        "tokens, steps": lambda: [fl.Embedding(TOKENS, 3), fl.LSTM(4, return_sequences=True), fl.Dense(2)],
        "dense alone": lambda: [fl.Dense(4), fl.Activation("relu"), fl.Dense(2)],
    }
    for name in ("LastStep", "MeanPool", "MaxPool"):
        made[name] = lambda name=name: [fl.LSTM(4, bidirectional=True, return_sequences=True), getattr(fl, name)(),
                                        fl.Dense(2)]  # fmt: skip
        made[f"{name} of the input"] = lambda name=name: [getattr(fl, name)(), fl.Dense(2)]
    made["Reverse"] = lambda: [fl.LSTM(4, return_sequences=True), fl.Reverse(), fl.LSTM(3)]
    made["RepeatVector"] = lambda: [
        fl.LSTM(4, bidirectional=True), fl.RepeatVector(5), fl.LSTM(3, bidirectional=True, return_sequences=True),
        fl.Dense(2),
    ]  # fmt: skip
    made["RepeatVector, then pooling"] = lambda: [
        fl.LSTM(4), fl.RepeatVector(7), fl.LSTM(3, return_sequences=True), fl.Reverse(), fl.AttentionPool(2),
    ]  # fmt: skip
    made["RepeatVector twice"] = lambda: [
        fl.MeanPool(), fl.Dense(3), fl.RepeatVector(2), fl.LSTM(3), fl.RepeatVector(6), fl.Dense(2),
    ]  # fmt: skip
    made["Differences, StackSteps"] = lambda: [
        fl.Differences([2.0, 0.5, 3.0]), fl.StackSteps(4, stride=3),
        fl.LSTM(3, bidirectional=True, return_sequences=True), fl.Reverse(), fl.AttentionPool(2),
    ]  # fmt: skip
    made["Conv1D"] = lambda: [
        fl.Conv1D(6, 3, padding="causal", activation="relu"), fl.Conv1D(4, 3, padding=(1, 2), groups=2, bias=False),
        fl.LSTM(3, return_sequences=True), fl.Conv1D(4, 4, padding="same", dilation=2), fl.AttentionPool(2),
    ]  # fmt: skip
    made["TimeDistributed"] = lambda: [
        fl.Tap("x"),
        fl.TimeDistributed([fl.Conv1D(4, 2, padding="same", activation="relu"), fl.Magnitude(0.1)]),
        fl.LSTM(3, return_sequences=True),
        fl.Merge("x"),
        fl.Merge("x", "concat"),
        fl.MeanPool(),
    ]
    made["Conv1D with strides"] = lambda: [
        fl.Conv1D(6, 2, padding=1), fl.LSTM(3, return_sequences=True), fl.Conv1D(4, 3, stride=2, padding="causal"),
        fl.LSTM(3, bidirectional=True, return_sequences=True), fl.MeanPool(),
    ]  # fmt: skip
    made["LayerNorm, pools over windows"] = lambda: [
        fl.AvgPool1D(3, stride=1, padding="causal"), fl.LayerNorm(),
        fl.LSTM(3, bidirectional=True, return_sequences=True), fl.MaxPool1D(2, stride=1, padding=(1, 0)), fl.LSTM(3),
    ]  # fmt: skip
    made["Deviations, ConcatPool"] = lambda: [
        fl.Deviations(np.arange(12.0).reshape(4, 3), [2.0, 0.5, 1.0]),
        fl.LSTM(4, bidirectional=True, return_sequences=True), fl.ConcatPool(bidirectional=True), fl.Dense(2),
    ]  # fmt: skip
    made["ConcatPool of one direction"] = lambda: [fl.LSTM(4, return_sequences=True), fl.ConcatPool(), fl.Dense(2)]
    made["StackSteps inside"] = lambda: [
        fl.LSTM(4, return_sequences=True), fl.Differences(2.0), fl.StackSteps(2), fl.LSTM(3), fl.Dense(2),
    ]  # fmt: skip
    made["Reverse of the input"] = lambda: [fl.Reverse(), fl.LSTM(3, return_sequences=True)]
    made["AttentionPool"] = lambda: [fl.LSTM(4, return_sequences=True), fl.AttentionPool(3), fl.Dense(2)]
    for kind in KINDS:
        made[f"Activation {kind}"] = lambda kind=kind: [fl.LSTM(4), fl.Activation(kind), fl.Dense(2)]
    made["Activation with parameters"] = lambda: [
        fl.LSTM(4, return_sequences=True), fl.Activation("scaled_tanh", 1.5, 0.5), fl.Activation("affine", 2.0, 0.25),
        fl.Activation("hard_sigmoid", 0.3, 0.4), fl.Activation("elu", 0.7), fl.Dense(2),
    ]  # fmt: skip
    options: dict[str, dict[str, Any]] = {
        "reverse": {"reverse": True},
        "learn_state": {"learn_state": True, "num_layers": 2, "bidirectional": True},
        "residual": {"residual": True, "num_layers": 3},
        "residual, both": {"residual": True, "num_layers": 2, "bidirectional": True},
        "residual, reverse": {"residual": True, "num_layers": 2, "reverse": True},
        "sum": {"merge": "sum", "bidirectional": True, "num_layers": 2},
        "mean": {"merge": "mean", "bidirectional": True},
        "product": {"merge": "product", "bidirectional": True},
        "peepholes": {"peepholes": True, "bidirectional": True},
        "coupled": {"coupled": True, "peepholes": True},
        "activations": {"gate_activation": "hard_sigmoid", "cell_activation": ("scaled_tanh", 1.2, 0.7),
                        "output_activation": "softsign", "bidirectional": True},
        "dropouts": {"recurrent_dropout": 0.5, "variational_dropout": 0.5, "input_dropout": 0.5},
        "initializers": {"weight_init": "orthogonal", "recurrent_init": "glorot_uniform"},
    }  # fmt: skip
    for name, settings in options.items():
        if known(settings):
            made[f"LSTM {name}"] = lambda settings=settings: [fl.LSTM(4, **settings), fl.Dense(2)]
            made[f"LSTM {name}, steps"] = lambda settings=settings: [
                fl.LSTM(4, return_sequences=True, **settings), fl.Dense(2)
            ]  # fmt: skip
    return made


MODELS = models()


def build(name: str, **more: Any) -> fl.Model:
    layers = MODELS[name]()
    model = fl.Model(layers, input_size=None if layers[0].takes_tokens else FEATURES, **more)
    rng = np.random.default_rng(len(name))
    for value in model.parameters().values():
        value[...] = 0.6 * rng.standard_normal(value.shape)
    return model


def session(path: Path) -> Any:
    ort = pytest.importorskip("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(str(path), options)


def problem(model: fl.Model, batch: int, time: int, lengths: bool) -> tuple[np.ndarray, Any, dict[str, np.ndarray]]:
    rng = np.random.default_rng(batch * 100 + time)
    x = rng.integers(0, TOKENS, (batch, time)) if model.takes_tokens else rng.standard_normal((batch, time, FEATURES))
    x = x if model.takes_tokens else (2 * x + 1).astype(np.float32)
    feed = {"x": x}
    steps = None
    if lengths:
        steps = rng.integers(1, time + 1, batch)
        steps[0] = time
        feed["lengths"] = steps.astype(np.int32)
    return x, steps, feed


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_every_layer_in_onnx_runtime(name: str, lengths: bool, tmp_path: Path) -> None:
    """Compare its results, and those of the file read again, for several sizes."""
    model = build(name, scaler=None if "tokens" in name else standardizer(FEATURES))
    path = tmp_path / "m.onnx"
    model.to_onnx(path, with_lengths=lengths)
    theirs, again = session(path), fl.from_onnx(path)
    for batch, time in ((1, 1), (4, 6), (7, 3)):
        x, steps, feed = problem(model, batch, time, lengths)
        expected = model.predict(x, steps)
        (got,) = theirs.run(None, feed)
        assert got.shape == expected.shape and got.dtype == expected.dtype
        scale = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(got, expected, rtol=0, atol=FLOAT32 * scale)
        np.testing.assert_allclose(again.predict(x, steps), expected, rtol=0, atol=FLOAT32 * scale)


@pytest.mark.parametrize("lengths", [False, True])
def test_a_file_of_plain_layers_is_read_as_layers(lengths: bool, tmp_path: Path) -> None:
    for name in ("steps", "last", "last, no bias", "both, steps", "tokens", "tokens, steps"):
        model = build(name, target_scaler=standardizer(2))
        model.to_onnx(tmp_path / "m.onnx", with_lengths=lengths)
        again = fl.from_onnx(tmp_path / "m.onnx")
        assert [type(a) for a in again.layers if not isinstance(a, LSTM)] == [
            type(a) for a in model.layers if not isinstance(a, LSTM)
        ]
        assert any(isinstance(layer, LSTM) for layer in again.layers)
        assert again.target_scaler is not None and model.target_scaler is not None
        np.testing.assert_allclose(again.target_scaler.scale_, model.target_scaler.scale_, rtol=1e-7)
        x, steps, feed = problem(model, 4, 5, lengths)
        expected = model.predict(x, steps)
        np.testing.assert_allclose(again.predict(x, steps), expected, rtol=0, atol=2 * FLOAT32)
        np.testing.assert_allclose(session(tmp_path / "m.onnx").run(None, feed)[0], expected, rtol=0, atol=2 * FLOAT32)


def test_one_mean_for_several_outputs(tmp_path: Path) -> None:
    """Quantiles share the target's one scale."""
    model = build("last", target_scaler=standardizer(1))
    model.to_onnx(tmp_path / "m.onnx")
    x, _, feed = problem(model, 4, 5, False)
    np.testing.assert_allclose(session(tmp_path / "m.onnx").run(None, feed)[0], model.predict(x), rtol=0, atol=FLOAT32)
    np.testing.assert_allclose(fl.from_onnx(tmp_path / "m.onnx").predict(x), model.predict(x), rtol=0, atol=FLOAT32)


@pytest.mark.parametrize("name", MODELS)
def test_float64_by_our_own_backend(name: str, tmp_path: Path) -> None:
    model = build(name, dtype="float64", scaler=None if "tokens" in name else standardizer(FEATURES))
    model.to_onnx(tmp_path / "m.onnx", dtype="float64", with_lengths=True)
    proto = onnx.load(tmp_path / "m.onnx")
    x, steps, feed = problem(model, 5, 4, True)
    if not model.takes_tokens:
        feed["x"] = x = x.astype(np.float64)
    (got,) = onnx_backend.run_model(proto, feed)
    expected = model.predict(x, steps)
    assert got.dtype == np.float64
    # An activation's parameters and an LSTM's are float32 in the file.
    tolerance = 1e-6 if "Activation" in name or "activations" in name else 1e-12
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * max(1.0, float(np.abs(expected).max())))
    assert fl.from_onnx(proto).dtype == np.float64


def test_onnx_checker_and_shape_inference_accept_the_file(tmp_path: Path) -> None:
    for name in MODELS:
        build(name).to_onnx(tmp_path / "m.onnx", with_lengths=True)
        proto = onnx.load(tmp_path / "m.onnx")
        onnx.checker.check_model(proto, full_check=True)
        assert [one.version for one in proto.opset_import] == [17] and proto.ir_version == 8
        assert [one.name for one in proto.graph.input] == ["x", "lengths"]
        assert [one.dim_param for one in proto.graph.input[0].type.tensor_type.shape.dim[:2]] == ["batch", "time"]
        assert len({node.name for node in proto.graph.node}) == len(proto.graph.node)


def test_equal_models_give_equal_bytes(tmp_path: Path) -> None:
    model = build("both, steps")
    model.to_onnx(tmp_path / "a.onnx")
    model.to_onnx(tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]


def test_every_option_of_the_lstm_is_written_or_refused_by_name(tmp_path: Path) -> None:
    """No file can hold some options; a new option is refused until it is written."""
    refused: dict[str, dict[str, Any]] = {
        "proj_size": {"proj_size": 2},
        "layer_norm": {"layer_norm": True},
        "cell_clip": {"cell_clip": 1.0},
        "zoneout_h": {"zoneout_h": 0.5},
        "zoneout_c": {"zoneout_c": 0.5},
        "gate_clip": {"gate_clip": 1.0},
        "output_clip": {"output_clip": 1.0, "gate_clip": 2.0},
    }
    for name, settings in refused.items():
        if known(settings):
            model = fl.Model([fl.LSTM(4, **settings)], input_size=3)
            with pytest.raises(ValueError, match=rf"layer 0, LSTM.*{name}"):
                model.to_onnx(tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())
    if known({"gate_clip": 1.0, "output_clip": 1.0}):
        model = fl.Model([fl.LSTM(4, gate_clip=0.5, output_clip=0.5)], input_size=3)
        model.to_onnx(tmp_path / "m.onnx")
        x = np.random.default_rng(0).standard_normal((4, 6, 3)).astype(np.float32)
        (got,) = onnx_backend.run_model(onnx.load(tmp_path / "m.onnx"), {"x": x})
        np.testing.assert_allclose(got, model.predict(x), rtol=0, atol=FLOAT32)
        np.testing.assert_allclose(fl.from_onnx(tmp_path / "m.onnx").predict(x), model.predict(x), rtol=0, atol=FLOAT32)


REFUSED: dict[str, Any] = {
    "Masking": lambda: [fl.Masking(), fl.LSTM(4)],
    "Embedding": lambda: [fl.Embedding(5, 3, mask_token=0), fl.LSTM(4)],
}


def test_every_kind_of_stage_is_written_or_refused() -> None:
    assert stages.__doc__ is not None
    documented = re.findall(r"^((?:``\w+``(?:, )?)+)$", stages.__doc__, re.M)
    assert set(re.findall(r"\w+", " ".join(documented))) == set(KINDS_OF_STAGES)


def test_every_layer_type_is_tried() -> None:
    tried = {type(layer).__name__ for make in [*MODELS.values(), *REFUSED.values()] for layer in make()}
    # test_normalizations.py tries Flatten, which needs a number of steps, and BatchNorm, with variances above 0;
    # test_frames.py Pad1D and Magnitude; LuongAttention is of no chain.
    others = {"BatchNorm", "Flatten", "LuongAttention", "Magnitude", "OnnxGraph", "Pad1D"}
    assert tried == set(registered_layers()) - others


class Doubled(fl.layers.Layer):
    """A user's layer."""

    def build(self, signal: Any) -> Any:
        return signal

    def forward(self, x: Any, ctx: Any, cache: Any) -> Any:
        return 2 * x

    def backward(self, dy: Any, ctx: Any, cache: Any, need_dx: bool) -> Any:
        return 2 * dy

    def get_config(self) -> dict[str, Any]:
        return {}


class Halved(Doubled):
    """A user's layer that consists of a known stage; its constants are not parameters."""

    def forward(self, x: Any, ctx: Any, cache: Any) -> Any:
        return (x - 1.0) / 2.0

    def stages(self) -> list[stages.Stage]:
        return [stages.scaling_stage(1.0, 2.0, FEATURES)]


class Around(fl.LSTM):
    """A user's layer that adds its input, whose axes are ordered otherwise than ONNX's LSTM orders its output."""

    def forward(self, x: Any, ctx: Any, cache: Any) -> Any:
        return super().forward(x, ctx, cache) + x

    def stages(self) -> list[stages.Stage]:
        inner = super().stages()
        return [*inner, stages.Stage("add", self.output_size, side={"addend": 0})]


@pytest.mark.parametrize("lengths", [False, True])
def test_a_new_layer_of_known_stages_needs_no_function_of_its_own(lengths: bool, tmp_path: Path) -> None:
    layers = [Halved(), Halved(), Around(FEATURES, num_layers=2, return_sequences=True), fl.AttentionPool(2)]
    model = fl.Model(layers, input_size=FEATURES)
    model.to_onnx(tmp_path / "m.onnx", with_lengths=lengths)
    x, steps, feed = problem(model, 4, 5, lengths)
    (got,) = session(tmp_path / "m.onnx").run(None, feed)
    np.testing.assert_allclose(got, model.predict(x, steps), rtol=0, atol=FLOAT32)
    names = {one.name for one in onnx.load(tmp_path / "m.onnx").graph.initializer}
    assert {"0.standardize_0.mean", "1.standardize_0.scale", "2.W_l0", "2.B_l1", "3.weight", "3.vector"} < names


def test_a_name_of_a_constant_has_one_value() -> None:
    graph = GraphBuilder(onnx, np.dtype("float32"), with_lengths=False)
    values = [np.zeros(2), np.ones(2), np.zeros(2), np.zeros((1, 2))]
    assert [graph.constant(value, "w") for value in values] == ["w", "w_2", "w", "w_3"]


class Unknown(Doubled):
    def stages(self) -> list[stages.Stage]:
        return [stages.Stage("doubled", FEATURES)]


class Twice(fl.Activation):
    """A layer that inherits the stages of an activation and computes something else."""

    def forward(self, x: Any, ctx: Any, cache: Any) -> Any:
        return 2 * x


class Strange(fl.LSTM):
    """A layer whose stages have what no file can hold, in a part that is given by name."""

    def __init__(self, size: int, part: str) -> None:
        super().__init__(size)
        self.part = part

    def stages(self) -> list[stages.Stage]:
        (stage,) = super().stages()
        extra = {self.part: {**getattr(stage, self.part), "novelty": np.ones(1)}}
        return [stage._replace(**extra)]


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with pytest.raises(ValueError, match=r"layer 1, Doubled\(\), cannot be written as ONNX"):
        fl.Model([fl.LSTM(4), Doubled()], input_size=3).to_onnx(path)
    with pytest.raises(ValueError, match=r"layer 1, Twice\(kind='relu'\), cannot be written as ONNX: .* stages\(\)"):
        fl.Model([fl.LSTM(4), Twice("relu")], input_size=3).to_onnx(path)
    with pytest.raises(
        ValueError, match=r"layer 0, Unknown\(\), cannot be written as ONNX: no operators for 'doubled'"
    ):
        fl.Model([Unknown()], input_size=3).to_onnx(path)
    for part in ("settings", "weights"):
        with pytest.raises(ValueError, match=r"layer 0, Strange.*ONNX's LSTM has no counterpart of .*novelty"):
            fl.Model([Strange(4, part)], input_size=3).to_onnx(path)
    for make in REFUSED.values():
        layers = make()
        tokens = layers[0].takes_tokens
        model = fl.Model(layers, input_size=None if tokens else 3)
        for scaler in [None] if tokens else [None, fl.Standardizer().fit(np.eye(3))]:
            model.scaler = scaler
            with pytest.raises(ValueError, match="layer 0, (.*mask|Masking).*cannot skip steps"):
                model.to_onnx(path)
    with pytest.raises(RuntimeError, match="not built yet"):
        fl.Model([fl.LSTM(4)]).to_onnx(path)
    with pytest.raises(ValueError, match="scaler is not fitted yet"):
        fl.Model([fl.LSTM(4)], input_size=3, scaler=fl.Standardizer()).to_onnx(path)
    with pytest.raises(ValueError, match="dtype must be float32 or float64"):
        fl.Model([fl.LSTM(4)], input_size=3).to_onnx(path, dtype="float16")
    with pytest.raises(IsADirectoryError):
        fl.Model([fl.LSTM(4)], input_size=3).to_onnx(tmp_path)
    with pytest.raises(OSError):
        fl.Model([fl.LSTM(4)], input_size=3).to_onnx(tmp_path / "no" / "m.onnx")
    assert not path.exists()


@pytest.mark.parametrize("name", ["norm_ts", "attention_export", "first_ts"])
def test_graphs_are_written_as_they_were_read(name: str, tmp_path: Path) -> None:
    folder = Path(__file__).parent / "data" / "onnx"
    model = fl.from_onnx(folder / f"{name}.onnx")
    model.to_onnx(tmp_path / "m.onnx")
    with np.load(folder / f"{name}.npz") as data:
        (got,) = session(tmp_path / "m.onnx").run(None, {"x": data["x"]})
        np.testing.assert_allclose(got, data["out0"], rtol=0, atol=FLOAT32)
    with pytest.raises(ValueError, match="has no input for the lengths: omit with_lengths"):
        model.to_onnx(tmp_path / "m.onnx", with_lengths=True)


def test_a_graph_is_written_and_read_again_and_again(tmp_path: Path) -> None:
    """The names that the writer adds each time differ from those that it has added before."""
    path = tmp_path / "m.onnx"
    model = fl.Model([fl.LSTM(4, return_sequences=True), fl.AttentionPool(3), fl.Dense(2)], input_size=3)
    x = np.random.default_rng(0).standard_normal((4, 5, 3)).astype(np.float32)
    expected = model.predict(x)
    for _ in range(4):
        model.to_onnx(path)
        model = fl.from_onnx(path)
        np.testing.assert_allclose(model.predict(x), expected, rtol=0, atol=FLOAT32)
    assert isinstance(model.layers[0], OnnxGraph)


def test_names_of_a_graph_may_be_those_of_a_scaler(tmp_path: Path) -> None:
    names = {"scaler.mean": np.array([2.0], np.float32), "scaler/Sub:0": np.array([3.0], np.float32)}
    proto = model_of([op("Exp", "x", "e"), op("Add", "e,scaler.mean", "graph/scaler.mean"),
                      op("Mul", "graph/scaler.mean,scaler/Sub:0", "y")],
                     {"x": ("float32", ["b", "t", 3])}, ["y"], names)  # fmt: skip
    model = fl.from_onnx(proto)
    x = np.random.default_rng(0).standard_normal((4, 5, 3)).astype(np.float32)
    model.scaler = fl.Standardizer().fit(x + 1)
    expected = model.predict(x)
    model.to_onnx(tmp_path / "m.onnx")
    (got,) = session(tmp_path / "m.onnx").run(None, {"x": x})
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=FLOAT32)


def test_a_graph_that_reads_time_first_and_lengths(tmp_path: Path) -> None:
    """The nodes of the LSTM are between nodes that transpose the axes."""
    case = LSTMCase(np.random.default_rng(3), direction="bidirectional", hidden=4, size=3, lengths=True,
                    initial_h=False, initial_c=False, peepholes=True, coupled=True, hidden_size=True,
                    outputs=("Y", "", ""))  # fmt: skip
    node = case.node()
    node.input[0], node.input[4], node.output[0] = "x", "lengths", "s"
    weights = {name: case.arrays[name] for name in ("W", "R", "B", "P") if name in case.arrays}
    proto = model_of([node, op("Softplus", "s"), op("Sum", "y,y", "z")],
                     {"x": ("float32", ["t", "b", 3]), "lengths": ("int32", ["b"])}, ["z"], weights)  # fmt: skip
    with pytest.warns(UserWarning, match=r"that the axes of sizes \[2, 4\] of its output are 8 features$"):
        model = fl.from_onnx(proto)
    x = np.random.default_rng(0).standard_normal((4, 5, 3)).astype(np.float32)
    steps = np.array([5, 1, 4, 2])
    (expected,) = onnx_backend.run_model(proto, {"x": x.swapaxes(0, 1), "lengths": steps.astype(np.int32)})
    expected = expected.transpose(2, 0, 1, 3).reshape(4, 5, 8)
    valid = np.arange(5) < steps[:, None]
    np.testing.assert_allclose(model.predict(x, steps)[valid], expected[valid], rtol=0, atol=FLOAT32)
    model.to_onnx(tmp_path / "m.onnx")
    (got,) = session(tmp_path / "m.onnx").run(None, {"x": x, "lengths": steps.astype(np.int32)})
    np.testing.assert_allclose(got[valid], expected[valid], rtol=0, atol=FLOAT32)


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`Model.save` uses the same function to write files (tests/robustness/test_atomic.py)."""
    model = fl.Model([fl.LSTM(4), fl.Dense(2)], input_size=3, seed=0)
    file = tmp_path / "model.onnx"
    model.to_onnx(file)
    before = file.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"an existing file is unchanged: No space left on device.*model\.onnx"):
            fl.Model([fl.LSTM(5)], input_size=3).to_onnx(file)
    assert file.read_bytes() == before
    assert os.listdir(tmp_path) == ["model.onnx"]
    (tmp_path / f".fastlstm-{'0' * 16}.tmp").write_bytes(b"left by a process that was killed")
    model.to_onnx(file)
    assert os.listdir(tmp_path) == ["model.onnx"]
