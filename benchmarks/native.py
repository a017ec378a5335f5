"""Compile a file of this package with the local compiler and load it."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["build"]


def build(source: Path, options: Sequence[str] = ()) -> ctypes.CDLL:
    """Compile a C or C++ file to a shared library and load it; nothing is left on the disk.

    Parameters
    ----------
    source : Path
        The compiler is that of the environment variable CC or CXX; by default gcc or g++.
    options : sequence of str, optional
        Of the compiler, after the file.

    Returns
    -------
    ctypes.CDLL

    Raises
    ------
    ImportError
        If there is no compiler, or it fails.
    """
    variable, default = ("CXX", "g++") if source.suffix == ".cpp" else ("CC", "gcc")
    compiler = shutil.which(os.environ.get(variable, default))
    if compiler is None:
        raise ImportError(f"no compiler for {source.name}: install {default}, or set {variable}")
    folder = tempfile.mkdtemp(prefix="fastlstm-benchmarks-")
    try:
        built = Path(folder) / f"{source.stem}.so"
        command = [compiler, "-O3", "-fopenmp", "-fPIC", "-shared", str(source), *options, "-o", str(built)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if "error" in line] or ["without a message"]
            raise ImportError(f"{compiler} cannot compile {source.name}: {errors[0]}")
        return ctypes.CDLL(str(built))
    finally:
        shutil.rmtree(folder)  # the loaded library stays mapped
