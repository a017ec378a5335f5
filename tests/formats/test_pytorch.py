"""Weights under PyTorch's names, in both directions; nothing here needs torch itself."""

from __future__ import annotations

import json
import pickle
import re
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

pytestmark = pytest.mark.filterwarnings("ignore:a state dict holds weights:UserWarning")


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
    assert got == (5, layers, bias, both, not prefix, 0)  # nn.LSTM itself returns every step
    assert model.input_size == 3 and model.dtype == np.float32
    assert_holds(model, state)
    assert fl.from_torch(state, return_sequences=True).per_step
    assert not fl.from_torch(state, return_sequences=False).per_step
    back = model.to_torch_state_dict([prefix[:-1]])
    assert list(back) == list(state)
    assert all(back[name].tobytes() == state[name].tobytes() for name in state)


def test_embedding_lstms_and_linears() -> None:
    state = matrix(9, 4, "embed") | lstm(4, 5, 2, prefix="a.", both=True) | lstm(10, 3, prefix="b.")
    state |= matrix(7, 3, "hidden", bias=True) | matrix(2, 7, "out")
    model = fl.from_torch(state, seed=5, order=["embed", "a", "b", "hidden", "identity", "out"])
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
    order: list[str] = []
    for k in range(2000):
        state |= {f"{k}.weight": np.ones((1, 1), "f4")}
        order += [str(k), "tanh"]
    assert len(fl.from_torch(state, order=order).layers) == 4000


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
        ({"net": lstm(3, 5)}, r"pass source\['net'\]"),
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
    again = fl.from_torch(named, order=["a", "b.c", "identity", "fc"])
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
    with pytest.raises(
        ValueError, match="has the place of 'net.0' to 'net.1' before LSTM 'net.2'; .*'net.3' to 'net.9'"
    ):
        fl.from_torch(tmp_path / "weights")
    state = {name.replace("net.2", "net.9"): value for name, value in state.items()}
    more = {f"net.{k}.{name}": value for k in range(9) for name, value in lstm(3, 3).items()}
    save_file(state | more, tmp_path / "weights")
    model = fl.from_torch(tmp_path / "weights")
    assert [getattr(layer, "bias", None) for layer in model.layers] == [True] * 10 + [False, True]
    assert isinstance(model.layers[-1], fl.Dense)


def test_the_order_may_be_given_by_numbers(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file({"0.weight": np.ones((3, 2), "f4"), "1.weight": np.ones((2, 3), "f4")}, path)
    orders: list[Any] = [[0, "relu", 1], [1, "identity", 0]]
    assert [fl.from_torch(path, order=order).input_size for order in orders] == [2, 3]
    flag: Any = "no"
    with pytest.raises(TypeError, match="return_sequences"):
        fl.from_torch(path, return_sequences=flag)


def test_numbers_of_different_parts_of_a_module_give_no_order(tmp_path: Path) -> None:
    save_file(lstm(3, 5, prefix="rnn.0.") | matrix(2, 5, "head.0"), tmp_path / "weights")
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
    (tmp_path / "w.zip").write_bytes(b"PK\3\4" + bytes(100))
    with pytest.raises(ValueError, match="not a .safetensors file"):
        fl.from_torch(tmp_path / "w.zip")
    fl.Model([fl.LSTM(3)], input_size=2).save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"read it with fl.load"):
        fl.from_torch(tmp_path / "model")
    with pytest.raises(FileNotFoundError):
        fl.from_torch(tmp_path / "none")
    with pytest.raises(IsADirectoryError if sys.platform != "win32" else OSError):
        fl.from_torch(tmp_path)


def test_files_of_torch_save_need_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "w.pt").write_bytes(b"PK\3\4" + bytes(100))
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"w\.pt: .*pip install torch; or convert .*safetensors\.torch\.save_file"):
        fl.from_torch(tmp_path / "w.pt")
    with pytest.raises(FileNotFoundError):
        fl.from_torch(tmp_path / "none.pth")
    save_file(lstm(3, 5), tmp_path / "w.bin")  # the content decides
    assert fl.from_torch(tmp_path / "w.bin", order=[""]).per_step


