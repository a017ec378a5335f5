"""Save and restore the state of a training run.

The file is a model file, which `fastlstm.load` reads, with additional data: under ``"training"`` in the config, and in
tensors whose names begin with ``"training."``. These are

- ``run``: the arguments of the run, which must be the same when it is continued;
- ``environment``: what else determines the bits of the result;
- ``progress``: the epoch, its completed updates, and the sums over them;
- the state of the optimizer for this model and that of the callbacks, the record of the epochs, the LSTM states of
  series that are fed in segments, and the last weights whose loss was finite.
"""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import _checks, _core
from .._typing import Array
from .._version import __version__
from ..data import SCALERS
from ..formats import safetensors
from ..formats.safetensors import RUN_KEY, RUN_PREFIX
from ..inference.feeding import Feed
from ..optimizers import Optimizer
from ..protocols import TrainableModel
from ..schedules import ConstantLR, Schedule
from .callbacks.base import Callback
from .history import History

__all__ = ["Progress", "RunState", "SavedRun", "described", "environment"]

_DTYPES = ("float32", "float64", "int64")
_MOST = 2**62
_RATES = 1000
"""Number of steps at which the learning rates of two runs of different length are compared."""


@dataclass
class Progress:
    """Progress of a run, between two updates."""

    epoch: int = 1
    """Current epoch, counted from 1 over all runs of the model with this optimizer."""
    before: int = 0
    """Epochs of the runs before this one."""
    batch: int = 0
    """Completed updates of this epoch."""
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0, 0.0])
    """Sums of loss, weights of the loss, metric, weights of the metric, over these updates."""
    last_lr: float = math.nan
    """Learning rate of the last update."""
    stopped: bool = False
    """Whether a callback has ended the run."""

    def add(self, loss: float, loss_weight: float, metric: float, metric_weight: float) -> None:
        """Add the values of a batch to the sums."""
        for place, value in enumerate((loss, loss_weight, metric, metric_weight)):
            self.sums[place] += value

    def next_epoch(self) -> None:
        """Go to the beginning of the next epoch."""
        self.epoch += 1
        self.batch = 0
        self.sums = [0.0, 0.0, 0.0, 0.0]


