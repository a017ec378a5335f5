"""Whatever is passed in, there is a right result, or an error that says what is wrong and an unchanged model."""

from __future__ import annotations

import copy
import json
import zipfile
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from odd_inputs import (
    CASES,
    LAYOUTS,
    ODD,
    ODD_IN_MEMORY,
    PLAIN_ARRAYS,
    PROPERTIES,
    STEPS,
    TYPES,
    check_property,
    examples,
    layouts,
    refusal,
    seeds,
    sizes,
    small_model,
    st,
    things,
)

import fastlstm as fl
from fastlstm import losses

pytestmark = pytest.mark.filterwarnings("ignore:a state dict holds weights:UserWarning")

GOOD = np.linspace(-1, 1, CASES * STEPS * 2).reshape(CASES, STEPS, 2)
LABELS = [0, 1]
VALUES = np.linspace(0, 1, CASES * 2).reshape(CASES, 2)


def bounded(value: Any, most: int = 100) -> Any:
    """Return the value, unless it is a number that really would take much memory or time."""
    number = value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value
    return 1 if isinstance(number, (int, np.integer)) and most < number < 2**63 else value


def bits(m: fl.Model) -> Any:
    """Return everything that a refused call must leave unchanged."""
    scalers = [None if s is None else s.fitted and s.state() for s in (m.scaler, m.target_scaler)]
    return m.flat_parameters.tobytes(), m.flat_gradients.tobytes(), json.dumps(m.get_config()), repr(scalers)


def answer(m: fl.Model, call: Callable[[], Any]) -> Any:
    """Return the result of the call, or None if it is refused as it should be."""
    before = bits(m)
    result, error = refusal(call)
    if error is not None:
        assert bits(m) == before
    return result


def refused(m: fl.Model, call: Callable[[], Any]) -> None:
    before = bits(m)
    assert refusal(call)[1] is not None, "this should have been refused"
    assert bits(m) == before


# ---------------------------------------------------------------------------------------------- the methods of a model


def fit(m: fl.Model, X: Any = GOOD, y: Any = LABELS, **arguments: Any) -> Any:
    return m.fit(X, y, **{"epochs": 1, "verbose": 0, **arguments})


def spelled(**arguments: Any) -> Any:
    """Fit a model that outputs scores for each step, by CTC."""
    m = fl.Model([fl.LSTM(3, return_sequences=True), fl.Dense(3)], input_size=2, seed=0)
    return answer(m, lambda: fit(m, loss="ctc", **{"y": [[1], [2]], **arguments}))


def backward(*arguments: Any) -> Any:
    """Call `Model.backward`; if it is refused, the forward pass must remain for another call."""
    m = small_model()
    m.forward(GOOD, training=True)
    before = bits(m)
    try:
        return m.backward(*arguments)
    except (TypeError, ValueError):
        assert bits(m) == before
        m.backward(np.zeros((CASES, 2)))
        raise


def stream(m: fl.Model, use: Callable[[fl.Stream], Any]) -> Any:
    """Use a stream that has made some steps; if the call is refused, it must have changed nothing."""
    one, other = m.stream(CASES), m.stream(CASES)
    for s in (one, other):
        s.run(GOOD)
    try:
        return use(one)
    except (TypeError, ValueError):
        np.testing.assert_array_equal(one.step(GOOD[:, 0]), other.step(GOOD[:, 0]))
        for mine, theirs in zip(one.state[0], other.state[0], strict=True):
            np.testing.assert_array_equal(mine, theirs)
        raise


