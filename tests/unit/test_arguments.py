"""Arguments under the names of other packages, misspelt, or in the wrong place: the error says what to type."""

from __future__ import annotations

import copy
import inspect
import pickle
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from cures import code_after, cure, message_of

import fastlstm as fl
from fastlstm import _arguments

X = np.random.default_rng(0).standard_normal((8, 5, 2))
Y = np.arange(8) % 2


def model() -> fl.Model:
    return fl.Model([fl.LSTM(3), fl.Dense(2)], input_size=2, seed=0)


@pytest.mark.parametrize(
    "make, right",
    [
        (lambda: fl.LSTM(units=4), "LSTM(hidden_size=4)"),
        (lambda: fl.LSTM(hidden_dim=4), "LSTM(hidden_size=4)"),
        (lambda: fl.LSTM(units=4, return_sequences=True), "LSTM(hidden_size=4)"),
        (lambda: fl.Dense(units=3), "Dense(output_size=3)"),
        (lambda: fl.Dense(out_features=3), "Dense(output_size=3)"),
        (lambda: fl.Dropout(rate=0.25), "Dropout(p=0.25)"),
        (lambda: fl.GaussianNoise(sigma=0.5), "GaussianNoise(stddev=0.5)"),
        (lambda: fl.Masking(mask_value=-1.0), "Masking(value=-1.0)"),
        (lambda: fl.Adam(learning_rate=0.01), "Adam(lr=0.01)"),
        (lambda: fl.AdamW(learning_rate=0.01), "AdamW(lr=0.01)"),
        (lambda: fl.AdamW(beta_1=0.8), "AdamW(betas=(0.8, 0.999))"),
        (lambda: fl.AdamW(beta_2=0.99), "AdamW(betas=(0.9, 0.99))"),
        (lambda: fl.SGD(learningrate=0.01), "SGD(lr=0.01)"),
        (lambda: fl.RMSprop(rho=0.9), "RMSprop(alpha=0.9)"),
        (lambda: fl.Huber(beta=0.5), "Huber(delta=0.5)"),
        (lambda: fl.Quantile(tau=0.5), "Quantile(quantiles=0.5)"),
        (lambda: fl.ConstantLR(learning_rate=0.5), "ConstantLR(lr=0.5)"),
    ],
)
def test_a_name_of_another_package_is_translated(make: Any, right: str) -> None:
    message = message_of(make, TypeError)
    called = right.partition("(")[0]
    assert message.startswith(f"{called}() has no argument ")
    # The code is an argument, "lr=0.01", and not an expression.
    words = "write " if "write " in message else "did you mean "
    typed = message.partition(words)[2].rstrip("?")
    assert repr(eval(f"fl.{called}({typed})", {"fl": fl})) == repr(eval(f"fl.{right}", {"fl": fl}))


