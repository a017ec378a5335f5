"""Optimizers: one pass over the flat parameter vector of a model.

The formulas are those of torch.optim, computed by the C kernels. An optimizer keeps a state for each model that
it has updated: the moments, which are vectors laid out like the parameters, and the numbers of updates and epochs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol
from weakref import ref

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from . import _checks, _core
from ._arguments import ExplainsArguments, closest
from ._arrays import as_array
from .runtime.buffers import aligned_zeros
from .runtime.config import call_threads
from .schedules import ConstantLR, Schedule, as_schedule

_COUNTS = ("iterations", "epochs", "start")
_MOST = 2**62
_ALWAYS_SQUARED = 1e19
"""A norm that both types can square."""
_LARGEST_TO_SQUARE = {np.dtype(t): math.sqrt(float(np.finfo(t).max)) for t in ("float32", "float64")}


class HasFlatParameters(Protocol):
    """The part of a model that an optimizer uses: two 1-D arrays of the same size and dtype.

    It may also have, as `fastlstm.Model` does, `trainable_ranges`: the slices of the arrays that are updated; and
    `training_key`: the object by which an optimizer recognizes the model. By default that is the model itself.
    """

    @property
    def flat_parameters(self) -> NDArray[Any]: ...

    @property
    def flat_gradients(self) -> NDArray[Any]: ...


class TrainingKey:
    """Identity of a model in training; a model that replaces its key starts anew with every optimizer."""

    __slots__ = ("__weakref__",)


class _State:
    """State of an optimizer for one model."""

    def __init__(self) -> None:
        self.owner: Callable[[], object] | None = None
        """Returns the key of the model while it exists; None: the next model takes the state."""
        self.iterations = 0
        self.epochs = 0
        self.start = 0
        """Number of the update at which the schedule was at step 0."""
        self.steps_per_epoch = 0
        """Of the last run of `Model.fit`; 0: there was none."""
        self.moments: dict[str, NDArray[Any]] = {}
        self.layout: tuple[int, np.dtype[Any]] | None = None


class Optimizer(ExplainsArguments):
    """Base class of the optimizers: clipping, learning rate, state.

    One update does, in this order: clip every gradient to ``[-clip_value, clip_value]``; if the 2-norm of the
    whole gradient exceeds `clip_norm`, scale the gradient down to `clip_norm`; compute the learning rate of this
    step; update the parameters in place.

    The parameters of layers with ``trainable = False`` are left out of all this, and so are their moments.

    An optimizer may update several models; it keeps a state of its own for each of them, as long as the model exists.
    Attributes and `state_dict` show that of the model that was updated last. A copy or a pickle of an optimizer has no
    state, so it starts anew; `state_dict` and `load_state_dict` carry the state over.

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
    epochs : int
        Epochs that `Model.fit` has completed so far.
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
        """Forget the state of every model, so that the next step is a first step.

        `Model.reset_training` forgets that of one model.
        """
        self._states: list[_State] = []
        """One for each model; those of models that are gone are dropped when another model is selected."""
        self._now = _State()
        self._in_use = False

    @property
    def iterations(self) -> int:
        """Updates made so far."""
        return self._now.iterations

    @property
    def epochs(self) -> int:
        """Epochs that `Model.fit` has completed so far."""
        return self._now.epochs

    @epochs.setter
    def epochs(self, value: int) -> None:
        self._now.epochs = value

    def select(self, model: HasFlatParameters) -> None:
        """Make the state of a model the current one; `step` calls this.

        A model that is new to the optimizer starts with no state, unless `load_state_dict` was called before: then it
        takes the loaded state.
        """
        key, now = getattr(model, "training_key", model), self._now
        if now.owner is not None and now.owner() is key:
            return
        states = [state for state in self._states if state.owner is not None and state.owner() is not None]
        known = [state for state in states if state.owner is not None and state.owner() is key]
        if now.owner is None:
            self._check_layout(now, model.flat_parameters)
            states = [state for state in states if state not in known]
        elif known:
            now = known[0]
        else:
            now = _State()
        if now.owner is None:
            try:
                now.owner = ref(key)
            except TypeError:
                now.owner = partial(_same, key)
            states.append(now)
        self._states, self._now = states, now

    def state_dict(self) -> dict[str, Any]:
        """Return the state: the numbers of updates and epochs and, after the first update, a copy of each moment.

        Returns
        -------
        dict
            ``"iterations"`` and ``"epochs"``, each an int; ``"start"``, an int, is the number of the update at which
            the schedule began. The moments are arrays of the model's dtype, laid out like its `flat_parameters`:
            ``"m"`` of SGD with momentum, ``"v"`` (and ``"m"`` with momentum) of RMSprop, ``"m"`` and ``"v"`` of Adam.
        """
        now = self._now
        moments = {name: moment.copy() for name, moment in now.moments.items()}
        return {"iterations": now.iterations, "epochs": now.epochs, "start": now.start, **moments}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state that `state_dict` returned, of an optimizer of the same class and arguments.

        The model that is updated next takes the state.

        Raises
        ------
        TypeError, ValueError
            If `state` has other moments, or arrays of different sizes or types. The optimizer is then unchanged, as it
            is after a MemoryError.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"state must be the result of state_dict(), got {_checks.short_repr(state)}")
        moments = {name: as_array(value, str(name)) for name, value in state.items() if name not in _COUNTS}
        new = _State()
        new.start = _checks.count("start", state.get("start", 0), least=-_MOST)
        new.iterations = _checks.count("iterations", state.get("iterations"), least=max(new.start, 0))
        new.epochs = _checks.count("epochs", state.get("epochs", 0), least=0)
        if set(moments) != (set(self._moments) if moments or new.iterations else set()):
            raise ValueError(
                f"the state has the moments {sorted(map(str, moments))} after {new.iterations} updates, expected "
                f"{sorted(self._moments)}: the state belongs to an optimizer with other arguments"
            )
        layouts = {(moment.shape, moment.dtype) for moment in moments.values()}
        if len(layouts) > 1 or any(len(shape) != 1 or dtype.kind != "f" for shape, dtype in layouts):
            raise ValueError(
                f"the moments must be 1-D real arrays of the same size and type, got {sorted(map(str, layouts))}"
            )
        if moments:
            ((shape, dtype),) = layouts
            new.layout = shape[0], dtype
            new.moments = self._new_moments(*new.layout)
            for name, moment in new.moments.items():
                moment[...] = moments[name]
        self._now = new

    @property
    def lr(self) -> float:
        """Learning rate of the next update. Setting it replaces the schedule by a constant rate."""
        return self.schedule(self._now.iterations - self._now.start)

    @lr.setter
    def lr(self, value: float) -> None:
        self.schedule = ConstantLR(value)

    def bind(self, steps_per_epoch: int, epochs: int, model: HasFlatParameters | None = None) -> None:
        """Begin a run: bind the schedule to the length of the run. `Model.fit` calls this.

        A schedule that depends on the number of epochs starts at step 0. Another one continues where the last run of
        the model ended, in epochs if the number of steps per epoch has changed.

        Parameters
        ----------
        steps_per_epoch, epochs : int
            Length of the run.
        model : Model, optional
            The model that will be trained, whose state becomes the current one.
        """
        schedule = self.schedule.bind(steps_per_epoch, epochs)
        if model is not None:
            self.select(model)
        self.schedule, now = schedule, self._now
        before = now.steps_per_epoch
        if schedule.restarts:
            now.start = now.iterations
        elif before not in (0, steps_per_epoch):
            now.start = now.iterations - round((now.iterations - now.start) * steps_per_epoch / before)
        now.steps_per_epoch = steps_per_epoch

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Return the context of a run; RuntimeError if the optimizer is in another run at this time."""
        if self._in_use:
            raise RuntimeError(
                f"this {type(self).__name__} is in use by another fit at this time: give each model that is trained "
                "at the same time its own optimizer"
            )
        self._in_use = True
        try:
            yield
        finally:
            self._in_use = False

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
            If a loaded state belongs to a model of another size or dtype, or no layer is trainable.
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
        now = self._now
        if now.owner is None or now.owner() is not getattr(model, "training_key", model):
            self.select(model)
            now = self._now
        if now.layout != (parameters.size, parameters.dtype):
            self._prepare(parameters)
        threads = call_threads(n_threads)
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
        if norm > _ALWAYS_SQUARED and "v" in self._moments and norm > _LARGEST_TO_SQUARE[gradients.dtype]:
            raise FloatingPointError(
                f"the gradient's square does not fit {gradients.dtype} (its norm is {norm:.3g}) at update "
                f"{self.iterations + 1}; the parameters are unchanged. clip_norm, a smaller learning rate or scaled "
                "inputs usually help"
            )
        lr = self.schedule(now.iterations - now.start)
        now.iterations += 1
        try:
            if ranges is None:
                self._update(parameters, gradients, lr, threads)
            else:
                self._update_ranges(ranges, parameters, gradients, lr, threads)
        except Exception:
            now.iterations -= 1  # the update was not made
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
        now = self._now
        self._check_layout(now, parameters)
        if now.layout is None:
            layout = (parameters.size, parameters.dtype)
            now.moments = self._new_moments(*layout)
            now.layout = layout

    def _check_layout(self, state: _State, parameters: NDArray[Any]) -> None:
        if state.layout not in (None, (parameters.size, parameters.dtype)):
            size, dtype = state.layout
            raise ValueError(
                f"the state of this {type(self).__name__} belongs to a model of {size} {dtype} parameters, but got a "
                f"model of {parameters.size} {parameters.dtype}: load the state of this model, or call reset() first"
            )

    @property
    def _state(self) -> dict[str, NDArray[Any]]:
        """Moments of the current model."""
        return self._now.moments

    @_state.setter
    def _state(self, value: dict[str, NDArray[Any]]) -> None:
        self._now.moments = value

    def __getstate__(self) -> dict[str, Any]:
        """Return the arguments, for copy and pickle: a copy is a new optimizer, which starts anew."""
        run = ("_states", "_now", "_in_use")
        return {name: value for name, value in self.__dict__.items() if name not in run}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.reset()

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
        now = self._now
        m, v = now.moments["m"], now.moments["v"]
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
            now.iterations,
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


def _same(thing: object) -> object:
    return thing


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


def get_optimizer(optimizer: Optimizer | str | None, own: Optimizer | None = None) -> Optimizer:
    """Return `optimizer` as an object: for a name one with default arguments, for None ``Adam(lr=1e-3)``.

    A name or None gives `own`, the optimizer that a model has from earlier calls, if it is of this class.

    Raises
    ------
    ValueError
        If there is no optimizer of that name.
    TypeError
        If `optimizer` is neither a name nor an `Optimizer`.
    """
    if isinstance(optimizer, Optimizer):
        return optimizer
    named = _class_of("adam" if optimizer is None else optimizer)
    return own if own is not None and type(own) is named else named()


def named_optimizer(name: str, **arguments: Any) -> Optimizer:
    """Return a new optimizer of a name such as "adam", with these arguments.

    Raises
    ------
    ValueError
        If there is no optimizer of that name, or an argument is wrong.
    TypeError
        If `name` is not a str.
    """
    return _class_of(name)(**arguments)


def _class_of(name: Any) -> type[SGD] | type[RMSprop] | type[Adam] | type[AdamW]:
    if not isinstance(name, str):
        raise TypeError(f"optimizer must be a name or an object such as fl.Adam(), got {_checks.short_repr(name)}")
    if name.lower() not in _BY_NAME:
        near = closest(name, _BY_NAME)
        advice = "" if near is None else f"; did you mean {near!r}?"
        raise ValueError(f"unknown optimizer {name!r}, expected one of {', '.join(sorted(_BY_NAME))}{advice}")
    return _BY_NAME[name.lower()]