@dataclass(eq=False)
class RunState:
    """Parts of a run that a file holds."""

    model: TrainableModel
    optimizer: Optimizer
    history: History
    feed: Feed
    last_finite_parameters: Array
    progress: Progress
    callbacks: Sequence[Callback]
    arguments: dict[str, Any] = field(default_factory=dict)
    """Arguments of the run, as data for JSON."""
    schedule: Schedule | None = None
    """The optimizer's schedule at the beginning of the run."""

    def saved(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Return tensors (views, not copies) and config of the whole state.

        Raises
        ------
        TypeError
            If a callback's state cannot be saved, or a callback has replaced the schedule by one that cannot.
        """
        tensors: dict[str, Array] = {}
        training = {
            "run": self.arguments,
            "environment": environment(),
            "progress": {
                "epoch": self.progress.epoch,
                "before": self.progress.before,
                "batch": self.progress.batch,
                "stopped": self.progress.stopped or any(callback.stop_training for callback in self.callbacks),
            },
            "optimizer": _encoded(self.optimizer.state_dict(), "optimizer", tensors),
            "lr": self._changed_rate(),
            "callbacks": [
                [name, _encoded(state, f"callback.{index}", tensors)]
                for index, (name, state) in enumerate(_states_of(self.callbacks))
            ],
        }
        tensors["sums"] = np.array([*self.progress.sums, self.progress.last_lr], np.float64)
        tensors["good"] = self.last_finite_parameters
        for index, (h, c) in enumerate(self.feed.states):
            tensors.update({f"state.{index}.h": h, f"state.{index}.c": c})
        tensors.update({f"history.{name}": np.array(v, np.float64) for name, v in self.history.history.items()})
        named = {RUN_PREFIX + name: tensor for name, tensor in tensors.items()}
        return {**self.model.saved_tensors(), **named}, {**self.model.get_config(), RUN_KEY: training}

    def _changed_rate(self) -> float | None:
        """Return the constant rate that a callback has set; None if the schedule is still that of the beginning."""
        schedule = self.optimizer.schedule
        if schedule is self.schedule:
            return None
        if type(schedule) is not ConstantLR:
            raise TypeError(
                f"the schedule was replaced by {schedule!r} during the run, and a checkpoint can save only a constant "
                "rate: set optimizer.lr to a number, or give the optimizer this schedule from the beginning"
            )
        return schedule.lr


class SavedRun:
    """A saved run, which can be continued."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        tensors, config = safetensors.load(path)
        self._path = os.fspath(path)
        of_run = {name for name in tensors if name.startswith(RUN_PREFIX)}
        self._tensors = {name.removeprefix(RUN_PREFIX): tensors[name] for name in tensors if name in of_run}
        self._of_model = {name: tensors[name] for name in tensors if name not in of_run}
        self._config = config
        if not isinstance(config.get(RUN_KEY), dict):
            raise ValueError(
                f"{self._path}: a model without the state of a training run, expected a file that fl.Checkpoint has "
                "written"
            )
        try:
            self._read(config[RUN_KEY])
        except (AttributeError, LookupError, OverflowError, RecursionError, TypeError, ValueError) as error:
            raise ValueError(f"{self._path}: the file does not describe a training run: {error!r}") from error

    def _read(self, training: Mapping[str, Any]) -> None:
        progress = training["progress"]
        sums = self._vector("sums", 5).tolist()
        before = _checks.count("before", progress.get("before", 0), least=0)  # older files have no such entry
        epoch = _checks.count("epoch", progress["epoch"], least=before + 1)
        batch = _checks.count("batch", progress["batch"], least=0)
        self.progress = Progress(epoch, before, batch, sums[:4], sums[4], bool(progress["stopped"]))
        self.arguments: dict[str, Any] = {"shards": 1, **training["run"]}  # older files have no such entry
        self.epochs = _checks.count("epochs", self.arguments["epochs"])
        self.environment: dict[str, Any] = dict(training["environment"])
        self._optimizer: dict[str, Any] = dict(_decoded(training["optimizer"], self._tensors))
        _checks.count("epochs", self._optimizer.setdefault("epochs", epoch - 1), least=0)
        start = _checks.count("start", self._optimizer["start"], least=-_MOST)
        self._updates = _checks.count("iterations", self._optimizer["iterations"], least=max(start, 0)) - start
        self._layers = len([_checks.as_bool("trainable", one.get("trainable", True)) for one in self._config["layers"]])
        if self._updates + start > _MOST or _checks.count("steps", self._config["steps"], least=0) > _MOST:
            raise ValueError(f"implausible number of updates: {self._updates + start}")
        self._lr = None if training["lr"] is None else _checks.non_negative("lr", training["lr"])
        self._callbacks = [(str(name), dict(_decoded(state, self._tensors))) for name, state in training["callbacks"]]
        self.history = {name: self._vector(f"history.{name}").tolist() for name in self.arguments["names"]}
        if {len(values) for values in self.history.values()} != {epoch - 1 - before}:
            raise ValueError(f"the record of the epochs must have {epoch - 1 - before} values for each name")

    def _vector(self, name: str, size: int | None = None) -> Array:
        vector = self._tensors[name]
        if vector.ndim != 1 or vector.dtype != np.float64 or size not in (None, vector.size):
            raise ValueError(f"{name} is not a vector of {'' if size is None else f'{size} '}float64 numbers")
        return vector

    # ------------------------------------------------------------------------------------------ checks

    def check(self, state: RunState) -> None:
        """Raise ValueError if the run to be continued is not that of the file; change nothing."""
        for name, was, now in _differences(self.arguments, json.loads(json.dumps(state.arguments))):
            if name != "epochs":
                raise ValueError(self._refusal(name, was, now))
        done = self.progress.epoch - 1 - self.progress.before
        if state.arguments["epochs"] < done:
            raise ValueError(
                f"{self._path}: the run has already had {done} epochs, got epochs={state.arguments['epochs']}"
            )
        if state.arguments["epochs"] != self.epochs:
            self._check_rates(state)
        layout = (state.last_finite_parameters.shape, state.last_finite_parameters.dtype)
        vectors = [self._tensors.get("good"), *(one for one in self._optimizer.values() if isinstance(one, np.ndarray))]
        layouts = [None if one is None else (one.shape, one.dtype) for one in vectors]
        known, found = (
            {name: value.shape for name, value in tensors.items() if name.partition(".")[0] not in SCALERS}
            for tensors in (state.model.saved_tensors(), self._of_model)
        )
        layers_fit = self._layers == len(state.model.network.layers)
        if any(one != layout for one in layouts) or found != known or not layers_fit:
            raise ValueError(f"{self._path}: the tensors in it do not fit the model")
        if state.feed.steps and self.progress.batch:
            state.feed.checked_states(self._states())
        self.with_states(state.callbacks)

    def _states(self) -> list[tuple[Array, Array]]:
        """Return the states of the series that are fed in segments."""
        found = [self._tensors.get(f"state.{index}.{part}") for index in range(len(self._tensors)) for part in "hc"]
        known = [one for one in found if one is not None]
        return list(zip(known[::2], known[1::2], strict=False))

    def _refusal(self, name: str, was: Any, now: Any) -> str:
        started = f"{self._path}: the run was started with"
        if name.startswith("data."):
            part, _, what = name.removeprefix("data.").partition(".")
            what = f"{what or 'that'} ({part})"
            was, now = (one if isinstance(one, dict) else {} for one in (was, now))
            differing = [key for key in ("shape", "dtype", "windows_every", "version") if was.get(key) != now.get(key)]
            details = (
                ", ".join(f"{key} {was.get(key)} instead of {now.get(key)}" for key in differing) or "other values"
            )
            return f"{started} other data: {what} had {details}. Give fit the same data, or leave out resume"
        if name == "model.layers" and _is_list_of_dicts(was) and len(was) == len(now):
            index = next(k for k, (a, b) in enumerate(zip(was, now, strict=True)) if a != b)
            old, new = ({"trainable": True, **layers[index]} for layers in (was, now))
            key = (
                "type"
                if old.get("type") != new["type"]
                else next((key for key in (*old, *new) if old.get(key) != new.get(key)), "trainable")
            )
            name, was, now = f"model.layers[{index}].{key}", old.get(key), new.get(key)
        return f"{started} {name}={was!r}, got {now!r}: give fit the same arguments, or leave out resume"

    def _check_rates(self, state: RunState) -> None:
        """Raise ValueError if the new number of epochs would have given other learning rates so far."""
        done, per_epoch = self._updates, state.arguments["steps_per_epoch"]
        before, now = (
            state.optimizer.schedule.bind(per_epoch, epochs) for epochs in (self.epochs, state.arguments["epochs"])
        )
        steps = np.unique(np.linspace(0, max(done - 1, 0), _RATES).astype(int))[: max(done, 0)]
        if any(before(int(step)) != now(int(step)) for step in steps):
            raise ValueError(
                f"{self._path}: the run was started with epochs={self.epochs}, and its learning rates "
                f"({state.optimizer.schedule!r}) depend on this number, got epochs={state.arguments['epochs']}: give "
                "the same number, or load the model by fl.load and start a new run"
            )

    def with_states(self, callbacks: Sequence[Callback]) -> list[tuple[Callback, dict[str, Any]]]:
        """Return each callback with its saved or an empty state; ValueError if the callbacks do not fit the file."""
        waiting = list(self._callbacks)
        pairs: list[tuple[Callback, dict[str, Any]]] = []
        for callback in callbacks:
            name = type(callback).__qualname__
            place = next((k for k, (other, _) in enumerate(waiting) if other == name), None)
            if place is None and _has_state(callback):
                raise ValueError(
                    f"{self._path}: the run was started without {name}: give fit the same callbacks, or start a new "
                    "run without resume"
                )
            pairs.append((callback, {} if place is None else waiting.pop(place)[1]))
        if waiting:
            raise ValueError(
                f"{self._path}: the run was started with {', '.join(name for name, _ in waiting)}: give fit the same "
                "callbacks, or start a new run without resume"
            )
        return pairs

    # ------------------------------------------------------------------------------------------ restoring

    def restore(self, state: RunState) -> None:
        """Restore optimizer, record and progress; `restore_weights` restores the rest."""
        for name, was, now in _differences(self.environment, environment()):
            warnings.warn(
                f"{self._path}: the run was started with {name} {was} and continues with {now}: the result may differ "
                "in its last digits from that of an uninterrupted run",
                UserWarning,
                stacklevel=7,  # the line of the user that calls Model.fit
            )
        state.optimizer.load_state_dict(self._optimizer)
        state.optimizer.select(state.model)
        if self._lr is not None:
            state.optimizer.lr = self._lr
        state.history.first_epoch = self.progress.before + 1
        for name, values in self.history.items():
            state.history.history[name] = list(values)
        state.progress.__dict__.update(self.progress.__dict__)

    def resume_callback(self, callback: Callback, remembered: dict[str, Any]) -> None:
        """Resume a callback from its saved state; ValueError if the state does not fit it."""
        try:
            callback.on_resume(self.progress.epoch, self.progress.batch, remembered)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(
                f"{self._path}: {type(callback).__qualname__} cannot continue from its saved state: {error!r}"
            ) from error

    def restore_weights(self, state: RunState) -> None:
        """Restore the model and the states of series that are fed in segments."""
        state.model.restore(self._of_model, self._config)
        np.copyto(state.last_finite_parameters, self._tensors["good"])
        if state.feed.steps and self.progress.batch:
            state.feed.continue_from(state.feed.checked_states(self._states()))


def environment() -> dict[str, Any]:
    """Return what determines the bits of a result in addition to the arguments of a run."""
    return {
        "fastlstm": __version__,
        "arithmetic": "fused multiply-adds" if _core.fused() else "separate roundings",
    }


def described(thing: Any) -> Any:
    """Return class name and config of an object as data for JSON; only the name if it has no such config."""
    try:
        config = thing.get_config()
        json.dumps(config)
    except (NotImplementedError, TypeError, ValueError):
        config = {}
    return {"type": type(thing).__qualname__, **config}


def _differences(was: Any, now: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the entries of nested mappings that differ: path, old value, new value; a fingerprint is one entry."""
    if isinstance(was, dict) and isinstance(now, dict) and not {"sha256", "type"} & (was.keys() | now.keys()):
        for key in [*was, *(key for key in now if key not in was)]:
            yield from _differences(was.get(key), now.get(key), f"{name}.{key}" if name else key)
    elif was != now:
        yield name, was, now


def _is_list_of_dicts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


def _states_of(callbacks: Sequence[Callback]) -> Iterator[tuple[str, dict[str, Any]]]:
    for callback in callbacks:
        if _has_state(callback):
            yield type(callback).__qualname__, callback.state_dict()


def _has_state(callback: Callback) -> bool:
    return type(callback).state_dict is not Callback.state_dict


def _encoded(value: Any, place: str, tensors: dict[str, Array]) -> Any:
    """Return a state as data for JSON; put its arrays into `tensors`, named after their position in the state."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(float(value))}
    if isinstance(value, np.generic):
        return _encoded(value.item(), place, tensors)
    if isinstance(value, np.ndarray) and value.dtype.name in _DTYPES:
        tensors[place] = value
        return {"tensor": place}
    if isinstance(value, (list, tuple)):
        return [_encoded(one, f"{place}.{index}", tensors) for index, one in enumerate(value)]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _encoded(one, f"{place}.{key}", tensors) for key, one in value.items()}}
    got = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
    raise TypeError(
        f"the state of a callback or optimizer holds {got} ({place}), expected None, bool, int, float, str, lists and "
        f"dicts of these with str keys, and arrays of {', '.join(_DTYPES)}"
    )


def _decoded(value: Any, tensors: Mapping[str, Array]) -> Any:
    if isinstance(value, list):
        return [_decoded(one, tensors) for one in value]
    if isinstance(value, dict):
        if "float" in value:
            return float(value["float"])
        if "tensor" in value:
            return tensors[value["tensor"]]
        return {key: _decoded(one, tensors) for key, one in value["dict"].items()}
    return value
