"""Weights under PyTorch's names, in both directions; nothing here needs torch itself."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import fastlstm as fl

State = dict[str, np.ndarray]


def lstm(
    inputs: int,
    hidden: int,
    layers: int = 1,
    bias: bool = True,
    both: bool = False,
    prefix: str = "",
    dtype: Any = "f4",
) -> State:
    rng = np.random.default_rng(inputs + 10 * hidden + 100 * layers)
    state = {}
    for k in range(layers):
        for suffix in ("", "_reverse") if both else ("",):
            shapes = {"weight_ih": (4 * hidden, inputs if k == 0 else hidden * (1 + both))}
            shapes["weight_hh"] = (4 * hidden, hidden)
            if bias:
                shapes |= {"bias_ih": (4 * hidden,), "bias_hh": (4 * hidden,)}
            for name, shape in shapes.items():
                state[f"{prefix}{name}_l{k}{suffix}"] = rng.uniform(-1, 1, shape).astype(dtype)
    return state


def matrix(rows: int, columns: int, name: str, bias: bool = False, dtype: Any = "f4") -> State:
    rng = np.random.default_rng(rows + columns)
    state = {f"{name}.weight": rng.uniform(-1, 1, (rows, columns)).astype(dtype)}
    return state | ({f"{name}.bias": rng.uniform(-1, 1, rows).astype(dtype)} if bias else {})


def assert_holds(model: fl.Model, state: State) -> None:
    """Check that the model's parameters have these bits, in this order of layers."""
    values = list(model.parameters().values())
    expected = [np.asarray(value, model.dtype) for value in state.values()]
    assert [value.tobytes() for value in values] == [value.tobytes() for value in expected]


# --- state dicts


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 12])
@pytest.mark.parametrize("prefix", ["", "0.", "net.encoder."])
def test_one_lstm(layers: int, both: bool, bias: bool, prefix: str) -> None:
    state = lstm(3, 5, layers, bias, both, prefix)
    model = fl.from_torch(state)
    (layer,) = model.layers
    assert isinstance(layer, fl.LSTM)
    got = layer.hidden_size, layer.num_layers, layer.bias, layer.bidirectional, layer.return_sequences, layer.dropout
    assert got == (5, layers, bias, both, False, 0)
    assert model.input_size == 3 and model.dtype == np.float32
    assert_holds(model, state)
    assert fl.from_torch(state, return_sequences=True).per_step
    back = model.to_torch_state_dict([prefix[:-1]])
    assert list(back) == list(state)
    assert all(back[name].tobytes() == state[name].tobytes() for name in state)


def test_embedding_lstms_and_linears() -> None:
    state = matrix(9, 4, "embed") | lstm(4, 5, 2, prefix="a.", both=True) | lstm(10, 3, prefix="b.")
    state |= matrix(7, 3, "hidden", bias=True) | matrix(2, 7, "out")
    model = fl.from_torch(state, seed=5)
    embedding, first, second, hidden, out = model.layers
    assert isinstance(embedding, fl.Embedding) and embedding.num_embeddings == 9
    assert isinstance(first, fl.LSTM) and first.return_sequences
    assert isinstance(second, fl.LSTM) and not second.return_sequences
    assert isinstance(hidden, fl.Dense) and hidden.bias and isinstance(out, fl.Dense) and not out.bias
    assert model.predict(np.zeros((3, 6), np.int64)).shape == (3, 2) and model.seed == 5
    assert_holds(model, state)
    back = model.to_torch_state_dict(["embed", "a", "b", "hidden", "out"])
    assert list(back) == list(state) and all(np.array_equal(back[name], state[name]) for name in state)


def test_a_linear_before_the_lstm_is_told_from_an_embedding_by_its_sizes() -> None:
    linear = fl.from_torch(matrix(4, 9, "first") | lstm(4, 5, prefix="lstm."))
    assert isinstance(linear.layers[0], fl.Dense) and linear.input_size == 9
    embedding = fl.from_torch(matrix(9, 4, "first") | lstm(4, 5, prefix="lstm."))
    assert isinstance(embedding.layers[0], fl.Embedding)
    alone = fl.from_torch(matrix(9, 4, "first"))
    assert isinstance(alone.layers[0], fl.Dense)
    with pytest.raises(ValueError, match="may be Embedding 'first', LSTM 'lstm' or Linear 'first', LSTM 'lstm'"):
        fl.from_torch(matrix(4, 4, "first") | lstm(4, 5, prefix="lstm."))


