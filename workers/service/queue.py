"""The queue as its operator sees it."""

from __future__ import annotations

from workers.db.database import Database
from workers.queue import pause
from workers.queue.queue import Queue
from workers.runs import dead_letters
from workers.runs.dead_letters import AffectedRuns, DeadLetter, DeadLetterPage, DeadLetterSelection
from workers.runs.outbox import Relay
from workers.service import health
from workers.service.health import WorkerInfo
from workers.service.unavailable import reachable


class Operator:
    """Looks after the queue, its workers and what it could not do.

    Raises, in every method:
        Unavailable: the database or Redis can't be reached.
    """

    def __init__(self, database: Database, queue: Queue, relay: Relay) -> None:
        self.database = database
        self.queue = queue
        self._relay = relay

    async def list_dead(self, *, limit: int = 50, cursor: str | None = None) -> DeadLetterPage:
        """Runs that failed too often, newest first."""
        with reachable():
            return await dead_letters.page(self.database, limit=limit, cursor=cursor)

    async def get_dead(self, run_id: str) -> DeadLetter:
        """One of them, with what was asked and the error of every attempt."""
        with reachable():
            return await dead_letters.get(self.database, run_id)

    async def redrive_dead(self, choice: DeadLetterSelection) -> AffectedRuns:
        """Send dead runs again."""
        with reachable():
            chosen = await dead_letters.redrive(self.database, choice)
        self._relay.wake()
        return chosen

    async def discard_dead(self, choice: DeadLetterSelection) -> AffectedRuns:
        """Give dead runs up."""
        with reachable():
            return await dead_letters.discard(self.database, choice)

    async def list_workers(self) -> tuple[WorkerInfo, ...]:
        """The workers that reported lately."""
        with reachable():
            return await health.workers(self.queue)

    async def pause(self) -> None:
        """Let workers finish what they have and claim no more, until `resume`, also when Redis forgets it."""
        with reachable():
            await pause.pause(self.database, self.queue)

    async def resume(self) -> None:
        with reachable():
            await pause.resume(self.database, self.queue)
