"""From a model to C files."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ... import _core
from ..._checks import count, one_of, short_repr
from ..._typing import Array
from ...inference.inputs import input_features
from ...inference.masked_stream import MaskedStream, Masking, new_stream
from ...inference.stream_stages import stream_stages, with_scalers
from ...layers import Stage, require_numbers
from ...protocols import InferenceModel
from .checks import check_kinds, check_masking, check_model, check_sizes, folded
from .integer.calibration import calibration_data, integer_model, quality
from .integer.emulator import Emulator
from .integer.program import IntegerProgram
from .numbers import exact_literal
from .program import Program
from .report import CReport
from .selftest import inputs_for, outputs_of
from .text import Source, assemble, comment_line

__all__ = ["export_c"]

_COARSE = 2.0**20
"""Ratio of mean and scale above which a float32 input has fewer than four bits below the scale."""


def export_c(
    model: InferenceModel,
    name: str,
    directory: str | os.PathLike[str] | None = None,
    *,
    dtype: str = "float32",
    selftest: int = 10,
    style: str = "files",
    calibrate: Any = None,
) -> CReport:
    """Do the work of `Model.to_c`."""
    _check_name(name)
    one_of("dtype", dtype, ("float32", "int8"))
    one_of("style", style, ("files", "header"))
    count("selftest", selftest, bits=15)  # what int holds on every target
    layers = stream_stages(model)
    require_numbers(model.network.layers, "to_c")
    check_model(model)
    if (dtype == "int8") != (calibrate is not None):
        raise ValueError(
            'calibrate takes the series that an int8 export measures: to_c(..., dtype="int8", calibrate=X)'
        )
    stages = with_scalers(model, layers)
    check_kinds(stages)
    stages = [folded(stage) for stage in stages]
    check_sizes(stages, _features(model))
    _warn_of_coarse_inputs(stages, model.feature_names)
    if dtype == "int8":
        source, emulator, found = _integer_source(model, name, stages, selftest, calibrate)
    else:
        source, emulator, found = _float_source(model, name, stages, selftest), None, {}
    report = replace(_report(source, assemble(source, style)), emulator=emulator, quality=found)
    return report if directory is None else report.save(directory)


def _report(source: Source, files: dict[str, str]) -> CReport:
    return CReport(
        name=source.name,
        dtype=source.dtype,
        files=files,
        inputs=source.inputs,
        outputs=source.outputs,
        rom_bytes=source.rom,
        selftest_bytes=4 * (source.x.size + source.y.size),
        ram_bytes=source.ram,
        operations=source.operations,
        weights_hash=source.digest,
        tokens=source.tokens,
    )


def _check_name(name: object) -> None:
    if not (isinstance(name, str) and re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,30}", name)):
        raise ValueError(
            f"name must be a C identifier of up to 31 letters, digits and underscores that begins with a letter, got "
            f'{short_repr(name)}: for example to_c("pf")'
        )


def _warn_of_coarse_inputs(stages: Sequence[Stage], names: Sequence[str] | None) -> None:
    first = stages[0]
    if first.kind != "standardize":
        return
    ratio = np.abs(first.weights["mean"]) / np.maximum(first.weights["scale"], np.finfo(np.float64).tiny)
    for feature in np.flatnonzero((ratio > _COARSE) & (first.weights["scale"] > 0)).tolist():
        named = f"{feature} ({names[feature]})" if names else str(feature)
        warnings.warn(
            f"the mean of feature {named} is {ratio[feature]:.3g} times its scale, so that a float input of the C code "
            "has few digits left after the mean is subtracted: subtract a constant, such as the time of the start, "
            "before training",
            UserWarning,
            stacklevel=4,
        )


def _float_source(model: InferenceModel, name: str, stages: list[Stage], vectors: int) -> Source:
    features = _features(model)
    program = Program(stages, features)
    stream = new_stream(model, 1, 1)
    if isinstance(stream, MaskedStream):
        _add_masking(program, stream.masking, model, features)
    x = inputs_for(model, stages, features, vectors)
    return _source(model, name, "float32", stages, program, x, outputs_of(stream, x))


def _integer_source(
    model: InferenceModel, name: str, stages: list[Stage], vectors: int, calibrate: Any
) -> tuple[Source, Emulator, dict[str, float]]:
    X, y = calibrate if isinstance(calibrate, tuple) and len(calibrate) == 2 else (calibrate, None)
    stream = new_stream(model, 1, 1)
    masking = stream.masking if isinstance(stream, MaskedStream) else None
    if masking is not None:
        check_masking(masking)
    groups, cases = calibration_data(model, X, y)
    emulator, tail = integer_model(model, stages, groups, masking)
    program = IntegerProgram(emulator.operations, tail, model.network.takes_tokens)
    if masking is not None:
        _add_masking(program, masking, model, _features(model))
    found = quality(model, emulator, groups, cases)
    inputs = inputs_for(model, stages, _features(model), vectors)
    emulator.reset()
    answers = np.concatenate([emulator.step(step if inputs.dtype.kind == "i" else step[None]) for step in inputs])
    emulator.reset()
    return _source(model, name, "int8", stages, program, inputs, answers), emulator, found


def _features(model: InferenceModel) -> int:
    return 1 if model.network.takes_tokens else input_features(model)


def _source(
    model: InferenceModel,
    name: str,
    dtype: str,
    stages: list[Stage],
    program: Program | IntegerProgram,
    x: Array,
    y: Array,
) -> Source:
    digest = hashlib.sha256("\n".join([*program.constants, *program.functions, *program.lines]).encode()).hexdigest()
    features = _features(model)
    return Source(
        name=name,
        about=about_lines(model, stages, features, digest),
        dtype=dtype,
        inputs=features,
        outputs=stages[-1].output_size,
        tokens=(model.network.layers[0].num_tokens or 2**31 - 1) if model.network.takes_tokens else 0,
        needs=program.needs,
        constants=program.constants,
        functions=program.functions,
        fields=program.fields,
        begin=program.begin,
        step=program.lines,
        rom=program.rom,
        ram=program.ram,
        operations=program.operations,
        fused=_core.fused(),
        approximate=program.has_doubles,
        x=x,
        y=y,
        digest=digest[:16],
    )


def about_lines(model: InferenceModel, stages: Sequence[Stage], inputs: int, digest: str) -> list[str]:
    """Return the lines of the comment that says what a file is."""
    names = model.feature_names or [""] * inputs
    lines = [f"weights   {digest[:16]}"]
    lines += [comment_line(f"layer {index:<3} {layer!r}") for index, layer in enumerate(model.network.layers)]
    if model.scaler is not None:
        lines.append(comment_line(f"inputs    in raw units, scaled by {type(model.scaler).__name__}"))
    if model.network.takes_tokens:
        lines.append("x[0]      a token id")
    else:
        lines += [comment_line(f"x[{k}]".ljust(10) + (names[k] or f"feature {k}")) for k in range(inputs)]
    outputs = stages[-1].output_size
    classes = model.classes if model.classes is not None and len(model.classes) == outputs else None
    lines += [comment_line(f"y[{k}]".ljust(10) + (classes[k] if classes else f"output {k}")) for k in range(outputs)]
    if model.target_scaler is not None:
        lines.append("outputs   in raw units")
    return lines


def _add_masking(program: Program | IntegerProgram, masking: Masking, model: InferenceModel, inputs: int) -> None:
    """Let a masked step leave the state as it is and answer as the stream does."""
    check_masking(masking)
    layer = model.network.layers[masking.layers[0]]
    outputs = len(masking.empty)
    token = getattr(layer, "mask_token", None)
    value = getattr(layer, "value", 0.0)
    if token is None and not np.isnan(value) and not np.isfinite(np.float32(value)):
        return  # no float input is equal
    empty = program.constant("empty", np.asarray(masking.empty, np.float32))
    program.needs |= {"rom", "copy"}
    if token is not None:
        lines = [f"if (x[0] == {token}) {{"]
    else:
        test = "x[k] != x[k]" if np.isnan(value) else f"x[k] == {exact_literal(value)}"
        lines = [f"for (k = 0; k < {inputs}u && {test}; ++k) {{", "}", f"if (k == {inputs}u) {{"]
    if masking.repeats:
        program.fields.append(f"float last[{outputs}];")
        program.ram += 4 * outputs
        program.begin.append(f"for (k = 0; k < {outputs}u; ++k) state->last[k] = @rom({empty} + k);")
        lines.append(f"    @copy(y, state->last, {outputs}u);")
        program.lines.append(f"@copy(state->last, y, {outputs}u);")
    else:
        lines.append(f"    for (k = 0; k < {outputs}u; ++k) y[k] = @rom({empty} + k);")
    lines += ["    return 0;" if token is not None else "    return;", "}"]
    program.lines[:0] = lines
