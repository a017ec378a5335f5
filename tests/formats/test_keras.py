"""`from_keras` against what Keras 2 and 3 themselves compute; tests/formats/data/keras/make.py made the models."""

from __future__ import annotations

import json
import re
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm as fl

h5py = pytest.importorskip("h5py")

DATA = Path(__file__).parent / "data" / "keras"

TOLERANCE = {
    # Relative to the largest output. Keras sums in another order, and its backends use other forms of exp and tanh:
    # each rounds by some ulps of float32, 6e-8, over at most 7 steps and 5 layers. Measured: below 6e-7.
    "float32": 5e-6,
    # Keras 3 with PyTorch computes a part of a float64 model in float32: 6e-8. For Keras 2 see `test_dtypes`.
    "float64": 1e-6,
}


@cache
def archive(major: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(DATA / f"keras{major}.zip")


def names(ending: str) -> list[tuple[int, str]]:
    return [
        (major, name.removesuffix(ending))
        for major in (2, 3)
        for name in archive(major).namelist()
        if name.endswith(ending) and "." not in name.removesuffix(ending)
    ]


def put(major: int, name: str, folder: Path) -> Path:
    """Write one file of an archive into a folder."""
    return Path(archive(major).extract(name, folder))


def numbers(major: int, name: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(put(major, f"{name}.npz", folder)) as arrays:
        return arrays["x"], arrays["y"]


def error(got: np.ndarray, expected: np.ndarray) -> float:
    assert got.shape == expected.shape and got.dtype == expected.dtype
    return float(np.abs(got - expected).max() / np.abs(expected).max())


def check(model: fl.Model, x: np.ndarray, y: np.ndarray, folder: Path) -> None:
    """Check that the model gives Keras's numbers, also after `save` and `load`."""
    assert error(model.predict(x), y) <= TOLERANCE[y.dtype.name]
    model.save(folder / "copy.safetensors")
    assert np.array_equal(fl.load(folder / "copy.safetensors").predict(x), model.predict(x))


def test_there_are_many_models() -> None:
    assert len(names(".keras")) >= 130
    assert {major for major, _ in names(".old.h5")} == {2}


@pytest.mark.parametrize("major, name", names(".keras"))
def test_keras_files(major: int, name: str, tmp_path: Path) -> None:
    check(fl.from_keras(put(major, f"{name}.keras", tmp_path)), *numbers(major, name, tmp_path), tmp_path)


@pytest.mark.parametrize("major, name", names(".h5"))
def test_h5_files(major: int, name: str, tmp_path: Path) -> None:
    check(fl.from_keras(put(major, f"{name}.h5", tmp_path)), *numbers(major, name, tmp_path), tmp_path)


@pytest.mark.parametrize("ending", [".weights.h5", ".old.h5"])
def test_weights_with_a_description(ending: str, tmp_path: Path) -> None:
    found = names(ending)
    assert len(found) >= 15
    for major, name in found:
        path, config = put(major, name + ending, tmp_path), put(major, f"{name}.json", tmp_path)
        x, y = numbers(major, name, tmp_path)
        for form in (config, str(config), config.read_text(), json.loads(config.read_text())):
            assert error(fl.from_keras(path, config=form).predict(x), y) <= TOLERANCE[y.dtype.name]


@pytest.mark.parametrize("ending", [".weights.h5", ".old.h5"])
def test_weights_alone(ending: str, tmp_path: Path) -> None:
    """Weights alone suffice if names and sizes allow one order only and the weights determine all settings."""
    for major, name in names(ending):
        if name not in ("stacked", "both_concat", "no_bias", "stateful"):
            continue
        x, y = numbers(major, name, tmp_path)
        with pytest.warns(UserWarning, match="the file has weights only, and does not describe the layers"):
            model = fl.from_keras(put(major, name + ending, tmp_path))
        assert error(model.predict(x), y) <= TOLERANCE["float32"]


# ---------------------------------------------------------------------------------------------- further training


@pytest.mark.parametrize("name", ["mask_stacked", "mask_zero_sequences", "both_ave_sequences", "dense_softmax"])
def test_further_training(name: str, tmp_path: Path) -> None:
    """The model can be trained: a copy with other weights comes nearer to the original."""
    model = fl.from_keras(put(3, f"{name}.keras", tmp_path))
    x, y = numbers(3, name, tmp_path)
    rng = np.random.default_rng(0)
    model.flat_parameters[:] += rng.normal(0, 0.3, model.flat_parameters.shape).astype(np.float32)
    before = model.evaluate(x, y, loss="mse")["loss"]
    model.fit(x, y, loss="mse", epochs=60, batch_size=5, optimizer=fl.Adam(0.02), verbose=0)
    assert model.evaluate(x, y)["loss"] < before / 5


@pytest.mark.parametrize(
    "name, loss", [("dense_softmax", "cross_entropy"), ("functional_both", "binary_cross_entropy")]
)
def test_logits(name: str, loss: str, tmp_path: Path) -> None:
    path = put(3, f"{name}.keras", tmp_path)
    model = fl.from_keras(path, logits=True)
    x, y = numbers(3, name, tmp_path)
    assert not isinstance(model.layers[-1], fl.Activation)
    assert model.loss is not None and model.loss.name == loss
    assert error(model.predict_proba(x), y) <= TOLERANCE["float32"]
    if loss == "cross_entropy":
        assert np.array_equal(model.predict_classes(x), y.argmax(axis=1))
        model.fit(x, y.argmax(axis=1), epochs=1, verbose=0)
    with pytest.raises(ValueError, match=r"logits=True needs a model that ends with a softmax or a sigmoid"):
        fl.from_keras(put(3, "final.keras", tmp_path), logits=True)


@pytest.mark.parametrize(
    "name, loss", [("dense_softmax", "cross_entropy"), ("functional_both", "binary_cross_entropy")]
)
def test_a_final_activation_is_not_applied_twice(name: str, loss: str, tmp_path: Path) -> None:
    path = put(3, f"{name}.keras", tmp_path)
    x, y = numbers(3, name, tmp_path)
    for model in (fl.from_keras(path), fl.from_keras(path, loss=loss)):
        assert model.output_kind in ("class_probabilities", "binary_probabilities")
        np.testing.assert_array_equal(model.predict_proba(x).reshape(y.shape), model.predict(x).reshape(y.shape))
        assert error(model.predict_proba(x).reshape(y.shape), y) <= TOLERANCE["float32"]
        labels = y.argmax(axis=1) if loss == "cross_entropy" else (y > 0.5).astype(int)
        assert model.evaluate(x, labels)["accuracy"] == 1.0
    other = "binary_cross_entropy" if loss == "cross_entropy" else "cross_entropy"
    with pytest.raises(ValueError, match=f"the model ends with .* and loss='{other}'"):
        fl.from_keras(path, loss=other)


def test_streams(tmp_path: Path) -> None:
    for name in ("stacked", "embedding", "mask_value"):
        model = fl.from_keras(put(3, f"{name}.keras", tmp_path))
        x, y = numbers(3, name, tmp_path)
        stream = model.stream()
        for step in x[0]:
            answer = stream.step(step[None])
        assert error(answer, y[:1]) <= TOLERANCE["float32"]


# ---------------------------------------------------------------------------------------------- what becomes of options


def layers_of(name: str, folder: Path, major: int = 3) -> list[Any]:
    return fl.from_keras(put(major, f"{name}.keras", folder)).layers


def test_options_that_concern_training(tmp_path: Path) -> None:
    noise, spatial, _, plain, *_ = layers_of("training_only", tmp_path)
    assert noise.stddev == 0.1
    assert (spatial.p, spatial.per_series) == (0.25, True)
    assert (plain.p, plain.per_series) == (0.5, False)
    (recurrent,) = layers_of("dropout", tmp_path)
    assert (recurrent.input_dropout, recurrent.cell.variational_dropout) == (0.25, 0.125)
    assert layers_of("no_forget_bias", tmp_path)[0].forget_bias == 0
    assert layers_of("final", tmp_path)[0].forget_bias == 1


def test_dtypes(tmp_path: Path) -> None:
    path = put(3, "final.keras", tmp_path)
    x, y = numbers(3, "final", tmp_path)
    wide = fl.from_keras(path, dtype="float64")
    assert wide.dtype == np.float64
    assert error(wide.predict(x).astype(np.float32), y) <= TOLERANCE["float32"]
    x, y = numbers(2, "float64", tmp_path)
    assert error(fl.from_keras(put(2, "float64.keras", tmp_path)).predict(x), y) <= 1e-13  # measured: below 1e-15
    assert fl.from_keras(put(3, "float64.keras", tmp_path), dtype="float32").dtype == np.float32


def test_the_seed_is_passed_to_the_model(tmp_path: Path) -> None:
    assert fl.from_keras(put(3, "final.keras", tmp_path), seed=7).seed == 7


def rewritten(path: Path, change: Any, weights: bytes | None = None) -> Path:
    """Return the .keras file with another description; `change` gets the parsed one."""
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    config = json.loads(members["config.json"])
    members["config.json"] = json.dumps(change(config) or config).encode()
    if weights is not None:
        members["model.weights.h5"] = weights
    target = path.with_name("changed.keras")
    with zipfile.ZipFile(target, "w") as new:
        for name, data in members.items():
            new.writestr(name, data)
    return target


def layer_config(config: dict[str, Any], kind: str) -> dict[str, Any]:
    found = next(layer for layer in config["config"]["layers"] if layer["class_name"] == kind)["config"]
    assert isinstance(found, dict)
    return found


REFUSED = [
    ("final", "LSTM", "return_state", True, "LSTM 'lstm': return_state=True is not supported"),
    ("final", "LSTM", "time_major", True, "LSTM 'lstm': time_major=True is not supported"),
    ("final", "LSTM", "activation", "mish", "LSTM 'lstm': activation=mish is not supported, expected one of"),
    ("final", "LSTM", "activation", "softmax", "LSTM 'lstm': activation=softmax is not supported inside an LSTM"),
    ("final", "LSTM", "activation", {"class_name": "function", "config": "f", "module": "mine"}, "activation=function"),
    ("final", "LSTM", "recurrent_activation", 3, "LSTM 'lstm': recurrent_activation=3 is not supported"),
    ("final", "LSTM", "units", 0, "LSTM 'lstm': units=0 is not a number of units"),
    ("final", "LSTM", "units", True, "LSTM 'lstm': units=True is not a number of units"),
    ("final", "LSTM", "units", 10**30, "is not a number of units"),
    ("final", "LSTM", "units", 2**30, "LSTM 'lstm': kernel has shape (3, 16), expected (3, 4294967296)"),
    ("final", "LSTM", "units", 5, "LSTM 'lstm': kernel has shape (3, 16), expected (3, 20)"),
    ("final", "LSTM", "use_bias", False, "LSTM 'lstm' has the weights ('kernel', 'recurrent_kernel')"),
    ("final", "LSTM", "use_bias", "no", "LSTM 'lstm': use_bias=no is neither true nor false"),
    ("final", "LSTM", "dropout", 1.0, "LSTM 'lstm': input_dropout must be"),
    ("final", "LSTM", "dropout", float("nan"), "LSTM 'lstm': dropout=nan is not a finite number"),
    ("final", "LSTM", "new_option", 1, "LSTM 'lstm': new_option=1 is not supported"),
    ("final", "LSTM", "dtype", {"class_name": "QuantizedDTypePolicy"}, "LSTM 'lstm': dtype="),
    ("both_sum", "Bidirectional", "merge_mode", None, "Bidirectional 'bidirectional': merge_mode=None is not"),
    ("both_sum", "Dense", "lora_rank", 4, "Dense 'dense': lora_rank=4 is not supported"),
    ("both_sum", "InputLayer", "batch_shape", [None, 3], "the model takes arrays of shape [None, 3], expected (batch,"),
    ("training_only", "Dropout", "noise_shape", [1, None, 3], "Dropout 'dropout': noise_shape=[1, None, 3]"),
    ("activation_layers", "ReLU", "max_value", 6.0, "ReLU 're_lu': max_value=6.0 is not supported"),
    ("activation_layers", "Softmax", "axis", 1, "Softmax 'softmax': axis=1 is not supported"),
    ("mask", "Masking", "mask_value", float("inf"), "Masking 'masking': mask_value=inf is not a finite number"),
    ("mask_zero", "Embedding", "input_dim", 2**31 - 1, "embeddings has shape (9, 3), expected (2147483647, 3)"),
]


@pytest.mark.parametrize("name, kind, option, value, message", REFUSED)
def test_refused_options(name: str, kind: str, option: str, value: Any, message: str, tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        layer_config(config, kind)[option] = value

    path = rewritten(put(3, f"{name}.keras", tmp_path), change)
    with pytest.raises(ValueError, match=re.escape(message)) as raised:
        fl.from_keras(path)
    assert str(raised.value).startswith(str(path))


@pytest.mark.parametrize(
    "kind, more, message",
    [
        ("GroupNormalization", {}, "layer 'lstm' has class GroupNormalization, which is not supported"),
        ("GRU", {}, "layer 'lstm' has class GRU, which is not supported; from_keras supports Activation, Ac"),
        ("Lambda", {}, "Lambda 'lstm' holds code, which is never run"),
        ("LSTM", {"module": "mine"}, "layer 'lstm' has class mine.LSTM, which is not supported"),
        ("LSTM", {"registered_name": "mine>LSTM"}, "layer 'lstm' has class mine>LSTM, which is not supported"),
    ],
)
def test_refused_layers(kind: str, more: dict[str, Any], message: str, tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        config["config"]["layers"][1].update(class_name=kind, **more)

    with pytest.raises(ValueError, match=re.escape(message)):
        fl.from_keras(rewritten(put(3, "final.keras", tmp_path), change))


def test_refused_neighbours(tmp_path: Path) -> None:
    """Layers that are valid by themselves are at places where they mean something else."""

    def insert(place: int, kind: str, **options: Any) -> Any:
        layer = {"class_name": kind, "config": {"name": kind.lower(), **options}}
        return lambda config: config["config"]["layers"].insert(place, layer)

    for name, change, message in [
        ("sequences", insert(2, "Flatten"), "Flatten 'flatten' joins the steps of a series"),
        ("sequences", insert(2, "RepeatVector", n=2), "RepeatVector 'repeatvector' repeats one vector for each case"),
        ("final", insert(2, "RepeatVector", n=0), "RepeatVector 'repeatvector': n=0 is not a number"),
        ("mask_sequences", insert(3, "Softmax"), "Softmax 'softmax' follows a mask"),
        ("mask_sequences", insert(3, "GlobalMaxPooling1D"), "GlobalMaxPooling1D 'globalmaxpooling1d' follows"),
        (
            "mask_sequences",
            insert(3, "Conv1D", filters=2, kernel_size=[3]),
            "Conv1D 'conv1d' follows a mask, which Keras",
        ),
        ("final", insert(2, "Conv1D", filters=2, kernel_size=[3]), "Conv1D 'conv1d' needs a series"),
        ("sequences", insert(1, "Conv1D", filters=2, kernel_size=[3, 3]), "kernel_size=[3, 3] is not a number of at"),
        ("sequences", insert(1, "Conv1D", filters=2, kernel_size=3, padding="full"), "padding=full is not supported"),
        (
            "sequences",
            insert(1, "Conv1D", filters=2, kernel_size=3, data_format="channels_first"),
            "data_format=channels",
        ),
        ("final", insert(2, "Masking"), "Masking 'masking' needs a series, but gets only its last step"),
        ("final", insert(2, "LSTM", units=2), "LSTM 'lstm' needs a series, but gets only its last step"),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)):
            fl.from_keras(rewritten(put(3, f"{name}.keras", tmp_path), change))


def test_masks_that_cannot_be_applied_to_a_layer(tmp_path: Path) -> None:
    def backwards(config: dict[str, Any]) -> None:
        layer_config(config, "LSTM")["go_backwards"] = True

    def zeros(config: dict[str, Any]) -> None:
        layer_config(config, "LSTM")["zero_output_for_mask"] = True

    for change, message in ((backwards, "go_backwards=True with return"), (zeros, "zero_output_for_mask=True")):
        with pytest.raises(ValueError, match=message):
            fl.from_keras(rewritten(put(3, "mask_sequences.keras", tmp_path), change))


def test_bidirectional_of_two_kinds(tmp_path: Path) -> None:
    def other(config: dict[str, Any]) -> None:
        layer_config(config, "Bidirectional")["backward_layer"]["config"]["activation"] = "relu"

    def turned(config: dict[str, Any]) -> None:
        layer_config(config, "Bidirectional")["layer"]["config"]["go_backwards"] = True

    for change, message in ((other, "must have the options of layer"), (turned, "layer must go forward")):
        with pytest.raises(ValueError, match=message):
            fl.from_keras(rewritten(put(3, "both_given.keras", tmp_path), change))


def test_functional_models_must_be_chains(tmp_path: Path) -> None:
    def layers(config: dict[str, Any]) -> dict[str, Any]:
        return {layer["config"]["name"]: layer for layer in config["config"]["layers"]}

    def twice(config: dict[str, Any]) -> None:
        layers(config)["dense"]["inbound_nodes"] *= 2

    def fork(config: dict[str, Any]) -> None:
        layers(config)["dense"]["inbound_nodes"] = layers(config)["lstm_1"]["inbound_nodes"]

    def circle(config: dict[str, Any]) -> None:
        found = layers(config)
        found["lstm"]["inbound_nodes"][0]["args"][0]["config"]["keras_history"][0] = "dense"

    def outputs(config: dict[str, Any]) -> None:
        config["config"]["output_layers"] = [["lstm", 0, 0], ["dense", 0, 0]]

    def inputs(config: dict[str, Any]) -> None:
        config["config"]["layers"].append({**layers(config)["input_layer"], "name": "other"})

    def trained(config: dict[str, Any]) -> None:
        layers(config)["dropout"]["inbound_nodes"][0]["kwargs"]["training"] = True

    for change, message in [
        (twice, "layer 'dense' is used more than once"),
        (fork, "the output of 'dropout' goes to"),
        (circle, "are not connected to the others"),
        (outputs, "expected only the last layer, 'dense'"),
        (inputs, "the model has the inputs"),
        (trained, "layer 'dropout' is called with training=True"),
    ]:
        with pytest.raises(ValueError, match=message):
            fl.from_keras(rewritten(put(3, "functional.keras", tmp_path), change))


def test_a_functional_mask_must_be_the_layer_s_own(tmp_path: Path) -> None:
    def other(config: dict[str, Any]) -> None:
        operation = next(layer for layer in config["config"]["layers"] if layer["class_name"] == "NotEqual")
        operation["inbound_nodes"][0]["args"][1] = 3.0

    with pytest.raises(ValueError, match="layer 'lstm' is called with its own mask"):
        fl.from_keras(rewritten(put(3, "functional_mask.keras", tmp_path), other))


def test_hard_sigmoid_needs_the_version(tmp_path: Path) -> None:
    """It is x / 6 + 0.5 from Keras 3 on, 0.2 x + 0.5 before."""
    path = put(3, "gate_hard_sigmoid.h5", tmp_path)
    with h5py.File(path, "r+") as file:
        del file.attrs["keras_version"]
    with pytest.raises(ValueError, match="recurrent_activation=hard_sigmoid differs between Keras 2 and 3"):
        fl.from_keras(path)


def test_weights_alone_of_a_large_model(tmp_path: Path) -> None:
    """Nearly the whole file is weights, and each is read twice."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in ((64, 1024), (256, 1024), (1024,))]
    with h5py.File(tmp_path / "x.weights.h5", "w") as file:
        for k, array in enumerate(arrays):
            file[f"layers/lstm/cell/vars/{k}"] = array
    with pytest.warns(UserWarning, match="weights only"):
        state = fl.from_keras(tmp_path / "x.weights.h5").state_dict()
    assert np.array_equal(state["0.weight_ih_l0"], arrays[0].T)
    assert np.array_equal(state["0.weight_hh_l0"], arrays[1].T)
    assert np.array_equal(state["0.bias_ih_l0"] + state["0.bias_hh_l0"], arrays[2])


def test_what_weights_alone_leave_open(tmp_path: Path) -> None:
    for major in (2, 3):
        with pytest.raises(ValueError, match=r"do not give the options of 'masking'.*config=model.to_json\(\)"):
            fl.from_keras(put(major, "mask_stacked.weights.h5", tmp_path))
    with h5py.File(tmp_path / "equal.weights.h5", "w") as file:
        for name, shapes in (("lstm/cell", [(4, 16), (4, 16), (16,)]), ("dense", [(4, 4), (4,)])):
            for k, shape in enumerate(shapes):
                file[f"layers/{name}/vars/{k}"] = np.ones(shape, np.float32)
    with pytest.raises(ValueError, match="its layers may have the order .*lstm.* or .*dense.*config="):
        fl.from_keras(tmp_path / "equal.weights.h5")
    with h5py.File(tmp_path / "apart.weights.h5", "w") as file:
        for name, shapes in (("lstm/cell", [(3, 16), (4, 16), (16,)]), ("dense", [(5, 4), (4,)])):
            for k, shape in enumerate(shapes):
                file[f"layers/{name}/vars/{k}"] = np.ones(shape, np.float32)
    with pytest.raises(ValueError, match=r"fit in no order \(dense \(5 to 4 features\), lstm \(3 to 4 features\)\)"):
        fl.from_keras(tmp_path / "apart.weights.h5")
    with h5py.File(tmp_path / "gru.weights.h5", "w") as file:
        for k, shape in enumerate([(3, 12), (4, 12), (2, 12)]):
            file[f"layers/gru/cell/vars/{k}"] = np.ones(shape, np.float32)
    with pytest.raises(ValueError, match="'gru' has weights"):
        fl.from_keras(tmp_path / "gru.weights.h5")


def test_wrong_arguments(tmp_path: Path) -> None:
    path = put(3, "final.keras", tmp_path)
    with pytest.raises(TypeError, match="config must be the result of model"):
        fl.from_keras(path, config=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the file itself describes its model: omit config"):
        fl.from_keras(path, config="{}")
    with pytest.raises(ValueError, match="config is not valid JSON"):
        fl.from_keras(path, config="{")
    with pytest.raises(OSError, match="no such"):
        fl.from_keras(tmp_path / "no such.keras")
    with pytest.raises(ValueError, match="it is a folder: save the model as one file"):
        fl.from_keras(tmp_path)


def test_h5py_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=re.escape("pip install 'fastlstm[keras]'")):
        fl.from_keras(put(3, "final.keras", tmp_path))
