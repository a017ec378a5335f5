"""Metrics of classifications, values, forecasts and anomaly scores, with NumPy alone.

Functions of ``(y_true, y_pred)`` can be given to `Model.fit` and `Model.evaluate` as ``metrics=``; see docs/metrics.md.
"""

from . import anomaly
from .classification import (
    accuracy,
    balanced_accuracy,
    confusion_matrix,
    f1,
    matthews_corrcoef,
    precision,
    recall,
)
from .forecasting import coverage, crps_from_quantiles, interval_width, mase, pinball, rmsse, winkler_score
from .probabilities import brier_score, log_loss, pr_auc, roc_auc
from .regression import mae, mape, phm08_score, rmse, smape
from .report import ClassificationReport, classification_report

__all__ = [
    "ClassificationReport",
    "accuracy",
    "anomaly",
    "balanced_accuracy",
    "brier_score",
    "classification_report",
    "confusion_matrix",
    "coverage",
    "crps_from_quantiles",
    "f1",
    "interval_width",
    "log_loss",
    "mae",
    "mape",
    "mase",
    "matthews_corrcoef",
    "phm08_score",
    "pinball",
    "pr_auc",
    "precision",
    "recall",
    "rmse",
    "rmsse",
    "roc_auc",
    "smape",
    "winkler_score",
]
