"""The command line: see ``python -m benchmarks --help``."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

_T = TypeVar("_T")

_ROOT = Path(__file__).resolve().parents[1]
_COMMANDS = ("run", "compare", "sweep", "ucr", "estimators", "forecast", "paper1997")


def _prefer_the_installed_package() -> None:
    """Remove the checkout from sys.path, where Python puts it first, if its fastlstm has no compiled module."""
    compiled = [path for path in (_ROOT / "fastlstm").glob("_core.*") if path.suffix in (".so", ".pyd")]
    if not compiled:
        sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != _ROOT]


def _require(*packages: str, extra: str = "bench") -> None:
    """Exit with a message if a package is not installed."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            sys.exit(f"python -m benchmarks: {package} is not installed: pip install '.[{extra}]' in the checkout")


def _number(text: str, convert: Callable[[str], _T]) -> _T:
    try:
        return convert(text)
    except ValueError:
        kind = "an integer" if convert is int else "a number"
        raise argparse.ArgumentTypeError(f"{text!r} is not {kind}") from None


def _count(text: str) -> int:
    value = _number(text, int)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is below 1")
    return value


def _seed(text: str) -> int:
    value = _number(text, int)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is negative")
    return value


def _positive(text: str) -> float:
    value = _number(text, float)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _parser() -> argparse.ArgumentParser:
    from . import __doc__ as text

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", metavar=f"{{{','.join(_COMMANDS)}}}")
    run = commands.add_parser("run", help="all groups (the default)")
    sweep = commands.add_parser("sweep", help="random shapes against PyTorch, ONNX Runtime, OpenVINO and oneDNN")
    compare = commands.add_parser("compare", help="two builds of fastlstm; exit code 1 if the new one is slower")

    ucr = commands.add_parser("ucr", help="accuracy of LSTMClassifier's defaults on sets of the UCR archive")
    estimators = commands.add_parser("estimators", help="time of training against skorch and Keras")

    forecast = commands.add_parser("forecast", help="errors of Forecaster beside naive forecasts and LightGBM")

    paper = commands.add_parser("paper1997", help="the experiments of Hochreiter & Schmidhuber (1997), and later ones")

    run.add_argument("--quick", action="store_true", help="fewer shapes, less time: within two minutes")
    run.add_argument("--only", metavar="GROUP,...", help="only these groups")
    run.add_argument("--seconds", type=_positive, help="time for each case (default: 6, with --quick 1)")
    sweep.add_argument("--count", type=_count, default=50, help="shapes (default: %(default)s)")
    sweep.add_argument("--seed", type=_seed, default=0, help="which shapes (default: %(default)s)")
    sweep.add_argument("--kinds", default="train,infer,passes,forward", help="of cases (default: %(default)s)")
    sweep.add_argument("--minutes", type=_positive, help="start no new shape after this time")
    sweep.add_argument("--seconds", type=_positive, default=0.5, help="time for each case (default: %(default)s)")
    ucr.add_argument("names", nargs="*", metavar="NAME", help="sets such as Coffee (default: all)")
    ucr.add_argument(
        "--convolution",
        action="store_true",
        help="put a convolution before the default network, with a stride that leaves about 100 steps",
    )
    ucr.add_argument("--seeds", type=_count, default=1, help="runs of each set (default: %(default)s)")
    estimators.add_argument("--set", default="ECG5000", help="a set of the archive (default: %(default)s)")
    estimators.add_argument("--epochs", type=_count, default=20, help="(default: %(default)s)")
    estimators.add_argument("--seeds", type=_count, default=3, help="runs of each peer (default: %(default)s)")
    for command in (ucr, estimators):
        command.add_argument("--folder", type=Path, help="of .tsv or .ts files (default: the installed wheels)")
    forecast.add_argument(
        "--demand", type=Path, metavar="CSV", help="fpp2's elecdemand: ds, Demand, Temperature, WorkDay"
    )
    forecast.add_argument("--seed", type=_seed, default=0, help="(default: %(default)s)")
    paper.add_argument(
        "--experiments",
        default="paper",
        metavar="NAME,...",
        help="such as 1,4-100,continual, or the groups paper, later, open, newcomers, all (default: %(default)s)",
    )
    paper.add_argument("--trials", type=_count, default=10, help="trials of each experiment (default: %(default)s)")
    paper.add_argument("--first-seed", type=_seed, default=0, help="seed of the first trial (default: %(default)s)")
    paper.add_argument("--minutes", type=_positive, help="start no trial after this time; another run continues")
    paper.add_argument("--threads", type=_count, default=1, help="(default: %(default)s: the networks are small)")
    for command in (run, sweep, ucr, estimators, forecast):
        command.add_argument("--threads", type=_count, help="threads of all peers (default: fastlstm's)")
    for command in (run, sweep, ucr, estimators, forecast, paper):
        command.add_argument("--isa", help="instruction set of fastlstm, such as avx2; the others choose their own")
        command.add_argument(
            "--out", type=Path, default=Path(__file__).parent / "results", help="folder (default: benchmarks/results)"
        )
    compare.add_argument("old", type=Path, help="folder of `pip install --target FOLDER .`, or an interpreter")
    compare.add_argument("new", type=Path, help="the same")
    compare.add_argument("--seconds", type=_positive, default=1.0, help="time for each case (default: %(default)s)")
    compare.add_argument("--threads", type=_count, help="instead of 1 and all processors")
    return parser


