"""An ASGI application over real HTTP."""

from __future__ import annotations

import asyncio
import faulthandler
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Thread
from typing import Any, Final

import uvicorn

from workers.cli.main import HTTP_PROTOCOL

# Longer than requests may take at the end of the application.
END_S: Final = 90.0
Serve = Callable[[Any], AbstractContextManager[str]]


@contextmanager
def serve(app: Any) -> Iterator[str]:
    """Serve the application from a thread on a free port during the block; yields its URL."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, http=HTTP_PROTOCOL, log_config=None, ws="none", lifespan="on", timeout_graceful_shutdown=60
    )
    server = uvicorn.Server(config)
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    loop: asyncio.AbstractEventLoop | None = None
    try:
        deadline = time.monotonic() + 60
        while not server.started:
            assert thread.is_alive(), "the application did not start; see its log"
            assert time.monotonic() < deadline, "the application did not start within 60 s"
            time.sleep(0.005)
        loop = server.servers[0].get_loop()
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(END_S)
        if thread.is_alive():
            faulthandler.dump_traceback()
            for task in asyncio.all_tasks(loop) if loop else ():
                task.print_stack()
            raise RuntimeError(f"the application did not end within {END_S:g} s; the tasks and threads that it waits for are above")
