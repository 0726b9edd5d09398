"""Fetches and schedules: market data from exchanges, once or regularly."""

from __future__ import annotations

from operator import attrgetter
from typing import ClassVar

from workers.fetch import requests, schedules
from workers.fetch.requests import Fetch, FetchPage, FetchRequest
from workers.fetch.schedules import Schedule, SchedulePage, ScheduleRequest
from workers.model.callers import Scope
from workers.model.runs import RunOptions
from workers.runs.intake import DEFAULT_OPTIONS
from workers.service.operation_group import OperationGroup, operation


class Fetches(OperationGroup):
    name: ClassVar[str] = "fetches"

    @operation(Scope.WRITE)
    async def create(self, request: FetchRequest, options: RunOptions = DEFAULT_OPTIONS) -> Fetch:
        """Fetch market data from an exchange.

        Stores the candles that the dataset lacks, in chunks; after an interruption it continues where it stopped. If an equal fetch is in
        progress, that one is returned.

        Raises:
            Invalid: unknown exchange.
            NotInstalled: the package ccxt is not installed.
        """
        fetch = await requests.submit(self._resources.database, self._caller.owner, request, options)
        self._resources.relay.wake()
        return fetch

    @operation(Scope.READ)
    async def get(self, fetch_id: str) -> Fetch:
        """Get a fetch.

        Its state, what it has stored so far, and the faults it found in the exchange's data.
        """
        return await requests.get(self._resources.database, self._caller, fetch_id)

    @operation(Scope.READ)
    async def list(self, limit: int = 50, cursor: str | None = None) -> FetchPage:
        """List fetches.

        In all states, newest first.
        """
        return await requests.page(self._resources.database, self._caller, limit=limit, cursor=cursor)

    @operation(Scope.WRITE)
    async def cancel(self, fetch_id: str) -> Fetch:
        """Cancel a fetch.

        Bars that it has stored are kept. A finished fetch can't be cancelled.

        Raises:
            Conflict: the fetch has finished.
        """
        return await requests.cancel(self._resources.database, self._resources.queue, self._caller, fetch_id)

    @operation(Scope.WRITE, audited=attrgetter("fetch.name"))
    async def create_schedule(self, request: ScheduleRequest, key: str = "") -> Schedule:
        """Schedule a fetch.

        Runs the fetch at once and then once per period, but not while its previous fetch is in progress. A dataset has at most one
        schedule.

        Raises:
            Conflict: the dataset has a schedule, or the idempotency key was used for another request.
            NotInstalled: the package ccxt is not installed.
        """
        return await schedules.create(self._resources.database, request, self._caller.owner, key)

    @operation(Scope.READ)
    async def list_schedules(self, limit: int = 100, cursor: str | None = None) -> SchedulePage:
        """List schedules.

        Sorted by the name of the dataset.
        """
        return await schedules.page(self._resources.database, self._caller, limit=limit, cursor=cursor)

    @operation(Scope.READ)
    async def get_schedule(self, schedule_id: str) -> Schedule:
        """Get a schedule.

        Returns it with the time of its next fetch and the id of the last one.
        """
        return await schedules.get(self._resources.database, self._caller, schedule_id)

    @operation(Scope.WRITE, audited=True)
    async def delete_schedule(self, schedule_id: str) -> None:
        """Delete a schedule.

        A fetch that it has started continues.
        """
        await schedules.delete(self._resources.database, self._caller, schedule_id)
