"""A model in the workers of gunicorn, loaded once before they are forked.

    pip install gunicorn
    MODEL=model.safetensors gunicorn --preload --workers 2 --threads 4 serve_gunicorn:application

    curl -d '[[0.1, 0.2], [0.3, 0.4]]' localhost:8000

With ``--preload`` the workers share the memory of the model, its packed weights included, since nobody writes to it;
each worker uses threads of its own. ``FASTLSTM_NUM_THREADS=1`` suits workers that are busy all the time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import fastlstm as fl

MODEL = fl.load(os.environ["MODEL"]).freeze().warm_up(steps=100)


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer a POST of one series, a list of lists of numbers, with the outputs of the model (WSGI)."""
    try:
        size = int(environ.get("CONTENT_LENGTH") or 0)
        series = np.array(json.loads(environ["wsgi.input"].read(size)), np.float32)
        status, answer = "200 OK", {"answer": MODEL.predict(series[None])[0].tolist(), "process": os.getpid()}
    except (TypeError, ValueError) as error:
        status, answer = "422 Unprocessable Content", {"error": str(error)}
    body = json.dumps(answer).encode()
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