VERBS: dict[str, Callable[[fl.Model, Any], Any]] = {
    "predict": lambda m, v: m.predict(v),
    "predict_proba": lambda m, v: m.predict_proba(v),
    "predict_classes": lambda m, v: m.predict_classes(v),
    "predict, lengths": lambda m, v: m.predict(GOOD, v),
    "predict, batch_size": lambda m, v: m.predict(GOOD, batch_size=v),
    "predict, n_threads": lambda m, v: m.predict(GOOD, n_threads=v),
    "evaluate": lambda m, v: m.evaluate(v, LABELS, loss="cross_entropy"),
    "evaluate, lengths": lambda m, v: m.evaluate(GOOD, LABELS, lengths=v, loss="cross_entropy"),
    "evaluate, labels": lambda m, v: m.evaluate(GOOD, v, loss="cross_entropy"),
    "evaluate, values": lambda m, v: m.evaluate(GOOD, v, loss="mse"),
    "evaluate, loss": lambda m, v: m.evaluate(GOOD, LABELS, loss=v),
    "evaluate, metrics": lambda m, v: m.evaluate(GOOD, LABELS, loss="cross_entropy", metrics=v),
    "evaluate, sample_weight": lambda m, v: m.evaluate(GOOD, LABELS, loss="cross_entropy", sample_weight=v),
    "evaluate, batch_size": lambda m, v: m.evaluate(GOOD, LABELS, loss="cross_entropy", batch_size=v),
    "fit": lambda m, v: fit(m, v),
    "fit, labels": lambda m, v: fit(m, GOOD, v),
    "fit, values": lambda m, v: fit(m, GOOD, v, loss="mse"),
    "fit, lengths": lambda m, v: fit(m, lengths=v),
    "fit, sample_weight": lambda m, v: fit(m, sample_weight=v),
    "fit, class_weight": lambda m, v: fit(m, class_weight=v),
    "fit, validation_data": lambda m, v: fit(m, validation_data=v),
    "fit, validation X": lambda m, v: fit(m, validation_data=(v, LABELS)),
    "fit, validation y": lambda m, v: fit(m, validation_data=(GOOD, v)),
    "fit, validation_split": lambda m, v: fit(m, validation_split=v),
    "fit, epochs": lambda m, v: fit(m, epochs=bounded(v, 3)),
    "fit, batch_size": lambda m, v: fit(m, batch_size=v),
    "fit, shuffle": lambda m, v: fit(m, shuffle=v),
    "fit, verbose": lambda m, v: fit(m, verbose=0 if isinstance(v, (int, float)) and v in (1, 2) else v),
    "fit, callbacks": lambda m, v: fit(m, callbacks=v),
    "fit, metrics": lambda m, v: fit(m, metrics=v, validation_data=(GOOD, LABELS)),
    "fit, loss": lambda m, v: fit(m, loss=v),
    "fit, optimizer": lambda m, v: fit(m, optimizer=v),
    "fit, n_threads": lambda m, v: fit(m, n_threads=v),
    "fit, seed": lambda m, v: fit(m, seed=v),
    "fit, tbptt_steps": lambda m, v: fit(m, tbptt_steps=v),
    "fit, recompute_every": lambda m, v: fit(m, recompute_every=v),
    "forward": lambda m, v: m.forward(v),
    "forward, lengths": lambda m, v: m.forward(GOOD, lengths=v),
    "forward, state": lambda m, v: m.forward(GOOD, state=v),
    "forward, h and c": lambda m, v: m.forward(GOOD, state=(v, v)),
    "forward, training": lambda m, v: m.forward(GOOD, training=v),
    "forward, return_state": lambda m, v: m.forward(GOOD, return_state=v),
    "backward": lambda m, v: backward(v),
    "backward, d_state": lambda m, v: backward(np.zeros((CASES, 2)), v),
    "backward, dh and dc": lambda m, v: backward(np.zeros((CASES, 2)), (v, v)),
    "load_state_dict": lambda m, v: m.load_state_dict(v),
    "load_state_dict, a value": lambda m, v: m.load_state_dict(dict.fromkeys(m.parameters(), v)),
    "stream": lambda m, v: m.stream(bounded(v)),
    "stream, n_threads": lambda m, v: m.stream(CASES, v),
    "stream.step": lambda m, v: stream(m, lambda s: s.step(v)),
    "stream.run": lambda m, v: stream(m, lambda s: s.run(v)),
    "stream.state": lambda m, v: stream(m, lambda s: setattr(s, "state", v)),
    "stream.state, h and c": lambda m, v: stream(m, lambda s: setattr(s, "state", [(v, v)])),
    "stream.reset": lambda m, v: stream(m, lambda s: s.reset(v)),
    "stream.step, rows": lambda m, v: stream(m, lambda s: s.step(GOOD[:1, 0], rows=v)),
    "stream.add_rows": lambda m, v: stream(m, lambda s: s.add_rows(bounded(v))),
    "stream.remove_rows": lambda m, v: stream(m, lambda s: s.remove_rows(v)),
    "stream.save_state": lambda m, v: stream(m, lambda s: s.save_state(v)),
    "stream.load_state": lambda m, v: stream(m, lambda s: s.load_state(v)),
    "stream.load_state, arrays": lambda m, v: stream(m, lambda s: s.load_state(dict.fromkeys(s.save_state(), v))),
    "stream.load_state, rows": lambda m, v: stream(m, lambda s: s.load_state(s.save_state(), v)),
    "predict, state": lambda m, v: m.predict(GOOD, state=v),
    "predict, h and c": lambda m, v: m.predict(GOOD, state=(v, v)),
    "predict, return_state": lambda m, v: m.predict(GOOD, return_state=v),
    "frozen predict": lambda m, v: copy.copy(m).freeze().predict(v),
    "frozen predict, n_threads": lambda m, v: copy.copy(m).freeze().predict(GOOD, n_threads=v),
    "warm_up": lambda m, v: m.warm_up(bounded(v)),
    "metadata": lambda m, v: setattr(copy.copy(m), "metadata", v),
    "to_torch_state_dict": lambda m, v: m.to_torch_state_dict(v),
}


@pytest.mark.parametrize("verb", VERBS)
def test_odd_things_are_taken_or_refused(verb: str) -> None:
    for value in ODD.values():
        m = small_model()
        answer(m, lambda m=m, value=value: VERBS[verb](m, value))  # type: ignore[misc]


@examples(500, st.sampled_from(sorted(VERBS)), things)
def anything_is_taken_or_refused(verb: str, value: Any) -> None:
    m = small_model()
    answer(m, lambda: VERBS[verb](m, value))


@pytest.mark.parametrize("odd", ODD)
def test_what_is_taken_as_an_input(odd: str) -> None:
    m = small_model()
    result = answer(m, lambda: m.predict(ODD[odd]))
    if odd in PLAIN_ARRAYS:
        np.testing.assert_array_equal(result, m.predict(ODD[odd].astype("f4")))
    elif odd == "decimals":
        np.testing.assert_array_equal(result, m.predict(np.asarray(ODD[odd], "f4")))
    elif odd in ("empty list", "no cases"):
        assert result.shape == (0, 2)
    else:
        assert result is None


