"""The command ``quantize``: weights of 8 bits for a trained model."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from .arguments import add_command
from .errors import CommandError, UsageError, refusing

if TYPE_CHECKING:
    from ..inference.quantizing import QuantizationReport

__all__ = ["add"]

_EPILOG = """examples:
  fastlstm quantize beats.safetensors -o beats-int8.safetensors --calibrate beats.csv
  fastlstm quantize beats.safetensors -o beats-int8.safetensors --calibrate beats.csv --skip 2"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "quantize",
        _run,
        summary="write a model with weights of 8 bits: a quarter of the size, faster",
        description="Write a model for prediction whose LSTM and Dense layers have weights of 8 bits, and print which "
        "layers that are, and how much the outputs for the typical data change.",
        epilog=_EPILOG,
    )
    parser.add_argument("model", metavar="MODEL", help="file of a model")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="the file to write")
    parser.add_argument(
        "--calibrate", metavar="DATA", help="a CSV file with typical values, which give each feature its own scale"
    )
    parser.add_argument("--skip", metavar="N,...", help="numbers of layers that keep their weights")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def _run(arguments: argparse.Namespace) -> int:
    from .model_file import is_forecaster
    from .output import check_output

    check_output(arguments.output)
    report = (_quantize_forecaster if is_forecaster(arguments.model) else _quantize)(arguments)
    if not arguments.quiet:
        print(report, file=sys.stderr)
    return 0


def _quantize(arguments: argparse.Namespace) -> QuantizationReport | None:
    from ..formats import safetensors
    from ..formats.model_file import model_from
    from .cases import read_cases
    from .model_file import load_model, read_config

    series = None
    if arguments.calibrate is not None:
        saved = load_model(arguments.model)
        table = saved.layout.read(arguments.calibrate, arguments)
        series = read_cases(table, saved.layout, missing=saved.takes_missing).series
    tensors, config = read_config(arguments.model)
    try:
        model = model_from(arguments.model, config, tensors)
        small = model.quantize(series, skip=_numbers(arguments.skip))
    except (RuntimeError, TypeError, ValueError) as error:
        raise CommandError(str(error)) from error
    safetensors.save(arguments.output, small.saved_tensors(), {**config, **small.get_config()})
    return small.quantization_report


def _quantize_forecaster(arguments: argparse.Namespace) -> QuantizationReport:
    from .forecasts import SavedForecaster

    saved, skip = SavedForecaster(arguments.model), _numbers(arguments.skip)
    try:  # without data, also if there are some: what is refused here is not the fault of the table
        small = saved.forecaster.quantize(skip=skip)
    except (RuntimeError, ValueError) as error:
        raise CommandError(str(error)) from error
    if arguments.calibrate is not None:
        table = saved.read(arguments.calibrate, arguments)
        with refusing():
            small = saved.forecaster.quantize(table, skip=skip)
    saved.save(small, arguments.output)
    return small.quantization_report_


def _numbers(text: str | None) -> list[int]:
    try:
        return [] if text is None else [int(number) for number in text.split(",")]
    except ValueError:
        raise UsageError(
            f"--skip is {text!r}, expected numbers of layers with commas between them, such as 0,2"
        ) from None
