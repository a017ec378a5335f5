"""Initial values of weight matrices.

The random generator is that of the model, so a seed fixes every weight. Only `uniform`, which the layers draw by
default, is free of choices that depend on both sizes of a matrix.

.. [1] X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010.
.. [2] K. He, X. Zhang, S. Ren, J. Sun, "Delving deep into rectifiers", ICCV 2015.
.. [3] Y. LeCun, L. Bottou, G. Orr, K.-R. Mueller, "Efficient backprop", 1998.
.. [4] A. Saxe, J. McClelland, S. Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear neural
   networks", ICLR 2014.
.. [5] F. Mezzadri, "How to generate random matrices from the classical compact groups", Notices of the AMS 54, 2007.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .._typing import Array
from .orthogonal import orthonormal_rows

__all__ = ["INITIALIZERS", "checked_initializer", "initializer", "zeros"]

Initialize = Callable[["np.random.Generator", tuple[int, ...]], Array]  # quoted: NumPy imports random when asked

# Variance of an element, by fan in and fan out.
_VARIANCE: dict[str, Callable[[int, int], float]] = {
    "glorot": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "he": lambda fan_in, fan_out: 2 / fan_in,
    "lecun": lambda fan_in, fan_out: 1 / fan_in,
}

INITIALIZERS = (
    "uniform",
    *(f"{name}_{law}" for name in _VARIANCE for law in ("uniform", "normal")),
    "orthogonal",
    "zeros",
)
"""The names that `weight_init` and `recurrent_init` of the layers take."""


def checked_initializer(argument: str, name: Any) -> str:
    """`name` if there is an initializer of that name; `argument` is what the message calls it."""
    if not isinstance(name, str):
        raise TypeError(
            f"{argument} must be one of {', '.join(map(repr, INITIALIZERS))}, got {name!r}: for other values give the "
            "model its input_size and write to the arrays of model.parameters()"
        )
    if name not in INITIALIZERS:
        raise ValueError(f"{argument} must be one of {', '.join(map(repr, INITIALIZERS))}, got {name!r}")
    return name


def initializer(name: str, bound: float, blocks: int = 1) -> Initialize:
    """A function of generator and shape that draws a matrix.

    Parameters
    ----------
    name : str
        One of `INITIALIZERS`; that of a known function.
    bound : float
        Limit of ``"uniform"``.
    blocks : int
        Matrices that stand below each other in the one that is drawn, such as those of an LSTM's gates. Each has as
        many rows, is drawn for itself, and has fans of its own.

    Returns
    -------
    callable (rng, shape) -> ndarray
        In float64. Rows are outputs (fan out), columns inputs (fan in).
    """

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        if name == "uniform":
            return rng.uniform(-bound, bound, shape)
        if name == "zeros":
            return zeros(rng, shape)
        rows, columns = shape[0] // blocks, shape[1]
        return np.concatenate([_matrix(name, rng, rows, columns) for _ in range(blocks)])

    return draw


def zeros(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Zeros; nothing is drawn."""
    return np.zeros(shape)


def _matrix(name: str, rng: np.random.Generator, rows: int, columns: int) -> Array:
    if name == "orthogonal":
        return _orthogonal(rng, rows, columns)
    family, law = name.split("_")
    deviation = math.sqrt(_VARIANCE[family](columns, rows))
    if law == "normal":
        return deviation * rng.standard_normal((rows, columns))
    bound = math.sqrt(3) * deviation  # a uniform number in +-b has variance b^2 / 3
    return rng.uniform(-bound, bound, (rows, columns))


def _orthogonal(rng: np.random.Generator, rows: int, columns: int) -> Array:
    """A matrix whose columns (rows, if there are fewer of them) are orthonormal, drawn evenly among all such."""
    normal = rng.standard_normal((max(rows, columns), min(rows, columns)))
    basis = orthonormal_rows(normal.T)  # Haar's distribution, since the diagonal of R is positive [5]
    return np.ascontiguousarray(basis.T) if rows >= columns else basis
