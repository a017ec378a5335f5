"""Orthonormal vectors, without BLAS: its bits depend on the processor and on its threads, and a seed is to fix them."""

from __future__ import annotations

import numpy as np

from .. import _core
from .._typing import Array

__all__ = ["orthonormal_rows"]

_BLOCK = 32


def orthonormal_rows(rows: Array) -> Array:
    """Gram and Schmidt's orthonormal basis of linearly independent rows.

    It is Q of the QR factors, where R's diagonal is positive. Every projection is taken away twice, after which what is
    left of it is a rounding error [1].

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
        shares, known = np.empty((len(block), start)), np.empty_like(block)
        for _ in range(2):
            if start:
                _core.dense_forward(block, before, None, shares, workspace)
                _core.dense_backward(shares, block, before, known, None, None, workspace)
                block -= known
            for k, row in enumerate(block):
                row -= ((block[:k] * row).sum(axis=1)[:, None] * block[:k]).sum(axis=0)
                row /= np.sqrt((row * row).sum())
    return basis