def test_the_order_is_that_of_the_names_or_as_given() -> None:
    state = matrix(2, 5, "fc", bias=True) | lstm(3, 5, prefix="lstm.")
    with pytest.raises(ValueError, match=r"Linear 'fc' returns 2 features, but LSTM 'lstm' takes 3; .*order="):
        fl.from_torch(state)
    model = fl.from_torch(state, order=["lstm", "fc"])
    assert [type(layer) for layer in model.layers] == [fl.LSTM, fl.Dense]
    for wrong in (["lstm"], ["lstm", "fc", "fc"], ["lstm", "out"], "lstm"):
        with pytest.raises(ValueError, match="order must hold each of the names"):
            fl.from_torch(state, order=wrong)


def test_a_thousand_layers() -> None:
    state: State = {}
    for k in range(2000):
        state |= {f"{k}.weight": np.ones((1, 1), "f4")}
    assert len(fl.from_torch(state).layers) == 2000


@pytest.mark.parametrize(
    ("given", "dtype", "expected"),
    [
        ("f2", None, "f4"),
        ("f4", None, "f4"),
        ("f8", None, "f8"),
        (">f8", None, "f8"),
        ("f8", "f4", "f4"),
        ("f4", "f8", "f8"),
    ],
)
def test_dtypes(given: str, dtype: str | None, expected: str) -> None:
    state = lstm(3, 5, dtype=given)
    model = fl.from_torch(state, dtype=dtype)
    assert model.dtype == expected
    assert_holds(model, state)


def test_the_widest_of_mixed_dtypes() -> None:
    model = fl.from_torch(lstm(3, 5, prefix="0.", dtype="f2") | matrix(2, 5, "1", dtype="f8"))
    assert model.dtype == np.float64


def test_the_weights_are_copies_and_train() -> None:
    state = lstm(3, 5, prefix="0.") | matrix(2, 5, "1", bias=True)
    before = {name: value.copy() for name, value in state.items()}
    model = fl.from_torch(state)
    rng = np.random.default_rng(0)
    model.fit(rng.standard_normal((8, 4, 3)), np.arange(8) % 2, epochs=1, verbose=0)
    assert not np.array_equal(model.parameters()["1.weight"], before["1.weight"])
    assert all(np.array_equal(state[name], before[name]) for name in state)
    model.to_torch_state_dict()["1.weight"].fill(9)
    assert model.parameters()["1.weight"].max() < 9


def changed(state: State, **changes: Any) -> dict[str, Any]:
    """Return the state with some tensors replaced; None removes one."""
    out: dict[str, Any] = {**state, **{name.replace("__", "."): value for name, value in changes.items()}}
    return {name: value for name, value in out.items() if value is not None}


