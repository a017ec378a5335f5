"""`load` of paths, bytes and file objects; metadata of users; what a first load imports."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm as fl
from fastlstm.formats.model_file import read_config

METADATA = {"name": "boiler 7", "version": 3, "features": ["t", "p"], "date": "2026-11-30", "ok": None}


def saved(path: Path) -> tuple[fl.Model, bytes]:
    rng = np.random.default_rng(0)
    scaler = fl.Standardizer().fit(rng.standard_normal((9, 2)))
    model = fl.Model([fl.LSTM(5), fl.Dense(2)], input_size=2, seed=3, scaler=scaler, feature_names=["t", "p"])
    model.metadata = METADATA
    model.save(path)
    return model, path.read_bytes()


def test_every_source_gives_the_same_model(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model, content = saved(path)
    x = np.ones((1, 4, 2))
    expected = model.predict(x)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("model", content)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive, archive.open("model") as member, path.open("rb") as file:
        sources: list[Any] = [path, str(path), content, bytearray(content), memoryview(content), io.BytesIO(content)]
        for source in [*sources, member, file]:
            other = fl.load(source)
            np.testing.assert_array_equal(other.predict(x), expected)
            assert other.get_config() == model.get_config()
            assert other.metadata == METADATA
    assert {key: value for key, value in read_config(content).items() if key != "metadata"} == {
        key: value for key, value in json.loads(json.dumps(model.get_config())).items() if key != "metadata"
    }


def test_damaged_content_is_refused_by_name(tmp_path: Path) -> None:
    _, content = saved(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=f"<{len(content) - 9} bytes>: truncated"):
        fl.load(content[:-9])
    with pytest.raises(ValueError, match="<0 bytes>: the file is empty"):
        fl.load(b"")
    with pytest.raises(ValueError, match="<BytesIO>: not a fastlstm model"):
        fl.load(io.BytesIO(b"x" * 100))
    altered = bytearray(content)
    altered[-1] ^= 1
    with pytest.raises(ValueError, match="altered or damaged"):
        fl.load(altered)
    with pytest.raises(TypeError, match="binary mode"), (tmp_path / "text").open("w+") as file:
        fl.load(file)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="path must be"):
        fl.load(3)  # type: ignore[arg-type]


def test_metadata(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model, _ = saved(path)
    assert read_config(path)["metadata"] == METADATA
    model.metadata["name"] = "boiler 8"
    model.save(path)
    assert fl.load(path).metadata["name"] == "boiler 8"
    import copy

    other = copy.copy(model)
    other.metadata["name"] = "another"
    assert model.metadata["name"] == "boiler 8"
    plain = fl.Model([fl.LSTM(5)], input_size=2)
    assert plain.metadata == {}
    assert "metadata" not in plain.get_config()
    plain.save(path)
    assert read_config(path)["metadata"] == {}
    plain.metadata = {"scores": {"f1": [0.5, None, True]}, "sizes": (1, 2)}
    plain.save(path)
    assert fl.load(path).metadata == {"scores": {"f1": [0.5, None, True]}, "sizes": [1, 2]}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([1], r"metadata must map strings"),
        ("text", r"metadata must map strings"),
        ({1: 2}, r"metadata has the key 1, expected strings as keys: use '1'"),
        ({"of": {(1, 2): 3}}, r"metadata\['of'\] has the key \(1, 2\)"),
        ({"when": object()}, r"metadata\['when'\] has type object, .* store str\(metadata\['when'\]\)"),
        (
            {"f1": [1.0, np.float32(2)]},
            r"metadata\['f1'\]\[1\] has type float32, .* store .*\[1\].tolist\(\)",
        ),
        ({"mean": np.ones(3)}, r"metadata\['mean'\] has type ndarray"),
        ({"loss": float("nan")}, r"metadata\['loss'\] is nan, which JSON cannot hold"),
    ],
)
def test_metadata_that_a_file_cannot_hold_are_refused_at_once(wrong: Any, message: str, tmp_path: Path) -> None:
    model = fl.Model([fl.LSTM(5)], input_size=2)
    with pytest.raises((TypeError, ValueError), match=message):
        model.metadata = wrong
    assert model.metadata == {}
    if isinstance(wrong, dict):
        model.metadata.update(wrong)  # in place: when it is saved
        with pytest.raises((TypeError, ValueError), match=message):
            model.save(tmp_path / "m.safetensors")
        assert not (tmp_path / "m.safetensors").exists()


def test_a_first_load_and_prediction_import_little(tmp_path: Path) -> None:
    """Neither masked arrays nor random numbers nor OpenSSL, each of which takes longer than the model."""
    path = tmp_path / "model.safetensors"
    saved(path)
    code = (
        f"import sys, numpy as np, fastlstm as fl; model = fl.load({str(path)!r}); model.predict(np.ones((1, 4, 2)));"
        "model.freeze().warm_up(4); model.predict(np.ones((1, 4, 2))); model.stream().step(np.ones((1, 2)));"
        "print([name for name in ('numpy.random', 'numpy.ma', '_hashlib', 'onnx') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("frozen", [False, True])
def test_warm_up(frozen: bool) -> None:
    model = fl.Model([fl.LSTM(5), fl.Dense(2)], input_size=2)
    if frozen:
        model.freeze()
    assert model.warm_up() is model
    assert model.warm_up(steps=20, batch_size=3, n_threads=1) is model
    fl.Model([fl.Embedding(5, 3), fl.LSTM(4)]).warm_up(7)
    with pytest.raises(ValueError, match="steps must be at least 1"):
        model.warm_up(0)
    with pytest.raises(RuntimeError, match="not built"):
        fl.Model([fl.LSTM(5)]).warm_up()
