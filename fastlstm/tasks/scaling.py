"""Scalers of the inputs, from the settings that estimators and command line share."""

from __future__ import annotations

from typing import Literal

from ..data import RobustScaler, Scaler, Standardizer
from ..data.scaler import Missing
from .series import Series

__all__ = ["Scaling", "input_scaler"]

Scaling = Literal["standard", "robust"]


def input_scaler(scaler: Scaling | None, missing: Missing, series: Series) -> Scaler | None:
    """Return the scaler of a new model; unless ``missing="error"`` it is fitted, as its channels must be known.

    Raises
    ------
    ValueError
        If values may be missing and there is no scaler.
    """
    takes_missing = missing != "error"
    if scaler is None:
        if takes_missing:
            raise ValueError(
                f"missing={missing!r} puts the center of a scaler in the place of missing values, and scaler is None: "
                "set scaler='standard' or 'robust'"
            )
        return None
    new = (RobustScaler if scaler == "robust" else Standardizer)(missing=missing)
    return new.fit(series.data, series.lengths) if takes_missing else new
