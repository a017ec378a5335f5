"""Scoring and many models on `Dask <https://www.dask.org>`_ (extra ``dask``): threads of one machine, or a cluster.

`predict` answers collections that are larger than memory, chunk by chunk; `fit_many` trains one model for each series
of a table. Search through scikit-learn runs on the same workers by joblib's backend ``"dask"``. See docs/dask.md.
"""

from .many import fit_many
from .scoring import predict

__all__ = ["fit_many", "predict"]
