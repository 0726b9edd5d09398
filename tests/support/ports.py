"""Ports for servers that tests start."""

from __future__ import annotations

import random
import socket

_RANDOM = random.SystemRandom()  # Hypothesis seeds the shared generator the same in every process


def free_port() -> int:
    """A free port below the system's ephemeral range, so that nothing takes it while its server is down."""
    while True:
        port = _RANDOM.randrange(10_000, 32_768)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
