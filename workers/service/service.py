"""The service: everything a client can do, in five groups of operations."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from workers.service.backtests import Backtests
from workers.service.datasets import Datasets
from workers.service.fetches import Fetches
from workers.service.operation_group import Resources, open_resources
from workers.service.queue import QueueAdministration
from workers.service.strategies import Strategies
from workers.settings import Settings


class Service:
    """Everything a client can do. Opened by `open_service`."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.backtests = Backtests(resources)
        self.datasets = Datasets(resources)
        self.fetches = Fetches(resources)
        self.queue = QueueAdministration(resources)
        self.strategies = Strategies(resources)

    def warm_up(self) -> None:
        """Prepare for requests that take long, for a service that will have some."""
        self.resources.workroom.warm_up()


@asynccontextmanager
async def open_service(settings: Settings) -> AsyncIterator[Service]:
    """Open the service; it is closed when the block ends."""
    async with open_resources(settings) as resources:
        yield Service(resources)
