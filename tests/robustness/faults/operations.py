"""Run operations of the package in which the k-th allocation fails, for every k; a child of test_memory_faults.py.

Usage: ``LD_PRELOAD=faults.so python operations.py SETTINGS``. SETTINGS is a JSON object: ``names`` of the operations or
prefixes of them, ``least`` bytes of an allocation that may fail, ``only`` and ``within``: the libraries that allocate
(see faults.c), ``stay``: whether all allocations after the k-th fail too. Prints one JSON object for each operation.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import json
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy

import fastlstm as fl
from fastlstm import _core, losses

LIBRARY = ctypes.CDLL(None)
ON, AT, STAY, LEAST, SEEN, HIT, SIZE = (
    ctypes.c_long.in_dll(LIBRARY, f"faults_{name}") for name in ("on", "at", "stay", "least", "seen", "hit", "size")
)

rng = np.random.default_rng(0)
BATCH, TIME, FEATURES = 5, 9, 3
X = rng.standard_normal((BATCH, TIME, FEATURES)).astype(np.float32)
LENGTHS = np.array([9, 4, 1, 9, 6])
TOKENS = rng.integers(0, 7, (BATCH, TIME))
LABELS = np.arange(BATCH) % 2
WORDS = [[1, 2], [2, 2, 1], [], [1], [2]]


class Operation(NamedTuple):
    """Something that a user does, and its preparation."""

    make: Callable[[], Any]
    call: Callable[[Any], Any]
    bits: Callable[[Any], list[bytes]]
    """Bytes that a failure must not change."""
    also: tuple[type[BaseException], ...] = ()
    """Exceptions that are allowed besides MemoryError."""
    again: Callable[[Any], Any] | None = None
    """Call that gives the same result after a failure; None: the same call."""


_OF_FIT = ("loss", "classes", "output_kind", "target_shape")
"""What `fit` sets before the first update."""


def frozen_bits(value: Any) -> Any:
    """Convert a result to a value that equals another one only if all bits are equal."""
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, (list, tuple)):
        return [frozen_bits(one) for one in value]
    if isinstance(value, dict):
        return {key: frozen_bits(one) for key, one in value.items()}
    if isinstance(value, fl.Model):
        return [value.get_config(), frozen_bits(value.saved_tensors()), frozen_bits(value.predict(of(value)[0]))]
    return value


def of(model: fl.Model) -> tuple[Any, Any]:
    """Return inputs and targets that fit a model."""
    x = TOKENS if model.takes_tokens else X
    return x, rng_targets((BATCH, TIME, model.output_size) if model.per_step else (BATCH, model.output_size))


def rng_targets(shape: tuple[int, ...]) -> Any:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def model_bits(model: fl.Model) -> list[bytes]:
    """Return the parameters, and everything else that determines what comes next."""
    views = b"".join(p.tobytes() for layer in model.layers for p in layer.parameters.values())
    config = {name: value for name, value in model.get_config().items() if name not in _OF_FIT}
    flags = [model.frozen, len(model.flat_gradients), [sorted(layer.gradients) for layer in model.layers]]
    return [model.flat_parameters.tobytes(), views, json.dumps([config, flags]).encode()]


# ------------------------------------------------------------------ models, by the layer that they are about

LAST = {"return_sequences": True}
STACKS: dict[str, Callable[[], list[Any]]] = {
    "lstm": lambda: [fl.LSTM(11), fl.Dense(2)],
    "deep": lambda: [fl.LSTM(9, num_layers=3, dropout=0.2, input_dropout=0.1, residual=True), fl.Dense(2)],
    "both ways": lambda: [fl.LSTM(9, bidirectional=True, merge="product", **LAST), fl.MeanPool(), fl.Dense(2)],
    "both ways, final": lambda: [fl.LSTM(9, num_layers=2, bidirectional=True, merge="mean"), fl.Dense(2)],
    "reverse": lambda: [fl.LSTM(9, reverse=True, learn_state=True), fl.Dense(2)],
    "projection": lambda: [fl.LSTM(9, proj_size=4, peepholes=True), fl.Dense(2)],
    "coupled": lambda: [fl.LSTM(9, coupled=True, cell_clip=1.0, recurrent_dropout=0.2), fl.Dense(2)],
    "layer norm": lambda: [fl.LSTM(9, num_layers=2, layer_norm=True, zoneout_h=0.2), fl.Dense(2)],
    "other functions": lambda: [fl.LSTM(9, gate_activation="hard_sigmoid", variational_dropout=0.2), fl.Dense(2)],
    "pools": lambda: [fl.LSTM(9, **LAST), fl.MaxPool(), fl.Dropout(0.2), fl.Dense(2), fl.Activation("elu")],
    "attention": lambda: [fl.LSTM(9, **LAST), fl.AttentionPool(6), fl.Dense(2), fl.Activation("softmax")],
    "last step": lambda: [fl.GaussianNoise(0.1), fl.LSTM(9, **LAST), fl.LastStep(), fl.Dense(2)],
    "masking": lambda: [fl.Masking(), fl.LSTM(9, **LAST), fl.LSTM(7), fl.Dense(2)],
    "tokens": lambda: [fl.Embedding(7, 5, mask_token=0), fl.LSTM(9, **LAST), fl.Dense(7)],
    "each step": lambda: [fl.LSTM(9, **LAST), fl.Dense(4)],
}
STREAMED = ("lstm", "deep", "projection", "coupled", "layer norm", "attention", "each step")


def model_of(name: str, **options: Any) -> fl.Model:
    layers = STACKS[name]()
    if name != "tokens":
        options["input_size"] = FEATURES
    return fl.Model(layers, seed=3, **options)


def scaled(name: str) -> fl.Model:
    return model_of(name) if name == "tokens" else model_of(name, scaler=fl.Standardizer().fit(X))


def weights(model: fl.Model) -> list[bytes]:
    return [model.flat_parameters.tobytes()]


def from_the_first(model: fl.Model) -> fl.Model:
    """Reset the count of passes: a pass that was complete before the failure drew its masks already."""
    model.network.passes = 0
    return model


def stepping(name: str, *arguments: Any) -> Operation:
    """Run forward and backward; zero_grad removes what a failed backward added to the gradients."""
    return Operation(
        lambda: model_of(name),
        lambda model: step_by_hand(model, *arguments),
        weights,
        again=lambda model: step_by_hand(from_the_first(model), *arguments),
    )


def step_by_hand(model: fl.Model, threads: int = 1, every: int | None = None, lengths: Any = None) -> Any:
    x, _ = of(model)
    model.zero_grad()
    out = model.forward(x, lengths, training=True, n_threads=threads, recompute_every=every)
    return [out, model.backward(np.ones_like(out)), model.flat_gradients.copy()]


def fit(pair: tuple[fl.Model, fl.Optimizer], **arguments: Any) -> Any:
    model, optimizer = pair
    x, y = of(model)
    y = TOKENS if model.takes_tokens else y
    given = {
        "loss": "cross_entropy" if model.takes_tokens else "mse",
        "epochs": 1,
        "batch_size": BATCH,
        "verbose": 0,
        "optimizer": optimizer,
        **arguments,
    }
    history = model.fit(given.pop("X", x), given.pop("y", y), **given)
    return [history.history, model_bits(model), frozen_bits(optimizer.state_dict())]


def fit_bits(pair: tuple[fl.Model, fl.Optimizer]) -> list[bytes]:
    model, optimizer = pair
    moments = {name: value for name, value in optimizer.state_dict().items() if name not in ("start", "epochs")}
    if not any(np.any(value) for value in moments.values()):
        moments = {}  # allocated, and still zero: the same as not allocated
    return [*model_bits(model), repr(frozen_bits(moments)).encode()]


def optimizer_after(batches: int) -> fl.Optimizer:
    optimizer = fl.Adam()
    for _ in range(batches):
        fit((model_of("lstm"), optimizer))
    return optimizer


def fitting(name: str = "lstm", make: Callable[[], fl.Optimizer] = fl.Adam, **arguments: Any) -> Operation:
    return Operation(lambda: (model_of(name), make()), lambda pair: fit(pair, **arguments), fit_bits)


def classifier() -> fl.Model:
    model = scaled("lstm")
    model.loss = "cross_entropy"
    return model


def inference(name: str, call: Callable[[fl.Model], Any], frozen: bool = False) -> Operation:
    return Operation(lambda: scaled(name).freeze() if frozen else scaled(name), call, model_bits)


# ------------------------------------------------------------------ files

FOLDER = Path(tempfile.mkdtemp())
SAVED = FOLDER / "saved.safetensors"
FOREIGN = FOLDER / "foreign.safetensors"
WRITTEN = FOLDER / "written.safetensors"


def save(model: fl.Model) -> bytes:
    model.save(WRITTEN)
    return WRITTEN.read_bytes()


def saving() -> fl.Model:
    WRITTEN.write_bytes(b"old")
    return scaled("deep")


def written_bits(model: fl.Model) -> list[bytes]:
    """Return the model and the file, which is the old one or the new one; no other file may be in the folder."""
    whole = WRITTEN.read_bytes() in (b"old", COMPLETE)
    left = sorted(path.name for path in FOLDER.iterdir())
    return [*model_bits(model), repr((whole, left)).encode()]


def prepare_files() -> None:
    global COMPLETE
    scaled("deep").save(SAVED)
    WRITTEN.write_bytes(b"old")
    COMPLETE = save(scaled("deep"))
    tensors = model_of("lstm").to_torch_state_dict(["lstm", "fc"])
    safetensors.numpy.save_file(tensors, FOREIGN)


COMPLETE = b""


def checkpointing(pair: tuple[fl.Model, fl.Optimizer]) -> Any:
    saver = fl.Checkpoint(FOLDER / "checkpoint", on_error="raise")
    result = fit(pair, callbacks=[saver])
    (FOLDER / "checkpoint").unlink()
    return result


# ------------------------------------------------------------------ streams


def stream_of(name: str) -> Any:
    return scaled(name).stream(BATCH)


def stream_bits(stream: Any) -> list[bytes]:
    return [part.tobytes() for pair in stream.state for part in pair]


def set_state(stream: Any) -> Any:
    stream.state = [(h + 1, c - 1) for h, c in stream.state]
    return stream.state


def loss_and_gradient(loss: losses.Loss) -> Any:
    out = rng_targets((BATCH, TIME, 3))
    target = np.array([[*word, *[-100] * (3 - len(word))] for word in WORDS])
    total, weight, gradient = loss(out, target, LENGTHS, n_threads=1)
    return [total, weight, gradient.copy(), loss.metric(out, target, LENGTHS)]


def ctc() -> losses.Loss:
    return losses.CTC(zero_infinity=True)


def none(_: Any) -> list[bytes]:
    return []


def build(layers: list[Any]) -> Any:
    return fl.Model(layers, input_size=FEATURES, seed=3)


OPERATIONS: dict[str, Operation] = {
    **{f"forward, {name}": inference(name, lambda m: m.forward(of(m)[0])) for name in STACKS},
    **{f"training, {name}": inference(name, lambda m: m.forward(of(m)[0], training=True)) for name in STACKS},
    **{f"step, {name}": stepping(name) for name in STACKS},
    "step, 2 threads": stepping("deep", 2),
    "step, checkpoints": stepping("deep", 1, 3),
    "step, lengths": stepping("deep", 1, None, LENGTHS),
    "step, states": Operation(
        lambda: model_of("reverse"),
        lambda m: [
            m.zero_grad(),
            m.forward(X, training=True, return_state=True),
            m.backward(np.ones((BATCH, 2)), return_d_state=True),
            m.flat_gradients.copy(),
        ],
        weights,
    ),
    **{f"fit, {name}": fitting(name) for name in STACKS},
    "fit, 2 threads": fitting("deep", n_threads=2),
    "fit, lengths": fitting("deep", lengths=LENGTHS),
    "fit, recompute_every": fitting("deep", recompute_every=3),
    "fit, tbptt": fitting("each step", tbptt_steps=20),
    "fit, sgd": fitting("lstm", lambda: fl.SGD(0.1, momentum=0.9, nesterov=True, clip_value=0.01)),
    "fit, rmsprop": fitting("lstm", lambda: fl.RMSprop(0.1, momentum=0.9)),
    "fit, adamw": fitting("lstm", lambda: fl.AdamW(0.1)),
    "fit, classes": fitting("deep", X=X, y=LABELS, loss="cross_entropy", class_weight="balanced"),
    "fit, ctc": fitting("each step", X=X, y=WORDS, loss="ctc"),
    "fit, validation": fitting("lstm", validation_data=(X, rng_targets((BATCH, 2)))),
    "fit, scalers": Operation(
        lambda: (fl.Model(STACKS["lstm"](), scaler=fl.Standardizer(), target_scaler=fl.Standardizer()), fl.Adam()),
        lambda pair: fit(pair, X=X, y=rng_targets((BATCH, 2))),
        lambda pair: [bytes(pair[1].iterations)],  # the call builds the model
    ),
    "fit, checkpoint": Operation(lambda: (model_of("lstm"), fl.Adam()), checkpointing, fit_bits),
    "predict, lengths": inference("deep", lambda m: m.predict(X, LENGTHS, batch_size=2)),
    "predict, 2 threads": inference("deep", lambda m: m.predict(X, n_threads=2)),
    "predict, list": inference("each step", lambda m: m.predict([one[:n] for one, n in zip(X, LENGTHS, strict=True)])),
    "predict, frozen": inference("deep", lambda m: [m.predict(X), m.predict(X)], frozen=True),
    "predict, attention, frozen": inference("attention", lambda m: [m.predict(X), m.predict(X)], frozen=True),
    "predict_classes": Operation(classifier, lambda m: m.predict_classes(X), model_bits),
    "evaluate": inference("lstm", lambda m: m.evaluate(X, LABELS, loss="cross_entropy")),
    "evaluate, ctc": inference("each step", lambda m: m.evaluate(X, WORDS, loss="ctc", lengths=None)),
    "stream": inference("deep", lambda m: m.stream(BATCH).step(X[:, 0])),
    **{
        f"stream, step, {name}": Operation(lambda n=name: stream_of(n), lambda s: s.step(X[:, 0]), stream_bits)
        for name in STREAMED
    },
    **{
        f"stream, run, {name}": Operation(lambda n=name: stream_of(n), lambda s: s.run(X), stream_bits)
        for name in STREAMED
    },
    "stream, state": Operation(lambda: stream_of("deep"), set_state, stream_bits),
    "stream, reset": Operation(lambda: stream_of("deep"), lambda s: s.reset([0, 2]), stream_bits),
    "freeze": Operation(lambda: scaled("deep"), lambda m: m.freeze().predict(X), weights),
    "unfreeze": Operation(
        lambda: scaled("deep").freeze(),
        lambda m: step_by_hand(m.unfreeze()),
        weights,
        again=lambda m: step_by_hand(from_the_first(m.unfreeze())),
    ),
    "build": Operation(lambda: STACKS["deep"](), build, none),
    "save": Operation(saving, save, written_bits),
    "load": Operation(lambda: None, lambda _: fl.load(SAVED), none, (OSError,)),
    "from_torch": Operation(lambda: None, lambda _: fl.from_torch(FOREIGN), none, (OSError,)),
    "load_state_dict": Operation(
        lambda: (model_of("deep"), {k: v + 1.0 for k, v in model_of("deep").state_dict().items()}),
        lambda pair: pair[0].load_state_dict(pair[1]),
        lambda pair: model_bits(pair[0]),
    ),
    "load_state_dict, float64": Operation(
        lambda: (
            model_of("deep"),
            {k: v[...].astype("f8") for k, v in model_of("deep", dtype="f8").parameters().items()},
        ),
        lambda pair: pair[0].load_state_dict(pair[1]),
        lambda pair: model_bits(pair[0]),
    ),
    "optimizer.load_state_dict": Operation(
        lambda: (optimizer_after(1), optimizer_after(2).state_dict()),
        lambda pair: [pair[0].load_state_dict(pair[1]), pair[0].state_dict()],
        lambda pair: [repr(frozen_bits(pair[0].state_dict())).encode()],
    ),
    "ctc": Operation(ctc, loss_and_gradient, none),
    "ctc_decode": Operation(lambda: None, lambda _: fl.ctc_decode(rng_targets((3, 20, 5))), none),
    "ctc_decode, beam": Operation(
        lambda: None, lambda _: fl.ctc_decode(rng_targets((3, 20, 5)), [20, 4, 0], beam_width=8), none
    ),
    "generate": inference("tokens", lambda m: fl.generate(m, [[1, 2, 3], [4, 5]], 5, temperature=0.7, top_k=3, seed=1)),
}


# ------------------------------------------------------------------ the run


def passing(operation: Operation, state: Any, k: int) -> tuple[Any, BaseException | None]:
    """Return the result or the error of a call in which the k-th allocation fails; with k = 0 none fails."""
    result, error = None, None
    AT.value, SEEN.value, HIT.value = k, 0, 0
    ON.value = 1
    try:
        result = operation.call(state)
    except BaseException as raised:
        error = raised
    finally:
        ON.value = 0
    return result, error


def chain_of(error: BaseException | None) -> list[type[BaseException]]:
    kinds = []
    while error is not None:
        kinds.append(type(error))
        error = error.__cause__
    return kinds


def told(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return f"{error!r} at " + " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames))


def expected_kind(operation: Operation, error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, operation.also) and getattr(error, "errno", None) == errno.ENOMEM


def numpys(error: BaseException) -> bool:
    """Tell whether NumPy or Python has lost the error of a small object of its own: NumPy's of 2056 bytes for an index.

    Python reports that with a SystemError. From this package's C code it would be a fault.
    """
    if not isinstance(error, SystemError) or SIZE.value > 4096:
        return False
    frame = traceback.extract_tb(error.__traceback__)[-1]
    ours = frame.filename.endswith(".pyx") or any(name in (frame.line or "") for name in OUR_C)
    return not ours and ("without setting an exception" in str(error) or "without exception set" in str(error))


OUR_C = ("_core.", "lstm.forward(", "].backward(", "super().", "self._add_", "self._begin", "self._end")


def tried(operation: Operation) -> dict[str, Any]:
    """Fail at every allocation in turn; return what that and the same call afterwards result in."""
    state = operation.make()
    before = operation.bits(state)
    for _ in range(2):  # the first call of a process makes caches
        fresh = operation.make()
        expected = frozen_bits(operation.call(fresh))
    after = operation.bits(fresh)
    problems: list[str] = []
    found = {"allocations": 0, "raised": 0, "completed": 0, "later": 0, "numpys": 0, "problems": problems}
    k = 1
    while len(problems) < 20:
        state = operation.make()
        result, error = passing(operation, state, k)
        hit, seen = HIT.value, SEEN.value
        if not hit:
            if error is not None:
                problems.append(f"{k}: without a failure: {told(error)}")
            elif frozen_bits(result) != expected:
                problems.append(f"{k}: another result without a failure")
            found["allocations"] = seen
            break
        bits = operation.bits(state)
        if error is None:
            found["completed"] += 1
            if frozen_bits(result) != expected:
                problems.append(f"{k}: nothing was raised, and the result is another one")
        elif not (expected_kind(operation, error) or numpys(error)):
            problems.append(f"{k}: {SIZE.value} bytes: {told(error)}")
        elif bits == after and bits != before:
            found["later"] += 1  # the failure came after everything was done
        elif bits != before:
            differ = [n for n, (a, b) in enumerate(zip(bits, before, strict=False)) if a != b]
            problems.append(f"{k}: the state has changed ({differ}): {told(error)}")
        else:
            found["raised"] += 1
            found["numpys"] += isinstance(error, SystemError)
            try:
                again = frozen_bits((operation.again or operation.call)(state))
            except BaseException as raised:
                problems.append(f"{k}: the call afterwards: {told(raised)}, after: {told(error)}")
            else:
                if again != expected:
                    problems.append(f"{k}: the call afterwards gives another result, after {told(error)}")
        result = error = None
        if k % 50 == 0:
            gc.collect()
        k += 1
    return found


def main() -> None:
    settings = json.loads(sys.argv[1])
    warnings.simplefilter("ignore")
    _core.always_wake(True)
    gc.disable()  # otherwise it would run at different allocations each time
    sys.unraisablehook = lambda unraisable: None  # e.g. of a warning that could not be shown
    prepare_files()
    assert LIBRARY.faults_spare(b"libgomp") + LIBRARY.faults_spare(b"_safetensors_rust") > 0
    for name in settings["only"]:
        assert LIBRARY.faults_only(name.encode())
    for name in settings["within"]:
        assert LIBRARY.faults_within(name.encode())
    LEAST.value, STAY.value = settings["least"], settings["stay"]
    for name, operation in OPERATIONS.items():
        if any(name.startswith(prefix) for prefix in settings["names"]):
            print(json.dumps({"name": name, **tried(operation)}), flush=True)
    for path in FOLDER.iterdir():
        path.unlink()
    os.rmdir(FOLDER)


if __name__ == "__main__":
    main()
