"""Encoders and decoders of Keras, whose archives tests/formats/data/keras/make_pairs.py writes."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm as fl

pytest.importorskip("h5py")

DATA = Path(__file__).parent / "data" / "keras"
ARCHIVES = [name for name in ("pairs3.zip", "pairs2.zip") if (DATA / name).exists()]
NAMES = ["tutorial", "embedded", "two_layers", "attention", "attention_context_first", "attention_masked"]
BOS, EOS = 1, 0


def extracted(archive: str, member: str, folder: Path) -> Path:
    path = folder / member
    path.write_bytes(zipfile.ZipFile(DATA / archive).read(member))
    return path


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("archive", ARCHIVES)
def test_the_outputs_are_those_of_keras(archive: str, name: str, suffix: str, tmp_path: Path) -> None:
    expected = np.load(extracted(archive, f"{name}.npz", tmp_path))
    model: Any = fl.from_keras(extracted(archive, name + suffix, tmp_path), bos=BOS, eos=EOS)
    assert isinstance(model, fl.EncoderDecoder)
    out = model.forward(expected["source"], expected["target"])
    np.testing.assert_allclose(out, expected["y"], atol=1e-6)  # float32
    stream = model.stream(expected["source"])
    tokens = np.concatenate([np.full((3, 1), BOS), expected["target"]], axis=1)
    for step in range(tokens.shape[1]):
        scores = stream.step(tokens[:, step])
        np.testing.assert_array_equal(scores.argmax(axis=1), expected["y"][:, step].argmax(axis=1))
    assert len(model.predict(expected["source"], max_length=6, beam=2)) == 3
    model.save(tmp_path / "model.safetensors")
    other: Any = fl.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(other.forward(expected["source"], expected["target"]), out)


@pytest.mark.parametrize("archive", ARCHIVES)
def test_the_model_can_be_trained_on(archive: str, tmp_path: Path) -> None:
    expected = np.load(extracted(archive, "tutorial.npz", tmp_path))
    model: Any = fl.from_keras(extracted(archive, "tutorial.keras", tmp_path), bos=BOS, eos=EOS)
    table = model.parameters()["decoder.0.weight"].copy()
    before = model.evaluate(expected["source"], expected["target"])["loss"]
    model.fit(expected["source"], expected["target"], epochs=20, optimizer=fl.Adam(0.01), verbose=0)
    assert model.evaluate(expected["source"], expected["target"])["loss"] < before
    np.testing.assert_array_equal(model.parameters()["decoder.0.weight"], table)  # one-hot vectors stay what they are


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("name", ["encoder_half", "encoder_with_output", "decoder_half"])
def test_halves_take_and_give_states(name: str, suffix: str, tmp_path: Path) -> None:
    expected = np.load(extracted("pairs3.zip", f"{name}.npz", tmp_path))
    model = fl.from_keras(extracted("pairs3.zip", name + suffix, tmp_path))
    given = [expected[f"state{k}"][None] for k in range(4) if f"state{k}" in expected]
    out, states = model.predict(expected["x"], state=list(zip(given[::2], given[1::2], strict=True)) or None,
                                return_state=True)  # fmt: skip
    found = [part[0] for pair in states for part in pair]
    if name != "encoder_half":
        found.insert(0, out)
    assert len(found) == sum(key.startswith("output") for key in expected)
    for k, one in enumerate(found):
        np.testing.assert_allclose(one, expected[f"output{k}"], atol=1e-6)  # float32


def test_states_elsewhere_are_refused(tmp_path: Path) -> None:
    path = extracted("pairs3.zip", "decoder_half.keras", tmp_path)
    path = tmp_path / path.name

    def swapped(config: dict[str, Any]) -> None:
        first, second = config["output_layers"][1:3]
        config["output_layers"][1:3] = second, first

    def fewer(config: dict[str, Any]) -> None:
        del config["output_layers"][3:]

    def crossed(config: dict[str, Any]) -> None:
        cells = [one for one in config["layers"] if one["class_name"] == "LSTM"]
        calls = [one["inbound_nodes"][0]["kwargs"] for one in cells]
        calls[0]["initial_state"].reverse()

    for change, message in (
        (swapped, "expected 'dense"),
        (fewer, "expected 'dense"),
        (crossed, "do not begin with h, c from the inputs"),
    ):
        with pytest.raises(ValueError, match=message):
            fl.from_keras(changed(tmp_path, path.name, change))


def changed(folder: Path, name: str, change: Any) -> Path:
    """Return a file of Keras 3 whose description has been changed."""
    old = zipfile.ZipFile(io.BytesIO((folder / name).read_bytes()))
    path = folder / f"changed-{name}"
    with zipfile.ZipFile(path, "w") as new:
        for member in old.namelist():
            data = old.read(member)
            if member == "config.json":
                config = json.loads(data)
                change(config["config"])
                data = json.dumps(config).encode()
            new.writestr(member, data)
    return path


def test_other_forms_are_refused(tmp_path: Path) -> None:
    path = extracted("pairs3.zip", "attention.keras", tmp_path)
    with pytest.raises(ValueError, match=r"an encoder and a decoder: pass bos=... and eos=..."):
        fl.from_keras(path)
    with pytest.raises(ValueError, match=r"bos is 9, expected an id"):
        fl.from_keras(path, bos=9, eos=0)
    with pytest.raises(ValueError, match=r"do not begin with the states h, c of"):
        fl.from_keras(extracted("pairs3.zip", "shuffled_states.keras", tmp_path), bos=BOS, eos=EOS)

    def layer(config: dict[str, Any], kind: str) -> dict[str, Any]:
        found: dict[str, Any] = next(one for one in config["layers"] if one["class_name"] == kind)
        return found

    def scaled(config: dict[str, Any]) -> None:
        layer(config, "Attention")["config"]["use_scale"] = True

    def added(config: dict[str, Any]) -> None:
        config["layers"].append({"class_name": "InputLayer", "name": "third", "config": {}, "inbound_nodes": []})

    def cut(config: dict[str, Any]) -> None:
        layer(config, "Concatenate")["inbound_nodes"] = []

    def elsewhere(config: dict[str, Any]) -> None:
        config["output_layers"] = [["embedding", 0, 0]]

    def twice(config: dict[str, Any]) -> None:
        config["layers"].append(config["layers"][0])

    def no_name(config: dict[str, Any]) -> None:
        layer(config, "LSTM").pop("name")
        layer(config, "LSTM")["config"].pop("name")

    for change, message in (
        (scaled, "use_scale"),
        (added, "third"),
        (cut, "states h, c"),
        (elsewhere, "expected only"),
        (twice, "."),
        (no_name, "."),
    ):
        with pytest.raises(ValueError, match=message):
            fl.from_keras(changed(tmp_path, "attention.keras", change), bos=BOS, eos=EOS)


def test_damaged_references_are_refused(tmp_path: Path) -> None:
    extracted("pairs3.zip", "attention.keras", tmp_path)
    extracted("pairs3.zip", "decoder_half.keras", tmp_path)

    def state(config: dict[str, Any]) -> dict[str, Any]:
        calls = [one["inbound_nodes"][0]["kwargs"] for one in config["layers"] if one["class_name"] == "LSTM"]
        found: dict[str, Any] = next(one["initial_state"][0]["config"] for one in calls if one.get("initial_state"))
        return found

    def no_number(config: dict[str, Any]) -> None:
        state(config)["keras_history"][2] = None

    def unknown(config: dict[str, Any]) -> None:
        state(config)["keras_history"][0] = "nothing"

    def of_keras2(config: dict[str, Any]) -> None:
        lstm = next(one for one in reversed(config["layers"]) if one["class_name"] == "LSTM")
        lstm["inbound_nodes"] = [[["embedding", 0, 0, {"initial_state": 5}]]]

    for name in ("attention.keras", "decoder_half.keras"):
        for change in (no_number, unknown, of_keras2):
            with pytest.raises(ValueError, match=name):
                fl.from_keras(changed(tmp_path, name, change), bos=BOS, eos=EOS)
            with pytest.raises(ValueError, match=name):
                fl.from_keras(changed(tmp_path, name, change))


@pytest.mark.parametrize(
    "more", [{"logits": True}, {"loss": "cross_entropy"}, {"config": "{}"}, {"activations": ["relu"]}]
)
def test_arguments_for_other_files_are_refused(more: dict[str, Any], tmp_path: Path) -> None:
    path = extracted("pairs3.zip", "attention.keras", tmp_path)
    with pytest.raises(ValueError, match=f"an encoder and a decoder.*: omit {next(iter(more))}"):
        fl.from_keras(path, bos=BOS, eos=EOS, **more)


def test_bos_and_eos_are_for_such_files_alone(tmp_path: Path) -> None:
    with zipfile.ZipFile(DATA / "keras3.zip") as archive:
        (tmp_path / "final.keras").write_bytes(archive.read("final.keras"))
    with pytest.raises(ValueError, match="for an encoder with a decoder"):
        fl.from_keras(tmp_path / "final.keras", bos=0)
