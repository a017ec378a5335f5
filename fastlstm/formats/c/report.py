"""What the C export answers: the files, and what they need of a machine."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..._checks import path as checked_path
from .. import atomic

__all__ = ["CReport"]


@dataclass(frozen=True)
class CReport:
    """C files of a model, with their sizes; printed as a table.

    Attributes
    ----------
    name : str
        Prefix of all names in the files.
    dtype : {"float32", "int8"}
        Arithmetic.
    files : dict of str to str
        Text of each file, by its name.
    directory : Path or None
        Folder to which the files were written; None: they were not.
    inputs, outputs : int
        Numbers that a step reads and writes.
    rom_bytes : int
        Bytes of the constants, without code and self-test.
    selftest_bytes : int
        Bytes of the constants of the self-test, which ``-DNAME_NO_SELFTEST`` leaves out.
    ram_bytes : int
        Bytes of the state, ``sizeof(NAME_state)`` up to alignment; a step needs little stack besides.
    operations : int
        Multiplications by weights in a step.
    tokens : int
        Number of token ids that the model knows; 0: it reads numbers.
    weights_hash : str
        Digest of the constants and the program; equal models have equal ones.
    quality : dict of str to float
        For int8: differences to the float model on the calibration data.
    emulator : Emulator or None
        For int8: the model in NumPy, with the integers of the C; it has ``reset``, ``step`` and ``run``.
    """

    name: str
    dtype: str
    files: dict[str, str]
    inputs: int
    outputs: int
    rom_bytes: int
    selftest_bytes: int
    ram_bytes: int
    operations: int
    weights_hash: str
    tokens: int = 0
    quality: dict[str, float] = field(default_factory=dict)
    directory: Path | None = None
    emulator: Any = field(default=None, repr=False, compare=False)

    def save(self, directory: str | os.PathLike[str]) -> CReport:
        """Write the files to a folder, which is made if it does not exist; return the report with the folder.

        Raises
        ------
        OSError
            If the folder or a file cannot be written.
        """
        folder = Path(checked_path(directory))
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in self.files.items():
            atomic.write(folder / name, [text.encode("ascii")])
        return replace(self, directory=folder)

    def __str__(self) -> str:
        names = ", ".join(self.files)
        where = f"{names} in {self.directory}" if self.directory is not None else names
        lines = [
            f"{self.name}, {self.dtype}: {self.inputs} inputs, {self.outputs} outputs",
            f"  files        {where}",
            f"  constants    {self.rom_bytes:,} bytes of ROM, and {self.selftest_bytes:,} of the self-test",
            f"  state        {self.ram_bytes:,} bytes of RAM",
            f"  operations   {self.operations:,} multiplications by weights in a step",
            f"  weights      {self.weights_hash}",
        ]
        lines += [f"  {name:<12} {value:.6g}" for name, value in self.quality.items()]
        return "\n".join(lines)
