"""Groups of cases: the same kinds of work on LSTMs of many shapes, timed for fastlstm and every peer."""

from __future__ import annotations

from ..cases import STREAM_STEPS, Case, Problem

__all__ = ["GROUPS", "SHAPES", "cases_of"]

SHAPES = (
    (1, 1, 32, 64),
    (1, 100, 32, 128),
    (1, 100, 64, 256),
    (32, 50, 8, 32),
    (32, 100, 16, 64),
    (64, 100, 32, 128),
    (64, 100, 64, 256),
    (128, 100, 128, 512),
    (256, 187, 1, 64),
    (16, 1000, 12, 128),
    (3, 200, 30, 100),
)
"""(batch, time, inputs, hidden) of the groups train, infer and scaling."""

_QUICK_SHAPES = ((1, 100, 32, 128), (32, 100, 16, 64), (64, 100, 32, 128), (256, 187, 1, 64))


def _shapes(group: str, kind: str, quick: bool) -> list[Case]:
    shapes = _QUICK_SHAPES if quick else SHAPES
    return [Case(group, kind, Problem(*shape), fraction=True, reference=True) for shape in shapes]


def _train(quick: bool) -> list[Case]:
    return _shapes("train", "train", quick)


def _infer(quick: bool) -> list[Case]:
    return _shapes("infer", "infer", quick)


def _stream(quick: bool) -> list[Case]:
    return [Case("stream", "step", Problem(1, STREAM_STEPS, 32, hidden)) for hidden in (16, 64, 256)]


def _epoch(quick: bool) -> list[Case]:
    series = 512 if quick else 2048
    return [Case("epoch", "epoch", Problem(32, 100, 16, 64, series=series, classes=8))]


def _both(group: str, problems: list[Problem], fraction: bool = False) -> list[Case]:
    return [Case(group, kind, problem, fraction) for problem in problems for kind in ("train", "infer")]


def _lengths(quick: bool) -> list[Case]:
    problems = [Problem(64, 200, 16, 128, shortest=10), Problem(32, 200, 8, 64, shortest=10)]
    return _both("lengths", problems[1:] if quick else problems)


def _deep(quick: bool) -> list[Case]:
    return _both("deep", [Problem(32, 100, 16, 64, layers=2, bidirectional=True)])


def _long(quick: bool) -> list[Case]:
    problems = [Problem(1, 10000, 8, 64), Problem(4, 10000, 8, 64)]
    return _both("long", problems[:1] if quick else problems)


def _sizes(quick: bool) -> list[Case]:
    return _both(
        "sizes", [Problem(32, 100, 16, hidden) for hidden in ((30, 200) if quick else (30, 100, 200, 300))], True
    )


def _scaling(quick: bool) -> list[Case]:
    shapes = _QUICK_SHAPES if quick else SHAPES
    return _both("scaling", [Problem(*shape) for shape in shapes if shape[0] >= 16])


GROUPS = {
    "train": _train,
    "infer": _infer,
    "stream": _stream,
    "epoch": _epoch,
    "lengths": _lengths,
    "deep": _deep,
    "long": _long,
    "sizes": _sizes,
    "scaling": _scaling,
}
"""Groups of cases, in the order in which they run."""


def cases_of(group: str, quick: bool = False) -> list[Case]:
    """The cases of a group.

    Parameters
    ----------
    group : str
        Key of `GROUPS`.
    quick : bool, default False
        Fewer of them.

    Raises
    ------
    ValueError
        If there is no such group.
    """
    if group not in GROUPS:
        raise ValueError(f"there is no group {group!r}; there are: {', '.join(GROUPS)}")
    return GROUPS[group](quick)
