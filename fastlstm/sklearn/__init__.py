"""Estimators for scikit-learn: classification, regression, anomaly detection and features of time series.

They need ``pip install 'fastlstm[sklearn]'``, and take arrays (n, time) and (n, time, channels), and lists of series of
different lengths.
"""

try:
    import sklearn as _sklearn  # noqa: F401
except ImportError as error:
    raise ImportError("fastlstm.sklearn needs scikit-learn: pip install 'fastlstm[sklearn]'") from error

from .anomaly import AnomalyStream, LSTMAnomalyDetector
from .classifier import LSTMClassifier
from .features import LSTMFeatures
from .files import load
from .regressor import LSTMRegressor

__all__ = ["AnomalyStream", "LSTMAnomalyDetector", "LSTMClassifier", "LSTMFeatures", "LSTMRegressor", "load"]
