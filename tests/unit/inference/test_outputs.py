"""Meaning of outputs: models that end with their scores or with a sigmoid or softmax, with and without a known loss."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm as fl
from fastlstm.inference.outputs import as_scores
from fastlstm.layers import Layer
from fastlstm.losses.base import apply_link

rng = np.random.default_rng(0)
X = rng.standard_normal((40, 8, 2)).astype(np.float32)
CLASSES = (X.sum((1, 2)) > 0).astype(int) + (X[:, -1, 0] > 1)
BINARY = (X.sum((1, 2)) > 0).astype(int)
SEVERAL = np.stack([BINARY, X[:, -1, 0] > 0], axis=1).astype(int)

SAME = {"rtol": 2e-6, "atol": 2e-6}
"""Probabilities are computed by the kernels or by NumPy, which round some ulps (6e-8) apart."""


def softmax(scores: np.ndarray) -> np.ndarray:
    e = np.exp(scores.astype(float) - scores.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def sigmoid(scores: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-scores.astype(float))))


# ---------------------------------------------------------------- a final activation


def pair(outputs: int, kind: str, later: Sequence[str] = (), per_step: bool = False) -> tuple[fl.Model, fl.Model]:
    """Return a model that ends with its scores, and one with the same weights that ends with the activation."""

    def layers(final: list[Layer]) -> list[Layer]:
        more: list[Layer] = [getattr(fl, name)() for name in later]
        sequences = per_step or bool(later)
        return [fl.LSTM(5, return_sequences=sequences), fl.Dense(outputs), *final, *more]

    plain = fl.Model(layers([]), input_size=2, seed=1)
    ends = fl.Model(layers([fl.Activation(kind)]), input_size=2, seed=1)
    return plain, ends


CASES = [
    ("cross_entropy", "softmax", 3, CLASSES, (), False),
    ("cross_entropy", "softmax", 3, CLASSES, ("LastStep",), False),
    ("cross_entropy", "softmax", 3, np.repeat(CLASSES[:, None], 8, 1), (), True),
    ("cross_entropy", "softmax", 3, np.repeat(CLASSES[:, None], 8, 1), ("Reverse",), True),
    ("binary_cross_entropy", "sigmoid", 1, BINARY, (), False),
    ("binary_cross_entropy", "sigmoid", 1, BINARY, ("MaxPool",), False),
    ("binary_cross_entropy", "sigmoid", 2, SEVERAL, (), False),
    ("binary_cross_entropy", "sigmoid", 1, np.repeat(BINARY[:, None], 8, 1), (), True),
    ("ctc", "softmax", 3, [[1, 2]] * 40, (), True),
]


@pytest.mark.parametrize(("loss", "kind", "outputs", "y", "later", "per_step"), CASES)
def test_a_final_activation_trains_as_its_scores_do(
    loss: str, kind: str, outputs: int, y: Any, later: Sequence[str], per_step: bool
) -> None:
    """The loss is computed from the scores: the same bits of weights, loss and metric."""
    plain, ends = pair(outputs, kind, later, per_step)
    settings: dict[str, Any] = {"loss": loss, "epochs": 4, "verbose": 0, "validation_data": (X, y)}
    histories = [model.fit(X, y, optimizer=fl.Adam(0.01), **settings).history for model in (plain, ends)]
    assert histories[0] == histories[1]
    np.testing.assert_array_equal(ends.flat_parameters, plain.flat_parameters)
    assert ends.evaluate(X, y) == plain.evaluate(X, y)
    p = {"softmax": softmax, "sigmoid": sigmoid}[kind](plain.predict(X).reshape(len(X), -1, outputs))
    p = p.reshape(plain.predict(X).shape)
    np.testing.assert_allclose(ends.predict(X), p, **SAME)
    np.testing.assert_allclose(ends.predict_proba(X).reshape(p.shape), p, **SAME)
    np.testing.assert_allclose(plain.predict_proba(X).reshape(p.shape), p, **SAME)
    if loss == "ctc":
        assert all(map(np.array_equal, ends.predict_classes(X), plain.predict_classes(X)))
    else:
        np.testing.assert_array_equal(ends.predict_classes(X), plain.predict_classes(X))
    assert plain.output_kind and ends.output_kind
    assert (plain.output_kind.partition("_")[2], ends.output_kind.partition("_")[2]) == ("scores", "probabilities")


def test_metrics_of_the_user_get_what_predict_gives() -> None:
    seen: list[np.ndarray] = []

    def largest(y: np.ndarray, p: np.ndarray) -> float:
        seen.append(p)
        return float(p.max())

    _, ends = pair(3, "softmax")
    history = ends.fit(X, CLASSES, epochs=1, verbose=0, validation_data=(X, CLASSES), metrics=[largest])
    np.testing.assert_allclose(seen[-1], ends.predict(X), **SAME)
    assert history.history["val_largest"][0] <= 1
    assert ends.evaluate(X, CLASSES, metrics=[largest])["largest"] <= 1


def test_a_long_training_reaches_probabilities_near_one() -> None:
    """A softmax of probabilities never exceeds e / (e + 2)."""
    _, ends = pair(3, "softmax")
    ends.fit(X, CLASSES, epochs=150, optimizer=fl.Adam(0.03), verbose=0)
    assert ends.predict_proba(X).max() > 0.99
    _, ends = pair(1, "sigmoid")
    ends.fit(X, BINARY, loss="binary_cross_entropy", epochs=150, optimizer=fl.Adam(0.03), verbose=0)
    assert ends.evaluate(X, BINARY)["accuracy"] > 0.95
    assert (ends.predict_classes(X) == BINARY).mean() > 0.95


@pytest.mark.parametrize(
    ("loss", "kind", "outputs", "y", "advice"),
    [
        ("cross_entropy", "sigmoid", 3, CLASSES, "use loss='binary_cross_entropy', or replace .*Activation.'softmax'"),
        ("binary_cross_entropy", "softmax", 2, SEVERAL, "use loss='cross_entropy', or replace .*Activation.'sigmoid'"),
        ("ctc", "sigmoid", 3, [[1, 2]] * 40, "model ends with sigmoid and loss='ctc'"),
    ],
)
def test_an_activation_of_another_loss_is_refused(loss: str, kind: str, outputs: int, y: Any, advice: str) -> None:
    _, ends = pair(outputs, kind, per_step=loss == "ctc")
    before = ends.flat_parameters.copy()
    with pytest.raises(ValueError, match=advice):
        ends.fit(X, y, loss=loss, verbose=0)
    with pytest.raises(ValueError, match=advice):
        ends.evaluate(X, y, loss=loss)
    with pytest.raises(ValueError, match=advice):
        ends.loss = loss
    np.testing.assert_array_equal(ends.flat_parameters, before)


def test_values_may_pass_through_a_final_activation() -> None:
    """A regression loss compares the values after the activation."""
    _, ends = pair(1, "sigmoid")
    ends.fit(X, BINARY, loss="mse", epochs=60, optimizer=fl.Adam(0.03), verbose=0)
    assert ends.output_kind == "values"
    assert ends.evaluate(X, BINARY)["loss"] == pytest.approx(((ends.predict(X) - BINARY) ** 2).mean(), rel=1e-5)
    assert ends.evaluate(X, BINARY)["loss"] < 0.1
    with pytest.raises(ValueError, match="outputs of this model are values .loss='mse'.: use predict"):
        ends.predict_proba(X)


@pytest.mark.parametrize("later", ["MeanPool", "Dropout"])
def test_an_activation_before_other_layers_cannot_be_trained_from_scores(later: str) -> None:
    """Its outputs are probabilities all the same: nothing squashes them again."""
    _, ends = pair(3, "softmax", (later,))
    y = CLASSES if later == "MeanPool" else np.repeat(CLASSES[:, None], 8, 1)
    assert ends.output_kind == "class_probabilities"
    with pytest.raises(ValueError, match=rf"layer 2, .*softmax.* is followed by {later}.*cannot be separated"):
        ends.fit(X, y, verbose=0)
    p = ends.predict(X)
    np.testing.assert_array_equal(ends.predict_proba(X), p)
    np.testing.assert_array_equal(ends.predict_classes(X), p.argmax(-1))
    got = ends.evaluate(X, y)
    assert got["loss"] == pytest.approx(-np.log(np.take_along_axis(p, y[..., None], -1)).mean(), rel=1e-5)
    assert got["accuracy"] == pytest.approx((p.argmax(-1) == y).mean())


def test_scores_of_probabilities_are_finite_and_go_back() -> None:
    p = np.array([[0.0, 1.0], [0.5, 0.5], [1e-30, 1 - 1e-7]], np.float32)
    for name in ("softmax", "sigmoid"):
        scores = as_scores(name, p)
        assert np.isfinite(scores).all() and scores.dtype == np.float32
        np.testing.assert_allclose(apply_link(name, scores), p, rtol=1e-6, atol=1e-6)


# ---------------------------------------------------------------- an unknown loss


def twin(model: fl.Model) -> fl.Model:
    """Return a model with the same layers and weights whose loss is not known."""
    other = pickle.loads(pickle.dumps(model))
    other.loss = None
    other._stored_kind = None
    return other


def test_scores_without_a_loss_are_not_interpreted() -> None:
    plain, _ = pair(1, "sigmoid")
    plain.fit(X, BINARY, loss="binary_cross_entropy", epochs=1, verbose=0)
    other = twin(plain)
    assert other.output_kind is None
    for work in (other.predict_proba, other.predict_classes, lambda x: other.evaluate(x, BINARY)):
        with pytest.raises(ValueError, match=r"not known .* set model.loss = 'cross_entropy' .*'binary_cross_entropy'"):
            work(X)
    np.testing.assert_array_equal(other.predict(X), plain.predict(X))
    other.loss = "binary_cross_entropy"
    np.testing.assert_array_equal(other.predict_proba(X), plain.predict_proba(X))
    np.testing.assert_array_equal(other.predict_classes(X), plain.predict_classes(X))
    assert other.evaluate(X, BINARY) == plain.evaluate(X, BINARY)
    with pytest.raises(ValueError, match="unknown loss 'logistic'"):
        other.loss = "logistic"


@pytest.mark.parametrize(
    ("kind", "outputs", "y"), [("softmax", 3, CLASSES), ("sigmoid", 1, BINARY), ("sigmoid", 2, SEVERAL)]
)
def test_a_final_activation_tells_what_the_outputs_are(kind: str, outputs: int, y: Any, tmp_path: Path) -> None:
    _, ends = pair(outputs, kind)
    expected = "class_probabilities" if kind == "softmax" else "binary_probabilities"
    ends.save(tmp_path / "m.safetensors")
    for model in (ends, fl.load(tmp_path / "m.safetensors")):
        assert model.output_kind == expected and model.loss is None
        p = model.predict(X)
        np.testing.assert_array_equal(model.predict_proba(X).reshape(p.shape), p)
        chosen = p.argmax(-1) if kind == "softmax" else (p >= 0.5).astype(int)
        np.testing.assert_array_equal(model.predict_classes(X).reshape(chosen.shape), chosen)
        loss = "cross_entropy" if kind == "softmax" else "binary_cross_entropy"
        assert model.evaluate(X, y) == model.evaluate(X, y, loss=loss)


def test_a_file_keeps_what_the_outputs_of_a_custom_loss_are(tmp_path: Path) -> None:
    class Focal(fl.CrossEntropy):
        name = "focal"

    plain, _ = pair(3, "softmax")
    plain.fit(X, CLASSES, loss=Focal(), epochs=1, verbose=0)
    plain.save(tmp_path / "m.safetensors")
    model = fl.load(tmp_path / "m.safetensors")
    assert model.loss is None and model.output_kind == "class_scores"
    np.testing.assert_array_equal(model.predict_proba(X), plain.predict_proba(X))
    np.testing.assert_array_equal(model.predict_classes(X), plain.predict_classes(X))


def test_streams_and_files_follow(tmp_path: Path) -> None:
    """They compute what predict computes."""
    _, ends = pair(3, "softmax", per_step=True)
    y = np.repeat(CLASSES[:, None], 8, 1)
    ends.fit(X, y, epochs=1, verbose=0)
    np.testing.assert_array_equal(ends.stream(40).run(X), ends.predict(X))
    ends.save(tmp_path / "m.safetensors")
    model = fl.load(tmp_path / "m.safetensors")
    assert model.output_kind == "class_probabilities" and model.loss is not None
    assert model.evaluate(X, y) == ends.evaluate(X, y)


# ---------------------------------------------------------------- the axes of the targets


@pytest.mark.parametrize("shape", [(40,), (40, 1), (40, 2), (40, 2, 2)])
@pytest.mark.parametrize("loss", ["mse", "binary_cross_entropy"])
def test_predictions_have_the_axes_of_the_targets(shape: tuple[int, ...], loss: str, tmp_path: Path) -> None:
    y = rng.integers(0, 2, shape)
    model = fl.Model([fl.LSTM(4), fl.Dense(int(np.prod(shape[1:], dtype=int)))])
    assert model.target_shape is None
    model.fit(X, y, loss=loss, epochs=1, verbose=0, validation_split=0.2)
    model.save(tmp_path / "m.safetensors")
    for one in (model, fl.load(tmp_path / "m.safetensors"), pickle.loads(pickle.dumps(model))):
        assert one.predict(X).shape == shape
        assert one.predict(X[:1]).shape == (1, *shape[1:])
        assert one.target_shape == shape[1:]
        np.testing.assert_array_equal(one.predict(X).reshape(40, -1), model.forward(X))
    assert (model.predict(X) - y).shape == shape


def test_predictions_of_steps_have_the_axes_of_the_targets() -> None:
    for shape in ((40, 8), (40, 8, 1), (40, 8, 3)):
        y = rng.standard_normal(shape)
        model = fl.Model([fl.LSTM(4, return_sequences=True), fl.Dense(shape[2] if len(shape) > 2 else 1)])
        model.fit(X, y, loss="mse", epochs=1, verbose=0)
        assert model.predict(X).shape == shape
        assert [one.shape for one in model.predict(list(X))] == [shape[1:]] * 40
    series = [rng.standard_normal((t, 2)) for t in (3, 5, 4)]
    model = fl.Model([fl.LSTM(4, return_sequences=True), fl.Dense(1)])
    model.fit(series, [one[:, 0] for one in series], loss="mse", epochs=1, verbose=0)
    assert [one.shape for one in model.predict(series)] == [(3,), (5,), (4,)]


def test_labels_and_quantiles_keep_the_axis_of_the_outputs() -> None:
    model = fl.Model([fl.LSTM(4), fl.Dense(3)])
    model.fit(X, CLASSES, epochs=1, verbose=0)
    assert model.target_shape is None and model.predict(X).shape == (40, 3)
    model.fit(X, X[:, -1, 0], loss=fl.Quantile([0.1, 0.5, 0.9]), epochs=1, verbose=0)
    assert model.predict(X).shape == (40, 3)
    model.fit(X, rng.standard_normal((40, 3)), loss=fl.Quantile(0.5), epochs=1, verbose=0)
    assert model.predict(X).shape == (40, 3)


def test_a_file_that_claims_strange_outputs_is_refused(tmp_path: Path) -> None:
    from fastlstm.formats import safetensors

    model, _ = pair(3, "softmax")
    for change in ({"output_kind": "odds"}, {"target_shape": 3}, {"target_shape": [-1]}, {"output_kind": 3}):
        safetensors.save(tmp_path / "m", model.state_dict(), {**model.get_config(), **change})
        with pytest.raises(ValueError, match="does not describe a fastlstm model: .*(output_kind|target_shape)"):
            fl.load(tmp_path / "m")
