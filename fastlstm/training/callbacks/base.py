"""Base class of the callbacks: hooks that `Model.fit` calls during training."""

from __future__ import annotations

from typing import Any

from ..._arguments import ExplainsArguments
from ...optimizers import Optimizer
from ...protocols import CallbackModel
from ..history import History


class Callback(ExplainsArguments):
    """Base class of the callbacks; override any of the hooks.

    Epochs are counted from 1, and so are the batches of an epoch; another call of `fit` with the same model and
    optimizer goes on counting epochs. `logs` maps names to floats: at the end of an epoch, the values that `History`
    records; at the end of a batch, the training loss and metric of the epoch so far.

    Set ``self.stop_training = True`` in any hook to end the training after the current batch; an epoch that is cut
    short in this way is neither validated nor recorded.

    Attributes
    ----------
    model : Model
        The model in training; a callback may use the members of ``fastlstm.protocols.CallbackModel``.
    optimizer : Optimizer
        The optimizer of the run; set ``self.optimizer.lr`` to change the learning rate.
    history : History
        The record so far. The names of ``history.history`` are known from the beginning.
    first_epoch, epochs : int
        First and last planned epoch of the run.
    steps_per_epoch : int
        Number of updates in each epoch.
    goes_on : bool
        Whether this object was last attached to the same model, in an earlier call of `fit`.
    stop_training : bool
        Set to True to end the training.
    on_rank_0_only : bool
        Attribute of the class: whether, of the processes of ``fit(communicator=)``, rank 0 alone calls the hooks,
        because they print or write. Hooks that change weights or rates must run in all.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> class StopAt(fl.Callback):
    ...     def on_epoch_end(self, epoch, logs):
    ...         self.stop_training = epoch == 2
    >>> model = fl.Model([fl.LSTM(4), fl.Dense(1)])
    >>> X, y = np.ones((8, 5, 1)), np.ones((8, 1))
    >>> model.fit(X, y, loss="mse", epochs=100, callbacks=[StopAt()], verbose=0).epochs
    2
    """

    model: CallbackModel
    optimizer: Optimizer
    history: History
    first_epoch: int
    epochs: int
    steps_per_epoch: int
    goes_on: bool = False
    stop_training: bool = False
    on_rank_0_only: bool = False

    def attach(
        self,
        model: CallbackModel,
        optimizer: Optimizer,
        history: History,
        epochs: int,
        steps_per_epoch: int,
        first_epoch: int = 1,
    ) -> None:
        """Set the attributes for a run; `fit` calls this before any hook."""
        self.goes_on = getattr(self, "model", None) is model
        self.model = model
        self.optimizer = optimizer
        self.history = history
        self.first_epoch = first_epoch
        self.epochs = epochs
        self.steps_per_epoch = steps_per_epoch
        self.stop_training = False

    def state_dict(self) -> dict[str, Any]:
        """Return the state of this callback that a `Checkpoint` saves, so that the run can be continued.

        Override it together with `load_state_dict` if the callback has state that lasts from batch to batch.

        Returns
        -------
        dict
            Values are None, bool, int, float, str, arrays of float32, float64 or int64, lists and dicts (with str keys)
            of these. The default is an empty dict.
        """
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state that `state_dict` returned; tuples have become lists."""

    def on_train_begin(self) -> None:
        """Run before the first epoch; an error raised here leaves the weights unchanged."""

    def on_resume(self, epoch: int, batch: int, state: dict[str, Any]) -> None:
        """Run instead of `on_train_begin` when a run continues from a checkpoint.

        By default call `on_train_begin`, and `load_state_dict` if there is a state. `history` holds the completed
        epochs. If `batch` is not 0, `on_epoch_begin` has been called for this epoch and is not called again.

        Parameters
        ----------
        epoch : int
            The epoch to be continued, counted from 1; `epochs` + 1 if the run was complete.
        batch : int
            Completed updates of this epoch.
        state : dict
            The result of `state_dict`; empty if this callback has no state.
        """
        self.on_train_begin()
        if state:
            self.load_state_dict(state)

    def on_epoch_begin(self, epoch: int) -> None:
        """Run before the first batch of an epoch."""

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        """Run after each update of the weights."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Run after an epoch and its validation."""

    def on_train_end(self) -> None:
        """Run after the last epoch, also if the run was stopped, interrupted or ended by an error."""
