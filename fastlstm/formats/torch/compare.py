"""Run a torch.nn.Module and the model that was read from it on the same inputs, and compare."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ..._typing import Array
from ...layers import Embedding, Flatten
from .modules import module_parts
from .parts import Part
from .stack import model_of
from .tensors import is_torch

__all__ = ["Difference", "Run", "Runs", "check_device", "compared", "difference", "run_module"]

_SIZES = ((3, 5), (1, 17), (3, 1), (1, 1), (3, 17), (1, 5))
"""Numbers of series and of steps. They differ, so that an axis is told by its size."""
_SCALES = np.array([1.0, 4.0, 0.25])
"""Of the series of a batch: what cuts off large values (a clamp, relu6) shows at the larger ones."""
_TOLERANCES = {"torch.float64": 1e-8, "torch.float32": 2e-4, "torch.float16": 3e-2, "torch.bfloat16": 1e-1}
"""Relative to the largest output, some 20 times what rounding leaves. What a wrong layer changes is mostly above .1."""


class Run(NamedTuple):
    """One input and what the module returned for it."""

    x: Array
    """(batch, time, features) or token ids (batch, time)."""
    outputs: list[Array]
    """The outputs that may be meant: the only one, the first of a tuple, any of a mapping."""


class Trial(NamedTuple):
    """The runs of a module with one set of weights."""

    weights: Mapping[str, Mapping[str, Array]]
    """For each layer its tensors."""
    runs: list[Run]


class Runs(NamedTuple):
    """All runs of a module with one order of the input's axes."""

    time_first: bool
    """Whether the module was given (time, batch, ...)."""
    trials: list[Trial]
    """With its own weights and, if it can be copied, with random ones; without those in which nothing ran."""
    errors: list[tuple[tuple[int, int], Exception]]
    """Number of series and of steps of the inputs on which `forward` raised, and what it raised."""
    tolerance: float
    varies: bool
    """Whether the module gives other numbers for the same input."""


class Difference(NamedTuple):
    """How far a model is from a module, on the input where it is farthest."""

    ratio: float
    """Largest difference relative to the largest output; infinity if the shapes differ."""
    text: str


def check_device(module: Any, check: bool) -> None:
    """Raise ValueError if the module is on a device from which weights cannot be read, or cannot be compared."""
    for device in {str(one.device) for one in [*module.parameters(), *module.buffers()]}:
        kind = device.partition(":")[0]
        if kind == "meta":
            raise ValueError("the module is on the device 'meta', which holds no numbers: load its weights first")
        if kind != "cpu" and check:
            raise ValueError(
                f"the module is on the device {device!r}, but from_torch compares on the CPU: pass module.cpu(), or "
                "check=False to read the weights without comparing"
            )


def run_module(module: Any, parts: Sequence[Part]) -> list[Runs]:
    """Run a module in eval mode and without gradients, for each order of axes that its input may have.

    A copy of it is also run with random weights. With its own, an activation may change nothing on the few inputs: a
    relu of numbers that are all positive.

    Parameters
    ----------
    module : torch.nn.Module
        Its modes (training or evaluation) and torch's random state are the same afterwards.
    parts : sequence of Part
        Its layers; the first says what goes in.

    Returns
    -------
    list of Runs
        The likely order first, by ``batch_first`` of the module's LSTMs.
    """
    firsts = [bool(one.batch_first) for one in module.modules() if is_torch(one, "LSTM")]
    orders = [False] if not firsts else [not any(firsts), any(firsts)]
    if any(is_torch(one, "LSTMCell") for one in module.modules()):
        orders += [False, True]  # the order is that of a loop in forward
    modules = [(module, _weights(module))]
    with _evaluating(module):
        try:
            other = copy.deepcopy(module)
        except Exception as error:  # of tensors that are results of a computation, or whatever the class does
            warnings.warn(
                f"the module cannot be copied ({type(error).__name__}), and is compared with its own weights only: an "
                "activation that changes nothing on the inputs tried is not noticed",
                UserWarning,
                stacklevel=4,
            )
        else:
            _randomize(other)
            modules.append((other, _weights(other)))
        return [_runs(modules, parts, time_first) for time_first in dict.fromkeys(orders)]


def _weights(module: Any) -> dict[str, Mapping[str, Array]]:
    return {part.name: part.weights for part in module_parts(module) if part.weights}


