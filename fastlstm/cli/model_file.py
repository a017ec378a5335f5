"""Files that ``train`` writes: the model, the estimator, the columns, the figures, in one safetensors file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._checks import as_list, count, one_of, real
from .._typing import Array
from .._version import __version__
from ..formats import safetensors
from ..formats.foreign import with_advice
from ..formats.model_file import model_from
from ..losses import Quantile
from ..model import Model
from ..tasks.anomaly import METHODS
from ..tasks.described import KEY, save_described
from .config import Configuration
from .errors import CommandError
from .fitting import KINDS, Fitted
from .layout import Layout, layout_from

__all__ = ["TABLE", "SavedModel", "is_forecaster", "load_model", "read_config", "save_model"]

TABLE = "table"
"""Key in the config of the file: what the command line knows of the model."""


@dataclass(frozen=True, eq=False)
class SavedModel:
    """A model with what its file says."""

    path: str
    model: Model
    layout: Layout
    parameters: dict[str, Any]
    """Parameters of the estimator."""
    fitted: dict[str, Any]
    """Its fitted attributes."""
    classes: list[Any] | None
    """Labels of a classifier."""
    table: dict[str, Any]
    """What the command line wrote: data, figures, versions."""

    @property
    def task(self) -> str:
        """What the model does."""
        return self.layout.task

    @property
    def quantiles(self) -> list[float] | None:
        """Levels of a regression of quantiles, ascending."""
        levels = self.parameters.get("quantiles")
        return None if levels is None else sorted(levels["tuple"] if isinstance(levels, dict) else levels)

    @property
    def threshold(self) -> float:
        """Score above which a step is an anomaly."""
        return real("threshold_", self.fitted["threshold_"])

    @property
    def window(self) -> tuple[int, int]:
        """Steps of a window and of the warm-up of a detector."""
        return count("window_", self.fitted["window_"]), count("warmup_", self.fitted["warmup_"], least=0)

    @property
    def normal_error(self) -> Array:
        """Squared error of each channel on normal data."""
        return np.array(self.fitted["normal_error_"]["array"], np.float64)


def save_model(
    path: str,
    fitted: Fitted,
    layout: Layout,
    configured: Configuration,
    settings: dict[str, Any],
    *,
    data: dict[str, Any],
    figures: dict[str, Any],
    baseline: dict[str, Any],
) -> None:
    """Write a model with all that is known of its training."""
    table = {
        "version": 1,
        "fastlstm": __version__,
        "layout": layout.to_dict(),
        "configuration": {**configured.to_dict(), "output": None, "settings": settings},
        "data": data,
        "figures": figures,
        "baseline": baseline,
    }
    save_described(path, fitted.model, fitted.described, {TABLE: _plain(table)})


def _plain(value: Any) -> Any:
    """Return data for JSON: no arrays, no numbers that are not finite."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and value != value else value


def is_forecaster(path: str) -> bool:
    """Return whether a file holds a forecaster, after a look at its header only.

    Raises
    ------
    CommandError
        If the file holds no model.
    OSError
        If it cannot be read.
    """
    try:
        with with_advice(path, "load"), safetensors.opened(path, "a fastlstm model") as reader:
            text = reader.metadata.get("config", "{}") if reader.is_model else "{}"
        config = json.loads(text)
    except (RecursionError, ValueError) as error:
        raise CommandError(str(error)) from error
    return isinstance(config, dict) and "forecaster" in config


def read_config(path: str) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return the tensors and the config of a file; raise CommandError if it holds no model."""
    try:
        with with_advice(path, "load"):
            return safetensors.load(path)
    except ValueError as error:
        raise CommandError(str(error)) from error


def load_model(path: str) -> SavedModel:
    """Read a model that ``train`` has written for classify, regress or anomaly.

    Raises
    ------
    CommandError
        If the file is damaged, or another one.
    OSError
        If it cannot be read.
    """
    tensors, config = read_config(path)
    if TABLE not in config or KEY not in config:
        raise CommandError(
            f"{path}: the file does not say which columns the model reads, as those of fastlstm train do; "
            "in Python fl.load reads the model"
        )
    try:
        table, described = config[TABLE], config[KEY]
        layout = layout_from(table["layout"])
        if described["type"] != KINDS.get(layout.task):
            raise ValueError(f"a {described['type']} for the task {layout.task}")
        model = model_from(path, config, tensors)
        if model.input_size != layout.channels:
            raise ValueError(f"the model reads {model.input_size} channels, the columns are {layout.channels}")
        classes = described["classes_"]
        labels = None if classes is None else as_list("classes_", classes["values"], "labels")
        if layout.task == "classify" and (labels is None or len(labels) != model.output_size):
            raise ValueError("the number of classes is not that of the outputs")
        saved = SavedModel(path, model, layout, described["parameters"], described["fitted"], labels, table)
        _check(saved)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise CommandError(f"{path}: the file is damaged, or of another version of fastlstm: {error}") from error
    return saved


def _check(saved: SavedModel) -> None:
    """Raise an error if something is missing that commands read later."""
    if saved.task == "anomaly":
        one_of("method", saved.parameters["method"], METHODS)
        real("quantile", saved.parameters["quantile"])
        if saved.normal_error.shape != (saved.layout.channels,) or saved.model.scaler is None:
            raise ValueError("the scale or the error on normal data is not that of the channels")
        if min(saved.threshold, *saved.window) < 0:
            raise ValueError("the threshold is negative")
        return
    baseline = saved.table["baseline"]
    if saved.task == "classify":
        counts = [count("counts", one, least=0) for one in as_list("counts", baseline["counts"], "numbers")]
        if len(counts) != len(saved.classes or ()) or not any(counts):
            raise ValueError("the frequencies of the classes are missing")
        return
    real("mean", baseline["mean"])
    if len([real("quantiles", one) for one in as_list("quantiles", baseline["quantiles"], "numbers")]) != 101:
        raise ValueError("the quantiles of the target are missing")
    levels = saved.quantiles
    trained = saved.model.loss
    if (levels is None) != (not isinstance(trained, Quantile)) or (
        isinstance(trained, Quantile) and levels != sorted(trained.quantiles)
    ):
        raise ValueError("the quantiles are not those of the network")
    if saved.model.output_size != len(levels or [0.5]):
        raise ValueError("the number of outputs is not that of the quantiles")