def _own_threads(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Set fastlstm's instruction set as given; return the number of threads."""
    _require("fastlstm")
    import fastlstm
    from fastlstm import _core

    if options.isa is not None:
        if options.isa not in _core.available_isas():
            parser.error(f"--isa: {options.isa!r} is not one of {', '.join(_core.available_isas())}")
        _core.set_isa(options.isa)
    threads: int = options.threads or fastlstm.get_num_threads()
    return threads


def _run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    threads = _own_threads(options, parser)
    from . import peers, report, suite
    from .groups import ALL_GROUPS

    groups = list(ALL_GROUPS) if options.only is None else options.only.split(",")
    unknown = [group for group in groups if group not in ALL_GROUPS]
    if unknown:
        parser.error(f"--only: there is no group {', '.join(unknown)}; there are: {', '.join(ALL_GROUPS)}")
    seconds = options.seconds or (1.0 if options.quick else 6.0)
    results = suite.run(groups, *peers.available(), threads, seconds, options.quick)
    for path in report.write(results, options.out):
        suite.progress(f"wrote {path}")
    return 0


def _sweep(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    threads = _own_threads(options, parser)
    from . import gemm, machine, peers, suite, sweep

    kinds = options.kinds.split(",")
    unknown = [kind for kind in kinds if kind not in sweep.KINDS]
    if unknown:
        parser.error(f"--kinds: there is no kind {', '.join(unknown)}; there are: {', '.join(sweep.KINDS)}")
    present, versions, missing = peers.available(sweep.PEERS)
    for line in missing:
        suite.progress(line)
    try:
        gemm.limit_blas(threads)
    except ImportError as error:
        suite.progress(f"NumPy with its own number of threads ({error}): pip install 'fastlstm[bench]'")
    records = sweep.run(
        options.count, options.seed, present, threads, options.minutes, options.seconds, suite.progress, kinds
    )
    heading = ", ".join(f"{name} {version}" for name, version in versions.items())
    heading += f"; {machine.describe()['cpu']}, {threads} threads; seed {options.seed}"
    for path in sweep.write(records, heading, options.out):
        suite.progress(f"wrote {path}")
    return 0


def _heading(threads: int) -> str:
    from . import machine

    return f"{machine.describe()['cpu']}, {threads} {'thread' if threads == 1 else 'threads'}"


def _ucr(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    threads = _own_threads(options, parser)
    _require("sklearn", extra="sklearn")
    import fastlstm

    from . import machine, suite
    from .archive import scores

    fastlstm.set_num_threads(threads)
    seeds = range(options.seeds)
    records = scores.run(options.names, options.folder, seeds, suite.progress, options.convolution)
    heading = "With a convolution before the network; " if options.convolution else ""
    heading += f"{_heading(threads)}; seeds 0 to {options.seeds - 1}; fastlstm {fastlstm.__version__}"
    text = scores.report(records, heading)
    print(text, end="")
    contents = {"machine": machine.describe(), "threads": threads, "sets": records}
    for path in scores.write("ucr-convolution" if options.convolution else "ucr", text, contents, options.out):
        suite.progress(f"wrote {path}")
    return 0


def _estimators(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    threads = _own_threads(options, parser)
    _require("sklearn", extra="sklearn")
    from . import machine, suite
    from .archive import scores, training_time

    setting = training_time.Setting(options.epochs, 32, 3e-3, threads)
    result = training_time.measure(options.set, options.folder, setting, range(options.seeds), suite.progress)
    text = training_time.report(result, str(machine.describe()["cpu"]))
    print(text, end="")
    for path in scores.write("estimators", text, {"machine": machine.describe(), **result}, options.out):
        suite.progress(f"wrote {path}")
    return 0


def _forecast(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    threads = _own_threads(options, parser)
    _require("pandas", extra="forecast")
    import fastlstm

    from . import forecast, machine, suite
    from .archive import scores

    results = [forecast.power(options.seed, threads, suite.progress)]
    if options.demand is not None:
        try:
            results.append(forecast.demand(options.demand, options.seed, threads, suite.progress))
        except (OSError, ValueError) as error:
            parser.error(f"--demand: {error}")
    text = forecast.report(results, f"{_heading(threads)}; fastlstm {fastlstm.__version__}")
    print(text, end="")
    for path in scores.write("forecast", text, {"machine": machine.describe(), "results": results}, options.out):
        suite.progress(f"wrote {path}")
    return 0


def _paper1997(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    threads = _own_threads(options, parser)
    import fastlstm

    from . import suite
    from .paper1997 import experiments, report, results, run

    fastlstm.set_num_threads(threads)
    try:
        chosen = experiments.named(options.experiments.split(","))
    except ValueError as error:
        parser.error(f"--experiments: {error}")
    if any(one.name == "digits" for one in chosen):
        _require("sklearn", extra="sklearn")
    seeds = range(options.first_seed, options.first_seed + options.trials)
    folder = options.out / "paper1997"
    try:
        records, left = run.run(chosen, seeds, folder, options.minutes)
    except results.OtherSettings as error:
        parser.error(f"--out: {error}")
    except KeyboardInterrupt:
        suite.progress("interrupted: the same command continues with the trials that are not complete")
        return 130
    text = report.report(chosen, records, f"{_heading(threads)}; fastlstm {fastlstm.__version__}")
    print(text, end="")
    for path in report.write(text, chosen, records, folder):
        suite.progress(f"wrote {path}")
    if left:
        suite.progress(f"{left} trials are left: the same command continues with them")
    return int(any(not record["solved"] for found in records.values() for record in found))


def _compare(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from . import machine, regression

    threads = [options.threads] if options.threads else sorted({1, machine.cores()})
    try:
        old = regression.start(options.old)
    except ValueError as error:
        parser.error(str(error))
    with old:
        try:
            new = regression.start(options.new)
        except ValueError as error:
            parser.error(str(error))
        with new:
            verdicts = regression.compare(
                old, new, threads, options.seconds, progress=lambda text: print(text, file=sys.stderr, flush=True)
            )
    print(regression.report(verdicts), end="")
    return int(any(verdict.slow for verdict in verdicts))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Command-line arguments; by default those of the process.

    Returns
    -------
    int
        Exit code: 1 if an answer is wrong, a build fails, or `compare` finds slow cases, else 0.
    """
    _prefer_the_installed_package()
    _require("numpy")
    from .archive import ArchiveError
    from .child import ChildError
    from .peers import tuned
    from .verify import WrongAnswer

    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] not in (*_COMMANDS, "-h", "--help"):
        given.insert(0, "run")
    parser = _parser()
    options = parser.parse_args(given)
    commands = {
        "run": _run,
        "sweep": _sweep,
        "compare": _compare,
        "ucr": _ucr,
        "estimators": _estimators,
        "forecast": _forecast,
        "paper1997": _paper1997,
    }
    try:
        return commands[options.command](options, parser)
    except (WrongAnswer, ChildError, ArchiveError) as error:
        print(f"python -m benchmarks: {error}", file=sys.stderr)
        return 1
    finally:
        tuned.close()


if __name__ == "__main__":
    sys.exit(main())
