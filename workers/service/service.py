"""The service: everything a client can do, in six groups of operations."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from workers.model.callers import OPERATOR, Caller
from workers.service.backtests import Backtests
from workers.service.datasets import Datasets
from workers.service.fetches import Fetches
from workers.service.keys import Keys
from workers.service.operation_group import Resources, open_resources
from workers.service.queue import QueueAdministration
from workers.service.strategies import Strategies
from workers.settings import Settings


class Service:
    """Everything a client can do, as one caller. Opened by `open_service`."""

    def __init__(self, resources: Resources, caller: Caller = OPERATOR) -> None:
        self.resources = resources
        self.caller = caller
        self.backtests = Backtests(resources, caller)
        self.datasets = Datasets(resources, caller)
        self.fetches = Fetches(resources, caller)
        self.keys = Keys(resources, caller)
        self.queue = QueueAdministration(resources, caller)
        self.strategies = Strategies(resources, caller)

    def acting_as(self, caller: Caller) -> Service:
        """The same service for another caller."""
        return self if caller == self.caller else Service(self.resources, caller)


@asynccontextmanager
async def open_service(settings: Settings) -> AsyncIterator[Service]:
    """Open the service; it is closed when the block ends."""
    async with open_resources(settings) as resources:
        yield Service(resources)
