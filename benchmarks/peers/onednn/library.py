"""Compile `lstm.cpp` against the oneDNN of the installed wheels, and call it."""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...native import build

__all__ = ["Layer", "library", "version"]

_WHEELS = {"onednn-cpu-gomp": "libdnnl.so.3", "onednn-devel-cpu-gomp": "dnnl.hpp"}
"""The packages, and a file that each must have."""

_FLOATS = ctypes.POINTER(ctypes.c_float)

Array = npt.NDArray[np.float32]


def _place(package: str, name: str) -> Path:
    """Return the path of a file of a package.

    Raises
    ------
    ImportError
        If the package is not installed or has no such file.
    """
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        raise ImportError(f"No module named {package!r}") from None
    for file in files:
        if file.name == name:
            return Path(str(file.locate())).resolve()
    raise ImportError(f"{package} has no file {name}")


@functools.cache
def library() -> ctypes.CDLL:
    """Compile and load the C functions, once in a process.

    Raises
    ------
    ImportError
        If a wheel or a compiler is not there, or the compiler fails.
    """
    shared, header = (_place(package, name) for package, name in _WHEELS.items())
    include = next(parent for parent in header.parents if parent.name == "include")
    options = ["-std=c++17", f"-I{include}", f"-L{shared.parent}", f"-l:{shared.name}", f"-Wl,-rpath,{shared.parent}"]
    loaded = build(Path(__file__).parent / "lstm.cpp", options)
    loaded.library_version.restype = ctypes.c_char_p
    loaded.layer_new.restype = ctypes.c_void_p
    loaded.layer_new.argtypes = [ctypes.c_int64] * 4 + [ctypes.c_int] * 3 + [_FLOATS] * 5
    loaded.layer_run.argtypes = loaded.layer_free.argtypes = [ctypes.c_void_p]
    loaded.layer_read.restype, loaded.layer_read.argtypes = _FLOATS, [ctypes.c_void_p, ctypes.c_int]
    return loaded


def version() -> str:
    """Return oneDNN's version."""
    return str(library().library_version().decode())


class Layer:
    """One layer with fixed weights, input and gradient of the output.

    Parameters
    ----------
    weight_ih, weight_hh, bias : array
        (4H, I), (4H, H) and (4H,), float32.
    x : (T, B, I) float32 array
    dy : (T, B, H) float32 array, optional
        For training.
    narrow : bool
        Whether the operands of the matrix products are bfloat16.
    threads : int

    Raises
    ------
    NotImplementedError
        If oneDNN has no such primitive for this processor.
    """

    def __init__(
        self, weight_ih: Array, weight_hh: Array, bias: Array, x: Array, dy: Array | None, narrow: bool, threads: int
    ) -> None:
        self._handle: int | None = None
        steps, batch, inputs = x.shape
        arrays = [None if one is None else np.ascontiguousarray(one) for one in (weight_ih, weight_hh, bias, x, dy)]
        pointers = [None if one is None else one.ctypes.data_as(_FLOATS) for one in arrays]
        sizes = (batch, steps, inputs, len(weight_ih) // 4)
        self._library = library()
        self._handle = self._library.layer_new(*sizes, dy is not None, narrow, threads, *pointers)
        if self._handle is None:
            raise NotImplementedError("oneDNN has no such primitive for this processor")
        gradients = () if dy is None else (x.shape, weight_ih.shape, weight_hh.shape, bias.shape)
        self._shapes = ((steps, batch, sizes[3]), *gradients)

    def __del__(self) -> None:
        if self._handle is not None:
            self._library.layer_free(self._handle)

    def run(self) -> None:
        """Run forward; in training backward, too.

        Raises
        ------
        RuntimeError
            If oneDNN reports an error.
        """
        if self._library.layer_run(self._handle):
            raise RuntimeError("oneDNN failed")

    def read(self) -> list[Any]:
        """Return y, and in training the gradients of x, weight_ih, weight_hh and bias, of the last run."""
        return [
            np.ctypeslib.as_array(self._library.layer_read(self._handle, number), shape).copy()
            for number, shape in enumerate(self._shapes)
        ]