NO_ARRAYS = {  # what the message calls a value of which NumPy makes no array
    "none": "None",
    "dict": "a dict",
    "set": "a set",
    "iterator": "a tuple_iterator",
    "function": "a builtin_function_or_method",
    "type": "a type",
    "ellipsis": "a ellipsis",
    "slice": "a slice",
    "generator": "a generator",
    "map": "a map",
    "dict of arrays": "a dict",
    "values of a dict": "a dict_values",
    "missing": "a pandas.NAType",
    "table": "a pandas.DataFrame",
    "groups": "a pandas.DataFrameGroupBy",
    "query": "a polars.LazyFrame",
    "sparse": "a scipy.CsrMatrix",
    "packed": "a torch.PackedSequence",
    "tensor elsewhere": "a torch.Tensor",
    "date": "a datetime.date",
}


@pytest.mark.parametrize("odd", NO_ARRAYS)
def test_the_message_about_no_array_names_its_type(odd: str) -> None:
    value, what = ODD[odd], NO_ARRAYS[odd]
    for use in (lambda m: m.predict(value), lambda m: fit(m, value), lambda m: m.evaluate(value, LABELS, loss="mse")):
        _, error = refusal(lambda use=use: use(small_model()))  # type: ignore[misc]
        assert isinstance(error, TypeError) and str(error).startswith(f"X is {what}, expected an array")
    for loss in ("cross_entropy", "mse"):
        _, error = refusal(lambda loss=loss: fit(small_model(), y=value, loss=loss))  # type: ignore[misc]
        assert isinstance(error, TypeError) and str(error).startswith(f"y is {what}")
        assert "object" not in str(error) and "imaginary" not in str(error)


@pytest.mark.parametrize("verb", ["fit", "forward"])
def test_a_refused_call_builds_no_model(verb: str) -> None:
    for odd in (
        "nan array",
        "infinite",
        "masked",
        "objects, one text",
        "table",
        "no steps",
        "exbibytes",
        "ragged inside",
    ):
        m = fl.Model([fl.LSTM(3), fl.Dense(2)], seed=0)
        refused(m, lambda m=m, odd=odd: VERBS[verb](m, ODD[odd]))  # type: ignore[misc]
        assert not m.built


# ---------------------------------------------------------------------------------------------- everything else

TOKENS = np.arange(12).reshape(4, 3) % 5
SERIES = np.arange(20.0).reshape(10, 2)
SCORES = np.linspace(-1, 1, 24).reshape(2, 4, 3)
TORCH = {"weight_ih_l0": np.ones((16, 3)), "weight_hh_l0": np.ones((16, 4))}
CLASSES: dict[str, tuple[Callable[..., Any], dict[str, Any], list[str]]] = {
    # The class, the arguments that it needs, all of its arguments.
    "LSTM": (
        fl.LSTM,
        {"hidden_size": 3, "num_layers": 2},
        "hidden_size num_layers bias dropout bidirectional return_sequences forget_bias reverse merge residual "
        "learn_state weight_init recurrent_init proj_size peepholes coupled layer_norm gate_clip cell_clip output_clip "
        "gate_activation cell_activation output_activation recurrent_dropout variational_dropout input_dropout "
        "zoneout_h zoneout_c".split(),
    ),
    "Dense": (fl.Dense, {"output_size": 2}, ["output_size", "bias", "weight_init"]),
    "Embedding": (
        fl.Embedding,
        {"num_embeddings": 3, "embedding_dim": 2},
        ["num_embeddings", "embedding_dim", "mask_token"],
    ),
    "Dropout": (fl.Dropout, {}, ["p", "per_series"]),
    "GaussianNoise": (fl.GaussianNoise, {}, ["stddev"]),
    "Masking": (fl.Masking, {}, ["value"]),
    "Activation": (fl.Activation, {"kind": "elu"}, ["kind", "alpha", "beta"]),
    "AttentionPool": (fl.AttentionPool, {}, ["size"]),
    "SGD": (fl.SGD, {"momentum": 0.5}, ["lr", "momentum", "nesterov", "weight_decay", "clip_norm", "clip_value"]),
    "RMSprop": (fl.RMSprop, {}, ["lr", "alpha", "eps", "momentum", "weight_decay", "clip_norm", "clip_value"]),
    "Adam": (fl.Adam, {}, ["lr", "betas", "eps", "weight_decay", "clip_norm", "clip_value"]),
    "AdamW": (fl.AdamW, {}, ["lr", "betas", "eps", "weight_decay", "clip_norm", "clip_value"]),
    "ConstantLR": (fl.ConstantLR, {}, ["lr"]),
    "StepLR": (fl.StepLR, {"lr": 0.1, "step_size": 1}, ["lr", "step_size", "gamma"]),
    "CosineLR": (fl.CosineLR, {"lr": 0.1}, ["lr", "min_lr"]),
    "OneCycleLR": (fl.OneCycleLR, {"max_lr": 0.1}, ["max_lr", "pct_start", "div_factor", "final_div_factor"]),
    "WarmupLR": (fl.WarmupLR, {"after": 0.1}, ["after", "warmup_steps", "warmup_epochs"]),
    "Huber": (fl.Huber, {}, ["delta"]),
    "Quantile": (fl.Quantile, {}, ["quantiles"]),
    "CTC": (fl.CTC, {}, ["blank", "zero_infinity"]),
}


def make(name: str, argument: str, value: Any) -> None:
    """Make an object of that class, whose settings must survive JSON and make an equal object."""
    cls, needed, _ = CLASSES[name]
    one = cls(**{**needed, argument: value})
    settings = json.loads(json.dumps(one.get_config()))
    settings.pop("name", None)
    if isinstance(one, (fl.LSTM, fl.Dense, fl.Activation)):
        assert cls(**settings).get_config() == one.get_config()
    repr(one)


