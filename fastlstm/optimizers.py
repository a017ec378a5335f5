"""Optimizers: one pass over the flat parameter vector of a model.

The formulas are those of torch.optim, computed by the C kernels. The state of an optimizer (moments, number
of updates) lives in the optimizer; the moments are vectors laid out like the parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from . import _checks, _core
from ._arguments import ExplainsArguments, closest
from ._arrays import as_array
from .runtime.buffers import aligned_zeros
from .runtime.config import resolve_threads
from .schedules import ConstantLR, Schedule, as_schedule

_LARGEST_TO_SQUARE = {np.dtype(t): math.sqrt(float(np.finfo(t).max)) for t in ("float32", "float64")}


class HasFlatParameters(Protocol):
    """The part of a model that an optimizer uses: two 1-D arrays of the same size and dtype.

    It may also have `trainable_ranges`, as `fastlstm.Model` does: the slices of the arrays that are updated.
    """

    @property
    def flat_parameters(self) -> NDArray[Any]: ...

    @property
    def flat_gradients(self) -> NDArray[Any]: ...


class Optimizer(ExplainsArguments):
    """Base class of the optimizers: clipping, learning rate, state.

    One update does, in this order: clip every gradient to ``[-clip_value, clip_value]``; if the 2-norm of the
    whole gradient exceeds `clip_norm`, scale the gradient down to `clip_norm`; compute the learning rate of this
    step; update the parameters in place.

    The parameters of layers with ``trainable = False`` are left out of all this, and so are their moments.

    An optimizer belongs to one model: its state is created at the first update. To use it for another model, or
    to start again, call `reset`.

    Parameters
    ----------
    lr : float or Schedule
        Learning rate, or its schedule.
    weight_decay : float, default 0.0
        Strength of weight decay, >= 0.
    clip_norm : float, optional
        Largest 2-norm of the whole gradient, > 0.
    clip_value : float, optional
        Largest absolute value of each gradient, > 0.

    Attributes
    ----------
    iterations : int
        Updates made so far.
    schedule : Schedule
        The schedule in use; a plain number becomes `ConstantLR`.
    """

    name: str
    _moments: tuple[str, ...] = ()

    def __init__(
        self,
        lr: float | Schedule,
        weight_decay: float = 0.0,
        *,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        self.schedule = as_schedule(lr)
        self.weight_decay = _checks.non_negative("weight_decay", weight_decay)
        self.clip_norm = None if clip_norm is None else _checks.positive("clip_norm", clip_norm)
        self.clip_value = None if clip_value is None else _checks.positive("clip_value", clip_value)
        self.reset()

    def reset(self) -> None:
        """Forget the moments and the number of updates, so that the next step is a first step."""
        self.iterations = 0
        self._start = 0
        self._state: dict[str, NDArray[Any]] = {}
        self._layout: tuple[int, np.dtype[Any]] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the state: the number of updates and, after the first one, a copy of each moment.

        Returns
        -------
        dict
            ``"iterations"``, an int, is the number of updates; ``"start"``, an int, is the number of those before the
            current run. The moments are arrays of the model's dtype, laid out like its `flat_parameters`: ``"m"`` of
            SGD with momentum, ``"v"`` (and ``"m"`` with momentum) of RMSprop, ``"m"`` and ``"v"`` of Adam.
        """
        moments = {name: moment.copy() for name, moment in self._state.items()}
        return {"iterations": self.iterations, "start": self._start, **moments}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state that `state_dict` returned, of an optimizer of the same class and arguments.

        Raises
        ------
        TypeError, ValueError
            If `state` has other moments, or arrays of different sizes or types. The optimizer is then unchanged, as it
            is after a MemoryError.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"state must be the result of state_dict(), got {_checks.short_repr(state)}")
        moments = {
            name: as_array(value, str(name)) for name, value in state.items() if name not in ("iterations", "start")
        }
        start = _checks.count("start", state.get("start", 0), least=0)
        iterations = _checks.count("iterations", state.get("iterations"), least=start)
        if set(moments) != (set(self._moments) if moments or iterations else set()):
            raise ValueError(
                f"the state has the moments {sorted(map(str, moments))} after {iterations} updates, expected "
                f"{sorted(self._moments)}: the state belongs to an optimizer with other arguments"
            )
        layouts = {(moment.shape, moment.dtype) for moment in moments.values()}
        if len(layouts) > 1 or any(len(shape) != 1 or dtype.kind != "f" for shape, dtype in layouts):
            raise ValueError(
                f"the moments must be 1-D real arrays of the same size and type, got {sorted(map(str, layouts))}"
            )
        new: dict[str, NDArray[Any]] = {}
        layout = None
        if moments:
            ((shape, dtype),) = layouts
            layout = shape[0], dtype
            new = self._new_moments(*layout)
            for name, moment in new.items():
                moment[...] = moments[name]
        self.reset()
        self.iterations, self._start, self._state, self._layout = iterations, start, new, layout

    @property
    def lr(self) -> float:
        """Learning rate of the next update. Setting it replaces the schedule by a constant rate."""
        return self.schedule(self.iterations - self._start)

    @lr.setter
    def lr(self, value: float) -> None:
        self.schedule = ConstantLR(value)

    def bind(self, steps_per_epoch: int, epochs: int) -> None:
        """Begin a run: bind the schedule to the length of the run and start at step 0. `Model.fit` calls this."""
        self.schedule = self.schedule.bind(steps_per_epoch, epochs)
        self._start = self.iterations

    def step(self, model: HasFlatParameters, n_threads: int | None = None) -> None:
        """Update the parameters of `model` with its gradients.

        Clipping changes the gradients in place.

        Parameters
        ----------
        model : Model
            Any object with `flat_parameters` and `flat_gradients`: 1-D arrays of the same size, float32 or float64.
        n_threads : int, optional
            Number of threads; by default as configured (`fastlstm.set_num_threads`). The result does not depend
            on it.

        Raises
        ------
        ValueError
            If this optimizer has already updated a model of another size or dtype, or no layer is trainable.
        RuntimeError
            If the model is frozen.
        FloatingPointError
            If a gradient is NaN or infinite, or too large to be squared (1.8e19 in float32) in an optimizer that
            squares gradients. The parameters are unchanged.
        """
        parameters, gradients = model.flat_parameters, model.flat_gradients
        if not parameters.flags.writeable:
            raise RuntimeError("the model is frozen, its parameters are read-only: call model.unfreeze() before step")
        ranges: Sequence[slice] | None = getattr(model, "trainable_ranges", None)
        if ranges is not None:
            if not ranges:
                raise ValueError("no layer is trainable: set trainable = True for one that has parameters")
            _zero_others(gradients, ranges)
        self._prepare(parameters)
        threads = resolve_threads(n_threads)
        # Compute the norm before clip_value, which would hide an infinity; and in every step, because a bad update
        # cannot be undone.
        norm = _core.grad_norm(gradients, threads)
        if not math.isfinite(norm):
            raise FloatingPointError(
                f"the gradient is not finite (its norm is {norm}) at update {self.iterations + 1}; the "
                "parameters are unchanged. A smaller learning rate or scaled inputs usually help"
            )
        if self.clip_value is not None:
            _core.clip_value(gradients, self.clip_value, threads)
            if self.clip_norm is not None:
                norm = _core.grad_norm(gradients, threads)
        if self.clip_norm is not None and norm > self.clip_norm:
            _core.scale(gradients, self.clip_norm / norm, threads)
            norm = self.clip_norm
        # An overflow in the mean of squares would be permanent, and its parameter would never change again.
        if "v" in self._moments and norm > _LARGEST_TO_SQUARE[gradients.dtype]:
            raise FloatingPointError(
                f"the gradient's square does not fit {gradients.dtype} (its norm is {norm:.3g}) at update "
                f"{self.iterations + 1}; the parameters are unchanged. clip_norm, a smaller learning rate or scaled "
                "inputs usually help"
            )
        lr, before = self.lr, self.iterations
        self.iterations = before + 1
        try:
            if ranges is None:
                self._update(parameters, gradients, lr, threads)
            else:
                self._update_ranges(ranges, parameters, gradients, lr, threads)
        except Exception:
            self.iterations = before  # undo the count: the update was not made
            raise

    def get_config(self) -> dict[str, Any]:
        """Return name and arguments, ready for JSON; `lr` is a number or the configuration of the schedule."""
        constant = isinstance(self.schedule, ConstantLR)
        return {
            "name": self.name,
            "lr": self.lr if constant else self.schedule.get_config(),
            "weight_decay": self.weight_decay,
            "clip_norm": self.clip_norm,
            "clip_value": self.clip_value,
        }

    def _new_moments(self, size: int, dtype: npt.DTypeLike) -> dict[str, NDArray[Any]]:
        # Positions 0 and 1 are those of the parameters and the gradients.
        return {name: aligned_zeros(size, dtype, position) for position, name in enumerate(self._moments, start=2)}

    def _prepare(self, parameters: NDArray[Any]) -> None:
        layout = (parameters.size, parameters.dtype)
        if self._layout is None:
            self._state = self._new_moments(*layout)
            self._layout = layout
        elif self._layout != layout:
            size, dtype = self._layout
            raise ValueError(
                f"this {type(self).__name__} has updated a model of {size} {dtype} parameters, but got a model of "
                f"{layout[0]} {layout[1]}: make a new optimizer for the new model, or call reset() first"
            )

    def _update(self, p: NDArray[Any], g: NDArray[Any], lr: float, threads: int) -> None:
        raise NotImplementedError

    def _update_ranges(
        self, ranges: Sequence[slice], p: NDArray[Any], g: NDArray[Any], lr: float, threads: int
    ) -> None:
        """Do `_update` for each range, with the moments of the range as the state."""
        whole = self._state
        try:
            for part in ranges:
                self._state = {name: moment[part] for name, moment in whole.items()}
                self._update(p[part], g[part], lr, threads)
                for name, moment in self._state.items():
                    if not np.may_share_memory(moment, whole[name]):  # an optimizer that replaces its arrays
                        whole[name][part] = moment
        finally:
            self._state = whole

    def __repr__(self) -> str:
        arguments = ", ".join(
            f"{key}={value!r}" for key, value in self.get_config().items() if key != "name" and value is not None
        )
        return f"{type(self).__name__}({arguments})"


