"""Forecasts on the command line, with `fastlstm.Forecaster` (extra ``forecast``)."""

from __future__ import annotations

import json

from ..formats import safetensors
from ..formats.foreign import with_advice
from .errors import CommandError

__all__ = ["is_forecaster"]

KEY = "forecaster"


def is_forecaster(path: str) -> bool:
    """Return whether a file holds a forecaster, after a look at its header only.

    Raises
    ------
    CommandError
        If the file holds no model.
    OSError
        If it cannot be read.
    """
    try:
        with with_advice(path, "load"), safetensors.opened(path, "a fastlstm model") as reader:
            text = reader.metadata.get("config", "{}") if reader.is_model else "{}"
        config = json.loads(text)
    except (RecursionError, ValueError) as error:
        raise CommandError(str(error)) from error
    return isinstance(config, dict) and KEY in config
