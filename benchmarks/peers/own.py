"""The peer fastlstm: the work of `Model.fit`, `Model.predict` and `Model.stream`.

The module works with older builds of the package, too: methods that these do not have are optional.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from ..cases import CLIP_NORM, EPOCH_LR, TRAIN_LR, Array, Case, Data, Problem
from ..verify import NARROW_TOLERANCES, TOLERANCES, Answer
from . import OWN, Runner, local


def version() -> str:
    """Return version, instruction set and compiler."""
    import fastlstm
    from fastlstm import _core

    return f"{fastlstm.__version__} ({_core.isa()}, {_core.compiler()})"


def prepare(case: Case, data: Data, threads: int) -> dict[str, Runner]:
    """Return the runners for a case; with lengths, a second one computes the padding, too. See `Peer`."""
    if case.kind in ("passes", "forward"):
        return _kernels(case, data, threads) | (_kernels(case, data, threads, True) if _rounds() else {})
    make = {"train": _train, "infer": _infer, "step": _step, "epoch": _epoch}[case.kind]
    runners = {OWN: make(case.problem, data, data.lengths, threads)}
    narrow = {"infer": _infer_int8, "step": _step_int8}.get(case.kind)
    if narrow is not None and data.lengths is None and _quantizes():
        runners[f"{OWN} int8"] = narrow(case.problem, data, threads)
    if data.lengths is None and _rounds() and case.kind != "epoch":
        runners[f"{OWN} bf16"] = {"train": _train, "infer": _infer, "step": _step}[case.kind](
            case.problem, data, None, threads, "bfloat16"
        )
    if data.lengths is not None:
        runners[f"{OWN} padded"] = make(case.problem, data, None, threads)
    return runners


def _rounds() -> bool:
    import fastlstm as fl

    return hasattr(fl.Model, "to_precision")


def _tolerances(precision: str | None) -> Mapping[str, float]:
    return TOLERANCES if precision is None else NARROW_TOLERANCES


def _model(problem: Problem, data: Data, classes: int = 0, precision: str | None = None) -> Any:
    import fastlstm as fl

    lstm = fl.LSTM(
        problem.hidden,
        num_layers=problem.layers,
        bidirectional=problem.bidirectional,
        return_sequences=classes == 0,
    )
    layers = [lstm, fl.Dense(classes)] if classes else [lstm]
    narrow = {} if precision is None else {"precision": precision}  # older builds do not know it
    model = fl.Model(layers, input_size=problem.inputs, **narrow)
    state = {f"0.{name}": value for name, value in data.state.items()}
    if data.head is not None:
        state["1.weight"], state["1.bias"] = data.head
    model.load_state_dict(state)
    return model


def _passes(model: Any) -> tuple[Callable[..., Array], Callable[..., Array]]:
    """Return forward and backward; `compare` also measures builds from before there was `Model.network`."""
    if hasattr(model, "network"):
        return model.network.forward, model.network.backward
    return model._forward, model._backward


def _training(
    problem: Problem, data: Data, lengths: Array | None, threads: int, precision: str | None = None
) -> tuple[Callable[[], None], Callable[[], Answer]]:
    import fastlstm as fl

    model = _model(problem, data, precision=precision)
    optimizer = fl.Adam(lr=TRAIN_LR, clip_norm=CLIP_NORM)
    x, d_out = data.x, data.d_out

    forward, backward = _passes(model)

    def gradients() -> tuple[Array, Array]:
        model.zero_grad()
        out = forward(x, lengths, True, threads)
        return out, backward(d_out, True)

    def run() -> None:
        gradients()
        optimizer.step(model, threads)

    def answer() -> Answer:
        out, dx = gradients()
        result = {"output": out.copy(), "d x": dx.copy()}
        result |= {f"d {name.removeprefix('0.')}": g.copy() for name, g in model.gradients().items()}
        optimizer.step(model, threads)  # clips in place
        result["norm"] = np.linalg.norm(model.flat_gradients.astype(np.float64))
        return result

    return run, answer


def _train(problem: Problem, data: Data, lengths: Array | None, threads: int, precision: str | None = None) -> Runner:
    run, answer = _training(problem, data, lengths, threads, precision)
    return local(run, answer, tolerances=_tolerances(precision))


def inference(
    problem: Problem, data: Data, threads: int, lengths: Array | None = None, precision: str | None = None
) -> Callable[[], Array]:
    """Return a function that runs forward; its result is valid until its next call."""
    model = _model(problem, data, precision=precision)
    if hasattr(model, "freeze"):
        model.freeze()  # ONNX Runtime packs the weights once, too
    return partial(_passes(model)[0], data.x, lengths, False, threads)


def _infer(problem: Problem, data: Data, lengths: Array | None, threads: int, precision: str | None = None) -> Runner:
    run = inference(problem, data, threads, lengths, precision)
    return local(run, lambda: {"output": run().copy()}, tolerances=_tolerances(precision))


def _kernels(case: Case, data: Data, threads: int, bf16: bool = False) -> dict[str, Runner]:
    """Return the runner of the kernels, and one that calls them through `Model`."""
    from fastlstm._core import LSTMPass, PackedWeights

    train, state, problem = case.kind == "passes", data.state, case.problem
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    weights = [state[f"{name}_l0"].copy() for name in names]
    for value in weights:
        value.flags.writeable = False  # as in a frozen model, whose weights are packed once
    one, y, dx = LSTMPass(), np.empty_like(data.d_out), np.empty_like(data.x)
    sums = {f"d{name}": np.zeros_like(state[f"{name}_l0"]) for name in names}
    packed = None if train else PackedWeights()
    narrow = {"bf16": True} if bf16 else {}

    def run() -> None:
        one.forward(data.x, *weights, y=y, training=train, packed=packed, n_threads=threads, **narrow)
        if train:
            for total in sums.values():
                total.fill(0)
            one.backward(dy=data.d_out, dx=dx, **sums, n_threads=threads)

    def answer() -> Answer:
        run()
        if not train:
            return {"output": y.copy()}
        return {"output": y.copy(), "d x": dx.copy()} | {f"d {name[1:]}_l0": one.copy() for name, one in sums.items()}

    if bf16:
        return {f"{OWN} bf16": local(run, answer, tolerances=NARROW_TOLERANCES)}
    model = _model(problem, data)
    forward, backward = _passes(model)

    def through_model() -> None:
        model.zero_grad()
        forward(data.x, None, True, threads)
        backward(data.d_out, True)

    whole = through_model if train else inference(problem, data, threads)
    return {OWN: local(run, answer), f"{OWN}, Model": local(whole, None)}


def _quantizes() -> bool:
    import fastlstm as fl

    return hasattr(fl.Model, "quantize")


def _infer_int8(problem: Problem, data: Data, threads: int) -> Runner:
    """Return the runner of a model with weights of 8 bits; not calibrated, like ONNX Runtime's dynamic quantization."""
    model = _model(problem, data).quantize()
    run = partial(_passes(model)[0], data.x, None, False, threads)
    return local(run, lambda: {"output": run().copy()}, tolerances=NARROW_TOLERANCES)