class SGD(Optimizer):
    """Stochastic gradient descent with optional momentum (as torch.optim.SGD with dampening 0).

    ``g += weight_decay * p``; ``m = momentum * m + g``; the step is ``m``, or ``g + momentum * m`` with
    Nesterov's momentum, or ``g`` without momentum; ``p -= lr * step``.

    Parameters
    ----------
    lr : float or Schedule, default 1e-2
        Learning rate.
    momentum : float, default 0.0
        Fraction of the last step that is added to the next one, in [0, 1).
    nesterov : bool, default False
        Look ahead along the momentum; needs ``momentum > 0``.
    weight_decay, clip_norm, clip_value
        See `Optimizer`; the decay is an L2 penalty, added to the gradient after clipping.
    """

    name = "sgd"

    def __init__(
        self,
        lr: float | Schedule = 1e-2,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        *,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        super().__init__(lr, weight_decay, clip_norm=clip_norm, clip_value=clip_value)
        self.momentum = _checks.below_one("momentum", momentum)
        self.nesterov = _checks.as_bool("nesterov", nesterov)
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov=True needs momentum > 0, for example momentum=0.9")
        self._moments = ("m",) if self.momentum else ()

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum, "nesterov": self.nesterov}

    def _update(self, p: NDArray[Any], g: NDArray[Any], lr: float, threads: int) -> None:
        m = self._state.get("m")
        _core.sgd_step(p, g, m, lr, self.momentum, self.nesterov, self.weight_decay, threads)


