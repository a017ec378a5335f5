"""A fresh ``import fastlstm`` loads no module that only some users need."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import fastlstm as fl

CODE = """
import sys
import numpy
of_numpy = set(sys.modules)
import fastlstm
print(*({"dataclasses", "decimal", "difflib", "pathlib", "queue", "tempfile"} & (set(sys.modules) - of_numpy)))
print(*sorted({name.partition(".")[0] for name in sys.modules}), *(n for n in sys.modules if n.startswith("fastlstm.")))
"""


def test_heavy_packages_are_imported_where_they_are_used(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", CODE], cwd=tmp_path, capture_output=True, text=True, check=True)
    slow, names = done.stdout.split("\n", 1)
    assert slow == "", "each takes a millisecond or more: import it where it is used"
    loaded = set(names.split())
    assert "fastlstm" in loaded
    assert not loaded & {
        "fastlstm.formats.keras",
        "fastlstm.formats.onnx",
        "fastlstm.formats.torch.read",
        "fastlstm.metrics",
        "fastlstm.plots",
        "fastlstm.reference",
    }
    assert not loaded & {"fastlstm.training", "fastlstm.datasets", "fastlstm.data.datasets"}
    assert not loaded & {"fastlstm.data.tables", "fastlstm.data.readers"}
    assert not loaded & {"matplotlib", "narwhals", "onnx", "onnxruntime", "pandas", "safetensors", "scipy", "sklearn"}
    assert not loaded & {"torch", "tqdm"}


def test_lazy_names_exist() -> None:
    assert set(fl.__all__) <= set(dir(fl))
    for name in fl.__all__:
        assert getattr(fl, name) is not None
    for module in (fl.callbacks, fl.datasets, fl.metrics, fl.onnx_backend, fl.plots):
        assert all(hasattr(module, name) for name in module.__all__)
        assert importlib.import_module(module.__name__) is module
    assert fl.EarlyStopping is fl.callbacks.EarlyStopping and fl.Checkpoint is fl.callbacks.Checkpoint
    assert fl.datasets.load_japanese_vowels is fl.data.datasets.load_japanese_vowels
    assert (
        fl.from_onnx.__module__ == "fastlstm.formats.onnx.read.importer"
        and fl.from_keras.__module__ == "fastlstm.formats.keras.importer"
    )
    with pytest.raises(AttributeError, match="no attribute 'from_caffe'"):
        fl.from_caffe  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'sets'"):
        fl.data.sets  # noqa: B018
    assert set(fl.data.__all__) <= set(dir(fl.data))
    for name in fl.data.__all__:
        assert getattr(fl.data, name) is getattr(fl.data, name), name  # not hidden by a module of the same name