def reading_model() -> fl.Model:
    layers = [fl.Embedding(5, 3), fl.LSTM(3, return_sequences=True), fl.Dense(5)]
    return fl.Model(layers, seed=0)


def generate(**arguments: Any) -> Any:
    given = {"model": reading_model(), "prompt": TOKENS, "steps": 2, **arguments}
    return fl.generate(**{**given, "steps": bounded(given["steps"])})


def trained(optimizer: fl.Adam) -> fl.Adam:
    """Return an optimizer that has made a step."""
    m = small_model()
    m.flat_gradients.fill(1)
    optimizer.step(m)
    return optimizer


def loaded(**entries: Any) -> None:
    state = trained(fl.Adam()).state_dict()
    optimizer = trained(fl.Adam())
    try:
        optimizer.load_state_dict({**state, **entries})
    except (TypeError, ValueError):
        assert repr(optimizer.state_dict()) == repr(state)
        raise


def threads(value: Any) -> None:
    try:
        fl.set_num_threads(value)
    finally:
        fl.set_num_threads(None)


def loss_of(loss: Any, **arguments: Any) -> Any:
    of = {"out": SCORES[:, 0], "target": SCORES[:, 1], **arguments}
    return loss(**of), loss.metric(**of)


CALLS: dict[str, Callable[[Any], Any]] = {
    "Model": lambda v: fl.Model(v),
    "Model, input_size": lambda v: fl.Model([fl.LSTM(3)], input_size=bounded(v)),
    "Model, dtype": lambda v: fl.Model([fl.LSTM(3)], dtype=v),
    "Model, seed": lambda v: fl.Model([fl.LSTM(3)], input_size=2, seed=v),
    "Model, scaler": lambda v: fl.Model([fl.LSTM(3)], scaler=v),
    "Model, target_scaler": lambda v: fl.Model([fl.LSTM(3)], target_scaler=v),
    "Model, classes": lambda v: fl.Model([fl.LSTM(3)], classes=v),
    "windows": lambda v: fl.windows(v, 2),
    "windows, length": lambda v: fl.windows(SERIES, v),
    "windows, horizon": lambda v: fl.windows(SERIES, 2, v),
    "windows, stride": lambda v: fl.windows(SERIES, 2, stride=v),
    "windows, target": lambda v: fl.windows(SERIES, 2, target=v),
    "split": lambda v: fl.split(bounded(v)),
    "split, fractions": lambda v: fl.split(10, v),
    "split, method": lambda v: fl.split(10, (0.5, 0.5), method=v),
    "split, y": lambda v: fl.split(10, (0.5, 0.5), method="stratified", y=v),
    "split, seed": lambda v: fl.split(10, (0.5, 0.5), seed=v),
    "split, gap": lambda v: fl.split(10, (0.5, 0.5), method="time", gap=v),
    "Standardizer.fit": lambda v: fl.Standardizer().fit(v),
    "Standardizer.fit, lengths": lambda v: fl.Standardizer().fit(GOOD, v),
    "Standardizer.transform": lambda v: fl.Standardizer().fit(GOOD).transform(v),
    "Standardizer.inverse_transform": lambda v: fl.Standardizer().fit(GOOD).inverse_transform(v),
    "Standardizer.from_state": lambda v: fl.Standardizer.from_state(v),
    "Standardizer.from_state, mean": lambda v: fl.Standardizer.from_state({"mean": v, "scale": [1.0, 1.0]}),
    "fit, label sequences": lambda v: spelled(y=v),
    "fit, numbers of labels": lambda v: spelled(y=(np.array([[1, 2], [2, 1]]), v)),
    "as_sequences": lambda v: fl.data.as_sequences(v),
    "as_sequences, tokens": lambda v: fl.data.as_sequences(v, tokens=True),
    "as_sequences, lengths": lambda v: fl.data.as_sequences(GOOD, v),
    "as_targets": lambda v: fl.data.as_targets(v, fl.data.as_sequences(GOOD), False, "values"),
    "as_targets of steps": lambda v: fl.data.as_targets(v, fl.data.as_sequences(GOOD), True, "values"),
    "as_targets, labels of steps": lambda v: fl.data.as_targets(v, fl.data.as_sequences(GOOD), True, "labels"),
    "encode_labels": lambda v: fl.data.encode_labels(v),
    "encode_labels, classes": lambda v: fl.data.encode_labels(["a", "b"], v),
    "ctc_decode": lambda v: fl.ctc_decode(v),
    "ctc_decode, lengths": lambda v: fl.ctc_decode(SCORES, v),
    "ctc_decode, beam_width": lambda v: fl.ctc_decode(SCORES, beam_width=bounded(v)),
    "ctc_decode with a beam": lambda v: fl.ctc_decode(v, beam_width=2),
    "ctc_decode, blank": lambda v: fl.ctc_decode(SCORES, blank=v),
    "generate": lambda v: generate(model=v),
    "generate, prompt": lambda v: generate(prompt=v),
    "generate, steps": lambda v: generate(steps=v),
    "generate, temperature": lambda v: generate(temperature=v),
    "generate, top_k": lambda v: generate(top_k=v),
    "generate, top_p": lambda v: generate(top_p=v),
    "generate, seed": lambda v: generate(seed=v),
    "generate, n_threads": lambda v: generate(n_threads=v),
    "tokens": lambda v: reading_model().predict(v),
    "tokens of a stream": lambda v: reading_model().stream(2).run(v),
    "tokens of a step": lambda v: reading_model().stream(2).step(v),
    "set_num_threads": threads,
    "from_torch, a tensor": lambda v: fl.from_torch({**TORCH, "weight_hh_l0": v}),
    "from_torch, another tensor": lambda v: fl.from_torch({**TORCH, "fc.weight": v}),
    "from_torch, a name": lambda v: fl.from_torch({**TORCH, v: np.ones((2, 4))} if hashable(v) else v),
    "from_torch, dtype": lambda v: fl.from_torch(TORCH, dtype=v),
    "from_torch, order": lambda v: fl.from_torch(TORCH, order=v),
    "from_torch, a name in order": lambda v: fl.from_torch(TORCH, order=["", v]),
    "from_torch, return_sequences": lambda v: fl.from_torch(TORCH, return_sequences=v),
    "from_torch, check": lambda v: fl.from_torch(TORCH, check=v),
    "from_torch, seed": lambda v: fl.from_torch(TORCH, seed=v),
    "optimizer.load_state_dict": lambda v: fl.Adam().load_state_dict(v),
    "optimizer.load_state_dict, m": lambda v: loaded(m=v),
    "optimizer.load_state_dict, iterations": lambda v: loaded(iterations=v),
    "optimizer.lr": lambda v: setattr(fl.Adam(), "lr", v),
    "optimizer.bind": lambda v: fl.Adam(fl.CosineLR(0.1)).bind(v, v),
    "optimizer.step, n_threads": lambda v: fl.Adam().step(small_model(), v),
    "get_loss": lambda v: losses.get_loss(v),
    "mse, out": lambda v: loss_of(fl.MSE(), out=v),
    "mse, target": lambda v: loss_of(fl.MSE(), target=v),
    "mse, weight": lambda v: loss_of(fl.MSE(), weight=v),
    "quantile, out": lambda v: loss_of(fl.Quantile(), out=v),
    "quantile, target": lambda v: loss_of(fl.Quantile(), target=v),
    "cross_entropy, out": lambda v: loss_of(fl.CrossEntropy(), out=v, target=np.array(LABELS)),
    "cross_entropy, target": lambda v: loss_of(fl.CrossEntropy(), target=v),
    "cross_entropy, weight": lambda v: loss_of(fl.CrossEntropy(), target=np.array(LABELS), weight=v),
    "cross_entropy, lengths": lambda v: loss_of(fl.CrossEntropy(), out=SCORES, target=np.zeros((2, 4), int), lengths=v),
    "mse, lengths": lambda v: loss_of(fl.MSE(), out=SCORES, target=SCORES, lengths=v),
    "ctc, out": lambda v: loss_of(fl.CTC(), out=v, target=np.ones((2, 1), int)),
    "ctc, target": lambda v: loss_of(fl.CTC(), out=SCORES, target=v),
    "ctc, lengths": lambda v: loss_of(fl.CTC(), out=SCORES, target=np.ones((2, 1), int), lengths=v),
    "ctc, weight": lambda v: loss_of(fl.CTC(), out=SCORES, target=np.ones((2, 1), int), weight=v),
    **{
        f"{name}({argument})": lambda v, name=name, argument=argument: make(name, argument, v)  # type: ignore[misc]
        for name, (_, _, arguments) in CLASSES.items()
        for argument in arguments
    },
}


def hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def path(use: Callable[[Any], Any], value: Any) -> Any:
    """Return `use(value)`, or None if there is no such file or if it cannot be written."""
    try:
        return use(value)
    except OSError:
        return None


def watched(cls: Callable[..., fl.Callback], **arguments: Any) -> Any:
    """Run a training with this callback."""
    one = cls(**arguments)
    return path(lambda c: fit(small_model(), validation_data=(GOOD, LABELS), callbacks=[c]), one)


MONITORS: dict[str, tuple[Callable[..., fl.Callback], list[str]]] = {
    "EarlyStopping": (
        fl.EarlyStopping,
        ["monitor", "patience", "min_delta", "restore_best", "mode", "start_from_epoch"],
    ),
    "ReduceLROnPlateau": (
        fl.ReduceLROnPlateau,
        ["monitor", "factor", "patience", "min_lr", "min_delta", "mode"],
    ),
}
CALLS |= {
    f"{name}({argument})": lambda v, cls=cls, argument=argument: watched(cls, **{argument: v})  # type: ignore[misc]
    for name, (cls, arguments) in MONITORS.items()
    for argument in arguments
}
WRITERS: dict[str, tuple[Callable[..., fl.Callback], list[str]]] = {
    "ModelCheckpoint": (fl.ModelCheckpoint, ["path", "monitor", "save_best_only", "mode"]),
    "CSVLogger": (fl.CSVLogger, ["path", "append"]),
    "Checkpoint": (fl.Checkpoint, ["path", "every_epochs", "every_batches", "every_seconds", "keep", "on_error"]),
}


@cache
def of_keras() -> bytes:
    with zipfile.ZipFile(Path(__file__).parents[1] / "formats" / "data" / "keras" / "keras3.zip") as archive:
        name = min(name for name in archive.namelist() if name.endswith(".keras"))
        return archive.read(name)


def from_keras(**arguments: Any) -> Any:
    Path("model.keras").write_bytes(of_keras())
    return path(lambda given: fl.from_keras(**given), {"path": "model.keras", **arguments})


