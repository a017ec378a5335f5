"""Orthonormal vectors without BLAS.

The results of BLAS depend on the processor and on its number of threads, those of NumPy's sums on its version, but a
seed must fix all bits of the weights.
"""

from __future__ import annotations

import math

import numpy as np

from .. import _core, _exact
from .._typing import Array

__all__ = ["orthonormal_rows"]

_BLOCK = 32


def orthonormal_rows(rows: Array) -> Array:
    """Return the Gram-Schmidt orthonormal basis of linearly independent rows.

    This is Q of the QR decomposition in which the diagonal of R is positive. Every projection is subtracted twice; the
    remaining projection is then a rounding error [1].

    Parameters
    ----------
    rows : ndarray of float64, shape (n, m), n <= m

    Returns
    -------
    ndarray of float64, shape (n, m)

    Notes
    -----
    .. [1] L. Giraud, J. Langou, M. Rozloznik, J. van den Eshof, "Rounding error analysis of the classical Gram-Schmidt
       orthogonalization process", Numerische Mathematik 101, 2005.
    """
    basis = np.array(rows, np.float64, order="C")
    workspace = _core.Workspace()
    for start in range(0, len(basis), _BLOCK):
        before, block = basis[:start], basis[start : start + _BLOCK]
        coefficients, projection = np.empty((len(block), start)), np.empty_like(block)
        for _ in range(2):
            if start:
                _core.dense_forward(block, before, None, coefficients, workspace)
                _core.dense_backward(coefficients, block, before, projection, None, None, workspace)
                block -= projection
            for k, row in enumerate(block):
                row -= _exact.column_sums(_exact.row_sums(block[:k] * row)[:, None] * block[:k])
                row /= math.sqrt(_exact.total(row, row))
    return basis
