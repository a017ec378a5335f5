"""The peer PyTorch in eager mode, with default settings; in float32, and with all numbers in bfloat16."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..cases import CLIP_NORM, EPOCH_LR, TRAIN_LR, Array, Case, Data, Problem
from ..verify import NARROW_TOLERANCES, TOLERANCES, Answer
from . import Runner, local

NAME = "PyTorch"


def version() -> str:
    """Return the version."""
    import torch

    return str(torch.__version__)


def prepare(case: Case, data: Data, threads: int) -> dict[str, Runner]:
    """Return the runners for a case; see `benchmarks.peers.Peer`.

    With lengths there are two: one with packed sequences, and one that also computes the padding. A step is taken with
    `torch.nn.LSTM` and with `torch.nn.LSTMCell`.
    """
    if case.kind in ("passes", "forward"):
        return {}
    import torch

    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    if case.kind == "epoch":
        return {NAME: _epoch(case.problem, data)}
    if case.kind == "step":
        return {NAME: _step(case.problem, data), f"{NAME} LSTMCell": _step_of_cell(case.problem, data)}
    make = _train if case.kind == "train" else _infer
    if data.lengths is None:
        return {NAME: make(case.problem, data, False), f"{NAME} bf16": make(case.problem, data, False, True)}
    return {f"{NAME} packed": make(case.problem, data, True), f"{NAME} padded": make(case.problem, data, False)}


def _lstm(problem: Problem, data: Data, narrow: bool = False) -> Any:
    import torch

    lstm = torch.nn.LSTM(
        problem.inputs,
        problem.hidden,
        problem.layers,
        batch_first=True,
        bidirectional=problem.bidirectional,
    )
    lstm.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in data.state.items()})
    return lstm.bfloat16() if narrow else lstm


def _tensor(array: Array, narrow: bool) -> Any:
    """Return a copy of an array as a tensor."""
    import torch

    tensor = torch.from_numpy(array.copy())
    return tensor.bfloat16() if narrow else tensor


def _numbers(tensor: Any) -> Array:
    """Return a copy of a tensor as a float32 array; NumPy has no bfloat16."""
    array: Array = tensor.detach().float().numpy().copy()
    return array


def _forward(lstm: Any, x: Any, data: Data, packed: bool) -> Callable[[], Any]:
    """Return a function that computes the output, with or without packed sequences."""
    if not packed:
        return lambda: lstm(x)[0]
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    lengths, time = torch.from_numpy(data.lengths), x.shape[1]

    def forward() -> Any:
        y, _ = lstm(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
        return pad_packed_sequence(y, batch_first=True, total_length=time)[0]

    return forward


def _train(problem: Problem, data: Data, packed: bool, narrow: bool = False) -> Runner:
    import torch

    lstm = _lstm(problem, data, narrow)
    parameters = list(lstm.parameters())
    optimizer = torch.optim.Adam(parameters, lr=TRAIN_LR)
    x = _tensor(data.x, narrow).requires_grad_()
    d_out = _tensor(data.d_out, narrow)
    forward = _forward(lstm, x, data, packed)

    def gradients() -> Any:
        optimizer.zero_grad()
        x.grad = None
        out = forward()
        out.backward(d_out)
        return out

    def run() -> None:
        gradients()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
        optimizer.step()

    def answer() -> Answer:
        result = {"output": _numbers(gradients()), "d x": _numbers(x.grad)}
        result |= {f"d {name}": _numbers(p.grad) for name, p in lstm.named_parameters()}
        torch.nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
        optimizer.step()
        norms = [np.linalg.norm(_numbers(p.grad).astype(np.float64)) for p in parameters]
        result["norm"] = np.float64(np.linalg.norm(norms))
        return result

    return local(run, answer, tolerances=NARROW_TOLERANCES if narrow else TOLERANCES)


def _infer(problem: Problem, data: Data, packed: bool, narrow: bool = False) -> Runner:
    import torch

    forward = _forward(_lstm(problem, data, narrow), _tensor(data.x, narrow), data, packed)

    def run() -> Any:
        # Return the tensor, not .numpy(), which would add a microsecond that the other peers do not need.
        with torch.inference_mode():
            return forward()

    return local(run, lambda: {"output": _numbers(run())}, tolerances=NARROW_TOLERANCES if narrow else TOLERANCES)


def _step(problem: Problem, data: Data) -> Runner:
    import torch

    lstm = _lstm(problem, data)
    series = torch.from_numpy(data.x)
    x, state = series[:, :1].clone(), None

    def run() -> None:
        nonlocal state
        with torch.inference_mode():
            state = lstm(x, state)[1]

    def answer() -> Answer:
        outputs, state = [], None
        with torch.inference_mode():
            for t in range(problem.time):
                y, state = lstm(series[:, t : t + 1], state)
                outputs.append(y)
            return {"output": torch.cat(outputs, 1).numpy()}

    return local(run, answer)


def _step_of_cell(problem: Problem, data: Data) -> Runner:
    import torch

    cell = torch.nn.LSTMCell(problem.inputs, problem.hidden)
    cell.load_state_dict({name.removesuffix("_l0"): torch.from_numpy(value) for name, value in data.state.items()})
    series = torch.from_numpy(data.x)
    x, state = series[:, 0].clone(), None

    def run() -> None:
        nonlocal state
        with torch.inference_mode():
            state = cell(x, state)

    def answer() -> Answer:
        outputs, state = [], None
        with torch.inference_mode():
            for t in range(problem.time):
                state = cell(series[:, t], state)
                outputs.append(state[0])
            return {"output": torch.stack(outputs, 1).numpy()}

    return local(run, answer)


def _epoch(problem: Problem, data: Data) -> Runner:
    import torch

    assert data.series_x is not None and data.series_y is not None
    X, labels = torch.from_numpy(data.series_x), torch.from_numpy(data.series_y)

    def training() -> Callable[[Any], float]:
        """Return a function that trains one epoch in a given order and returns the mean loss."""
        lstm, head = _lstm(problem, data), torch.nn.Linear(problem.hidden, problem.classes)
        assert data.head is not None
        head.load_state_dict(
            {name: torch.from_numpy(value.copy()) for name, value in zip(("weight", "bias"), data.head, strict=True)}
        )
        parameters = [*lstm.parameters(), *head.parameters()]
        optimizer = torch.optim.Adam(parameters, lr=EPOCH_LR)

        def epoch(order: Any) -> float:
            total = 0.0
            for start in range(0, len(order), problem.batch):
                indices = order[start : start + problem.batch]
                optimizer.zero_grad()
                out = head(lstm(X[indices])[1][0][-1])
                loss: Any = torch.nn.functional.cross_entropy(out, labels[indices])
                loss.backward()
                torch.nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
                optimizer.step()
                total += loss.item() * len(indices)
            return total / len(order)

        return epoch

    epoch = training()
    return local(
        lambda: epoch(torch.randperm(len(X))),
        lambda: {"loss": np.float64(training()(torch.arange(len(X))))},
    )