NAN, INF = np.full((20, 5), np.nan, "f4"), np.full((20, 5), np.inf, "f4")


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "holds no layers"),
        (changed(lstm(3, 5), weight_ih_l0=None), "'weight_ih_l0' is missing"),
        (changed(lstm(3, 5), weight_hh_l0=None), "'weight_hh_l0' is missing"),
        (changed(lstm(3, 5, prefix="a."), a__bias_hh_l0=None), "'a.bias_hh_l0' is missing"),
        (changed(lstm(3, 5, 2), bias_hh_l1=None, bias_ih_l1=None), "'bias_ih_l1' is missing"),
        (changed(lstm(3, 5), bias_ih_l0=None), "'bias_ih_l0' is missing"),
        (changed(lstm(3, 5, 2, both=True), weight_hh_l1_reverse=None), "'weight_hh_l1_reverse' is missing"),
        (changed(lstm(3, 5), weight_ih_l2=np.ones((20, 5))), "tensors of layer 2, but none of layer 1"),
        (changed(lstm(3, 5), weight_ih_l999999999=np.ones((20, 5))), "tensors of layer 999999999, but none of layer 1"),
        (changed(lstm(3, 5), weight_ih_l00=np.ones((20, 5))), "'weight_ih_l00' is not a tensor of a layer"),
        (changed(lstm(3, 5), weight_hr_l0=np.ones((2, 5))), r"'weight_hr_l0' has shape \(2, 5\), expected \(5, 5\)"),
        (changed(lstm(3, 5), weight_hh_l0=np.ones((15, 5))), "only an LSTM has four gates"),
        (changed(lstm(3, 5), weight_hh_l0=np.ones(20)), r"'weight_hh_l0' has shape \(20,\)"),
        (changed(lstm(3, 5), weight_ih_l0=np.ones((19, 3))), r"'weight_ih_l0' has shape \(19, 3\), expected \(20, 3\)"),
        (changed(lstm(3, 5), weight_ih_l0=np.ones((20, 0))), r"'weight_ih_l0' has shape \(20, 0\)"),
        (changed(lstm(3, 5), bias_ih_l0=np.ones((20, 1))), r"'bias_ih_l0' has shape \(20, 1\), expected \(20,\)"),
        (changed(lstm(3, 5, 2, both=True), weight_ih_l1=np.ones((20, 5))), r"expected \(20, 10\)"),
        (changed(lstm(3, 5), weight_hh_l0=NAN), "'weight_hh_l0' holds NaN or infinity"),
        (changed(lstm(3, 5), weight_hh_l0=INF), "'weight_hh_l0' holds NaN or infinity"),
        (changed(lstm(3, 5), weight_hh_l0=np.ones((20, 5), int)), "'weight_hh_l0' has dtype int64"),
        (changed(lstm(3, 5), weight_hh_l0=np.ones((20, 5), complex)), "'weight_hh_l0' has dtype complex128"),
        (changed(lstm(3, 5), other=np.ones(3)), "'other' is not a tensor of a layer"),
        (lstm(3, 5, prefix="a.") | {"b.bias": np.ones(3)}, "'b.weight' is missing"),
        (lstm(3, 5, prefix="a.") | {"b.scale": np.ones(3)}, "'b.scale' is not a tensor of a layer"),
        (
            lstm(3, 5, prefix="a.") | {"norm.weight": np.ones(5), "norm.bias": np.ones(5)},
            r"'norm.weight' has shape \(5,\)",
        ),
        (lstm(3, 5, prefix="a.") | matrix(2, 4, "fc"), "LSTM 'a' returns 5 features, but Linear 'fc' takes 4"),
        (
            lstm(3, 5, prefix="a.", both=True) | matrix(2, 5, "fc"),
            "LSTM 'a' returns 10 features, but Linear 'fc' takes 5",
        ),
        (lstm(3, 5, prefix="a.") | lstm(4, 5, prefix="b."), "LSTM 'a' returns 5 features, but LSTM 'b' takes 4"),
        (matrix(9, 7, "e") | lstm(3, 5, prefix="a."), "Embedding 'e' returns 7 features, but LSTM 'a' takes 3"),
        (
            lstm(3, 5, prefix="a.") | {"fc.weight": np.ones((2, 5)), "fc.bias": np.ones(3)},
            r"'fc.bias' has shape \(3,\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused(state: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fl.from_torch(state)


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="a long double is a double here")
def test_long_doubles_are_refused() -> None:
    with pytest.raises(ValueError, match="'weight_hh_l0' has dtype float.*, expected float16, float32 or float64"):
        fl.from_torch(changed(lstm(3, 5), weight_hh_l0=np.ones((20, 5), np.longdouble)))


class Module:
    """A class with the name of torch's."""


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Module(), "got Module"),
        (None, "source must be a torch.nn.Module, a mapping"),
        ([np.ones(3)], "got list"),
        ({"weight_ih_l0": [[1.0]]}, "'weight_ih_l0' is a list"),
        ({"model": lstm(3, 5)}, r"pass source\['model'\]"),
        ({0: np.ones((2, 2))}, "names of the tensors must be strings, got 0"),
    ],
)
def test_invalid_sources_are_refused(source: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        fl.from_torch(source)


def test_numbers_beyond_the_dtype_asked_for() -> None:
    state = changed(lstm(3, 5, dtype="f8"), bias_ih_l0=np.full(20, 1e300))
    assert fl.from_torch(state).dtype == np.float64
    with pytest.raises(ValueError, match="'bias_ih_l0' holds numbers out of the range of float32"):
        fl.from_torch(state, dtype="float32")


def test_torch_is_not_needed(tmp_path: Path) -> None:
    save_file(lstm(3, 5), tmp_path / "weights")
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import fastlstm as fl; model = fl.from_torch('weights')\n"
        "print(fl.from_torch(model.to_torch_state_dict()))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Model([LSTM(hidden_size=5")