@pytest.mark.parametrize(
    "make, words",
    [
        (
            lambda: fl.LSTM(4, batch_first=True),
            "'batch_first': leave it out, arrays are always (batch, time, features)",
        ),
        (
            lambda: fl.LSTM(input_size=3, hidden_size=4),
            "'input_size': leave it out, the model takes the size of the input",
        ),
        (lambda: fl.LSTM(4, input_shape=(10, 3)), "'input_shape': leave it out"),
        (lambda: fl.LSTM(4, name="encoder"), "'name': leave it out, layers are numbered"),
        (lambda: fl.LSTM(4, device="cuda"), "'device': leave it out, everything runs on the CPU"),
        (lambda: fl.LSTM(4, activation="relu"), "write cell_activation='relu', output_activation='relu'"),
        (lambda: fl.Embedding(input_dim=3, output_dim=4), "write num_embeddings=3"),
        (lambda: fl.Embedding(3, 4, mask_zero=True), "write mask_token=0"),
        (lambda: fl.MaxPool(name="pool"), "MaxPool() has no argument 'name': leave it out, there are none"),
        (lambda: fl.MaxPool(3), "MaxPool() takes no arguments, got 3"),
        (lambda: fl.MSE(reduction="mean"), "MSE() has no argument 'reduction': leave it out"),
        (lambda: fl.Adam(params=[]), "'params': leave it out, fit gives the optimizer"),
        (lambda: fl.EarlyStopping(restore_best_weights=True), "write restore_best=True"),
        (lambda: fl.EarlyStopping(patients=3), "did you mean patience=3?"),
        (lambda: fl.ModelCheckpoint(filepath="best.safetensors"), "write path='best.safetensors'"),
        (
            lambda: fl.Model([fl.LSTM(4)], optimizer="adam"),
            "Model() has no argument 'optimizer': leave it out, it is an",
        ),
        (lambda: fl.Model([fl.LSTM(4)], inputsize=3), "did you mean input_size=3?"),
        (lambda: fl.LSTM(4, zzz=1), "there are hidden_size, num_layers, "),
        (lambda: model().fit(X, Y, batchsize=3), "fit() has no argument 'batchsize': did you mean batch_size=3?"),
        (lambda: model().fit(X, Y, validation_dta=(X, Y)), "did you mean validation_data=..."),
        (lambda: model().fit(X, Y, learning_rate=0.1), "write optimizer=fl.Adam(lr=0.1)"),
        (lambda: model().fit(X, Y, patience=3), "write callbacks=[fl.EarlyStopping(patience=3)]"),
        (lambda: model().fit(x=X, y=Y), "fit() has no argument 'x': write X=..."),
        (lambda: model().fit(X, Y, 10), "fit() takes X and y by position, got 3 arguments: give the others by name"),
        (
            lambda: model().predict(X, verbose=0),
            "predict() has no argument 'verbose': leave it out, nothing is printed",
        ),
        (
            lambda: model().predict_proba(X, batchsize=2),
            "predict_proba() has no argument 'batchsize': did you mean batch",
        ),
        (lambda: model().predict_classes(x=X), "predict_classes() has no argument 'x'"),
        (lambda: model().evaluate(X, Y, sample_weights=Y), "write sample_weight="),
        (lambda: model().stream(batch=3), "stream() has no argument 'batch': did you mean batch_size=3?"),
        (lambda: fl.windows(X[0], window=3), "windows() has no argument 'window': write length=3"),
        (lambda: fl.split(10, random_state=3), "split() has no argument 'random_state': write seed=3"),
        (lambda: fl.generate(model(), [[0]], 3, temperatures=0.5), "did you mean temperature=0.5?"),
    ],
)
def test_what_to_do_about_an_argument(make: Any, words: str) -> None:
    assert words in message_of(make, TypeError)


def test_the_activation_of_a_dense_layer_is_a_layer() -> None:
    named = message_of(lambda: fl.Dense(3, activation="relu"), TypeError)
    placed = message_of(lambda: fl.Dense(3, "relu"), TypeError)
    for message, words in ((named, "put it after this layer: "), (placed, "put an activation after it: ")):
        layers = cure(message, words)
        assert repr(layers) == "(Dense(output_size=3), Activation(kind='relu'))"
        assert fl.Model([fl.LSTM(2), *layers]).forward(X).min() >= 0


@pytest.mark.parametrize(
    "make, right",
    [
        (lambda: fl.LSTM(3, 64), fl.LSTM(64)),
        (lambda: fl.LSTM(3, 64, 2), fl.LSTM(64, num_layers=2)),
        (lambda: fl.Dense(64, 10), fl.Dense(10)),
    ],
)
def test_sizes_in_the_order_of_pytorch(make: Any, right: Any) -> None:
    assert cure(message_of(make, TypeError), "write ").get_config() == right.get_config()


def test_each_name_of_the_table_means_an_argument_or_says_what_to_do() -> None:
    for owner, table in _arguments._ELSEWHERE.items():
        if owner in ("Layer", "Optimizer", "Loss", "Callback", "Schedule"):
            continue  # of which only some classes have the argument
        if owner == "Forecaster" and find_spec("utilsforecast") is None:
            continue
        function = next(getattr(place, owner) for place in (fl.Model, fl, fl.data) if hasattr(place, owner))
        known = inspect.signature(function).parameters
        related = {"Adam", "RMSprop", "SGD"}
        of_forecasters = {"horizon"} if owner == "predict" else set()
        for foreign, meant in table.items():
            assert foreign not in known, (owner, foreign)
            if owner not in related:
                assert meant in {*known, *of_forecasters} or not meant.isidentifier(), (owner, foreign, meant)


