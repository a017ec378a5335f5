"""Graphs that take and return the states of their LSTMs: detectors and suppressors of sound, read frame by frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import load_benchmarks

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

load_benchmarks()
import fastlstm as fl  # noqa: E402
from benchmarks import frame_graphs  # noqa: E402

Array = np.ndarray
FRAMES = 200


def session(proto: Any) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def fed_back(proto: Any, frames: Array, states: dict[str, str], **settings: Any) -> tuple[Array, dict[str, Array]]:
    """Run ONNX Runtime over frames (frames, ...), with the outputs of the states fed back to their inputs."""
    run = session(proto)
    shapes = {one.name: [n if isinstance(n, int) else len(frames[0]) for n in one.shape] for one in run.get_inputs()}
    now = {name: np.zeros(shapes[name], np.float32) for name in states}
    data = next(one.name for one in run.get_inputs() if one.name not in states and one.name not in settings)
    rest = [one.name for one in run.get_outputs() if one.name not in states.values()]
    answers = []
    for frame in frames:
        results = run.run([rest[0], *states.values()], {data: frame, **now, **settings})
        answers.append(results[0])
        now = dict(zip(states, results[1:], strict=True))
    return np.stack(answers), now


def kinds(model: fl.Model) -> list[str]:
    return [type(layer).__name__ for layer in model.layers]


def sound(*shape: int) -> Array:
    return (0.3 * np.random.default_rng(1).standard_normal(shape)).astype(np.float32)


def agree(model: fl.Model, X: Array, expected: Array) -> list[Any]:
    """Check all ways to read a series (batch, steps, features); return the states at its end."""
    size = expected.shape[-1]
    flat = expected.reshape(X.shape[1], len(X), size).swapaxes(0, 1)
    whole, end = model.predict(X, return_state=True)
    np.testing.assert_allclose(whole, flat, atol=1e-5)
    assert model.predict(X).tobytes() == whole.tobytes()
    state = None
    for t in range(X.shape[1]):
        one, state = model.predict(X[:, t : t + 1], state=state, return_state=True)
        assert one.tobytes() == np.ascontiguousarray(whole[:, t : t + 1]).tobytes()
    assert all(
        a.tobytes() == b.tobytes()
        for one, other in zip(state, end, strict=True)
        for a, b in zip(one, other, strict=True)
    )
    stream = model.stream(batch_size=len(X))
    steps = np.stack([stream.step(np.ascontiguousarray(X[:, t])) for t in range(X.shape[1])], axis=1)
    assert steps.tobytes() == whole.tobytes()
    model.freeze()
    assert model.predict(X).tobytes() == whole.tobytes()
    first, state = model.predict(X[:, :7].copy(), return_state=True)  # in one call of C, like a stream
    assert first.tobytes() == whole[:, :7].tobytes()
    rest, state = model.predict(X[:, 7:].copy(), state=state, return_state=True)
    assert rest.tobytes() == whole[:, 7:].tobytes()
    assert all(
        a.tobytes() == b.tobytes()
        for one, other in zip(state, end, strict=True)
        for a, b in zip(one, other, strict=True)
    )
    model.unfreeze()
    return list(end)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_voice_activity_detector(batch: int, tmp_path: Path) -> None:
    proto = frame_graphs.detector()
    frames = sound(FRAMES, batch, 512)
    expected, states = fed_back(proto, frames, {"state": "stateN"})
    assert expected.std() > 1e-4
    model = fl.from_onnx(proto)
    assert kinds(model) == ["TimeDistributed", "LSTM", "Activation", "Dense", "Activation"]
    ((h, c),) = agree(model, frames.swapaxes(0, 1), expected)
    np.testing.assert_allclose(np.concatenate([h, c]), states["state"], atol=1e-5)
    model.save(tmp_path / "m.safetensors")
    again = fl.load(tmp_path / "m.safetensors")
    assert again.predict(frames.swapaxes(0, 1)).tobytes() == model.predict(frames.swapaxes(0, 1)).tobytes()


def test_a_detector_of_two_sampling_rates() -> None:
    """The branch of the If is that of the rate that the user gives; the samples of a frame are left open."""
    proto = frame_graphs.detector_of_two_rates()
    with pytest.raises(ValueError, match=r"depends on the values of the inputs.*constants=\{'sr': ...\}"):
        fl.from_onnx(proto)
    with pytest.raises(ValueError, match="has no fixed number of samples: give it, input_size="):
        fl.from_onnx(proto, constants={"sr": 16000})
    for rate, samples in ((16000, 512), (8000, 256)):
        frames = sound(20, 1, samples)
        expected, _ = fed_back(proto, frames, {"state": "stateN"}, sr=np.array(rate))
        model = fl.from_onnx(proto, constants={"sr": rate}, input_size=samples)
        agree(model, frames.swapaxes(0, 1), expected)
    with pytest.raises(ValueError, match="several steps of each block"):
        fl.from_onnx(proto, constants={"sr": 16000}, input_size=1024)
    with pytest.raises(ValueError, match="constants has 'rate', and the inputs of the graph are"):
        fl.from_onnx(proto, constants={"rate": 16000})
    with pytest.raises(TypeError, match="constants must map names"):
        fl.from_onnx(proto, constants=[16000])  # type: ignore[arg-type]


def test_a_two_stage_noise_suppressor() -> None:
    proto = frame_graphs.suppressor()
    frames = sound(FRAMES, 2, 1, 257)
    expected, states = fed_back(proto, frames, {"h": "hN", "c": "cN"})
    model = fl.from_onnx(proto)
    assert kinds(model) == [
        *("Tap", "LSTM", "LSTM", "Dense", "Activation", "Merge"),
        *("Dense", "Tap", "LSTM", "LSTM", "Dense", "Activation", "Merge", "Dense"),
    ]
    end = agree(model, frames[:, :, 0].swapaxes(0, 1), expected)
    np.testing.assert_allclose(np.concatenate([h for h, _ in end]), states["h"], atol=1e-5)
    np.testing.assert_allclose(np.concatenate([c for _, c in end]), states["c"], atol=1e-5)


def test_blocks_of_several_steps() -> None:
    """The suppressor reads any number of steps in a call: the model is the same."""
    proto = frame_graphs.suppressor(bins=9, code=8, hidden=6)
    blocks = sound(4, 2, 5, 9)
    expected, _ = fed_back(proto, blocks, {"h": "hN", "c": "cN"})
    model = fl.from_onnx(proto)
    series = blocks.swapaxes(0, 1).reshape(2, 20, 9)
    got = model.predict(series)
    np.testing.assert_allclose(got, expected.swapaxes(0, 1).reshape(2, 20, 512), atol=1e-5)


def test_the_state_is_carried_in_training_and_files(tmp_path: Path) -> None:
    proto = frame_graphs.suppressor(bins=9, code=8, hidden=6)
    model = fl.from_onnx(proto)
    X, y = sound(4, 12, 9), sound(4, 12, 512)
    before = model.evaluate(X, y, loss="mse") if False else float(((model.predict(X) - y) ** 2).mean())
    model.fit(X, y, loss="mse", epochs=5, optimizer=fl.Adam(1e-2), verbose=0)
    assert float(((model.predict(X) - y) ** 2).mean()) < before
    model.to_onnx(tmp_path / "again.onnx", with_state=True)
    states = {f"state_{k}_{part}": f"final_{k}_{part}" for k in (1, 2, 8, 9) for part in "hc"}
    expected, _ = fed_back(onnx.load(tmp_path / "again.onnx"), X[:, :, None].swapaxes(0, 1), states)
    np.testing.assert_allclose(model.predict(X), expected[:, :, 0].swapaxes(0, 1), atol=1e-5)
    again = fl.from_onnx(tmp_path / "again.onnx")
    np.testing.assert_allclose(again.predict(X), model.predict(X), atol=1e-6)


# ------------------------------------------------------------------ as PyTorch's exporters write them


def torch_detector(torch: Any) -> Any:
    nn = torch.nn

    class Detector(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.basis = nn.Conv1d(1, 66, 64, stride=32, bias=False)
            self.encoder = nn.Sequential(
                nn.Conv1d(33, 16, 3, padding=1), nn.ReLU(), nn.Conv1d(16, 12, 3, stride=2, padding=1), nn.ReLU(),
                nn.Conv1d(12, 12, 2), nn.ReLU(),
            )  # fmt: skip
            self.lstm = nn.LSTM(12, 8)
            self.decoder = nn.Sequential(nn.ReLU(), nn.Conv1d(8, 1, 1), nn.Sigmoid())

        def forward(self, x: Any, state: Any) -> Any:
            x = nn.functional.pad(x.unsqueeze(1), (16, 16), "reflect")
            y = self.basis(x)
            y = torch.sqrt(y[:, :33] ** 2 + y[:, 33:] ** 2)
            y = self.encoder(y).permute(2, 0, 1)
            y, (h, c) = self.lstm(y, (state[0:1], state[1:2]))
            return self.decoder(y.permute(1, 2, 0)).squeeze(-1), torch.cat([h, c])

    return Detector()


def torch_suppressor(torch: Any) -> Any:
    nn = torch.nn

    class Suppressor(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.LSTM(9, 6, num_layers=2, batch_first=True)
            self.mask = nn.Linear(6, 9)
            self.encode = nn.Conv1d(9, 7, 1, bias=False)
            self.second = nn.LSTM(7, 6, num_layers=2, batch_first=True)
            self.mask_2 = nn.Linear(6, 7)
            self.decode = nn.Conv1d(7, 16, 1, bias=False)

        def forward(self, x: Any, h: Any, c: Any, h_2: Any, c_2: Any) -> Any:
            y, (h, c) = self.first(x, (h, c))
            x = torch.sigmoid(self.mask(y)) * x
            x = self.encode(x.transpose(1, 2)).transpose(1, 2)
            y, (h_2, c_2) = self.second(x, (h_2, c_2))
            x = torch.sigmoid(self.mask_2(y)) * x
            return self.decode(x.transpose(1, 2)).transpose(1, 2), h, c, h_2, c_2

    return Suppressor()


def exported(torch: Any, module: Any, arguments: tuple[Any, ...], names: list[str], path: Path, dynamo: bool) -> Any:
    outputs = ["output", *(f"{name}N" for name in names[1:])]
    if dynamo:
        pytest.importorskip("onnxscript")
    torch.onnx.export(
        module.eval(), arguments, path, input_names=names, output_names=outputs, dynamo=dynamo, external_data=False
    )
    return onnx.load(path)


@pytest.mark.filterwarnings("ignore")  # the exporters have many
@pytest.mark.parametrize("dynamo", [False, True], ids=["TorchScript", "torch.export"])
def test_graphs_exported_by_torch(dynamo: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(3)
    path = tmp_path / "m.onnx"
    state = torch.zeros(2, 1, 8)
    proto = exported(torch, torch_detector(torch), (torch.zeros(1, 128), state), ["input", "state"], path, dynamo)
    frames = sound(FRAMES, 1, 128)
    expected, _ = fed_back(proto, frames, {"state": "stateN"})
    model = fl.from_onnx(path)
    assert kinds(model) == ["TimeDistributed", "LSTM", "Activation", "Dense", "Activation"]
    agree(model, frames.swapaxes(0, 1), expected)
    names = ["input", "h", "c", "h_2", "c_2"]
    states = tuple(torch.zeros(2, 1, 6) for _ in range(4))
    proto = exported(torch, torch_suppressor(torch), (torch.zeros(1, 1, 9), *states), names, path, dynamo)
    frames = sound(FRAMES, 1, 1, 9)
    expected, _ = fed_back(proto, frames, {name: f"{name}N" for name in names[1:]})
    model = fl.from_onnx(path)
    assert kinds(model).count("LSTM") == 4 and kinds(model).count("Merge") == 2
    agree(model, frames[:, :, 0].swapaxes(0, 1), expected)


# ------------------------------------------------------------------ what is refused


def changed(change: Any) -> Any:
    proto = frame_graphs.suppressor(bins=9, code=8, hidden=6)
    change(proto.graph)
    return proto


def first(graph: Any, kind: str) -> Any:
    return next(node for node in graph.node if node.op_type == kind)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: first(g, "LSTM").input.__setitem__(6, ""), "only one of its two initial states is an input"),
        (lambda g: [first(g, "LSTM").input.__setitem__(k, "") for k in (5, 6)], "its states begin anew in each call"),
        (lambda g: g.output.__delitem__(2), "the input 'c' holds states of LSTMs, and no output holds the same states"),
        (lambda g: g.node[-1].input.__setitem__(0, first(g, "LSTM").output[1]), "no output holds the same states"),
        (lambda g: setattr(first(g, "LSTM").attribute.add(name="direction", type=3), "s", b"reverse"), "from its end"),
        (lambda g: setattr(first(g, "Sigmoid"), "op_type", "Erf"), "Erf"),
        (
            lambda g: setattr(first(g, "Sigmoid"), "op_type", "Exp"),
            "is no chain of layers: node .*operator Exp, opset 17\\). Run it with",
        ),
        (lambda g: setattr(first(g, "Mul"), "op_type", "Div"), "joins two values in a way that no layer has"),
        (
            lambda g: first(g, "Mul").input.__setitem__(1, "h"),
            "computes with the states in the input 'h' in other ways",
        ),
    ],
)
def test_states_that_layers_do_not_have(change: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fl.from_onnx(changed(change))


def test_a_scaled_input_that_is_read_again(tmp_path: Path) -> None:
    model = fl.Model([fl.Tap("x"), fl.LSTM(3, return_sequences=True), fl.Merge("x")], input_size=3)
    model.scaler = fl.Standardizer().fit(4 + sound(5, 20, 3))
    model.to_onnx(tmp_path / "m.onnx")
    again = fl.from_onnx(tmp_path / "m.onnx")
    assert kinds(again) == ["Tap", "LSTM", "Merge"] and again.scaler is not None
    np.testing.assert_allclose(again.predict(4 + sound(5, 20, 3)), model.predict(4 + sound(5, 20, 3)), atol=1e-5)
