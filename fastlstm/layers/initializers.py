"""Initial values of weight matrices.

The random numbers are those of the model's seed, the layer and the parameter, so a seed fixes every weight, and a layer
that is added changes no weight of those before it. Only `uniform`, the default of the layers, does not depend on both
sizes of a matrix.

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

from .._draws import Draws
from .._typing import Array
from .orthogonal import orthonormal_rows

__all__ = ["INITIALIZERS", "checked_initializer", "initializer", "ones", "zeros"]

Initialize = Callable[[Draws, tuple[int, ...]], Array]

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
"""Valid values of the arguments `weight_init` and `recurrent_init` of the layers."""


def checked_initializer(argument: str, name: Any) -> str:
    """Return `name` if there is an initializer of that name, else raise an error that names `argument`."""
    if not isinstance(name, str):
        raise TypeError(
            f"{argument} must be one of {', '.join(map(repr, INITIALIZERS))}, got {name!r}: for other values pass "
            "input_size to the model and write to the arrays of model.parameters()"
        )
    if name not in INITIALIZERS:
        raise ValueError(f"{argument} must be one of {', '.join(map(repr, INITIALIZERS))}, got {name!r}")
    return name


def initializer(name: str, bound: float, blocks: int = 1) -> Initialize:
    """Return a function of generator and shape that draws a matrix.

    Parameters
    ----------
    name : str
        One of `INITIALIZERS`.
    bound : float
        Bound b of ``"uniform"``, which draws from [-b, b).
    blocks : int
        Number of blocks of rows, such as those of an LSTM's gates. All have the same number of rows; each is drawn
        independently, as a matrix with its own fan-in and fan-out.

    Returns
    -------
    callable (draws, shape) -> ndarray of float64
        The rows of the matrix are outputs (fan-out), its columns are inputs (fan-in).
    """

    def draw(draws: Draws, shape: tuple[int, ...]) -> Array:
        if name == "uniform":
            return draws.uniform(-bound, bound, shape)
        if name == "zeros":
            return zeros(draws, shape)
        rows, columns = shape[0] // blocks, shape[1]
        return np.concatenate([_matrix(name, draws, rows, columns) for _ in range(blocks)])

    return draw


def zeros(draws: Draws, shape: tuple[int, ...]) -> Array:
    """Return zeros without drawing from the generator."""
    return np.zeros(shape)


def ones(draws: Draws, shape: tuple[int, ...]) -> Array:
    """Return ones without drawing from the generator."""
    return np.ones(shape)


def _matrix(name: str, draws: Draws, rows: int, columns: int) -> Array:
    if name == "orthogonal":
        return _orthogonal(draws, rows, columns)
    family, law = name.split("_")
    deviation = math.sqrt(_VARIANCE[family](columns, rows))
    if law == "normal":
        return deviation * draws.standard_normal((rows, columns))
    bound = math.sqrt(3) * deviation  # the uniform distribution on [-b, b) has variance b^2 / 3
    return draws.uniform(-bound, bound, (rows, columns))


def _orthogonal(draws: Draws, rows: int, columns: int) -> Array:
    """Draw a matrix with orthonormal columns (rows, if there are fewer of them), uniformly among all of them."""
    normal = draws.standard_normal((max(rows, columns), min(rows, columns)))
    basis = orthonormal_rows(normal.T)  # the Haar distribution, because the diagonal of R is positive [5]
    return np.ascontiguousarray(basis.T) if rows >= columns else basis
