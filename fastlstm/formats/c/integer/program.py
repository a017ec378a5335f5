"""From the operations of an integer model to the parts of a C file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...._typing import Array
from ....layers import Stage
from ..buffers import assign_buffers
from ..numbers import array_text, literal
from ..pieces import all_needs, ordered
from ..program import Program
from .arithmetic import TABLE
from .engine import INTEGER_PIECES
from .operations import Matrix, Operation

__all__ = ["IntegerProgram"]


class IntegerProgram:
    """The parts of a C file; the attributes are those of `fastlstm.formats.c.program.Program`."""

    def __init__(self, operations: Sequence[Operation], tail: Sequence[Stage], tokens: bool) -> None:
        self._operations = list(operations)
        last = self._operations[-1]
        self._tail = (
            Program(tail, last.width, "state->answer", first=len(self._operations), work="answers") if tail else None
        )
        self.needs = set(self._tail.needs) if self._tail else set()
        self.constants: list[str] = []
        self.fields: list[str] = []
        self.begin: list[str] = []
        self.lines: list[str] = []
        self.rom = self.ram = self.operations = 0
        self.has_doubles = self._tail is not None and self._tail.has_doubles
        self._pieces: set[str] = set()
        self._returns = "return 0;" if tokens else "return;"
        widths = [0 if one.kind == "lstm" or one.last else one.width for one in self._operations]
        reads = [[one.main] + ([one.side] if one.kind == "add" else []) for one in self._operations]
        starts, work = assign_buffers(reads, widths)
        scratch = max((one.width for one in self._operations if one.kind == "lstm"), default=0)
        self._places = ["x"]
        for index, (one, start) in enumerate(zip(self._operations, starts, strict=True)):
            self._places.append(
                f"state->{'h' if one.kind == 'lstm' else 'sums'}{index}"
                if start < 0
                else f"state->work + {start}u"
                if start
                else "state->work"
            )
        self._scratch = f"state->work + {work}u" if work else "state->work"
        for index, one in enumerate(self._operations):
            _WRITERS[one.kind](self, index, one)
        if work + scratch:
            self._field("int16_t", "work", work + scratch)
        self._finish(last)
        if "functions" in all_needs(self._pieces, INTEGER_PIECES):
            self.rom += TABLE.nbytes
        self.functions = ordered(INTEGER_PIECES, self._pieces)

    def _finish(self, last: Operation) -> None:
        """Add the lines from the last integers to y."""
        place = self._places[-1]
        to = "y" if self._tail is None else "state->answer"
        self.lines.append(
            f"for (k = 0; k < {last.width}u; ++k) ({to})[k] = (float)({place})[k] * {literal(2.0**-last.bits)};"
        )
        if self._tail is None:
            return
        self._field("float", "answer", last.width)
        self.fields += self._tail.fields
        self.constants += self._tail.constants
        self.begin += self._tail.begin
        self.lines += self._tail.lines
        self.rom += self._tail.rom
        self.ram += self._tail.ram

    # ------------------------------------------------------------------ what the writers use

    def constant(self, name: str, array: Array) -> str:
        """Add a constant and return its name in C."""
        self.rom += array.nbytes
        self.constants.append(array_text(f"@{name}", array))
        return f"@{name}"

    def _field(self, kind: str, name: str, size: int) -> None:
        self.fields.append(f"{kind} {name}[{size}];")
        self.ram += size * {"int16_t": 2, "int32_t": 4, "int64_t": 8, "float": 4}[kind]

    def _begin(self, name: str, values: Array) -> None:
        if not values.any():
            self.begin.append(f"for (k = 0; k < {values.size}u; ++k) state->{name}[k] = 0;")
            return
        kind = np.int16 if name.startswith("h") else np.int32
        initial = self.constant(f"initial_{name}", values.astype(kind))
        reader = "read16" if kind == np.int16 else "read32"
        self._pieces.add("read16" if kind == np.int16 else "read")
        self.begin.append(f"for (k = 0; k < {values.size}u; ++k) state->{name}[k] = @{reader}({initial} + k);")

    # ------------------------------------------------------------------ one writer for each kind of operation

    def _input(self, index: int, one: Operation) -> None:
        assert one.scaling is not None
        features = len(one.scaling[0])
        scaling = self.constant(f"scaling{index}", np.stack(one.scaling, axis=1))
        piece, missing = "input", ""
        if one.missing is not None and len(one.missing):
            present = 2**one.bits if one.bits >= 0 else int(one.bits == -1)
            name = self.constant(f"missing{index}", one.missing.astype(np.int16))
            piece, missing = "input_missing", f"{name}, {len(one.missing)}u, {present}, "
        self._pieces.add(piece)
        self.needs |= {"from_bits", "rom"}
        self.lines += [
            f"if (!@{piece}({scaling}, {missing}x, {features}u, {self._places[index + 1]})) {{",
            "    for (k = 0; k < @@OUTPUTS; ++k) y[k] = @from_bits(UINT32_C(0x7fc00000));",
            f"    {self._returns}",
            "}",
        ]

    def _embedding(self, index: int, one: Operation) -> None:
        assert one.table is not None
        table = self.constant(f"table{index}", one.table)
        self._pieces.add("read16")
        self.lines.append(
            f"for (k = 0; k < {one.width}u; ++k) ({self._places[index + 1]})[k] = "
            f"@read16({table} + (uint32_t)x[0] * {one.width}u + k);"
        )

    def _scale(self, matrices: Sequence[Matrix], bias: Array, gates: int) -> Array:
        """Return multipliers and bias, those of a unit together: (units, of each array the gates)."""
        parts = [*(one.multipliers for one in matrices), bias]
        return np.concatenate([part.reshape(gates, -1).T for part in parts], axis=1).astype(np.int32)

    def _lstm(self, index: int, one: Operation) -> None:
        assert one.bias is not None
        w_x, w_h = one.matrices
        both = np.concatenate([w_x.weights, w_h.weights], axis=1).reshape(4, one.width, -1).transpose(1, 2, 0)
        weights = self.constant(f"w{index}", np.ascontiguousarray(both))
        scale = self.constant(f"scale{index}", self._scale(one.matrices, one.bias, 4))
        self._field("int16_t", f"h{index}", one.width)
        self._field("int32_t", f"c{index}", one.width)
        for name, values in zip((f"h{index}", f"c{index}"), one.initial, strict=True):
            self._begin(name, values)
        piece = "lstm_wide" if w_x.wide or w_h.wide else "lstm"
        self._pieces.add(piece)
        inputs = w_x.weights.shape[1]
        self.operations += both.size
        self.lines.append(
            f"@{piece}({weights}, {scale}, {w_x.shift}, {w_h.shift}, {one.cell_bits}, {self._places[one.main]}, "
            f"{inputs}u, state->h{index}, state->c{index}, {one.width}u, {self._scratch});"
        )

    def _dense(self, index: int, one: Operation) -> None:
        assert one.bias is not None
        (matrix,) = one.matrices
        weights = self.constant(f"w{index}", matrix.weights)
        scale = self.constant(f"scale{index}", self._scale(one.matrices, one.bias, 1))
        if one.last:
            self._field("int32_t", f"sums{index}", one.width)
        piece = f"dense{'_wide' if matrix.wide else ''}{'_last' if one.last else ''}"
        self._pieces.add(piece)
        self.operations += matrix.weights.size
        self.lines.append(
            f"@{piece}({weights}, {scale}, {matrix.shift}, {self._places[one.main]}, {matrix.weights.shape[1]}u, "
            f"{self._places[index + 1]}, {one.width}u);"
        )

    def _function(self, index: int, one: Operation) -> None:
        x, y = f"({self._places[one.main]})[k]", f"({self._places[index + 1]})[k]"
        if one.kind == "relu":
            value = f"{x} > 0 ? {x} : 0"
        else:
            self._pieces.add("functions")
            bits = self._operations[one.main - 1].bits
            value = f"@clip16(@rounded(@{one.kind}24(@to_net({x}, {bits})), 9))"
        self.lines.append(f"for (k = 0; k < {one.width}u; ++k) {y} = {value};")

    def _add(self, index: int, one: Operation) -> None:
        first, second = self._operations[one.main - 1].bits, self._operations[one.side - 1].bits
        finest = max(first, second)
        self._pieces.add("add")
        self.lines.append(
            f"@add({self._places[one.main]}, {2 ** (finest - first)}, {self._places[one.side]}, "
            f"{2 ** (finest - second)}, {finest - one.bits}, {one.width}u, {self._places[index + 1]});"
        )

    def _pool(self, index: int, one: Operation) -> None:
        x, y = self._places[one.main], self._places[index + 1]
        self._pieces.add(one.kind)
        if one.kind == "max":
            self._field("int16_t", f"largest{index}", one.width)
            self.fields.append(f"uint8_t begun{index};")
            self.ram += 4
            self.begin.append(f"state->begun{index} = 0;")
            self.lines.append(f"@max({x}, {one.width}u, state->largest{index}, &state->begun{index}, {y});")
            return
        self._field("int64_t", f"total{index}", one.width)
        self.fields.append(f"uint32_t count{index};")
        self.ram += 4
        self.begin += [f"state->count{index} = 0;", f"for (k = 0; k < {one.width}u; ++k) state->total{index}[k] = 0;"]
        self.lines.append(f"@mean({x}, {one.width}u, state->total{index}, &state->count{index}, {y});")


_WRITERS = {
    "input": IntegerProgram._input,
    "embedding": IntegerProgram._embedding,
    "lstm": IntegerProgram._lstm,
    "dense": IntegerProgram._dense,
    "relu": IntegerProgram._function,
    "tanh": IntegerProgram._function,
    "sigmoid": IntegerProgram._function,
    "add": IntegerProgram._add,
    "mean": IntegerProgram._pool,
    "max": IntegerProgram._pool,
}