def _randomize(module: Any) -> None:
    """Give a module random weights of moderate size, and small biases, so that its outputs have both signs."""
    import torch

    rng = np.random.default_rng(1)
    for one in module.parameters():
        scale = 0.05 if one.ndim < 2 else 1 / np.sqrt(one.shape[-1])
        one.copy_(torch.from_numpy(scale * rng.standard_normal(tuple(one.shape))))


@contextmanager
def _evaluating(module: Any) -> Iterator[None]:
    import torch

    modes = [(one, one.training) for one in module.modules()]
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            module.eval()
            yield
    finally:
        for one, mode in modes:
            one.training = mode


def _runs(modules: Sequence[tuple[Any, Mapping[str, Any]]], parts: Sequence[Part], time_first: bool) -> Runs:
    import torch

    own = modules[0][0]
    dtypes = [one.dtype for one in own.parameters() if one.is_floating_point()] or [torch.float32]
    rng = np.random.default_rng(0)
    fixed = _fixed_steps(parts)
    factor = _least_steps(parts) if fixed is None else 0
    sizes = [(batch, time * factor) for batch, time in _SIZES]
    if fixed is not None:
        sizes = [(batch, fixed) for batch in (3 if fixed != 3 else 2, 1)]
    drawn = [_drawn(rng, parts, batch, time) for batch, time in sizes]
    trials, errors, varies = [], [], False
    for module, weights in modules:
        runs: list[Run] = []
        for x in drawn:
            given = torch.from_numpy(x)
            given = given.to(dtypes[0]) if given.is_floating_point() else given
            # What the model gets are the numbers that the module gets, rounded to its type.
            seen = given.double().numpy() if given.is_floating_point() else given.numpy()
            try:
                outputs = _outputs(module, given, time_first)
                if not runs and module is own:
                    again = _outputs(module, given, time_first)
                    varies = any(not np.array_equal(a, b, equal_nan=True) for a, b in zip(outputs, again, strict=False))
                runs.append(Run(seen, outputs))
            except Exception as error:  # the forward is the user's and may raise anything
                if module is own:
                    errors.append(((x.shape[0], x.shape[1]), error))
        if any(run.x.shape[1] > factor for run in runs):  # one step alone does not tell the last from every step
            trials.append(Trial(weights, runs))
    return Runs(time_first, trials, errors, max(_TOLERANCES.get(str(one), 1e-1) for one in dtypes), varies)


def _fixed_steps(parts: Sequence[Part]) -> int | None:
    """Return the one number of steps that a Flatten among the layers takes; None if there is none."""
    if not any(isinstance(part.layer, Flatten) for part in parts):
        return None
    for steps in range(1, 4097):
        lengths = np.array([steps])
        try:
            for part in parts:
                lengths = part.layer.steps_after(lengths)
                if isinstance(part.layer, Flatten):
                    return steps
        except ValueError:
            continue
    return 1


def _least_steps(parts: Sequence[Part]) -> int:
    """Return a number of steps that is enough for the windows of all layers: 1, or more than there are series."""
    for steps in (1, *(1 << power for power in range(2, 12))):
        lengths = np.array([steps])
        try:
            for part in parts:
                lengths = part.layer.steps_after(lengths)
        except ValueError:
            continue
        return steps
    return 1


def _outputs(module: Any, x: Any, time_first: bool) -> list[Array]:
    """Return the outputs of a module for an input (batch, time, ...); raise what its forward raises."""
    batch, time = x.shape[:2]
    given = x.transpose(0, 1).contiguous() if time_first else x.clone()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if is_torch(module, "LSTMCell"):
            return [_stepped(module, given)]
        return _arrays(module(given, *_more_arguments(module, batch, time)))


def _stepped(cell: Any, x: Any) -> Array:
    """Return the outputs of an ``nn.LSTMCell`` by itself over the steps of x (batch, time, features)."""
    state, outputs = None, []
    for step in range(x.shape[1]):
        state = cell(x[:, step], state)
        outputs.append(state[0].double().numpy())
    return np.stack(outputs, axis=1)


def _drawn(rng: np.random.Generator, parts: Sequence[Part], batch: int, time: int) -> Array:
    first = parts[0].layer
    if isinstance(first, Embedding):
        return rng.integers(0, first.num_embeddings, (batch, time))
    features = next(part.in_features for part in parts if part.in_features is not None)
    drawn: Array = rng.standard_normal((batch, time, features)) * _SCALES[:batch, None, None]
    return drawn


