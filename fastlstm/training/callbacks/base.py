"""The base class of the callbacks: hooks that `Model.fit` calls while it trains."""

from __future__ import annotations

from typing import Any

from ...optimizers import Optimizer
from ...protocols import CallbackModel
from ..history import History


class Callback:
    """Base class of the callbacks; override any of the hooks.

    Epochs are counted from 1, batches of an epoch from 1. `logs` maps names to floats and holds, at the end
    of an epoch, what `History` records of it; at the end of a batch, the training loss and metric of the
    epoch so far.

    Set ``self.stop_training = True`` in any hook to end the training after the present batch; an epoch that
    is cut short this way is neither validated nor recorded.

    Attributes
    ----------
    model : Model
        The model in training; `fastlstm.protocols.CallbackModel` has what a callback may use of it.
    optimizer : Optimizer
        Its optimizer; set ``self.optimizer.lr`` to change the learning rate.
    history : History
        The record so far. The names of ``history.history`` are known from the beginning.
    epochs, steps_per_epoch : int
        The planned length of the run.
    stop_training : bool
        Set it to True to end the training.
    """

    model: CallbackModel
    optimizer: Optimizer
    history: History
    epochs: int
    steps_per_epoch: int
    stop_training: bool = False

    def attach(
        self, model: CallbackModel, optimizer: Optimizer, history: History, epochs: int, steps_per_epoch: int
    ) -> None:
        """Make the run known to the callback; `fit` calls this before anything else."""
        self.model = model
        self.optimizer = optimizer
        self.history = history
        self.epochs = epochs
        self.steps_per_epoch = steps_per_epoch
        self.stop_training = False

    def state_dict(self) -> dict[str, Any]:
        """What a `Checkpoint` is to save of this callback, so that the run can go on from there.

        Override it together with `load_state_dict` if the callback remembers anything from batch to batch.

        Returns
        -------
        dict
            None, bool, int, float, str, arrays of float32, float64 or int64, lists and dicts (with str keys) of these.
        """
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave. Tuples have become lists."""

    def on_train_begin(self) -> None:
        """Before the first epoch. An error raised here leaves the weights as they are."""

    def on_resume(self, epoch: int, batch: int, state: dict[str, Any]) -> None:
        """Instead of `on_train_begin`, in a run that goes on from a checkpoint.

        By default it calls `on_train_begin`, and `load_state_dict` if there is a state. `history` holds the epochs that
        are done. If `batch` is not 0, `on_epoch_begin` has been called for this epoch and is not called again.

        Parameters
        ----------
        epoch : int
            The epoch that goes on, counted from 1; one more than there are if the run was over.
        batch : int
            Updates of it that are done.
        state : dict
            As `state_dict` gave it; empty if this callback has none.
        """
        self.on_train_begin()
        if state:
            self.load_state_dict(state)

    def on_epoch_begin(self, epoch: int) -> None:
        """Before the first batch of an epoch."""

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        """After each update of the weights."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """After an epoch and its validation."""

    def on_train_end(self) -> None:
        """After the last epoch, also if the run was stopped, interrupted or ended by an error."""