# --- what tensors do not tell


def head(*names: str) -> State:
    state = lstm(3, 5, prefix="lstm.")
    for k, name in enumerate(names):
        state |= matrix(5 if k < len(names) - 1 else 2, 5, name, bias=True)
    return state


@pytest.mark.filterwarnings("default")
def test_one_warning_lists_all_that_is_assumed() -> None:
    for state, expected, absent in (
        (head("fc"), ["LSTM 'lstm', Linear 'fc' in this order", "only the final step of LSTM 'lstm'", "mean or maximum",
                      "no activation (relu, tanh, ...)", "no sigmoid or softmax", "no dropout", "order=['lstm', 'fc']",
                      "order=['lstm', 'fc', 'sigmoid']", "Pass the nn.Module itself"], ["of each direction its own"]),
        (lstm(3, 5, both=True, prefix="rnn."), ["final step of LSTM 'rnn' is used (of each direction its own)"], []),
        (lstm(3, 5), ["every step, as nn.LSTM itself returns it (return_sequences=False", "order=['']"], ["sigmoid"]),
        (matrix(2, 5, "fc"), ["no activation", "no dropout"], ["step"]),
    ):  # fmt: skip
        with pytest.warns(UserWarning) as caught:
            fl.from_torch(state)
        text = str(caught[0].message)
        assert len(caught) == 1 and caught[0].filename == __file__
        assert all(word in text for word in expected) and not any(word in text for word in absent), text
    with pytest.warns(UserWarning) as caught:
        fl.from_torch(head("fc"), return_sequences=True)
    assert "final step" not in str(caught[0].message)


@pytest.mark.filterwarnings("error")
def test_an_order_leaves_nothing_to_warn_of() -> None:
    x = np.random.default_rng(0).standard_normal((4, 6, 3)).astype("f4")
    state = head("fc")
    plain = fl.from_torch(state, order=["lstm", "fc"])
    every = fl.from_torch(state, order=["lstm", "fc"], return_sequences=True).predict(x)
    hidden = fl.from_torch(lstm(3, 5), order=[""]).predict(x)
    scores = plain.predict(x)
    weight, bias = state["fc.weight"], state["fc.bias"]
    for more, expected in (
        (["lstm", "fc"], every[:, -1]),
        (["lstm", "last", "fc"], every[:, -1]),
        (["lstm", "fc", "last"], every[:, -1]),
        (["lstm", "fc", "Mean"], every.mean(1)),
        (["lstm", "mean", "fc"], fl.from_torch(state, order=["lstm", "mean", "fc"]).predict(x)),
        (["lstm", "fc", "max"], every.max(1)),
        (["lstm", "identity", "fc", "dropout"], scores),
        (["lstm", "fc", "relu"], np.maximum(scores, 0)),
        (["lstm", "fc", "tanh"], np.tanh(scores)),
        (["lstm", "fc", "Sigmoid"], 1 / (1 + np.exp(-scores))),
        (["lstm", "fc", "softmax"], np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)),
        (["lstm", "fc", "leaky_relu"], np.where(scores < 0, 0.01 * scores, scores)),
        (["lstm", "fc", "LeakyReLU"], np.where(scores < 0, 0.01 * scores, scores)),
        (["lstm", "fc", fl.Activation("leaky_relu", 0.3)], np.where(scores < 0, 0.3 * scores, scores)),
        (["lstm", "fc", "hard_sigmoid"], np.clip(scores / 6 + 0.5, 0, 1)),
    ):
        model = fl.from_torch(state, order=more)
        np.testing.assert_allclose(model.predict(x), expected, rtol=0, atol=3e-6)
    assert repr(fl.from_torch(state, order=["lstm", "last", "fc"])) == repr(plain)
    pooled = fl.from_torch(state, order=["lstm", fl.MaxPool(), fl.Dropout(0.25), "fc"])
    assert [type(layer) for layer in pooled.layers] == [fl.LSTM, fl.MaxPool, fl.Dropout, fl.Dense]
    np.testing.assert_allclose(pooled.predict(x), hidden.max(1) @ weight.T + bias, rtol=0, atol=3e-6)


