"""C text of an LSTM cell: one function for each kind of cell that a model has.

A unit's weights lie together, (unit)(term)(gate) with the terms of x before those of h, so that one pass over memory
serves all gates of a unit. The order of the operations is that of csrc/kernels/lstm.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..._typing import Array
from ...cell import NORM_EPS, Cell
from ...layers import Stage
from .functions import activation_call
from .numbers import literal

__all__ = ["CellKind", "LstmArrays", "lstm_arrays", "lstm_function", "lstm_needs"]


class CellKind(NamedTuple):
    """What decides the text of a cell's function; cells of one kind share it."""

    cell: Cell
    peepholes: bool
    projects: bool

    @classmethod
    def of(cls, stage: Stage) -> CellKind:
        """Return the kind of a stage's cell, without the options that inference does not read."""
        cell = stage.settings["cell"]._replace(recurrent_dropout=0.0, variational_dropout=0.0)
        return cls(cell, "peepholes" in stage.weights, "weight_hr" in stage.weights)

    @property
    def gates(self) -> str:
        """Letters of the gates that have weights."""
        return "igo" if self.cell.coupled else "ifgo"

    def scratch(self, hidden: int, state: int) -> int:
        """Return how many numbers the function needs for itself."""
        if self.cell.layer_norm:
            return 2 * len(self.gates) * hidden + 2 * hidden
        return hidden if self.projects else state


class LstmArrays(NamedTuple):
    """Arrays of a cell in the order in which its function reads them, by name."""

    arrays: dict[str, Array]
    inputs: int
    hidden: int
    state: int


def lstm_arrays(stage: Stage) -> LstmArrays:
    """Return the arrays of a stage in the layout of the function."""
    kind, weights = CellKind.of(stage), stage.weights
    gates, hidden = len(kind.gates), stage.settings["hidden_size"]
    w_x, w_h = weights["weight_ih"], weights["weight_hh"]

    def by_unit(name: str) -> Array:
        return np.asarray(weights[name].reshape(gates, hidden).T)

    both = np.concatenate([w_x, w_h], axis=1).reshape(gates, hidden, -1)
    arrays = {"w": both.transpose(1, 2, 0), "bias": np.zeros((hidden, gates), np.float32)}
    if "bias_ih" in weights:
        arrays["bias"] = by_unit("bias_ih")
    if "bias_hh" in weights:
        arrays["bias"] = arrays["bias"] + by_unit("bias_hh")
    if kind.cell.layer_norm:
        arrays["gain_x"], arrays["gain_h"] = by_unit("gain_ih"), by_unit("gain_hh")
        arrays["norm_c"] = np.stack([weights["gain_c"], weights["bias_c"]], axis=1)
    if kind.peepholes:
        arrays["peepholes"] = weights["peepholes"].T
    if kind.projects:
        arrays["projection"] = weights["weight_hr"]
    return LstmArrays(arrays, w_x.shape[1], hidden, w_h.shape[1])


def _clipped(x: str, limit: float) -> str:
    if math.isinf(limit):
        return x
    return f"@at_least(@at_most({x}, {literal(limit)}), {literal(-limit)})"


def lstm_needs(kind: CellKind) -> set[str]:
    """Return the names of the pieces that the function needs."""
    cell = kind.cell
    needs = {"rom", "fma", cell.gate_activation.name, cell.cell_activation.name, cell.output_activation.name}
    if any(map(math.isfinite, (cell.gate_clip, cell.cell_clip, cell.output_clip))):
        needs.add("clip")
    if cell.layer_norm:
        needs.add("norm")
    return needs | {"dense" if kind.projects else "copy"}


def lstm_function(kind: CellKind, name: str) -> str:
    """Return the C text of the function of a kind of cell."""
    body = _norm_body(kind) if kind.cell.layer_norm else _body(kind)
    arguments = ["const float *w", "const float *bias"]
    if kind.cell.layer_norm:
        arguments += ["const float *gain_x", "const float *gain_h", "const float *norm_c"]
    if kind.peepholes:
        arguments.append("const float *peepholes")
    if kind.projects:
        arguments.append("const float *projection")
    arguments += ["const float *x", "uint_fast16_t inputs", "float *h", "float *c", "uint_fast16_t units"]
    if kind.projects:
        arguments.append("uint_fast16_t recurrent")
    else:
        body = [line.replace("recurrent", "units") for line in body]
    arguments.append("float *next")
    head = f"static void @{name}("
    lines = [head]
    for k, argument in enumerate(arguments):
        text = argument + (")" if k == len(arguments) - 1 else ", ")
        if len(lines[-1] + text) > 118:
            lines.append("    ")
        lines[-1] += text
    return "\n".join([*(line.rstrip() for line in lines), "{", *body, "}", ""])


def _sums(kind: CellKind, source: str, count: str, targets: str, indent: str) -> list[str]:
    """Return the loop that adds w times x or h to the sums of a unit's gates."""
    gates = kind.gates
    lines = [f"{indent}for (uint_fast16_t k = 0; k < {count}; ++k, w += {len(gates)}u) {{"]
    lines.append(f"{indent}    const float v = {source}[k];")
    lines += [f"{indent}    {targets}_{g} = @fma(v, @rom(w + {k}), {targets}_{g});" for k, g in enumerate(gates)]
    return [*lines, f"{indent}}}"]