def _more_arguments(module: Any, batch: int, time: int) -> list[Any]:
    """Return what `forward` requires besides the data: lengths by their name, None for states and masks."""
    import torch

    try:
        parameters = list(inspect.signature(module.forward).parameters.values())[1:]
    except (TypeError, ValueError):
        return []
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [one for one in parameters if one.kind in positional and one.default is inspect.Parameter.empty]
    return [torch.full((batch,), time) if "len" in one.name.lower() else None for one in required]


def _arrays(answer: Any) -> list[Array]:
    """Return the outputs that may be meant; raise TypeError if there is no tensor of floating-point numbers."""
    tensors = _tensors(answer)
    found = [one.detach().cpu().double().numpy() for one in tensors if one.is_floating_point()]
    if not found:
        kinds = [str(one.dtype) for one in tensors] or [type(answer).__name__]
        raise TypeError(f"its output is {kinds[0]}, expected a tensor of floating-point numbers")
    return found


def _tensors(answer: Any) -> list[Any]:
    if is_torch(answer, "Tensor"):
        return [answer]
    if is_torch(answer, "PackedSequence"):
        import torch

        return [torch.nn.utils.rnn.pad_packed_sequence(answer, batch_first=True)[0]]
    if isinstance(answer, Mapping):
        return [tensor for value in answer.values() for tensor in _tensors(value)]
    if isinstance(answer, (tuple, list)) and answer:
        return _tensors(answer[0])
    return []


# ---------------------------------------------------------------------------------------------- comparing


def difference(parts: Sequence[Part], sequences: bool, runs: Runs, limit: int | None = None) -> Difference:
    """Return how far a model of these layers is from the module, on the input where it is farthest.

    Random weights are tried only if the module's own show no difference.

    Parameters
    ----------
    parts : sequence of Part
    sequences : bool
        Whether the last LSTM returns every step.
    runs : Runs
        With at least one trial.
    limit : int, optional
        Maximum number of inputs; all by default.
    """
    worst = Difference(0.0, "")
    for number, trial in enumerate(runs.trials):
        stack = [part._replace(weights=trial.weights.get(part.name, part.weights)) for part in parts]
        model = model_of(stack, sequences, None, 0)
        for run in trial.runs[:limit]:
            got = model.forward(run.x).astype(np.float64)
            found = min((compared(got, one, run, runs.time_first) for one in run.outputs), key=lambda one: one.ratio)
            if found.ratio > worst.ratio:
                worst = found
        if worst.ratio > runs.tolerance:
            return worst._replace(text=f"with random weights in both, {worst.text}") if number else worst
    return worst


def compared(got: Array, output: Array, run: Run, time_first: bool) -> Difference:
    """Return how far a model's output is from one of the module's for the same input."""
    batch, time = run.x.shape[:2]
    where = f"on {batch} series of {time} steps"
    if not np.isfinite(output).all():
        return Difference(np.inf, f"{where} the module returns NaN or infinity")
    best: Difference | None = None
    for one in _arrangements(output, batch, time):
        if [size for size in one.shape if size != 1] != [size for size in got.shape if size != 1]:
            continue
        largest = float(np.abs(output).max(initial=0.0))
        apart = float(np.abs(one.reshape(got.shape) - got).max(initial=0.0))
        ratio = apart / max(largest, np.finfo(np.float32).tiny)
        if best is None or ratio < best.ratio:
            best = Difference(ratio, f"{where} they differ by {apart:.2g} where the largest number is {largest:.2g}")
    if best is not None:
        return best
    axes = "(time, batch, ...)" if time_first else "(batch, time, ...)"
    return Difference(
        np.inf, f"{where}, given as {axes}, the module returns the shape {output.shape}, the model {got.shape}"
    )


def _arrangements(output: Array, batch: int, time: int) -> Iterator[Array]:
    """Yield the output with the series along the first axis and the steps along the second, if it may have both."""
    yield output
    if output.ndim >= 2:
        yield output.swapaxes(0, 1)
    if output.shape[:1] == (batch * time,):  # many a forward makes one axis out of both before a linear layer
        rest = output.shape[1:]
        yield output.reshape(batch, time, *rest)
        yield output.reshape(time, batch, *rest).swapaxes(0, 1)
