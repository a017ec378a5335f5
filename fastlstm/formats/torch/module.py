"""From a torch.nn.Module to a model that computes the same."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from ...layers import LSTM
from ...model import Model
from .compare import Difference, Runs, check_device, difference, run_module
from .cure import cure
from .modules import module_parts
from .order import arranged, reordered
from .parts import Part
from .stack import is_pooled, last_lstm, model_of, takes_windows

__all__ = ["from_module"]

_WRAPPERS = {
    ("torch._dynamo.eval_frame", "OptimizedModule"): "_orig_mod",
    ("torch.nn.parallel.data_parallel", "DataParallel"): "module",
    ("torch.nn.parallel.distributed", "DistributedDataParallel"): "module",
}
"""Classes that only run another module, and the attribute that holds it."""
_UNSEEN = (
    "from_torch sees the layers of a module, not its forward: not a functional relu, a mean over the steps, layers in "
    "another order than the one in which they were defined, a layer that is used twice or not at all, one vector that "
    "is repeated at each step, or output[:, -1] of a bidirectional LSTM"
)


_RANDOM = (
    "It gives other numbers for the same input, even in eval mode: does its forward keep a state from call to call, or "
    "call F.dropout without training=self.training? "
)


def from_module(
    module: Any,
    sequences: bool | None,
    check: bool,
    dtype: npt.DTypeLike | None,
    order: Sequence[Any] | None,
    seed: int,
) -> Model:
    """Return a model with the layers and weights of a module; `fastlstm.from_torch` of a module."""
    for _ in range(len(_WRAPPERS)):
        held = _WRAPPERS.get((type(module).__module__, type(module).__qualname__))
        module = module if held is None else getattr(module, held)
    check_device(module, check)
    groups = [[part] for part in module_parts(module)]
    alone = len(groups) == 1 and isinstance(groups[0][0].layer, LSTM) and not groups[0][0].name
    if order is not None:
        groups = reordered(groups, order)
    parts = arranged(groups, True)
    pooled = is_pooled(parts)
    if sequences and pooled:
        raise ValueError("return_sequences=True contradicts order, which makes one vector out of the steps")
    if not check:
        return model_of(parts, alone if sequences is None else sequences, dtype, seed)
    readings = [False] if pooled or takes_windows(parts) or last_lstm(parts) is None else [True, False]
    tried = run_module(module, parts)
    found = _matching(parts, readings, tried)
    if found is None:
        _warn_of_failure(tried, parts, alone, sequences)
        return model_of(parts, alone if sequences is None else sequences, dtype, seed)
    reading, runs, best = found
    if best.ratio > runs.tolerance:
        raise ValueError(
            f"the module computes something else than the layers {', '.join(map(str, parts))} in this order: "
            f"{best.text}. {_RANDOM if runs.varies else cure(parts, runs)}{_UNSEEN}. check=False takes the layers as "
            "they are"
        )
    if sequences is not None and len(readings) > 1 and sequences != reading:
        returned = "every step" if reading else "only the final step"
        raise ValueError(
            f"return_sequences is {sequences}, but the module returns {returned}: pass return_sequences={reading} or "
            f"nothing; return_sequences={sequences} with check=False makes a model that does otherwise than the module"
        )
    if runs.errors:
        compared = len(runs.trials[0].runs)
        (batch, time), error = runs.errors[0]
        warnings.warn(
            f"the module's forward raised {_described(error)} on {batch} series of {time} steps; from_torch has "
            f"compared it with the model on {compared} other inputs only",
            UserWarning,
            stacklevel=3,
        )
    return model_of(parts, reading, dtype, seed)


def _matching(
    parts: Sequence[Part], readings: Sequence[bool], tried: Sequence[Runs]
) -> tuple[bool, Runs, Difference] | None:
    """Return the reading that is nearest to the module, with its runs and its difference; None if nothing ran.

    A reading says whether the last LSTM returns every step.
    """
    best: tuple[bool, Runs, Difference] | None = None
    for runs in tried:
        if not runs.trials:
            continue
        found = min(
            ((reading, runs, difference(parts, reading, runs)) for reading in readings), key=lambda one: one[2].ratio
        )
        # If nothing matches, the likely order of axes is the one to speak of.
        if best is None or found[2].ratio <= runs.tolerance < best[2].ratio:
            best = found
    return best


def _described(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__} ({text[:200]})" if text else type(error).__name__


def _warn_of_failure(tried: Sequence[Runs], parts: Sequence[Part], alone: bool, sequences: bool | None) -> None:
    """Warn that the module could not be run, with what it raised."""
    (batch, time), error = tried[0].errors[0] if tried[0].errors else tried[-1].errors[0]
    returned = ""
    if sequences is None and not alone and last_lstm(parts) is not None and not is_pooled(parts):
        returned = ", and takes the final step of the last LSTM (return_sequences=True: every step)"
    warnings.warn(
        f"the module cannot be compared with the model: its forward raised {_described(error)} on {batch} series of "
        f"{time} steps. from_torch takes the layers {', '.join(map(str, parts))} in this order{returned}. {_UNSEEN}. "
        "Compare the outputs yourself; check=False says that they are right",
        UserWarning,
        stacklevel=4,
    )
