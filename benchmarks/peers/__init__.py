"""The peers that are measured: one module for each, with the interface `Peer`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from ..cases import Case, Data
from ..timing import PAUSE, Plan, take_turn
from ..verify import TOLERANCES, Answer

__all__ = ["OWN", "PEERS", "REFERENCE", "Peer", "Runner", "available", "by_name", "local"]

OWN = "fastlstm"
REFERENCE = "NumPy"

PEERS = {
    OWN: "own",
    "PyTorch": "pytorch",
    "PyTorch, tuned malloc": "tuned",
    "ONNX Runtime": "onnx_runtime",
    "OpenVINO": "openvino",
    "oneDNN": "onednn",
    REFERENCE: "numpy_reference",
}
"""Names of the peers and of their modules, in the order of the tables."""


@dataclass(frozen=True)
class Runner:
    """One peer's work on one case.

    Attributes
    ----------
    turn : callable
        Takes a `Plan`, returns times in seconds.
    answer : callable, optional
        Returns the answer to verify; None if nothing is verified.
    settle : float
        Seconds that the next runner must wait after a turn of this one.
    every : int
        The interval, in rounds, at which the runner takes part, from the first round on.
    tolerances : mapping of str to float
        Of the answer; see `benchmarks.verify`.
    """

    turn: Callable[[Plan], list[float]]
    answer: Callable[[], Answer] | None = None
    settle: float = PAUSE
    every: int = 1
    tolerances: Mapping[str, float] = field(default_factory=lambda: TOLERANCES)


def local(
    run: Callable[[], Any],
    answer: Callable[[], Answer] | None,
    settle: float = PAUSE,
    every: int = 1,
    tolerances: Mapping[str, float] = TOLERANCES,
) -> Runner:
    """Return a runner in this process.

    Parameters
    ----------
    run : callable
        The work that is timed.
    answer, settle, every, tolerances
        See `Runner`.
    """
    return Runner(partial(take_turn, run), answer, settle, every, tolerances)


class Peer(Protocol):
    """The interface of each module of this package."""

    def version(self) -> str:
        """Return the version as the report shows it.

        Raises
        ------
        ImportError
            If a package is not installed; the message names it.
        """

    def prepare(self, case: Case, data: Data, threads: int) -> dict[str, Runner]:
        """Return the runners for a case by name: none if the peer cannot run it, several if it has several ways."""


def by_name(name: str) -> Peer:
    """Return the peer of this name.

    Raises
    ------
    ValueError
        If there is no peer of that name.
    """
    if name not in PEERS:
        raise ValueError(f"there is no peer {name!r}; there are: {', '.join(PEERS)}")
    module: Any = importlib.import_module(f"{__name__}.{PEERS[name]}")
    peer: Peer = module
    return peer


def available(names: Sequence[str] = tuple(PEERS)) -> tuple[dict[str, Peer], dict[str, str], list[str]]:
    """Return the peers that are installed.

    Parameters
    ----------
    names : sequence of str, optional
        Keys of `PEERS`; all by default.

    Returns
    -------
    peers : dict of name to Peer
    versions : dict of name to str
    missing : list of str
        A line for each peer that is not installed.
    """
    peers, versions, missing = {}, {}, []
    for name in names:
        peer = by_name(name)
        try:
            versions[name] = peer.version()
        except ImportError as error:
            missing.append(f"without {name} ({error}): pip install 'fastlstm[bench]'")
        else:
            peers[name] = peer
    return peers, versions, missing
