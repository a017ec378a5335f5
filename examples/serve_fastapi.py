"""A model behind FastAPI: threads, the event loop, and a model file that may be replaced at any time.

    pip install fastapi uvicorn
    MODEL=model.safetensors uvicorn --factory serve_fastapi:make_app

    curl -d '{"series": [[0.1, 0.2], [0.3, 0.4]]}' -H 'Content-Type: application/json' localhost:8000/predict
    curl localhost:8000/model

`/predict` is an ordinary function, which FastAPI runs in its pool of threads: the prediction does not hold the GIL, so
that several run at the same time. `/predict-in-loop` is a coroutine: a prediction of some ten microseconds may run in
the event loop itself, which saves the way to another thread; a longer one would delay all other requests.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from fastapi import FastAPI, HTTPException
from hot_swap import Served
from pydantic import BaseModel


class Question(BaseModel):
    """A series: one list of features for each step."""

    series: list[list[float]]


def make_app(path: str | None = None) -> FastAPI:
    """Return the application that serves the model of a file, by default that of the environment variable MODEL."""
    served = Served(path or os.environ["MODEL"])

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

    def answer(question: Question) -> dict[str, Any]:
        model = served.model  # this request's, even if the file is replaced meanwhile
        try:
            out = model.predict(np.array([question.series], np.float32))
        except (TypeError, ValueError) as error:  # the message says what was expected
            raise HTTPException(422, str(error)) from None
        return {"answer": out[0].tolist(), "model": model.metadata}

    @app.post("/predict")
    def predict(question: Question) -> dict[str, Any]:
        return answer(question)

    @app.post("/predict-in-loop")
    async def predict_in_loop(question: Question) -> dict[str, Any]:
        return answer(question)

    @app.get("/model")
    def about() -> dict[str, Any]:
        return served.model.metadata

    return app
