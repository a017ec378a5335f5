"""From the stages of a model to the parts of a C file in float32: constants, state, and the lines of a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..._typing import Array
from ...layers import Stage
from .buffers import assign_buffers
from .functions import activation_call
from .lstm import CellKind, lstm_arrays, lstm_function, lstm_needs
from .numbers import array_text, divisors

__all__ = ["Program"]


class Program:
    """The parts of a C file, gathered stage by stage.

    Parameters
    ----------
    stages : sequence of Stage
        What is computed.
    inputs : int
        Features of the input.
    x : str, default "x"
        Where the input lies.
    first : int, default 0
        Number of the first stage in names.
    work : str, default "work"
        Name of the working memory in the state.

    Attributes
    ----------
    needs : set of str
        Names of the pieces of `engine` that the lines use.
    constants, functions : list of str
        C text.
    fields : list of str
        Members of the state.
    begin, lines : list of str
        Statements of NAME_init and of NAME_step.
    rom, ram : int
        Bytes of the constants, and of the state.
    operations : int
        Multiplications of weights in a step.
    has_doubles : bool
        Whether a part is computed in double where the target has one of 64 bits.
    """

    def __init__(
        self, stages: Sequence[Stage], inputs: int, x: str = "x", *, first: int = 0, work: str = "work"
    ) -> None:
        self.needs: set[str] = set()
        self.constants: list[str] = []
        self.functions: list[str] = []
        self.fields: list[str] = []
        self.begin: list[str] = []
        self.lines: list[str] = []
        self.rom = self.ram = self.operations = 0
        self.has_doubles = False
        self._kinds: dict[CellKind, str] = {}
        self._stages = list(stages)
        self._widths = [inputs, *(stage.output_size for stage in stages)]
        self._scratch = 0
        self._first, self._memory = first, f"state->{work}"
        self._places = [x, *self._assign()]
        for index, stage in enumerate(self._stages):
            _WRITERS[stage.kind](self, index + first, stage)
        if self._work + self._scratch:
            self._field(f"float {work}[{self._work + self._scratch}]", 4 * (self._work + self._scratch))
        if self._scratch:
            self.lines.insert(
                0, f"float *scratch = state->work + {self._work}u;" if self._work else "float *scratch = state->work;"
            )

    def _assign(self) -> list[str]:
        """Return where the value of each stage lies: an LSTM's in the state, as h; the last one in the caller's y."""
        last = len(self._stages) - 1
        reads = [[stage.main, *stage.side.values()] for stage in self._stages]
        widths = [
            0 if stage.kind == "lstm" or index == last else stage.output_size
            for index, stage in enumerate(self._stages)
        ]
        starts, self._work = assign_buffers(reads, widths)
        places = []
        for index, (stage, start) in enumerate(zip(self._stages, starts, strict=True)):
            if stage.kind == "lstm":
                places.append(f"state->h{index}")
            elif index == last:
                places.append("y")
            else:
                places.append(f"{self._memory} + {start}u" if start else self._memory)
        return places

    # ------------------------------------------------------------------ what the writers use

    def constant(self, name: str, array: Array) -> str:
        """Add a constant and return its name in C."""
        self.rom += array.nbytes
        self.constants.append(array_text(f"@{name}", array))
        return f"@{name}"

    def _field(self, declaration: str, size: int) -> None:
        self.fields.append(f"{declaration};")
        self.ram += size

    def _states(self, index: int, stage: Stage) -> None:
        """Add h and c of a stage, and how they begin."""
        for state in stage.states:
            name = f"{state.name}{index}"
            self._field(f"float {name}[{state.size}]", 4 * state.size)
            if state.initial is None:
                self.begin.append(f"for (k = 0; k < {state.size}u; ++k) state->{name}[k] = 0;")
            else:
                initial = self.constant(f"initial_{name}", np.asarray(state.initial, np.float32))
                self.needs.add("rom")
                self.begin.append(f"for (k = 0; k < {state.size}u; ++k) state->{name}[k] = @rom({initial} + k);")

    def _io(self, index: int, stage: Stage) -> tuple[str, str, int]:
        """Return where a stage reads and writes, and the width of what it reads."""
        return self._places[stage.main], self._places[index + 1 - self._first], self._widths[stage.main]

    # ------------------------------------------------------------------ one writer for each kind of stage

    def _lstm(self, index: int, stage: Stage) -> None:
        kind = CellKind.of(stage)
        if kind not in self._kinds:
            self._kinds[kind] = f"lstm{len(self._kinds)}"
            self.needs |= lstm_needs(kind)
            self.functions.append(lstm_function(kind, self._kinds[kind]))
        layout = lstm_arrays(stage)
        names = [
            self.constant(f"{name}{index}", np.asarray(array, np.float32)) for name, array in layout.arrays.items()
        ]
        self._states(index, stage)
        self._scratch = max(self._scratch, kind.scratch(layout.hidden, layout.state))
        arguments = [*names, self._places[stage.main], f"{layout.inputs}u", f"state->h{index}", f"state->c{index}"]
        arguments.append(f"{layout.hidden}u")
        if kind.projects:
            arguments.append(f"{layout.state}u")
        self.lines.append(f"@{self._kinds[kind]}({', '.join(arguments)}, scratch);")
        self.operations += sum(layout.arrays[name].size for name in ("w", "projection") if name in layout.arrays)
        if index == len(self._stages) - 1:
            self.needs.add("copy")
            self.lines.append(f"@copy(y, state->h{index}, {stage.output_size}u);")

    def _dense(self, index: int, stage: Stage) -> None:
        x, y, width = self._io(index, stage)
        weight = self.constant(f"w{index}", np.asarray(stage.weights["weight"], np.float32))
        bias = stage.weights.get("bias")
        given = "NULL" if bias is None else self.constant(f"bias{index}", np.asarray(bias, np.float32))
        self.needs.add("dense")
        self.operations += width * stage.output_size
        self.lines.append(f"@dense({weight}, {given}, {width}u, {stage.output_size}u, {x}, {y});")

    def _activation(self, index: int, stage: Stage) -> None:
        x, y, width = self._io(index, stage)
        function = stage.settings["function"]
        self.needs.add(function.name)
        self.lines.append(f"for (k = 0; k < {width}u; ++k) ({y})[k] = {activation_call(function, f'({x})[k]')};")

    def _softmax(self, index: int, stage: Stage) -> None:
        x, y, width = self._io(index, stage)
        self.needs.add("softmax")
        self.lines.append(f"@softmax({x}, {width}u, {y});")

    def _add(self, index: int, stage: Stage) -> None:
        x, y, width = self._io(index, stage)
        self.needs.add("add")
        self.lines.append(f"@add({x}, {self._places[stage.side['addend']]}, {width}u, {y});")

    def _embedding(self, index: int, stage: Stage) -> None:
        table = self.constant(f"table{index}", np.asarray(stage.weights["weight"], np.float32))
        self.needs.add("rom")
        self.lines.append(
            f"for (k = 0; k < {stage.output_size}u; ++k) "
            f"({self._places[index + 1]})[k] = @rom({table} + (uint32_t)x[0] * {stage.output_size}u + k);"
        )

    def _scaling(self, index: int, stage: Stage) -> None:
        x, y, width = self._io(index, stage)
        mean, scale = stage.weights["mean"], stage.weights["scale"]
        if stage.kind == "standardize":
            scale = divisors(scale)
        high = mean.astype(np.float32)
        names = {"mean": (mean, high), "scale": (scale, scale.astype(np.float32))}
        single = {**{k: v[1] for k, v in names.items()}, "low": (mean - high).astype(np.float32)}
        self.rom += mean.nbytes + scale.nbytes
        self.constants.append(
            "#if @@DOUBLE\n"
            + "".join(array_text(f"@{k}{index}", v[0]) for k, v in names.items())
            + "#else\n"
            + "".join(array_text(f"@{k}{index}", v) for k, v in single.items())
            + "#endif\n"
        )
        self.needs.add(stage.kind)
        self.has_doubles = True
        self.lines.append(f"@{stage.kind}(@mean{index}, @@LOW(@low{index}) @scale{index}, {x}, {width}u, {y});")
        missing = stage.weights.get("missing")
        if missing is not None:
            name = self.constant(f"missing{index}", np.asarray(missing, np.uint16))
            self.needs.add("missing")
            self.lines.append(f"@missing({name}, {len(missing)}u, {width}u, {y});")

    def _pool(self, index: int, stage: Stage) -> None:
        x, y, width = self._io(index, stage)
        method = stage.settings["method"]
        self.needs.add(f"pool_{method}")
        if method == "max":
            self._field(f"float largest{index}[{width}]", 4 * width)
            self._field(f"uint8_t begun{index}", 4)
            self.begin.append(f"state->begun{index} = 0;")
            self.lines.append(f"@pool_max({x}, {width}u, state->largest{index}, &state->begun{index}, {y});")
            return
        self.has_doubles = True
        self._field(f"double sums{index}[{width}]", 8 * width)
        self.begin.append(f"for (k = 0; k < {width}u; ++k) state->sums{index}[k] = 0;")
        if method == "mean":
            self._field(f"uint64_t count{index}", 8)
            self.begin.append(f"state->count{index} = 0;")
            self.lines.append(f"@pool_mean({x}, {width}u, state->sums{index}, &state->count{index}, {y});")
            return
        self._field(f"double counts{index}[3]", 24)
        self.begin.append(f"for (k = 0; k < 3; ++k) state->counts{index}[k] = 0;")
        score = f"({self._places[stage.side['scores']]})[0]"
        self.lines.append(f"@pool_attention({x}, {width}u, {score}, state->sums{index}, state->counts{index}, {y});")


_WRITERS: dict[str, Callable[[Any, int, Stage], None]] = {
    "lstm": Program._lstm,
    "dense": Program._dense,
    "activation": Program._activation,
    "softmax": Program._softmax,
    "add": Program._add,
    "embedding": Program._embedding,
    "standardize": Program._scaling,
    "unstandardize": Program._scaling,
    "pool": Program._pool,
}