class RMSprop(Optimizer):
    """RMSprop (Hinton 2012; as torch.optim.RMSprop, not centered).

    The gradient is divided by the root of its running mean square:
    ``g += weight_decay * p``; ``v = alpha * v + (1 - alpha) * g**2``; ``d = g / (sqrt(v) + eps)``;
    ``m = momentum * m + d`` if there is momentum; ``p -= lr * (m or d)``.

    Parameters
    ----------
    lr : float or Schedule, default 1e-2
        Learning rate.
    alpha : float, default 0.99
        Smoothing factor of the mean square, in [0, 1).
    eps : float, default 1e-8
        Added to the square root in the denominator, > 0.
    momentum : float, default 0.0
        Fraction of the last step that is added to the next one, in [0, 1).
    weight_decay, clip_norm, clip_value
        See `Optimizer`; the decay is an L2 penalty, added to the gradient after clipping.
    """

    name = "rmsprop"

    def __init__(
        self,
        lr: float | Schedule = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        *,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        super().__init__(lr, weight_decay, clip_norm=clip_norm, clip_value=clip_value)
        self.alpha = _checks.below_one("alpha", alpha)
        self.eps = _checks.positive("eps", eps)
        self.momentum = _checks.below_one("momentum", momentum)
        self._moments = ("v", "m") if self.momentum else ("v",)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha, "eps": self.eps, "momentum": self.momentum}

    def _update(self, p: NDArray[Any], g: NDArray[Any], lr: float, threads: int) -> None:
        v, m = self._state["v"], self._state.get("m")
        _core.rmsprop_step(p, g, v, m, lr, self.alpha, self.eps, self.momentum, self.weight_decay, threads)


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015, arXiv:1412.6980; as torch.optim.Adam).

    ``g += weight_decay * p``; ``m = beta1 * m + (1 - beta1) * g``; ``v = beta2 * v + (1 - beta2) * g**2``;
    ``p -= lr / (1 - beta1**t) * m / (sqrt(v / (1 - beta2**t)) + eps)`` at update t = 1, 2, ...

    Parameters
    ----------
    lr : float or Schedule, default 1e-3
        Learning rate.
    betas : (float, float), default (0.9, 0.999)
        Smoothing factors of the mean and of the mean square, each in [0, 1).
    eps : float, default 1e-8
        Added to the square root in the denominator, > 0.
    weight_decay, clip_norm, clip_value
        See `Optimizer`; the decay is an L2 penalty, added to the gradient after clipping (decoupled in
        `AdamW`).
    """

    name = "adam"
    _moments = ("m", "v")
    _decoupled = False

    def __init__(
        self,
        lr: float | Schedule = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        super().__init__(lr, weight_decay, clip_norm=clip_norm, clip_value=clip_value)
        if not isinstance(betas, (list, tuple)) or len(betas) != 2:
            raise ValueError(f"betas must be two numbers, got {_checks.short_repr(betas)}")
        self.betas = (_checks.below_one("betas[0]", betas[0]), _checks.below_one("betas[1]", betas[1]))
        self.eps = _checks.positive("eps", eps)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "betas": list(self.betas), "eps": self.eps}

    def _update(self, p: NDArray[Any], g: NDArray[Any], lr: float, threads: int) -> None:
        m, v = self._state["m"], self._state["v"]
        beta1, beta2 = self.betas
        _core.adam_step(
            p,
            g,
            m,
            v,
            lr,
            beta1,
            beta2,
            self.eps,
            self.weight_decay,
            self._decoupled,
            self.iterations,
            threads,
        )


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv:1711.05101; as torch.optim.AdamW).

    ``p -= lr * weight_decay * p`` instead of the decay in the gradient; otherwise as `Adam`.

    Parameters
    ----------
    lr : float or Schedule, default 1e-3
        Learning rate.
    betas : (float, float), default (0.9, 0.999)
        Smoothing factors of the mean and of the mean square, each in [0, 1).
    eps : float, default 1e-8
        Added to the square root in the denominator, > 0.
    weight_decay : float, default 1e-2
        Strength of the decay, >= 0.
    clip_norm, clip_value
        See `Optimizer`.
    """

    name = "adamw"
    _decoupled = True

    def __init__(
        self,
        lr: float | Schedule = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        *,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        super().__init__(lr, betas, eps, weight_decay, clip_norm=clip_norm, clip_value=clip_value)


def _zero_others(gradients: NDArray[Any], ranges: Sequence[slice]) -> None:
    """Set the gradients outside the ranges to zero, so that they count in no norm."""
    start = 0
    for part in ranges:
        gradients[start : part.start] = 0
        start = part.stop
    gradients[start:] = 0


_BY_NAME: dict[str, type[SGD] | type[RMSprop] | type[Adam] | type[AdamW]] = {
    "sgd": SGD,
    "rmsprop": RMSprop,
    "adam": Adam,
    "adamw": AdamW,
}


def get_optimizer(optimizer: Optimizer | str | None) -> Optimizer:
    """Return `optimizer` as an object: for a name one with default arguments, for None ``Adam(lr=1e-3)``.

    Raises
    ------
    ValueError
        If there is no optimizer of that name.
    TypeError
        If `optimizer` is neither a name nor an `Optimizer`.
    """
    if optimizer is None:
        return Adam()
    if isinstance(optimizer, Optimizer):
        return optimizer
    if not isinstance(optimizer, str):
        raise TypeError(f"optimizer must be a name or an object such as fl.Adam(), got {_checks.short_repr(optimizer)}")
    if optimizer.lower() not in _BY_NAME:
        near = closest(optimizer, _BY_NAME)
        advice = "" if near is None else f"; did you mean {near!r}?"
        raise ValueError(f"unknown optimizer {optimizer!r}, expected one of {', '.join(sorted(_BY_NAME))}{advice}")
    return _BY_NAME[optimizer.lower()]()