# --- back


def test_names_by_position_or_as_given() -> None:
    layers = [fl.GaussianNoise(0.1), fl.LSTM(4, return_sequences=True), fl.Dropout(0.2), fl.LSTM(3), fl.Dense(2)]
    model = fl.Model(layers, input_size=5)
    assert {name.partition(".")[0] for name in model.to_torch_state_dict()} == {"1", "3", "4"}
    named = model.freeze().to_torch_state_dict(["a", "b.c", "fc"])
    assert next(iter(named)) == "a.weight_ih_l0" and list(named)[-1] == "fc.bias"
    again = fl.from_torch(named)
    assert again.flat_parameters.tobytes() == model.flat_parameters.tobytes()
    for wrong in (["a"], ["a", "b", "b"], "a"):
        with pytest.raises(ValueError, match="prefixes must be 3 different names"):
            model.to_torch_state_dict(wrong)
    with pytest.raises(TypeError, match="prefixes must be strings"):
        model.to_torch_state_dict([1, 2, 3])  # type: ignore[list-item]
    with pytest.raises(RuntimeError, match="not built"):
        fl.Model([fl.LSTM(3)]).to_torch_state_dict()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_round_trip_through_a_torch_state_dict(dtype: str) -> None:
    model = fl.Model([fl.Embedding(9, 4), fl.LSTM(5, num_layers=2, bidirectional=True), fl.Dense(3)], dtype=dtype)
    again = fl.from_torch(model.to_torch_state_dict())
    assert again.dtype == model.dtype and repr(again) == repr(model)
    assert again.flat_parameters.tobytes() == model.flat_parameters.tobytes()
    alone = fl.Model([fl.LSTM(5)], input_size=2, dtype=dtype)
    assert list(alone.to_torch_state_dict()) == ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
    dense = fl.Model([fl.Dense(5)], input_size=2, dtype=dtype)
    assert list(dense.to_torch_state_dict()) == ["0.weight", "0.bias"]


# --- files


@pytest.mark.parametrize("as_text", [False, True])
def test_file(tmp_path: Path, as_text: bool) -> None:
    """The file sorts the names; the sizes determine the order."""
    state = matrix(9, 4, "words") | lstm(4, 5, 2, prefix="lstm.") | matrix(2, 5, "fc", bias=True)
    path = tmp_path / "weights.safetensors"
    save_file(state, path)
    model = fl.from_torch(str(path) if as_text else path)
    assert [type(layer) for layer in model.layers] == [fl.Embedding, fl.LSTM, fl.Dense]
    back = model.to_torch_state_dict(["words", "lstm", "fc"])
    assert all(np.array_equal(back[name], state[name]) for name in state)


def test_numbered_layers_of_a_file_are_ordered_by_number(tmp_path: Path) -> None:
    state = lstm(3, 3, prefix="net.2.") | lstm(3, 3, bias=False, prefix="net.10.") | matrix(3, 3, "net.11", bias=True)
    save_file(state, tmp_path / "weights")
    model = fl.from_torch(tmp_path / "weights")
    assert [getattr(layer, "bias", None) for layer in model.layers] == [True, False, True]
    assert isinstance(model.layers[2], fl.Dense)


