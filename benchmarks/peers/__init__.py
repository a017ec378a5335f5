"""Who is measured: one file for each, all with the interface of `Peer`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from ..cases import Case, Data
from ..timing import PAUSE, Plan, take_turn
from ..verify import Answer

__all__ = ["OWN", "PEERS", "REFERENCE", "Peer", "Runner", "available", "by_name", "local"]

OWN = "fastlstm"
REFERENCE = "NumPy"

PEERS = {
    OWN: "own",
    "PyTorch": "pytorch",
    "PyTorch, tuned malloc": "tuned",
    "ONNX Runtime": "onnx_runtime",
    REFERENCE: "numpy_reference",
}
"""Name to module, in the order of the tables."""


@dataclass(frozen=True)
class Runner:
    """One peer at one case.

    Attributes
    ----------
    turn : callable
        Takes a `Plan`, gives times in seconds.
    answer : callable, optional
        Gives what is verified. None: nothing is.
    settle : float
        Seconds that the next one must wait after a turn of this one.
    every : int
        Takes part in the first round and then in every so many.
    """

    turn: Callable[[Plan], list[float]]
    answer: Callable[[], Answer] | None = None
    settle: float = PAUSE
    every: int = 1


def local(run: Callable[[], Any], answer: Callable[[], Answer] | None, settle: float = PAUSE, every: int = 1) -> Runner:
    """A runner in this process.

    Parameters
    ----------
    run : callable
        The work that is timed.
    answer, settle, every
        See `Runner`.
    """
    return Runner(partial(take_turn, run), answer, settle, every)


class Peer(Protocol):
    """What each module of this package has."""

    def version(self) -> str:
        """Version, as the report shows it.

        Raises
        ------
        ImportError
            If something is not installed. The message says what.
        """

    def prepare(self, case: Case, data: Data, threads: int) -> dict[str, Runner]:
        """Runners for a case, by name: empty if it is none for this peer, several if there are several ways."""


def by_name(name: str) -> Peer:
    """A peer.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if name not in PEERS:
        raise ValueError(f"there is no peer {name!r}; there are: {', '.join(PEERS)}")
    module: Any = importlib.import_module(f"{__name__}.{PEERS[name]}")
    peer: Peer = module
    return peer


def available(names: Sequence[str] = tuple(PEERS)) -> tuple[dict[str, Peer], dict[str, str], list[str]]:
    """Who is installed.

    Parameters
    ----------
    names : sequence of str, optional
        Keys of `PEERS`; all by default.

    Returns
    -------
    peers : dict of name to Peer
    versions : dict of name to str
    missing : list of str
        A line for each who is not.
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