def _body(kind: CellKind) -> list[str]:
    gates = kind.gates
    n = len(gates)
    lines = [f"    for (uint_fast16_t j = 0; j < units; ++j, bias += {n}u) {{"]
    lines.append("        float " + ", ".join(f"z_{g} = @rom(bias + {k})" for k, g in enumerate(gates)) + ";")
    lines += _cell_variables(kind)
    lines += _sums(kind, "x", "inputs", "z", "        ")
    lines += _sums(kind, "h", "recurrent", "z", "        ")
    lines += _cell_lines(kind)
    product = "o * " + activation_call(kind.cell.output_activation, _clipped("fresh", kind.cell.output_clip))
    zone = "" if kind.projects else _zone_h(kind)
    lines.append(f"        next[j] = {product};")
    if zone:
        lines.append(f"        next[j] = {zone.replace('NEW', 'next[j]').replace('OLD', 'h[j]')};")
    lines.append("    }")
    return lines + _finish(kind, "next")


def _cell_variables(kind: CellKind) -> list[str]:
    lines = ["        float i, f, g, o, fresh;"]
    if kind.peepholes:
        count = 2 if kind.cell.coupled else 3
        lines.insert(0, f"        const float *p = peepholes + j * {count}u;")
    return lines


def _cell_lines(kind: CellKind) -> list[str]:
    """Return the lines from the net inputs z of a unit to its new cell state and output gate."""
    cell, lines = kind.cell, []
    gate = cell.gate_activation
    if kind.peepholes:
        lines.append("z_i = @fma(@rom(p), c[j], z_i);")
        if not cell.coupled:
            lines.append("z_f = @fma(@rom(p + 1), c[j], z_f);")
    lines.append(f"i = {activation_call(gate, _clipped('z_i', cell.gate_clip))};")
    forget = "1.0f - i" if cell.coupled else activation_call(gate, _clipped("z_f", cell.gate_clip))
    lines.append(f"f = {forget};")
    lines.append(f"g = {activation_call(cell.cell_activation, _clipped('z_g', cell.gate_clip))};")
    lines.append("fresh = @fma(f, c[j], i * g);")
    if math.isfinite(cell.cell_clip):
        lines.append(f"fresh = {_clipped('fresh', cell.cell_clip)};")
    if kind.peepholes:
        lines.append(f"z_o = @fma(@rom(p + {1 if cell.coupled else 2}), fresh, z_o);")
    lines.append(f"o = {activation_call(gate, _clipped('z_o', cell.gate_clip))};")
    if cell.zoneout_c > 0:
        lines.append(f"c[j] = {_zone(cell.zoneout_c, 'c[j]', 'fresh')};")
    else:
        lines.append("c[j] = fresh;")
    return ["        " + line for line in lines]


def _zone(p: float, old: str, new: str) -> str:
    kept = np.float32(p)
    return f"@fma({literal(kept)}, {old}, {literal(np.float32(1) - kept)} * {new})"


def _zone_h(kind: CellKind) -> str:
    return _zone(kind.cell.zoneout_h, "OLD", "NEW") if kind.cell.zoneout_h > 0 else ""


def _finish(kind: CellKind, m: str) -> list[str]:
    """Return the lines that store the new h, of the output m before the projection."""
    if not kind.projects:
        return [f"    @copy(h, {m}, units);"]
    zone = _zone_h(kind)
    if not zone:
        return [f"    @dense(projection, NULL, units, recurrent, {m}, h);"]
    return [
        "    for (uint_fast16_t j = 0; j < recurrent; ++j, projection += units) {",
        "        float fresh;",
        f"        @dense(projection, NULL, units, 1, {m}, &fresh);",
        f"        h[j] = {zone.replace('NEW', 'fresh').replace('OLD', 'h[j]')};",
        "    }",
    ]


def _norm_body(kind: CellKind) -> list[str]:
    """Return the body of a cell with layer normalisation, which needs all sums before the first gate."""
    gates, cell = kind.gates, kind.cell
    n = len(gates)
    eps = literal(NORM_EPS)
    lines = [
        f"    float *of_x = next, *of_h = of_x + units * {n}u, *cells = of_h + units * {n}u, *out = cells + units;",
        "    for (uint_fast16_t j = 0; j < units; ++j) {",
        "        float " + ", ".join(f"z_{g} = 0" for g in gates) + ";",
        *_sums(kind, "x", "inputs", "z", "        "),
        *(f"        of_x[j * {n}u + {k}u] = z_{g};" for k, g in enumerate(gates)),
        "        " + " = ".join(f"z_{g}" for g in gates) + " = 0;",
        *_sums(kind, "h", "recurrent", "z", "        "),
        *(f"        of_h[j * {n}u + {k}u] = z_{g};" for k, g in enumerate(gates)),
        "    }",
        f"    @norm(of_x, units, {n}u, {eps});",
        f"    @norm(of_h, units, {n}u, {eps});",
        "    for (uint_fast16_t j = 0; j < units; ++j) {",
        f"        const uint_fast16_t at = j * {n}u;",
    ]
    for k, g in enumerate(gates):
        inner = f"@fma(@rom(gain_x + at + {k}), of_x[at + {k}], @rom(bias + at + {k}))"
        lines.append(f"        float z_{g} = @fma(@rom(gain_h + at + {k}), of_h[at + {k}], {inner});")
    lines += [*_cell_variables(kind), *_cell_lines(kind), "        cells[j] = fresh;", "        out[j] = o;", "    }"]
    argument = _clipped("@fma(@rom(norm_c + 2u * j), cells[j], @rom(norm_c + 2u * j + 1u))", cell.output_clip)
    lines += [
        f"    @norm(cells, units, 1u, {eps});",
        "    for (uint_fast16_t j = 0; j < units; ++j) {",
        f"        out[j] *= {activation_call(cell.output_activation, argument)};",
    ]
    zone = "" if kind.projects else _zone_h(kind)
    if zone:
        lines.append(f"        out[j] = {zone.replace('NEW', 'out[j]').replace('OLD', 'h[j]')};")
    return [*lines, "    }", *_finish(kind, "out")]