def test_the_last_step_of_two_directions_is_not_their_final_states() -> None:
    state = lstm(3, 5, both=True, prefix="lstm.")
    x = np.random.default_rng(0).standard_normal((4, 6, 3)).astype("f4")
    steps = fl.from_torch(state, return_sequences=True).predict(x)
    np.testing.assert_array_equal(fl.from_torch(state, order=["lstm", "last"]).predict(x), steps[:, -1])
    final = np.concatenate([steps[:, -1, :5], steps[:, 0, 5:]], axis=1)
    np.testing.assert_array_equal(fl.from_torch(state).predict(x), final)


@pytest.mark.parametrize(
    ("names", "message", "order"),
    [
        (["fc1", "fc2"], "Linear 'fc1' and Linear 'fc2' follow each other", ["lstm", "fc1", "relu", "fc2"]),
        (["head.0", "head.1"], "Linear 'head.0' and Linear 'head.1' follow", ["lstm", "head.0", "relu", "head.1"]),
        (["head.0", "head.2"], "the place of 'head.1' before Linear 'head.2'", ["lstm", "head.0", "relu", "head.2"]),
        (["head.0", "head.3"], "the place of 'head.1' to 'head.2' before", ["lstm", "head.0", "relu", "head.3"]),
        (["head.1"], "the place of 'head.0' before Linear 'head.1'", ["lstm", "relu", "head.1"]),
        (["net.0.fc", "net.2.fc"], "the place of 'net.1' before", ["lstm", "net.0.fc", "relu", "net.2.fc"]),
    ],
)
def test_what_must_stand_between_is_asked_for(names: list[str], message: str, order: list[str], tmp_path: Path) -> None:
    state = head(*names)
    path = tmp_path / "w.safetensors"
    save_file(state, path)
    for source in (state, path):
        for given in (None, ["lstm", *names]):
            with pytest.raises(ValueError, match=message) as raised:
                fl.from_torch(source, order=given)
            if "may be" not in str(raised.value):
                assert f"order={order} if it is a ReLU" in str(raised.value)
        model = fl.from_torch(source, order=order)
        assert sum(isinstance(layer, fl.Activation) for layer in model.layers) == 1
        nothing = ["identity" if name == "relu" else name for name in order]
        assert not any(isinstance(layer, fl.Activation) for layer in fl.from_torch(source, order=nothing).layers)


def test_a_layer_wins_over_a_function_of_its_name() -> None:
    state = lstm(3, 5, prefix="mean.") | matrix(2, 5, "relu")
    model = fl.from_torch(state, order=["mean", "Mean", "relu", "ReLU"])
    assert [type(layer) for layer in model.layers] == [fl.LSTM, fl.MeanPool, fl.Dense, fl.Activation]


def test_wrong_orders() -> None:
    state: State = head("fc")
    wrong: Any
    for wrong, message in (
        (["lstm", "mish", "fc"], r"names \['lstm', 'fc'\] once, and between them relu, .*, got 'mish'"),
        (["lstm", fl.Dense(3), "fc"], r"got Dense\(output_size=3\)"),
        (["lstm", None, "fc"], "got None"),
        (["mean", "lstm", "fc"], "LSTM 'lstm' takes every step of a series, but MeanPool 'mean' before it returns one"),
        (["lstm", "mean", "last", "fc"], "LastStep 'last' takes every step"),
        (["relu"], r"each of the names \['lstm', 'fc'\] once"),
    ):
        with pytest.raises(ValueError, match=message):
            fl.from_torch(state, order=wrong)
    with pytest.raises(ValueError, match="return_sequences=True contradicts order"):
        fl.from_torch(state, order=["lstm", "mean", "fc"], return_sequences=True)


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "model._orig_mod.module."])
@pytest.mark.parametrize("key", [None, "model_state_dict", "state_dict", "model"])
def test_prefixes_and_state_dicts_inside_others(prefix: str, key: str | None) -> None:
    state = head("fc")
    named = {prefix + name: value for name, value in state.items()}
    source: dict[str, Any] = named if key is None else {"epoch": 3, key: named, "optimizer": {}, "best": None}
    for order in (["lstm", "fc"], [f"{prefix}lstm", f"{prefix}fc"]):
        assert_holds(fl.from_torch(source, order=order), state)
    alone = {prefix + name: value for name, value in lstm(3, 5).items()}
    assert fl.from_torch(alone).per_step
    mixed = {"module." + name: value for name, value in lstm(3, 5, prefix="lstm.").items()} | matrix(2, 5, "fc")
    assert len(fl.from_torch(mixed, order=["module.lstm", "fc"]).layers) == 2
    circle: dict[str, Any] = {}
    circle["model"] = circle
    with pytest.raises(TypeError, match="is itself a mapping"):
        fl.from_torch(circle)


