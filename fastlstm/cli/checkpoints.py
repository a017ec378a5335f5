"""The checkpoint that Ctrl-C leaves beside the model; nothing is written otherwise."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

from ..training.checkpoint import Checkpoint
from .output import Say

__all__ = ["InterruptCheckpoint", "checkpoint_path", "resume_command"]


class InterruptCheckpoint(Checkpoint):
    """A checkpoint that is written after Ctrl-C only."""

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        self._batch = batch

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Save nothing."""

    def leave(self, command: str, say: Say) -> None:
        """Say how a run continues that Ctrl-C has ended, if it was saved."""
        if self.latest is not None:
            say(f"fastlstm: the training so far is in {self.latest}; to continue, to the same result:\n  {command}")

    def remove(self) -> None:
        """Remove the file of a run that has ended."""
        if os.path.exists(self.path):
            os.unlink(self.path)


def checkpoint_path(output: str) -> str:
    """Return the name of the checkpoint beside a model: that of the model with "checkpoint" in it."""
    stem, suffix = os.path.splitext(output)
    return f"{stem}.checkpoint{suffix or '.safetensors'}"


def resume_command(given: Sequence[str]) -> str:
    """Return the command that resumes a run, with quotes where a shell needs them."""
    return shlex.join(["fastlstm", *given, *([] if "--resume" in given else ["--resume"])])
