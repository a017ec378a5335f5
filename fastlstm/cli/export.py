"""The command ``export``: the network for other runtimes."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from .errors import CommandError

__all__ = ["add"]

_EPILOG = """examples:
  fastlstm export beats.safetensors onnx -o beats.onnx
  fastlstm export beats.safetensors torch -o beats-torch.safetensors"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "export",
        help="write the network for ONNX Runtime or PyTorch",
        description="Write the network for other runtimes: onnx, with its scaling; torch, a state dict as safetensors.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("model", metavar="MODEL", help="file of a model")
    parser.add_argument("format", choices=["onnx", "torch"], help="what to write")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="the file")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from .model_file import is_forecaster
    from .output import check_output

    check_output(arguments.output)
    if is_forecaster(arguments.model):
        raise CommandError(
            f"{arguments.model} is a forecaster, whose calendar and scales no ONNX file can hold: run it with fastlstm "
            "predict, or fl.load in Python"
        )
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


def _save_torch(model: Any, arguments: argparse.Namespace) -> None:
    """Write a state dict; what it cannot hold, the layers and the scaling, is in the metadata of the file."""
    import json

    from safetensors.numpy import save

    from ..formats import atomic

    metadata = {"layers": repr(model.layers), "written_by": "fastlstm export"}
    scalers = {"input": model.scaler, "output": model.target_scaler}
    for name, scaler in scalers.items():
        if scaler is not None:
            metadata[f"{name}_mean"] = json.dumps(scaler.mean_.tolist())
            metadata[f"{name}_scale"] = json.dumps(scaler.scale_.tolist())
    atomic.write(arguments.output, [save(model.to_torch_state_dict(), metadata)])
    if not arguments.quiet:
        print(
            f"PyTorch must compute what these layers do: {metadata['layers']}; scaling is not in the weights: use "
            "(x - input_mean) / input_scale and y * output_scale + output_mean, with the file's metadata",
            file=sys.stderr,
        )
