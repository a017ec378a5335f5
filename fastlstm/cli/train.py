"""The command ``train``: from a table to a model's file."""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

from .arguments import add_command
from .errors import CommandError, DataRefused, UsageError
from .options import add_options

__all__ = ["add"]

_EPILOG = """examples:
  fastlstm train meter.csv --task forecast --target load --time time --horizon 1D -o load.safetensors
  fastlstm train beats.csv --task classify --target kind -o beats.safetensors           a row is a case
  fastlstm train runs.csv --task regress --target wear --group run --time t -o wear.safetensors
  fastlstm train normal.csv --task anomaly --time time --set hidden_size=64 -o pump.safetensors
  fastlstm train --config pump.toml --dry-run                          what is understood of it"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "train",
        _run,
        summary="train on a CSV file, and write the model to one file",
        description="Train on a CSV file, and write the model with its whole configuration to one file.",
        epilog=_EPILOG,
    )
    parser.add_argument("data", nargs="?", metavar="DATA.csv", help="the training data, - for stdin")
    parser.add_argument("-o", "--output", metavar="MODEL", help="file for the model, such as model.safetensors")
    parser.add_argument("--config", metavar="FILE.toml", help="file with options, see fastlstm init; flags come first")
    parser.add_argument("--dry-run", action="store_true", help="print what is understood of the data, and stop")
    parser.add_argument("--resume", action="store_true", help="continue the training that Ctrl-C has ended")
    parser.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    add_options(parser)


def _run(arguments: argparse.Namespace) -> int:
    from .config import configuration
    from .output import say, silent
    from .processes import processes

    if arguments.set == ["list"]:
        return _list_settings(arguments)
    configured = configuration(arguments)
    team = processes(configured)
    told = silent if arguments.quiet or team.rank else say
    if configured.task == "forecast":
        from . import forecasting

        return forecasting.train(arguments, configured, team, told)
    return _train_cases(arguments, configured, team, told)


def _list_settings(arguments: argparse.Namespace) -> int:
    from .options import TASKS
    from .settings import SETTINGS

    if arguments.task is None:
        raise UsageError(f"--set list prints the settings of a task: --task {'|'.join(TASKS)}")
    if arguments.task == "forecast":
        from . import forecasting

        settings = forecasting.settings()
    else:
        settings = SETTINGS[arguments.task]
    for name, value in settings.items():
        print(f"{name}={'none' if value is None else value}")
    return 0


def _train_cases(arguments: argparse.Namespace, configured: Any, team: Any, told: Any) -> int:
    """Train for classify, regress or anomaly."""
    from .prepared import prepare
    from .tables import read_table

    with team.together():
        table = read_table(configured.data, configured.csv)
        prepared = prepare(table, configured)
    if arguments.dry_run:
        return 0 if team.rank else _dry_run(arguments, prepared)
    for line in prepared.lines:
        told(line)
    return _fit(arguments, configured, prepared, team, told)


def _dry_run(arguments: argparse.Namespace, prepared: Any) -> int:
    from .output import json_text

    if arguments.json:
        print(json_text(prepared.to_dict()))
    else:
        print("\n".join(prepared.lines))
    return 0


def _fit(arguments: argparse.Namespace, configured: Any, prepared: Any, team: Any, told: Any) -> int:
    from ..training.loop import TrainingDiverged
    from .checkpoints import InterruptCheckpoint, checkpoint_path, resume_command
    from .fitting import Run, fit
    from .output import say

    output: str = configured.output
    checkpoint = InterruptCheckpoint(checkpoint_path(output))
    if os.path.exists(checkpoint.path) and not arguments.resume:
        told(f"{checkpoint.path} is left by an earlier training: --resume continues it, else it is of no use any more")
    elif arguments.resume and not os.path.exists(checkpoint.path):
        told(f"there is no {checkpoint.path}: the training starts from the beginning")
    verbose = 0 if arguments.quiet else 1
    run = Run(configured.get("seed", 0), arguments.threads, verbose, [checkpoint], arguments.resume, team)
    begin = time.perf_counter()
    try:
        fitted = fit(prepared.layout, prepared.cases, prepared.held, prepared.settings, run)
    except KeyboardInterrupt:
        checkpoint.leave(resume_command(arguments.given), say)
        raise
    except TrainingDiverged as error:
        raise CommandError(f"{error}: try --set learning_rate={prepared.settings['learning_rate'] / 10:g}") from error
    except (TypeError, ValueError) as error:
        raise DataRefused(str(error)) from error
    if team.rank:
        return 0  # the rest is done once
    return _finish(arguments, configured, prepared, fitted, time.perf_counter() - begin, checkpoint, told)


def _finish(
    arguments: argparse.Namespace,
    configured: Any,
    prepared: Any,
    fitted: Any,
    seconds: float,
    checkpoint: Any,
    told: Any,
) -> int:
    """Measure the test part, write the file, say what it is."""
    from .measures import baseline_of
    from .model_file import save_model
    from .output import json_text

    described = fitted.described
    baseline = baseline_of(prepared.layout, prepared.cases)
    figures = {} if prepared.test is None else _test_figures(arguments, configured, prepared, fitted, baseline, told)
    save_model(
        configured.output,
        fitted,
        prepared.layout,
        configured,
        prepared.settings,
        data=prepared.summary,
        figures=figures,
        baseline=baseline,
    )
    if arguments.resume:
        checkpoint.remove()
    epochs = described["fitted"]["n_iter_"]
    told(f"{epochs} epochs in {seconds:.1f} s; the model is in {configured.output}")
    if arguments.json:
        print(json_text({"model": configured.output, "epochs": epochs, "seconds": seconds, "test": figures}))
    return 0


def _test_figures(
    arguments: argparse.Namespace, configured: Any, prepared: Any, fitted: Any, baseline: dict[str, Any], told: Any
) -> dict[str, float]:
    """Measure the cases that were kept out, and say how good the model is."""
    from .measures import measure
    from .model_file import SavedModel

    described = fitted.described
    classes = None if described["classes_"] is None else described["classes_"]["values"]
    ready = SavedModel(
        configured.output,
        fitted.model,
        prepared.layout,
        described["parameters"],
        described["fitted"],
        classes,
        {"baseline": baseline},
    )
    measures = measure(ready, prepared.test, arguments.threads)
    told(f"on {len(prepared.test)} cases that were kept out:")
    for line in measures.lines():
        told(f"  {line}")
    return dict(measures.values)
