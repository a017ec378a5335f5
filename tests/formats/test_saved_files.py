"""Files that each version has written are read by this one, with the same answers."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

import fastlstm as fl

from .saved import FOLDER, MODELS, known_steps, quantiles_of, run

VERSIONS = sorted(path.name for path in FOLDER.iterdir())
# Other instruction sets and versions of NumPy change the last bits: some roundings of 7 steps.
TOLERANCE = {"float32": 2e-6, "float64": 1e-13}
TRAINED = 1e-4
"""Four updates of Adam multiply these differences."""

KINDS = {
    "classes": ("class_scores", None, ["fault", "ok", "worn"]),
    "values": ("values", (), None),
    "cell": ("values", (4,), None),
    "tokens": ("binary_probabilities", (2,), None),
    "masked": ("class_probabilities", None, None),
    "autoencoder": ("values", (3,), None),
    "unaligned": ("sequence_scores", None, None),
    "missing": ("values", (2,), None),
    "own_scale": ("class_scores", None, None),
}


def test_there_are_files_of_this_version() -> None:
    assert fl.__version__ in VERSIONS
    for version in VERSIONS:
        names = {path.stem for path in (FOLDER / version).glob("*.safetensors")}
        assert names and names == {path.stem for path in (FOLDER / version).glob("*.npz")}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", MODELS)
def test_a_saved_model_gives_the_same_answers(name: str, version: str) -> None:
    model = fl.load(FOLDER / version / f"{name}.safetensors")
    with np.load(FOLDER / version / f"{name}.npz") as data:
        x, y, lengths = data["x"], data["y"], data.get("lengths")
    got = model.predict(x, lengths)
    assert got.shape == y.shape and got.dtype == y.dtype
    scale = 1.0 if model.target_scaler is None else float(model.target_scaler.scale_.max())
    np.testing.assert_allclose(got, y, rtol=0, atol=TOLERANCE[model.dtype.name] * scale)
    assert (model.output_kind, model.target_shape, model.classes) == KINDS[name]
    made, *_ = MODELS[name]()
    assert made.get_config() == model.get_config()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*/forecaster*.safetensors")), ids=lambda path: path.stem)
def test_a_saved_forecaster_gives_the_same_answers(path: Path, tmp_path: Path) -> None:
    """`forecaster_1` has version 1 of the description."""
    pytest.importorskip("pandas")
    made = fl.Forecaster.load(path)
    made.save(tmp_path / "again")
    again = fl.Forecaster.load(tmp_path / "again")
    assert np.array_equal(quantiles_of(again, known_steps(again)), quantiles_of(made, known_steps(made)))
    with np.load(path.with_suffix(".npz")) as data:
        expected = data["y"]
    # Other instruction sets and versions of NumPy change the last bits, over some hundred steps.
    np.testing.assert_allclose(quantiles_of(made, known_steps(made)), expected, rtol=0, atol=1e-4)
    assert (made.horizon_steps_, made.gap_steps_, made.ids_) == (25, 2, ["a", "b"])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_saved_run_goes_on(version: str, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    shutil.copy(FOLDER / version / "run.safetensors", path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of another processor or version
        model = run(path, 4, resume=True)
    with np.load(FOLDER / version / "run.npz") as data:
        np.testing.assert_allclose(model.flat_parameters, data["weights"], rtol=0, atol=TRAINED)
