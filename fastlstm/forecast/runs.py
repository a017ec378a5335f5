"""A run from its beginning, or from a checkpoint, to its end: progress, Ctrl-C, checkpoints."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from .._checks import MANY, count
from .._typing import Array
from ..formats import atomic, safetensors
from ..layers import layer_config
from ..training.callbacks import Callback
from ..training.callbacks.progress import EpochPrinter, ProgressBar
from ..training.interrupt import BetweenBatches
from ..training.run_state import environment
from .panel import Panel
from .settings import Settings
from .training import Trainer, Walk

__all__ = ["Checkpoint", "run", "run_arguments", "saved_seed"]

_KEY = "forecaster_run"


@dataclass(frozen=True)
class Checkpoint:
    """File of a run that may be interrupted."""

    path: str
    resume: bool
    """Whether to continue the run of the file, if there is one."""
    arguments: dict[str, Any]
    """What `run_arguments` returns: only a run with equal ones can be continued."""

    def save(self, trainer: Trainer) -> None:
        """Write the state of a run between two updates."""
        tensors, described = _state_of(trainer)
        config = {_KEY: {"run": self.arguments, "environment": environment(), **described}}
        safetensors.save(self.path, tensors, config)

    def restore(self, trainer: Trainer) -> None:
        """Give a trainer the state of the file, if there is one and it is to be continued."""
        if not (self.resume and Path(self.path).exists()):
            return
        atomic.remove_leftovers(Path(self.path).parent)
        tensors, config = safetensors.load(self.path)
        if _KEY not in config:
            raise ValueError(f"{self.path}: the file holds no interrupted training of a forecaster")
        described = config[_KEY]
        try:
            before = {"shards": 1, **described["run"]}  # older files have no shards
            differing = [name for name, value in self.arguments.items() if before.get(name) != value]
            if differing:
                raise ValueError(
                    f"the run was started with another {', '.join(differing)}: give the same, or leave out resume"
                )
            _continue_from(trainer, tensors, described)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ValueError(f"{self.path}: the run cannot be continued: {error}") from error


def saved_seed(path: str | os.PathLike[str]) -> int | None:
    """Return the seed of the run in a file; None if there is no such file."""
    if not Path(path).exists():
        return None
    described = safetensors.load(path)[1].get(_KEY)
    arguments = described.get("run") if isinstance(described, dict) else None
    return count("seed", arguments.get("seed"), least=0, bits=MANY) if isinstance(arguments, dict) else None


def run(
    trainer: Trainer, verbose: int, checkpoint: Checkpoint | None, arguments: Mapping[str, Any] | None = None
) -> None:
    """Train to the end of the run; after Ctrl-C save the state, if there is a checkpoint, and raise.

    Of several processes rank 0 alone prints and writes; `arguments` are what all must have in common.
    """
    reduce = trainer.reduce
    if checkpoint is not None:
        if reduce.rank == 0:
            atomic.check_folder(Path(checkpoint.path).parent)
        checkpoint.restore(trainer)
    walk = trainer.walk
    reduce.agree({**(arguments or {}), "resumed run": (walk.epoch, walk.update)})
    written = checkpoint if reduce.rank == 0 else None
    shown = _progress(trainer, verbose)
    interrupt = trainer.interrupt
    try:
        with interrupt:
            goes_on = trainer.goes_on
            while goes_on:
                goes_on = _epoch(trainer, shown)
                if written is not None and goes_on:
                    written.save(trainer)
                interrupt.take(reduce.any(interrupt.noted))
    except KeyboardInterrupt as error:
        trainer.history.interrupted = True
        if written is not None and isinstance(error, BetweenBatches):
            written.save(trainer)
        if reduce.rank == 0:
            place = f"epoch {walk.epoch}, after {walk.update} updates"
            print(f"fastlstm: training interrupted in {place}", file=sys.stderr)
        raise KeyboardInterrupt("training interrupted") from None
    finally:
        if shown is not None:
            shown.on_train_end()
    if written is not None:
        Path(written.path).unlink(missing_ok=True)


def _progress(trainer: Trainer, verbose: int) -> Callback | None:
    """Return what shows the progress, begun at the place of the run."""
    if not verbose or trainer.reduce.rank:
        return None
    shown: Callback = ProgressBar() if verbose == 1 else EpochPrinter()
    network: Any = trainer.network
    shown.attach(network, trainer.optimizer, trainer.history, trainer.epochs, trainer.updates_per_epoch())
    shown.on_resume(trainer.walk.epoch, trainer.walk.update, {})
    return shown


def _epoch(trainer: Trainer, shown: Callback | None) -> bool:
    walk = trainer.walk
    epoch = walk.epoch
    if shown is not None:
        shown.on_epoch_begin(epoch)

    def after_update() -> None:
        if shown is not None:
            shown.on_batch_end(walk.update, {"loss": walk.sums[0] / max(walk.sums[1], 1e-300)})
        trainer.interrupt.take(None if trainer.reduce.alone else trainer.interrupted)

    goes_on = trainer.run_epoch(after_update)
    if shown is not None:
        # The last epochs have no validation loss.
        shown.on_epoch_end(epoch, {n: v[-1] for n, v in trainer.history.history.items() if len(v) == epoch})
    return goes_on


def run_arguments(settings: Settings, panel: Panel, shards: int = 1) -> dict[str, Any]:
    """Return all on which the course of a training depends: the settings, the shards, and a digest of the data."""
    given = {one.name: getattr(settings, one.name) for one in fields(settings)}
    for name in ("verbose", "n_threads"):
        del given[name]
    if settings.layers is not None:
        given["layers"] = [layer_config(layer) for layer in settings.layers]
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in given.items()}
    return {
        **{name: repr(value) for name, value in plain.items()},
        "seed": settings.seed,
        "shards": shards,
        "data": _digest(panel),
    }


def _digest(panel: Panel) -> str:
    """Return a digest of the data of a panel."""
    digest = hashlib.sha256(repr((panel.hist_names, panel.futr_names, panel.static_names)).encode())
    for one in panel.series:
        digest.update(repr((one.id, len(one))).encode())
        for array in (one.times, one.y, one.hist, one.futr, one.static):
            digest.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
    return digest.hexdigest()


def _state_of(trainer: Trainer) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return tensors and description of a run, from which `_continue_from` restores it to the bit."""
    walk, network = trainer.walk, trainer.network
    optimizer = trainer.optimizer.state_dict()
    moments = {name: value for name, value in optimizer.items() if isinstance(value, np.ndarray)}
    tensors = {"parameters": network.flat_parameters, "average": trainer.average, "best": trainer.best_parameters}
    tensors.update({f"optimizer.{name}": value for name, value in moments.items()})
    for index, (h, c) in enumerate(walk.states):
        tensors.update({f"state.{index}.h": h, f"state.{index}.c": c})
    tensors.update({f"history.{name}": np.array(v, np.float64) for name, v in trainer.history.history.items()})
    tensors["sums"] = np.array([*walk.sums, walk.best], np.float64)
    described = {
        "epoch": walk.epoch,
        "update": walk.update,
        "best_epoch": walk.best_epoch,
        "last_from": walk.last_from,
        "passes": network.passes,
        "optimizer": {name: value for name, value in optimizer.items() if name not in moments},
    }
    return tensors, described