def from_onnx(**arguments: Any) -> Any:
    small_model().to_onnx("model.onnx")
    return path(lambda given: fl.from_onnx(**given), {"source": "model.onnx", **arguments})


WITH_FILES: dict[str, Callable[[Any], Any]] = {
    "load": lambda v: path(fl.load, v),
    "save": lambda v: path(small_model().save, v),
    "from_torch": lambda v: path(fl.from_torch, v),
    **{
        f"{name}({argument})": lambda v, cls=cls, argument=argument: watched(  # type: ignore[misc]
            cls, **{"path": "abc{epoch}", argument: v}
        )
        for name, (cls, arguments) in WRITERS.items()
        for argument in arguments
    },
}
if find_spec("h5py"):
    WITH_FILES |= {
        f"from_keras, {argument}": lambda v, argument=argument: from_keras(**{argument: v})  # type: ignore[misc]
        for argument in ("path", "config", "logits", "dtype", "seed")
    }
if find_spec("onnx"):
    WITH_FILES |= {
        f"from_onnx, {argument}": lambda v, argument=argument: from_onnx(**{argument: v})  # type: ignore[misc]
        for argument in ("source", "output", "time_major", "dtype", "seed")
    }
    WITH_FILES |= {
        f"to_onnx, {argument}": lambda v, argument=argument: path(  # type: ignore[misc]
            lambda given: small_model().to_onnx(**given), {"path": "model.onnx", argument: v}
        )
        for argument in ("path", "with_lengths", "dtype")
    }


@pytest.mark.parametrize("call", [*CALLS, *WITH_FILES])
def test_odd_arguments_are_taken_or_refused(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # "abc" is a file name too
    for value in ODD_IN_MEMORY.values():
        refusal(lambda value=value: {**CALLS, **WITH_FILES}[call](value))  # type: ignore[misc]


@examples(500, st.sampled_from(sorted(CALLS)), things)
def any_argument_is_taken_or_refused(call: str, value: Any) -> None:
    refusal(lambda: CALLS[call](value))


# ---------------------------------------------------------------------------------------------- layouts and types


@examples(60, sizes, st.sampled_from(TYPES), layouts, seeds, st.booleans())
def every_layout_and_type_gives_the_same_bits(
    size: tuple[int, int, int], dtype: Any, layout: str, seed: int, with_lengths: bool
) -> None:
    rng = np.random.default_rng(seed)
    n, time, features = size
    x = rng.uniform(0 if np.dtype(dtype).kind in "ub" else -3, 3, size).astype(dtype)
    lengths = rng.integers(1, time + 1, n) if with_lengths else None
    plain, odd = np.array(x, "f4"), LAYOUTS[layout](x)
    m = fl.Model([fl.LSTM(3, return_sequences=True), fl.Dense(2)], input_size=features, seed=1)
    np.testing.assert_array_equal(m.predict(odd, lengths), m.predict(plain, lengths))
    np.testing.assert_array_equal(m.forward(odd, lengths), m.forward(plain, lengths))
    np.testing.assert_array_equal(m.stream(n).run(odd), m.predict(plain))
    h = rng.standard_normal((1, n, 3)).astype("f4")
    odd_h = LAYOUTS[layout](h)
    np.testing.assert_array_equal(m.forward(odd, lengths, (odd_h, odd_h)), m.forward(plain, lengths, (h, h)))
    one, other = m.stream(n), m.stream(n)
    one.state, other.state = [(odd_h, odd_h)], [(h, h)]
    for t in range(time):
        np.testing.assert_array_equal(one.step(odd[:, t]), other.step(plain[:, t]))
    d_out = rng.standard_normal(m.forward(x, lengths).shape).astype("f4")
    gradients = []
    for inputs, gradient in ((plain, d_out), (odd, LAYOUTS[layout](d_out))):
        m.zero_grad()
        m.forward(inputs, lengths, training=True)
        gradients.append((m.backward(gradient), m.flat_gradients.copy()))
    np.testing.assert_array_equal(gradients[0][0], gradients[1][0])
    np.testing.assert_array_equal(gradients[0][1], gradients[1][1])
    y = rng.integers(0, 2, (n, time))
    weights = []
    for inputs, targets in ((plain, y), (odd, LAYOUTS[layout](y))):
        fresh = fl.Model([fl.LSTM(3, return_sequences=True), fl.Dense(2)], seed=1)
        fit(fresh, inputs, targets, lengths=lengths, sample_weight=LAYOUTS[layout](np.ones(n)))
        weights.append(fresh.flat_parameters)
    np.testing.assert_array_equal(*weights)
    np.testing.assert_array_equal(x, odd)  # nothing was written to it


@examples(40, st.sampled_from(TYPES), layouts, seeds)
def helpers_take_every_layout_and_type(dtype: Any, layout: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.uniform(0 if np.dtype(dtype).kind in "ub" else -3, 3, (3, 4, 2)).astype(dtype)
    odd = LAYOUTS[layout](x)
    for mine, plain in zip(fl.windows(odd[0], 2), fl.windows(x[0], 2), strict=True):
        np.testing.assert_array_equal(mine, plain)
    scaler, expected = fl.Standardizer().fit(odd), fl.Standardizer().fit(x)
    assert scaler == expected
    np.testing.assert_array_equal(scaler.transform(odd), expected.transform(x))
    np.testing.assert_array_equal(scaler.inverse_transform(odd), expected.inverse_transform(x))
    if x.dtype != bool:
        for beam in (1, 3):
            for mine, plain in zip(fl.ctc_decode(odd, beam_width=beam), fl.ctc_decode(x, beam_width=beam), strict=True):
                np.testing.assert_array_equal(mine, plain)
    if x.dtype.kind in "iu":
        tokens = abs(x[:, :, 0] % 5)
        odd_tokens, m = LAYOUTS[layout](tokens), reading_model()
        np.testing.assert_array_equal(m.predict(odd_tokens), m.predict(tokens.astype(int)))
        np.testing.assert_array_equal(m.stream(3).run(odd_tokens), m.predict(tokens.astype(int)))
        np.testing.assert_array_equal(
            fl.generate(m, odd_tokens, 2, seed=1), fl.generate(m, tokens.astype(int), 2, seed=1)
        )
    if x.dtype.kind == "f" and x.dtype.itemsize <= 8:
        state = {"weight_ih_l0": np.ones((4, 2)), "weight_hh_l0": LAYOUTS[layout](x[0, :, :1])}
        np.testing.assert_array_equal(fl.from_torch(state).parameters()["0.weight_hh_l0"], x[0, :, :1])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_with_each_type(layout: str) -> None:
    for dtype in TYPES:
        every_layout_and_type_gives_the_same_bits((1, 1, 1), dtype, layout, 0, False)
        every_layout_and_type_gives_the_same_bits((3, 4, 2), dtype, layout, 0, True)
        helpers_take_every_layout_and_type(dtype, layout, 0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_strides_of_zero(axis: int) -> None:
    shape = [4, 5, 3]
    shape[axis] = 1
    x = np.random.default_rng(0).standard_normal(shape).astype("f4")
    spread = np.broadcast_to(x, (4, 5, 3))
    m = fl.Model([fl.LSTM(3), fl.Dense(2)], input_size=3, seed=1)
    np.testing.assert_array_equal(m.predict(spread), m.predict(spread.copy()))
    np.testing.assert_array_equal(m.forward(spread), m.forward(spread.copy()))
    np.testing.assert_array_equal(m.stream(4).run(spread), m.stream(4).run(spread.copy()))
    weights = []
    for inputs in (spread, spread.copy()):
        fresh = fl.Model([fl.LSTM(3), fl.Dense(2)], seed=1)
        fit(fresh, inputs, np.broadcast_to(1, 4), sample_weight=np.broadcast_to(1.0, 4))
        weights.append(fresh.flat_parameters)
    np.testing.assert_array_equal(*weights)


@pytest.mark.parametrize("package", ["pandas", "torch"])
def test_arrays_of_other_packages(package: str) -> None:
    other = pytest.importorskip(package)
    x = np.random.default_rng(0).standard_normal((4, 5)).astype("f4")
    y = np.array([0, 1, 1, 0])
    m = fl.Model([fl.LSTM(3), fl.Dense(2)], input_size=1, seed=1)
    theirs = other.DataFrame(x).to_numpy(object) if package == "pandas" else other.from_numpy(x)
    labels = other.Series(y) if package == "pandas" else other.from_numpy(y)
    np.testing.assert_array_equal(m.predict(theirs), m.predict(x))
    assert m.evaluate(theirs, labels, loss="cross_entropy") == m.evaluate(x, y, loss="cross_entropy")
    if package == "torch":
        refused(m, lambda: m.predict(theirs.requires_grad_()))
        refused(m, lambda: m.predict(other.zeros(4, 5, device="meta")))
    else:
        refused(m, lambda: m.predict(other.DataFrame(x)))
        refused(m, lambda: m.predict(other.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})))
        refused(m, lambda: m.predict(other.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}).to_numpy()))


