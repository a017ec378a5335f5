"""Find the arguments with which a model computes what a module does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise, permutations, product

import numpy as np

from ...layers import LSTM
from ...model import Model
from .compare import Run, Runs, compared, difference
from .functions import function_part
from .order import flaw
from .parts import Part
from .stack import is_pooled, last_lstm, model_of, takes_windows

__all__ = ["cure"]

_MAX_NUMBERS = 4_000_000
"""Number of weights above which nothing is tried: each trial runs a model."""
_MAX_TRIALS = 600
_POOLS = (None, "last", "mean", "max")
_BETWEEN = (None, "relu", "tanh", "leaky_relu", "elu", "sigmoid")
_AFTER_LSTM = (None, "relu", "tanh")
_AT_END = (None, "sigmoid", "softmax", "tanh", "relu")


def cure(parts: Sequence[Part], runs: Runs) -> str:
    """Return the advice that makes the model equal to the module, or what may; a sentence, to precede another.

    Tried are what modules mostly do in their ``forward``: pooling after the last LSTM, activations after it, between
    linear layers and at the end, and other orders of the layers.
    """
    weighted = [part for part in parts if part.weights]
    if sum(value.size for part in weighted for value in part.weights.values()) <= _MAX_NUMBERS:
        for trial, (stack, sequences) in enumerate(_candidates(weighted)):
            if trial == _MAX_TRIALS:
                break
            if difference(stack, sequences, runs, limit=1).ratio > runs.tolerance:
                continue
            if difference(stack, sequences, runs).ratio <= runs.tolerance:
                order = f"order={[part.name for part in stack]}"
                more = ", return_sequences=True" if sequences and last_lstm(stack) is not None else ""
                return f"With {order}{more} the model computes what the module does. "
    if _is_log_softmax(parts, runs):
        return (
            "The module ends with log_softmax, whose counterpart is the softmax of Model.predict_proba: with "
            "check=False the model returns the scores before it. "
        )
    encoder = _repeated(parts, runs)
    if encoder is not None:
        return (
            f"It repeats the final step of {encoder} at each step of a new series, as fl.RepeatVector does, which "
            "from_torch cannot read: export the module with torch.onnx.export, and read the file with fl.from_onnx. "
        )
    names = [part.name for part in weighted]
    return (
        f"State what the forward does with order=[...], for example order={[*names, 'sigmoid']}, or return_sequences=. "
    )


def _candidates(weighted: Sequence[Part]) -> Iterator[tuple[list[Part], bool]]:
    """Yield stacks to try, the simplest first, each with whether its last LSTM returns every step."""
    orders = [list(weighted)]
    if len(weighted) <= 5:
        orders += [list(one) for one in permutations(weighted) if list(one) != orders[0]]
    # The first layer must read the input with which the module has been run.
    orders = [one for one in orders if flaw(one) is None and one[0].in_features == weighted[0].in_features]
    for choice in sorted(
        product(_BETWEEN, _AFTER_LSTM, _AT_END), key=lambda one: sum(name is not None for name in one)
    ):
        for order in orders if choice == (None, None, None) else orders[:1]:
            for stack, sequences in _placed(order, *choice):
                if flaw(stack) is None:
                    yield stack, sequences


def _placed(
    order: Sequence[Part], between: str | None, after_lstm: str | None, at_end: str | None
) -> Iterator[tuple[list[Part], bool]]:
    """Yield the layers with these activations, for each way to pool; nothing if an activation has no place."""
    last = last_lstm(order)
    pairs = any(a.kind == b.kind == "Linear" for a, b in pairwise(order))
    if (between and not pairs) or (after_lstm and last in (None, len(order) - 1)):
        return
    for pool in _POOLS if last is not None else _POOLS[:1]:
        stack: list[Part] = []
        for k, part in enumerate(order):
            if between and stack and stack[-1].kind == part.kind == "Linear":
                stack += _functions(between)
            stack.append(part)
            if isinstance(part.layer, LSTM) and k == last:
                stack += _functions(pool, after_lstm)
        stack += _functions(at_end)
        yield stack, False
        if pool is None and last is not None and not takes_windows(order):
            yield stack, True


def _functions(*names: str | None) -> list[Part]:
    parts = [function_part(name) for name in names if name]
    return [part for part in parts if part is not None]


def _is_log_softmax(parts: Sequence[Part], runs: Runs) -> bool:
    every_step = last_lstm(parts) is not None and not takes_windows(parts)
    for sequences in (False, True) if every_step else (False,):
        model = model_of(parts, sequences, None, 0)
        for run in runs.trials[0].runs[:1]:
            scores = model.forward(run.x).astype(np.float64)
            shifted = scores - scores.max(axis=-1, keepdims=True)
            logs = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
            for output in run.outputs:
                if output.shape == logs.shape and scores.shape[-1] > 1 and np.isfinite(output).all():
                    if np.abs(output - logs).max() <= runs.tolerance * np.abs(output).max():
                        return True
    return False


def _repeated(parts: Sequence[Part], runs: Runs) -> Part | None:
    """Return the LSTM whose final step the module repeats, as the series that the next layers read; None if none."""
    recurrent = [k for k, part in enumerate(parts) if isinstance(part.layer, LSTM)]
    for k in recurrent[:-1]:
        if is_pooled(parts) or takes_windows(parts):
            break
        encoder, decoder = model_of(parts[: k + 1], False, None, 0), model_of(parts[k + 1 :], True, None, 0)
        if all(_repeats(encoder, decoder, run, runs) for run in runs.trials[0].runs):
            return parts[k]
    return None


def _repeats(encoder: Model, decoder: Model, run: Run, runs: Runs) -> bool:
    vectors = encoder.forward(run.x)[:, None]
    return any(
        compared(decoder.forward(np.repeat(vectors, steps, axis=1)), output, run, runs.time_first).ratio
        <= runs.tolerance
        for output in run.outputs
        for steps in set(output.shape[:2])
    )