def _continue_from(trainer: Trainer, tensors: Mapping[str, Array], described: Mapping[str, Any]) -> None:
    network = trainer.network
    for name in ("parameters", "average", "best"):
        if tensors[name].shape != network.flat_parameters.shape:
            raise ValueError(f"the tensor {name} has shape {tensors[name].shape}")
    walk = Walk(
        count("epoch", described["epoch"]),
        count("update", described["update"], least=0),
        [],
        tensors["sums"][:2].tolist(),
        float(tensors["sums"][2]),
        count("best_epoch", described["best_epoch"], least=0),
        count("last_from", described["last_from"], least=0),
    )
    index = 0
    while f"state.{index}.h" in tensors:
        walk.states.append((tensors[f"state.{index}.h"], tensors[f"state.{index}.c"]))
        index += 1
    trainer.walk = walk
    if walk.last_from:
        trainer.begin_last_epochs()
    moments = {name.partition(".")[2]: value for name, value in tensors.items() if name.startswith("optimizer.")}
    trainer.optimizer.load_state_dict({**described["optimizer"], **moments})
    trainer.optimizer.select(network)
    np.copyto(network.flat_parameters, tensors["parameters"])
    network.scatter()
    np.copyto(trainer.average, tensors["average"])
    np.copyto(trainer.best_parameters, tensors["best"])
    network.passes = [count("passes", one, least=0) for one in described["passes"]]
    for name in trainer.history.history:
        trainer.history.history[name] = tensors[f"history.{name}"].tolist()
