"""The command ``export``: the network for other runtimes."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from .arguments import add_command
from .errors import CommandError, UsageError

__all__ = ["add"]

_EPILOG = """examples:
  fastlstm export beats.safetensors onnx -o beats.onnx
  fastlstm export beats.safetensors torch -o beats-torch.safetensors
  fastlstm export meter.safetensors c -o firmware --name meter"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "export",
        _run,
        summary="write the network for ONNX Runtime, PyTorch or firmware",
        description="Write the network: onnx, with its scaling; torch, a state dict; c, NAME.h and NAME.c in a folder.",
        epilog=_EPILOG,
    )
    parser.add_argument("model", metavar="MODEL", help="file of a model")
    parser.add_argument("format", choices=["onnx", "torch", "c"], help="what to write")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="the file; for c the folder")
    parser.add_argument("--name", help="c: prefix of the files and of all names in them (default: that of MODEL)")
    parser.add_argument("--dtype", choices=["float32", "int8"], help="c: arithmetic (default: float32)")
    parser.add_argument("--calibrate", metavar="DATA", help="c, int8: a CSV file with typical values")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def _run(arguments: argparse.Namespace) -> int:
    from .model_file import is_forecaster
    from .output import check_output

    if arguments.format == "c":
        return _export_c(arguments)
    for option in ("name", "dtype", "calibrate"):
        if getattr(arguments, option) is not None:
            raise UsageError(f"--{option} is for c: leave it out, or export c")
    check_output(arguments.output)
    if is_forecaster(arguments.model):
        _export_forecaster(arguments)
    else:
        _export(arguments)
    if not arguments.quiet:
        print(f"the network is in {arguments.output}", file=sys.stderr)
    return 0


def _export(arguments: argparse.Namespace) -> None:
    from ..formats.model_file import model_from
    from .model_file import read_config

    tensors, config = read_config(arguments.model)
    try:
        model = model_from(arguments.model, config, tensors)
    except ValueError as error:
        raise CommandError(str(error)) from error
    if arguments.format == "onnx":
        model.to_onnx(arguments.output)
        return
    _save_torch(model, arguments)


def _export_forecaster(arguments: argparse.Namespace) -> None:
    """Write the network of a forecaster, with the recipe for its inputs."""
    from ..forecast.forecaster import Forecaster

    if arguments.format == "torch":
        raise CommandError(
            f"{arguments.model} is a forecaster, whose calendar and scales no state dict can hold: export onnx, which "
            "has them in its metadata, or run it with fastlstm predict"
        )
    Forecaster.load(arguments.model).to_onnx(arguments.output)


def _export_c(arguments: argparse.Namespace) -> int:
    """Write a model as C; print what it needs."""
    from pathlib import Path

    from ..formats.c.export import export_c
    from ..formats.model_file import load
    from .cases import read_cases
    from .model_file import is_forecaster, load_model

    if is_forecaster(arguments.model):
        raise CommandError(
            f"{arguments.model} is a forecaster, which cannot be written as C: run it with fastlstm predict"
        )
    if (arguments.dtype == "int8") != (arguments.calibrate is not None):
        raise UsageError(
            "--dtype int8 and --calibrate DATA belong together: integers need the ranges of typical values"
        )
    name = arguments.name or _c_name(Path(arguments.model).stem)
    calibrate = None
    if arguments.calibrate is not None:
        saved = load_model(arguments.model)
        table = saved.layout.read(arguments.calibrate, arguments)
        cases = read_cases(table, saved.layout, missing=saved.takes_missing)
        calibrate = cases.series
    model = load(arguments.model)
    try:
        report = export_c(model, name, arguments.output, dtype=arguments.dtype or "float32", calibrate=calibrate)
    except (TypeError, ValueError) as error:
        cure = ""
        if any(layer.streaming_obstacle() for layer in model.network.layers):
            cure = ". C answers step by step: a classifier that does so is trained with --set bidirectional=false"
        raise CommandError(f"{error}{cure}") from error
    if not arguments.quiet:
        print(report, file=sys.stderr)
    return 0


def _c_name(stem: str) -> str:
    """Return a C identifier for a file called `stem`."""
    import re

    name = re.sub(r"\W", "_", stem, flags=re.ASCII)
    return (name if name[:1].isalpha() else f"model_{name}")[:31]


def _save_torch(model: Any, arguments: argparse.Namespace) -> None:
    """Write a state dict; what it cannot hold, the layers and the scaling, is in the metadata of the file."""
    import json

    from safetensors.numpy import save

    from ..formats import atomic

    metadata = {"layers": repr(model.layers), "written_by": "fastlstm export"}
    scalers = {"input": model.scaler, "output": model.target_scaler}
    for name, scaler in scalers.items():
        if scaler is not None:
            metadata[f"{name}_mean"] = json.dumps(scaler.center().tolist())
            metadata[f"{name}_scale"] = json.dumps(scaler.scale_.tolist())
    atomic.write(arguments.output, [save(model.to_torch_state_dict(), metadata)])
    if not arguments.quiet:
        print(
            f"PyTorch must compute what these layers do: {metadata['layers']}; scaling is not in the weights: use "
            "(x - input_mean) / input_scale and y * output_scale + output_mean, with the file's metadata",
            file=sys.stderr,
        )