def test_the_order_may_be_given_by_numbers(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file({"0.weight": np.ones((3, 2), "f4"), "1.weight": np.ones((2, 3), "f4")}, path)
    orders: list[Any] = [[0, 1], [1, 0]]
    assert [fl.from_torch(path, order=order).input_size for order in orders] == [2, 3]
    flag: Any = "no"
    with pytest.raises(TypeError, match="return_sequences"):
        fl.from_torch(path, return_sequences=flag)


def test_numbers_of_different_parts_of_a_module_give_no_order(tmp_path: Path) -> None:
    save_file(lstm(3, 5, prefix="rnn.1.") | matrix(2, 5, "head.0"), tmp_path / "weights")
    model = fl.from_torch(tmp_path / "weights")
    assert [type(layer) for layer in model.layers] == [fl.LSTM, fl.Dense]


def test_a_file_whose_sizes_fit_in_several_orders_or_in_none(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    save_file(lstm(3, 3, prefix="b.") | lstm(3, 3, bias=False, prefix="a."), path)
    with pytest.raises(ValueError, match=r"may be .* name the layers in order, order=\['a', 'b'\]"):
        fl.from_torch(path)
    model = fl.from_torch(path, order=["b", "a"])
    assert [getattr(layer, "bias", None) for layer in model.layers] == [True, False]
    save_file(lstm(3, 4, prefix="b.") | lstm(5, 6, bias=False, prefix="a."), path)
    with pytest.raises(ValueError, match="fit in no order: LSTM 'a' takes 5 and returns 6 features, LSTM 'b' takes 3"):
        fl.from_torch(path)
    many: State = {}
    for letter in "abcdefgh":
        many |= matrix(2, 2, letter)
    save_file(many, path)
    with pytest.raises(ValueError, match="a file does not keep the order"):
        fl.from_torch(path)


def write(path: Path, header: Any, body: bytes = b"") -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


def write_tensors(path: Path, state: State, code: str, to_bytes: Callable[[np.ndarray], bytes]) -> None:
    """Write a file by hand, with a dtype that the package's NumPy functions may not know."""
    header, body = {}, b""
    for name, array in state.items():
        data = to_bytes(array)
        header[name] = {"dtype": code, "shape": array.shape, "data_offsets": (len(body), len(body) + len(data))}
        body += data
    write(path, header, body)


def test_bfloat16_and_float16_files(tmp_path: Path) -> None:
    state = lstm(3, 5)
    write_tensors(tmp_path / "b", state, "BF16", lambda a: (a.view("u4") >> 16).astype("<u2").tobytes())
    write_tensors(tmp_path / "h", state, "F16", lambda a: a.astype("<f2").tobytes())
    write_tensors(tmp_path / "i", state, "I32", lambda a: a.astype("<i4").tobytes())
    assert_holds(fl.from_torch(tmp_path / "h"), {name: a.astype("f2").astype("f4") for name, a in state.items()})
    cut = {name: (a.view("u4") & 0xFFFF0000).view("f4") for name, a in state.items()}
    assert_holds(fl.from_torch(tmp_path / "b"), dict(cut))
    with pytest.raises(ValueError, match="is I32; expected one of F16, F32, F64, BF16"):
        fl.from_torch(tmp_path / "i")


def test_damaged_files_end_in_an_error_that_names_them(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    save_file(lstm(3, 5), path)
    whole = path.read_bytes()
    for size in (0, 4, 8, 9, 20, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=f"^{path}: "):
            fl.from_torch(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(ValueError, match="damaged"):
        fl.from_torch(path)


@pytest.mark.parametrize(
    "header",
    [
        b"{" * 2000,
        b'{"a":' * 2000,
        b"[]",
        b"{}",
        {"weight_ih_l0": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 8]}},
        {"weight_ih_l0": {"dtype": "F32", "shape": [4 * 10**9, 4 * 10**9], "data_offsets": [0, 8]}},
        {"weight_ih_l0": {"dtype": "F32", "shape": [0, 2**63], "data_offsets": [0, 0]}},
        {"weight_ih_l0": {"dtype": "F32", "shape": [0] * 70, "data_offsets": [0, 0]}},
        {"weight_ih_l0": {"dtype": "F32", "shape": [2], "data_offsets": [0, 2**63]}},
        {"weight_ih_l0": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}},
        {"weight_hh_l0": {"dtype": "F32", "shape": [0, 0], "data_offsets": [0, 0]}},
        b'{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}',
    ],
)
def test_hostile_headers(tmp_path: Path, header: Any) -> None:
    path = tmp_path / "weights"
    write(path, header, b"\0" * 8 if "[0, 8]" in str(header) else b"")
    with pytest.raises(ValueError):
        fl.from_torch(path)


def test_other_files(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"PK\3\4" + bytes(100))
    with pytest.raises(ValueError, match="not a .safetensors file"):
        fl.from_torch(tmp_path / "w.pt")
    fl.Model([fl.LSTM(3)], input_size=2).save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"read it with fl.load"):
        fl.from_torch(tmp_path / "model")
    with pytest.raises(FileNotFoundError):
        fl.from_torch(tmp_path / "none")
    with pytest.raises(IsADirectoryError if sys.platform != "win32" else OSError):
        fl.from_torch(tmp_path)