# --- files of other kinds


def foreign(folder: Path) -> dict[str, tuple[Path, str | None]]:
    """Return files of other packages, or their first bytes, each with the function that reads it."""
    zipped = b"PK\3\4" + bytes(22)
    pickled = pickle.dumps({"a": 1})
    onnx = b"\x08\x08\x12\x07pytorch\x1a\x05"
    contents: dict[str, tuple[bytes, str | None]] = {
        "m.onnx": (onnx, "from_onnx"),
        "graph": (onnx, "from_onnx"),
        "m.keras": (zipped + b"\x0d\0\0\0metadata.json", "from_keras"),
        "k": (zipped + b"\x0d\0\0\0metadata.json", "from_keras"),
        "m.h5": (b"\x89HDF\r\n\x1a\n" + bytes(40), "from_keras"),
        "hdf": (b"\x89HDF\r\n\x1a\n" + bytes(40), "from_keras"),
        "m.pt": (zipped + b"\x0a\0\0\0m/data.pkl", "from_torch"),
        "m.pth": (b"anything", "from_torch"),
        "t": (zipped + b"\x0a\0\0\0m/data.pkl", "from_torch"),
        "old": (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "from_torch"),
        "m.pkl": (pickled, None),
        "m": (pickled, None),
        "m.tflite": (b"\x1c\0\0\0TFL3" + bytes(20), None),
        "m.npz": (zipped + b"\x05\0\0\0x.npy", None),
        "m.npy": (b"\x93NUMPY\1\0v\0" + bytes(20), None),
    }
    for name, (data, _) in contents.items():
        (folder / name).write_bytes(data)
    return {name: (folder / name, reader) for name, (_, reader) in contents.items()}


def test_load_names_the_function_that_reads_a_file(tmp_path: Path) -> None:
    for name, (path, reader) in foreign(tmp_path).items():
        for given in (path, str(path)):
            with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: not a fastlstm model") as raised:
                fl.load(given)
            text = str(raised.value)
            kinds = {"m.pkl": "a pickle", "m": "a pickle", "m.tflite": "TensorFlow Lite", "m.npz": "NumPy"}
            expected = f"fl.{reader}({str(path)!r})" if reader else kinds.get(name, "NumPy")
            assert expected in text, (name, text)
    for name in ("m.pt", "m.pkl"):  # damaged, but ours
        fl.Model([fl.LSTM(3)], input_size=2).save(tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        fl.load(tmp_path / name)
        (tmp_path / name).write_bytes(whole[:-1])
        with pytest.raises(ValueError, match="truncated") as raised:
            fl.load(tmp_path / name)
        assert "fl.from" not in str(raised.value) and "pickle" not in str(raised.value)
    save_file(lstm(3, 5), tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="not a fastlstm model; only .* fl.from_torch reads those with the weights"):
        fl.load(tmp_path / "w.safetensors")


def test_from_torch_names_the_other_readers(tmp_path: Path) -> None:
    files = foreign(tmp_path)
    for path, reader in files.values():
        if reader == "from_torch":
            continue
        with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: not a .safetensors file") as raised:
            fl.from_torch(path)
        if reader:
            assert f"; it is a{'n ONNX model' if reader == 'from_onnx' else ' file of Keras'}: read" in str(
                raised.value
            )
            assert f"fl.{reader}(" in str(raised.value)
