"""An ASGI application over real HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Thread
from typing import Any

import uvicorn

from workers.cli.main import HTTP_PROTOCOL

Serve = Callable[[Any], AbstractContextManager[str]]


@contextmanager
def serve(app: Any) -> Iterator[str]:
    """Serve the application from a thread on a free port during the block; yields its URL."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, http=HTTP_PROTOCOL, log_config=None, ws="none", lifespan="on", timeout_graceful_shutdown=60
    )
    server = uvicorn.Server(config)
    thread = Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while not server.started:
            assert thread.is_alive(), "the application did not start; see its log"
            assert time.monotonic() < deadline, "the application did not start within 60 s"
            time.sleep(0.005)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
