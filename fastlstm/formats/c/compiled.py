"""Run exported C on this machine: for tests, and to see what the firmware will answer."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ... import _core
from ..._checks import as_list, short_repr
from ..._typing import Array
from .readings import checked_series, checked_step, require_answers, require_tokens
from .report import CReport

__all__ = ["Compiled", "compiled"]

_LARGEST_TOKEN = 2**31 - 1
"""What int32_t holds; no model has such a token id."""


class Compiled:
    """An exported model, built with the compiler of this machine; made by `compiled`.

    Attributes
    ----------
    report : CReport
        What was built.
    state_bytes : int
        ``sizeof(NAME_state)`` on this machine.
    """

    def __init__(self, report: CReport, library: ctypes.CDLL) -> None:
        self.report = report
        self._library = library
        self._step = getattr(library, f"{report.name}_step")
        self._init = getattr(library, f"{report.name}_init")
        self.state_bytes = int(ctypes.c_uint32.in_dll(library, "fastlstm_state_bytes").value)
        self._state = ctypes.create_string_buffer(self.state_bytes + 16)
        self.reset()

    def reset(self) -> None:
        """Begin a new series."""
        self._init(self._state)

    @property
    def memory(self) -> bytes:
        """The bytes of the state."""
        return self._state.raw[: self.state_bytes]

    def step(self, x: npt.ArrayLike) -> Array:
        """Return the answer (outputs,), float32, to the next step x (inputs,) of the series, or to a token id.

        NaN is passed on as it is: the answer is that of the firmware.

        Raises
        ------
        TypeError
            If x does not hold numbers, or, for a model of token ids, integers.
        ValueError
            If x has another shape, a number does not fit float32, or the model does not know a token id. The state has
            not changed.
        """
        array = checked_step(x, self.report.inputs, self.report.tokens > 0)
        if len(array) != 1:
            raise ValueError(f"x has {len(array)} series, expected one; the state has not changed")
        return self._answer(array)

    def run(self, x: npt.ArrayLike) -> Array:
        """Return the answers (steps, outputs) to the next steps (steps, inputs), or token ids (steps,).

        Raises
        ------
        TypeError, ValueError
            As by `step`, before the first step; and if an answer is NaN.
        """
        series = checked_series(x, self.report.inputs, self.report.tokens > 0, several=False)
        if self.report.tokens:
            require_tokens(series, self.report.tokens)
        y = np.empty((len(series), self.report.outputs), np.float32)
        for t, step in enumerate(series):
            y[t] = self._answer(step)
        return require_answers(y)

    def _answer(self, x: Array) -> Array:
        y = np.empty(self.report.outputs, np.float32)
        given = np.ascontiguousarray(np.clip(x, -1, _LARGEST_TOKEN), np.int32) if self.report.tokens else x
        code = self._step(self._state, given.ctypes.data_as(ctypes.c_void_p), y.ctypes.data_as(ctypes.c_void_p))
        if self.report.tokens and code != 0:
            require_tokens(x, self.report.tokens)
        return y

    def selftest(self) -> int:
        """Return 0, or the number of the first step of the self-test that differs, from 1 on.

        Raises
        ------
        RuntimeError
            If the code was built without the self-test.
        """
        name = f"{self.report.name}_selftest"
        if not hasattr(self._library, name):
            raise RuntimeError(f"the code was built without {name}: leave {self.report.name.upper()}_NO_SELFTEST out")
        return int(getattr(self._library, name)())


def compiled(
    report: CReport, *, compiler: str | None = None, flags: Sequence[str] | None = None, language: str = "c99"
) -> Compiled:
    """Build an exported model with the compiler of this machine, in a temporary folder.

    Parameters
    ----------
    report : CReport
        What `Model.to_c` answered.
    compiler : str, optional
        The program; by default ``$CC``, else the first of cc, gcc and clang that is there.
    flags : sequence of str, optional
        Options of the compiler; by default ``-O2`` and, on x86-64 processors that have it, ``-mfma``.
    language : str, default "c99"
        Argument of ``-std=``.

    Returns
    -------
    Compiled
        With ``step``, ``run``, ``reset`` and ``selftest``.

    Raises
    ------
    TypeError
        If report is not what `Model.to_c` answers, or flags is not a list.
    RuntimeError
        If there is no compiler, or it refuses the text (the message has its first lines) or builds for another machine.

    Examples
    --------
    >>> import fastlstm as fl, numpy as np
    >>> model = fl.Model([fl.LSTM(4), fl.Dense(2)], input_size=3)
    >>> code = fl.compiled(model.to_c("small"))  # doctest: +SKIP
    >>> x = np.ones((5, 3), np.float32)
    >>> np.array_equal(code.run(x), model.stream().run(x[None])[0])  # doctest: +SKIP
    True
    """
    if not isinstance(report, CReport):
        raise TypeError(f'report must be what model.to_c("name") answers, got {short_repr(report)}')
    if flags is not None:
        flags = as_list("flags", flags, 'options, such as ["-O2"]')
    program = compiler or os.environ.get("CC") or next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if program is None or shutil.which(program.split()[0]) is None:
        raise RuntimeError(f"there is no C compiler {program or 'cc, gcc or clang'}: install one, such as gcc")
    if flags is None:
        x86 = platform.machine().lower() in ("x86_64", "amd64")
        flags = ["-O2", "-mfma"] if x86 and "avx2" in _core.available_isas() else ["-O2"]
    with tempfile.TemporaryDirectory(prefix="fastlstm-") as folder:
        return Compiled(report, _build(report, Path(folder), program, flags, language))


def _build(report: CReport, folder: Path, program: str, flags: Sequence[str], language: str) -> ctypes.CDLL:
    for name, text in report.files.items():
        (folder / name).write_text(text, "ascii")
    source = next((name for name in report.files if name.endswith(".c")), None)
    included = source or f"{report.name}.h"
    define = "" if source else f"#define {report.name.upper()}_IMPLEMENTATION\n"
    suffix, linkage = ("cc", 'extern "C" ') if language.startswith(("c++", "gnu++")) else ("c", "")
    main = folder / f"fastlstm_main.{suffix}"
    main.write_text(
        f'{define}#include "{included}"\n{linkage or "extern "}const uint32_t fastlstm_state_bytes;\n'
        f"const uint32_t fastlstm_state_bytes = (uint32_t)sizeof({report.name}_state);\n"
    )
    library = folder / "library.so"
    command = [*program.split(), f"-std={language}", *flags, "-shared", "-fPIC", "-o", str(library), str(main)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise RuntimeError(f"{program} cannot be started: {error}") from error
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[:2000]}")
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise RuntimeError(f"{program} builds for another machine than this one: {error}") from error
