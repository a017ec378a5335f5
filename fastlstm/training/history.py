"""Record of a training run: one number per quantity and epoch, and a plot."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class History:
    """Record of a training run, returned by `Model.fit`.

    Parameters
    ----------
    names : iterable of str
        Quantities that the run records, such as ``"loss"`` and ``"val_loss"``.

    Attributes
    ----------
    history : dict of str to list of float
        Values of each quantity, one per completed epoch. ``"loss"`` and the metric (``"accuracy"`` or ``"mae"``) are
        means over the training cases during the epoch, with dropout active and changing weights; ``"val_loss"`` and so
        on are measured on the validation data after the epoch; ``"lr"`` is the learning rate of the epoch's last
        update.
    first_epoch : int
        Number of the first epoch of the record: 1, unless earlier calls of `fit` have trained the model with the same
        optimizer.
    interrupted : bool
        Whether Ctrl-C ended the run. The interrupted epoch is not recorded.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> model = fl.Model([fl.LSTM(4), fl.Dense(1)])
    >>> history = model.fit(np.ones((8, 5, 1)), np.ones((8, 1)), loss="mse", epochs=2, verbose=0)
    >>> list(history.history), history.epochs, history.best_epoch
    (['loss', 'mae', 'lr'], 2, 2)
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.history: dict[str, list[float]] = {name: [] for name in names}
        self.first_epoch = 1
        self.interrupted = False

    @property
    def epochs(self) -> int:
        """Number of completed epochs."""
        return max(map(len, self.history.values()), default=0)

    @property
    def best_epoch(self) -> int | None:
        """Epoch of the smallest validation loss, or training loss if there is no validation.

        It is counted from `first_epoch`; None before the end of the first epoch.
        """
        losses = self.history.get("val_loss") or self.history.get("loss")
        return None if not losses else losses.index(min(losses)) + self.first_epoch

    def append(self, logs: dict[str, float]) -> None:
        """Record the values of one epoch."""
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)

    def plot(self, path: str | os.PathLike[str] | None = None, *, title: str | None = None) -> Figure:
        """Draw the loss and the metrics over the epochs, training and validation together.

        It works without a display and needs matplotlib: ``pip install 'fastlstm[plot]'``.

        Parameters
        ----------
        path : path, optional
            File to save the plot to; the suffix (``.png``, ``.pdf``, ``.svg``) selects the format. By default none.
        title : str, optional
            Title of the plot; by default none.

        Returns
        -------
        matplotlib.figure.Figure
            The figure, for changes or for display in a notebook.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If no epoch has been completed.
        """
        try:
            # Not pyplot, which would choose a backend for the whole process and keep the figure alive.
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
            from matplotlib.ticker import MaxNLocator
        except ImportError as error:
            raise ImportError("History.plot needs matplotlib: pip install 'fastlstm[plot]'") from error
        if self.epochs == 0:
            raise ValueError("there is nothing to plot: no epoch has been completed")

        drawn = {name: values for name, values in self.history.items() if values and name != "lr"}
        panels = list(dict.fromkeys(name.removeprefix("val_") for name in drawn))
        first = self.first_epoch
        figure = Figure(figsize=(5.0 * len(panels), 3.6), layout="constrained")
        FigureCanvasAgg(figure)
        for axes, name in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            for key, label in ((name, "training"), (f"val_{name}", "validation")):
                if key in drawn:
                    axes.plot(range(first, first + len(drawn[key])), drawn[key], label=label, marker=".")
            axes.axvline(self.best_epoch or first, color="0.7", linewidth=1.0, zorder=0, label="best epoch")
            axes.set_xlabel("epoch")
            axes.set_ylabel(name)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.legend()
        if title is not None:
            figure.suptitle(title)
        if path is not None:
            figure.savefig(path, dpi=150)
        return figure

    def _repr_html_(self) -> str:
        from .._tables import html_table  # notebooks need it

        numbers = {"first": self.first_epoch, "best": self.best_epoch, "last": self.first_epoch + self.epochs - 1}
        by_number: dict[int, list[str]] = {}
        for name, number in numbers.items():
            if number is not None and self.epochs:
                by_number.setdefault(number, []).append(name)
        kept = {name: values for name, values in self.history.items() if values}
        rows = []
        for number, names in sorted(by_number.items()):
            values = (f"{one[number - self.first_epoch]:.4g}" for one in kept.values())
            rows.append([f"{number} ({', '.join(names)})", *values])
        interrupted = ", interrupted" if self.interrupted else ""
        caption = f"History of {self.epochs} epoch{'s' * (self.epochs != 1)}{interrupted}"
        return html_table(["epoch", *kept], rows, caption=caption)

    def __repr__(self) -> str:
        last = ", ".join(f"{name}={values[-1]:.4g}" for name, values in self.history.items() if values)
        interrupted = ", interrupted" if self.interrupted else ""
        return f"History({self.epochs} epochs{': ' if last else ''}{last}{interrupted})"