@pytest.mark.parametrize(("given", "meant"), [("time", "time_col"), ("target", "target_col"), ("id", "id_col")])
def test_the_columns_of_a_forecaster_are_found_under_shorter_names(given: str, meant: str) -> None:
    pytest.importorskip("utilsforecast")
    message = message_of(lambda: fl.Forecaster("1D").fit({}, **{given: "column"}), TypeError)
    assert message == f"fit() has no argument {given!r}: did you mean {meant}='column'?"


def test_a_forecaster_is_told_its_horizon_as_elsewhere() -> None:
    pytest.importorskip("utilsforecast")
    assert message_of(lambda: fl.Forecaster(h=24), TypeError) == "Forecaster() has no argument 'h': write horizon=24"
    message = message_of(lambda: fl.Forecaster(48).predict(h=24), TypeError)
    assert message == "predict() has no argument 'h': write horizon=24"


def test_signatures_docstrings_copies_and_pickles_stay() -> None:
    assert (
        str(inspect.signature(fl.Dense))
        == "(output_size: 'int', *, bias: 'bool' = True, weight_init: 'str' = 'uniform') -> 'None'"
    )
    expected = ["self", "X", "lengths", "state", "return_state", "batch_size", "n_threads"]
    assert sorted(inspect.signature(fl.Model.predict).parameters) == sorted(expected)
    assert fl.Model.fit.__doc__.startswith("Train the model.") and fl.Model.fit.__qualname__ == "Model.fit"
    one = fl.Adam(0.5)
    for twin in (copy.copy(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert twin.get_config() == one.get_config()
    m = model()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(m)).predict(X), m.predict(X))


def test_classes_of_users_explain_their_arguments_too() -> None:
    class Gain(fl.Callback):
        def __init__(self, factor: float = 1.0) -> None:
            self.factor = factor

    class Loose(fl.Callback):
        def __init__(self, **anything: Any) -> None:
            self.anything = anything

    assert message_of(lambda: Gain(facter=2), TypeError) == "Gain() has no argument 'facter': did you mean factor=2?"
    assert Gain(factor=2).factor == 2 and Loose(a=1).anything == {"a": 1}


def test_an_error_within_a_call_is_not_hidden() -> None:
    class Broken(fl.Callback):
        def __init__(self, n: int) -> None:
            n.missing()

    with pytest.raises(AttributeError, match="missing"):
        Broken(3)
    with pytest.raises(TypeError, match="hidden_size"):
        fl.LSTM()


@pytest.mark.parametrize(
    "word, names, expected",
    [
        ("val_acc", ["loss", "accuracy", "val_loss", "val_accuracy", "lr"], "val_accuracy"),
        ("VAL_LOSS", ["loss", "val_loss"], "val_loss"),
        ("acc", ["loss", "accuracy"], "accuracy"),
        ("xyz", ["loss", "accuracy"], None),
        ("", ["loss"], None),
    ],
)
def test_the_closest_name(word: str, names: list[str], expected: str | None) -> None:
    assert _arguments.closest(word, names) == expected


@pytest.mark.parametrize(
    "loss, meant",
    [
        ("binary_crossentropy", "binary_cross_entropy"),
        ("sparse_categorical_crossentropy", "cross_entropy"),
        ("crossentropy", "cross_entropy"),
        ("mean_squared_error", "mse"),
        ("MAE", "mae"),
    ],
)
def test_a_loss_by_the_name_of_another_package(loss: str, meant: str) -> None:
    message = message_of(lambda: model().fit(X, Y, loss=loss), ValueError)
    assert cure(message, "did you mean ") == meant
    assert "did you mean" not in message_of(lambda: model().fit(X, Y, loss="zzzzz"), ValueError)


def test_an_optimizer_by_a_misspelt_name() -> None:
    assert cure(message_of(lambda: model().fit(X, Y, optimizer="Adma"), ValueError), "did you mean ") == "adam"


def test_code_is_found_in_messages() -> None:
    assert code_after("pass y - 1; or names, y.astype(str)", "pass ") == "y - 1"
    assert code_after("pass X[None] for one series", "pass ") == "X[None]"
    assert code_after("pass a(1), b(2)", "pass ") == "a(1), b(2)"
