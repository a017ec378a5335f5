"""A model behind FastAPI: the event loop, threads, and a model file that may be replaced at any time.

    pip install fastapi uvicorn
    MODEL=model.safetensors uvicorn --factory serve_fastapi:make_app

    curl -d '{"series": [[0.1, 0.2], [0.3, 0.4]]}' -H 'Content-Type: application/json' localhost:8000/predict
    curl --data-binary @series.f32 localhost:8000/predict-binary
    curl localhost:8000/model

A prediction that takes less time than the way to another thread and back runs in the event loop itself; a longer one,
which would delay all other requests, runs in a pool of threads, without the GIL. `/predict-binary` reads and writes
numbers as they are in memory, little-endian float32, one step after the other: most of the time of a small request in
JSON is that of its text.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from fastapi import FastAPI, HTTPException, Request, Response
from hot_swap import Served
from pydantic import BaseModel

import fastlstm as fl

QUICK = 200e-6
"""Seconds; about what it costs to hand a request to a thread, and its answer back."""


class Question(BaseModel):
    """A series: one list of features for each step."""

    series: list[list[float]]


def is_quick(model: fl.Model, steps: int = 100) -> bool:
    """Return whether a prediction for one series of so many steps may run in the event loop."""
    series, times = np.zeros((1, steps, model.input_size or 0), np.float32), []
    for _ in range(5):
        begin = time.perf_counter()
        model.predict(series)
        times.append(time.perf_counter() - begin)
    return min(times) < QUICK


def make_app(path: str | None = None) -> FastAPI:
    """Return the application that serves the model of a file, by default that of the environment variable MODEL."""
    served = Served(path or os.environ["MODEL"])
    quick = is_quick(served.model)  # a model that replaces it is expected to be as large

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async def refresh() -> None:
            while True:
                await asyncio.sleep(1)
                await asyncio.to_thread(served.refresh)  # reading a file would delay the event loop

        task = asyncio.create_task(refresh())
        yield
        task.cancel()

    app = FastAPI(lifespan=lifespan)

    async def answer(model: fl.Model, series: Callable[[], np.ndarray]) -> np.ndarray:
        """Return the outputs for one series, or say what is wrong with it."""

        def predict() -> np.ndarray:
            out: np.ndarray = model.predict(series()[None])[0]
            return out

        try:
            return predict() if quick else await asyncio.to_thread(predict)
        except (TypeError, ValueError) as error:  # the message says what was expected
            raise HTTPException(422, str(error)) from None

    @app.post("/predict")
    async def predict(question: Question) -> dict[str, Any]:
        model = served.model  # this request's, even if the file is replaced meanwhile
        out = await answer(model, lambda: np.array(question.series, np.float32))
        return {"answer": out.tolist(), "model": model.metadata}

    @app.post("/predict-binary")
    async def predict_binary(request: Request) -> Response:
        model, body = served.model, await request.body()
        out = await answer(model, lambda: np.frombuffer(body, "<f4").reshape(-1, model.input_size or 1))
        return Response(out.astype("<f4").tobytes(), media_type="application/octet-stream")

    @app.get("/model")
    async def about() -> dict[str, Any]:
        return served.model.metadata

    return app
