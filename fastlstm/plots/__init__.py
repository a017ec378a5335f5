"""Pictures of results, with matplotlib (extra ``plot``) and without a display; that of a training is `History.plot`."""

from .confusion import confusion_matrix
from .forecasts import backtest, by_horizon, fan
from .scores import anomaly
from .weights import attention

__all__ = ["anomaly", "attention", "backtest", "by_horizon", "confusion_matrix", "fan"]
