"""A peer behind uvicorn, and clients that ask it without a pause.

The same small program (ASGI, without a framework) serves each peer in its event loop. A request is one series: JSON
text, or the numbers as they are in memory. The peer ``"none"`` answers without a model: what HTTP alone takes.
"""

from __future__ import annotations

import asyncio
import json
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

__all__ = ["FORMS", "ask", "serve"]

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Answer = Callable[[Any], Any]


def _json(answer: Answer, body: bytes) -> bytes:
    import numpy as np

    out = answer(np.array([json.loads(body)["series"]], np.float32))
    return json.dumps({"answer": out[0].tolist()}).encode()


def _binary(answer: Answer, body: bytes) -> bytes:
    import numpy as np

    from . import FEATURES

    content: bytes = answer(np.frombuffer(body, np.float32).reshape(1, -1, FEATURES)).tobytes()
    return content


FORMS: dict[str, Callable[[Answer, bytes], bytes]] = {"json": _json, "binary": _binary}
"""From the body of a request to that of the answer."""


def serve(answer: Answer, form: str, series: Any, clients: int, seconds: float) -> dict[str, float]:
    """Serve a peer to some clients, in another process.

    Returns
    -------
    dict
        ``rate``: answers per second; ``processor``: seconds of processor time of the server for each answer.
    """
    import uvicorn

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        content = FORMS[form](answer, body)
        headers = [(b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    body = json.dumps({"series": series[0].tolist()}).encode() if form == "json" else series.tobytes()
    result: dict[str, float] = {}
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, lifespan="off"))
    # With the protocol named, asyncio switches off Nagle's algorithm, which delays each answer by 40 ms.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        address = [str(given) for given in (listening.getsockname()[1], clients, seconds)]

        def measure() -> None:
            command = [sys.executable, str(Path(__file__).resolve()), *address]
            try:
                subprocess.run([*command[:-1], "0.2"], input=body, capture_output=True, check=True)  # warms up
                before = time.process_time()
                done = subprocess.run(command, input=body, capture_output=True, check=True)
                answers, rate = map(float, done.stdout.split())
                result.update(rate=rate, processor=(time.process_time() - before) / answers)
            finally:
                server.should_exit = True

        measuring = threading.Thread(target=measure)
        measuring.start()
        asyncio.run(server.serve([listening]))
        measuring.join()
    return result


def ask(port: int, body: bytes, clients: int, seconds: float) -> tuple[int, float]:
    """Send requests over `clients` connections, each when the answer to the last has come.

    Returns
    -------
    tuple of int and float
        Answers, and answers per second.
    """
    head = f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    answers, begin = 0, time.perf_counter()
    with selectors.DefaultSelector() as selector:
        for _ in range(clients):
            connection = socket.create_connection(("127.0.0.1", port), timeout=60)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(head + body)
            selector.register(connection, selectors.EVENT_READ)
        while time.perf_counter() < begin + seconds:
            for key, _ in selector.select(1):
                connection = key.fileobj  # type: ignore[assignment]
                _read(connection)
                answers += 1
                connection.sendall(head + body)
        elapsed = time.perf_counter() - begin
        for key in list(selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
    return answers, answers / elapsed


def _read(connection: socket.socket) -> None:
    """Read one answer; RuntimeError if it is an error."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    head, _, content = received.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.decode())
    length = int(head.lower().partition(b"content-length:")[2].split()[0])
    while len(content) < length:
        content += connection.recv(65536)


if __name__ == "__main__":
    print(*ask(int(sys.argv[1]), sys.stdin.buffer.read(), int(sys.argv[2]), float(sys.argv[3])))