def _step_int8(problem: Problem, data: Data, threads: int) -> Runner:
    model = _model(problem, data).quantize()
    return _stepping(model, problem, data, threads, NARROW_TOLERANCES)


def _step(problem: Problem, data: Data, lengths: Array | None, threads: int, precision: str | None = None) -> Runner:
    return _stepping(_model(problem, data, precision=precision), problem, data, threads, _tolerances(precision))


def _stepping(model: Any, problem: Problem, data: Data, threads: int, tolerances: Mapping[str, float]) -> Runner:
    def answer() -> Answer:
        stream = model.stream(1, threads)
        steps = [stream.step(data.x[:, t]).copy() for t in range(problem.time)]
        return {"output": np.stack(steps, axis=1)}

    step, x = model.stream(1, threads).step, data.x[:, 0].copy()
    run = partial(step, x, step(x).copy())  # by position: a keyword adds the time of a dict to each call
    try:
        run()
    except TypeError:  # a build whose steps all write to one array
        run = partial(step, x)
    return local(run, answer, tolerances=tolerances)


def _epoch(problem: Problem, data: Data, lengths: Array | None, threads: int) -> Runner:
    import fastlstm as fl

    def fit_of(shuffle: bool) -> Any:
        return partial(
            _model(problem, data, problem.classes).fit,
            data.series_x,
            data.series_y,
            optimizer=fl.Adam(lr=EPOCH_LR, clip_norm=CLIP_NORM),
            epochs=1,
            batch_size=problem.batch,
            shuffle=shuffle,
            verbose=0,
            n_threads=threads,
        )

    return local(fit_of(True), lambda: {"loss": np.float64(fit_of(False)().history["loss"][0])})
