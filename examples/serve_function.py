"""A serverless function: one model in a folder that cannot be written, loaded when the process starts.

    MODEL=/opt/model.safetensors OPENBLAS_NUM_THREADS=1 FASTLSTM_NUM_THREADS=1

What is loaded at the top of the module stays for later calls. ``OPENBLAS_NUM_THREADS=1`` keeps NumPy from reserving
address space for threads, without which 128 MB suffice. No folder is written to and no home folder is needed.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

import fastlstm as fl

MODEL = fl.load(os.environ["MODEL"]).freeze().warm_up(steps=100)


def handler(event: dict[str, Any], context: object = None) -> dict[str, Any]:
    """Answer for the series in the event, a list of lists of numbers."""
    try:
        out = MODEL.predict(np.array([event["series"]], np.float32))
    except (KeyError, TypeError, ValueError) as error:
        return {"statusCode": 422, "body": f"{type(error).__name__}: {error}"}
    return {"statusCode": 200, "body": out[0].tolist()}