# ---------------------------------------------------------------------------------------------- bad numbers

SPECIAL = st.sampled_from([np.nan, np.inf, -np.inf])


@examples(60, sizes, SPECIAL, seeds)
def a_bad_number_is_refused_where_it_counts_and_nowhere_else(size: tuple[int, int, int], bad: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, time, features = size
    x = rng.standard_normal(size)
    lengths = rng.integers(1, time + 1, n)
    case, step, feature = (int(rng.integers(k)) for k in size)
    counts = step < lengths[case]
    spoilt = x.copy()
    spoilt[case, step, feature] = bad
    m = fl.Model([fl.LSTM(3, return_sequences=True), fl.Dense(2)], input_size=features, seed=1)
    if counts:
        with pytest.raises(ValueError, match=rf"\[{case}, {step}, {feature}\]"):
            m.predict(spoilt, lengths)
        with pytest.raises(ValueError, match=rf"\[{case}, {step}, {feature}\]"):
            fit(m, spoilt, np.zeros((n, time), int), lengths=lengths)
    else:
        np.testing.assert_array_equal(m.predict(spoilt, lengths), m.predict(x, lengths))
    y = rng.standard_normal((n, time, 2))
    y[case, step, 0] = bad
    if counts and not np.isnan(bad):
        with pytest.raises(ValueError, match=rf"y holds .*\[{case}, {step}, 0\]"):
            fit(m, x, y, lengths=lengths, loss="mse")
    else:  # padding, or a target that is missing
        fit(m, x, y, lengths=lengths, loss="mse")
        assert np.isfinite(m.flat_parameters).all()
    one = m.stream(n)
    one.run(x)
    state = one.state
    h, c = (part.copy() for part in state[0])
    h.flat[int(rng.integers(h.size))] = bad
    for use in (
        lambda: one.run(spoilt),
        lambda: one.step(spoilt[:, step]),
        lambda: setattr(one, "state", [(h, c)]),
        lambda: m.forward(x, state=(h, c)),
    ):
        with pytest.raises(ValueError, match=r"holds .*expected finite numbers"):
            use()
    for mine, before in zip(one.state[0], state[0], strict=True):
        np.testing.assert_array_equal(mine, before)


@examples(60, st.integers(1, 6), st.integers(1, 6), st.integers(-(2**63), 2**63 - 1) | st.integers(-1, 7), seeds)
def labels_and_lengths_out_of_range(n: int, time: int, value: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y, case = rng.standard_normal((n, time, 2)), rng.integers(0, 2, n), int(rng.integers(n))
    y[case], lengths = value, rng.integers(1, time + 1, n)
    lengths[case] = value
    m = small_model()
    if value in (0, 1) or (value == -100 and n > 1):
        fit(m, x, y)
    else:
        refused(m, lambda: fit(m, x, y))
        refused(m, lambda: m.evaluate(x, y, loss="cross_entropy"))
    if 1 <= value <= time:
        assert m.predict(x, lengths).shape == (n, 2)
    else:
        refused(m, lambda: m.predict(x, lengths))
        refused(m, lambda: fit(m, x, np.zeros(n, int), lengths=lengths))
    tokens = rng.integers(0, 5, (n, time))
    tokens[case, -1] = value
    reader = reading_model()
    if 0 <= value < 5:
        reader.predict(tokens)
        reader.stream(n).run(tokens)
    else:
        for use in (
            lambda: reader.predict(tokens),
            lambda: fit(reader, tokens, np.zeros((n, time), int)),
            lambda: reader.stream(n).run(tokens),
            lambda: reader.stream(n).step(tokens[:, -1]),
            lambda: fl.generate(reader, tokens, 1),
        ):
            refused(reader, use)


# ---------------------------------------------------------------------------------------------- large and small


def test_a_million_features() -> None:
    x = np.random.default_rng(0).standard_normal((1, 1, 1_000_000)).astype("f4")
    m = fl.Model([fl.LSTM(1), fl.Dense(2)], seed=0)
    fit(m, x, [1])
    assert np.isfinite(m.predict(x)).all()
    np.testing.assert_array_equal(m.stream(1).step(x[0]), m.predict(x))
    back = m.forward(x, training=True)
    assert m.backward(np.ones_like(back)).shape == x.shape


@pytest.mark.parametrize("hidden", [2**62, 2**63 - 1])
def test_a_model_that_cannot_fit_is_refused(hidden: int) -> None:
    """The sizes' products exceed the memory, the address space and 64 bits; the earlier model stays usable."""
    for use in (
        lambda: fl.Model([fl.LSTM(hidden)], input_size=1_000_000),
        lambda: fl.Model([fl.Dense(hidden)], input_size=3),
        lambda: fl.Model([fl.LSTM(1)], input_size=hidden),
        lambda: fl.Model([fl.Embedding(hidden, 8)]),
    ):
        with pytest.raises((ValueError, MemoryError)):
            use()
    m = fl.Model([fl.LSTM(hidden)])
    with pytest.raises((ValueError, MemoryError)):
        m.forward(GOOD)
    assert not m.built
    m = small_model()
    expected = m.predict(GOOD)
    with pytest.raises((ValueError, MemoryError)):
        m.stream(hidden)
    np.testing.assert_array_equal(m.predict(GOOD), expected)


@examples(60, sizes, seeds, st.sampled_from([np.float32, np.float64]))
def denormals_count_as_nothing(size: tuple[int, int, int], seed: int, dtype: Any) -> None:
    """Check that numbers below the smallest normal one count as zeros: as inputs, as states and as weights."""
    rng = np.random.default_rng(seed)
    n, _, features = size
    x = rng.standard_normal(size).astype(dtype)
    small = rng.random(size) < 0.5
    tiny = np.where(small, np.finfo(dtype).tiny * rng.uniform(-0.9, 0.9, size), x).astype(dtype)
    zeros = np.where(small, 0, x).astype(dtype)
    m = fl.Model(
        [fl.LSTM(3, return_sequences=True), fl.Dense(2)], input_size=features, seed=1, dtype=np.dtype(dtype).name
    )
    state = tuple(np.full((1, n, 3), np.finfo(dtype).smallest_subnormal * 3, dtype) for _ in range(2))
    nothing = tuple(np.zeros_like(part) for part in state)
    np.testing.assert_array_equal(m.predict(tiny), m.predict(zeros))
    np.testing.assert_array_equal(m.forward(tiny, state=state), m.forward(zeros, state=nothing))
    np.testing.assert_array_equal(m.stream(n).run(tiny), m.predict(zeros))
    m.flat_parameters[::2] = np.finfo(dtype).tiny / 4
    other = fl.Model(
        [fl.LSTM(3, return_sequences=True), fl.Dense(2)], input_size=features, seed=1, dtype=np.dtype(dtype).name
    )
    other.flat_parameters[::2] = 0
    np.testing.assert_array_equal(m.predict(x), other.predict(x))


# ---------------------------------------------------------------------------------------------- the properties


@pytest.mark.parametrize("name", PROPERTIES)
def test_property(name: str) -> None:
    check_property(name)


@pytest.mark.nightly
@pytest.mark.parametrize("name", PROPERTIES)
def test_property_with_many_examples(name: str) -> None:
    check_property(name, nightly=True)
