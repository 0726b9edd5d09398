"""Queue administration: health, metrics, workers, pause, and dead letters."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from workers.model.callers import Scope
from workers.model.states import RunState
from workers.queue import events, pause
from workers.queue.heartbeat import WorkerInfo, live_workers
from workers.runs import dead_letters
from workers.runs.dead_letters import AffectedRuns, DeadLetter, DeadLetterPage, DeadLetterSelection
from workers.service.health import Health
from workers.service.metrics import QueueMetrics, get_metrics
from workers.service.operation_group import OperationGroup, operation


class WorkerList(msgspec.Struct, frozen=True, kw_only=True):
    """The worker processes that have reported within the last 10 seconds."""

    items: Annotated[tuple[WorkerInfo, ...], Meta(description="The workers, by id.")]


class QueueAdministration(OperationGroup):
    name: ClassVar[str] = "queue"

    @operation(Scope.READ)
    async def get_health(self) -> Health:
        """Get the health of the service.

        Writes to database, Redis and file store, without leaving anything, and reports how each responds, which engine is in use, and why. The
        answer may be a second old.
        """
        return await self._resources.health()

    @operation(Scope.READ)
    async def get_metrics(self) -> QueueMetrics:
        """Get the metrics of the queue.

        Jobs ready, delayed and running, runs by state, attempts and their durations, the workers that have reported within the last 10 seconds,
        and whether database, Redis and files can be written. What is not known because one of them does not respond is null. Only administrators
        see which jobs the workers are running.
        """
        metrics = await get_metrics(self._resources.database, self._resources.queue, self._resources.health)
        if self._caller.sees_all or metrics.workers is None:
            return metrics
        return replace(metrics, workers=tuple(replace(worker, running=()) for worker in metrics.workers))

    @operation(Scope.ADMIN)
    async def list_workers(self) -> WorkerList:
        """List workers.

        Each worker process: when it started, the jobs it is running and since when, its memory, and how many jobs it has finished.
        """
        return WorkerList(items=await live_workers(self._resources.queue))

    @operation(Scope.ADMIN, audited=True)
    async def pause(self) -> None:
        """Pause the queue.

        Workers finish their current jobs and start no others; submitted runs wait. The pause survives a restart of Redis.
        """
        await pause.pause(self._resources.database, self._resources.queue)

    @operation(Scope.ADMIN, audited=True)
    async def resume(self) -> None:
        """Resume the queue.

        Workers start jobs again.
        """
        await pause.resume(self._resources.database, self._resources.queue)

    @operation(Scope.READ)
    async def list_dead_letters(self, limit: int = 50, cursor: str | None = None) -> DeadLetterPage:
        """List dead letters.

        Runs that failed too often to be retried automatically, newest first.
        """
        return await dead_letters.page(self._resources.database, self._caller, limit=limit, cursor=cursor)

    @operation(Scope.READ)
    async def get_dead_letter(self, run_id: str) -> DeadLetter:
        """Get a dead letter.

        Includes its request and the error of each attempt.
        """
        return await dead_letters.get(self._resources.database, self._caller, run_id)

    @operation(Scope.WRITE, audited=True)
    async def redrive(self, selection: DeadLetterSelection) -> AffectedRuns:
        """Redrive dead letters.

        Queues each run again as if it had never failed; its attempts stay on record. Returns the ids of the runs that were dead.
        """
        affected = await dead_letters.redrive(self._resources.database, self._caller, selection)
        self._resources.relay.wake()
        await events.publish_states(self._resources.queue, dict.fromkeys(affected.ids, RunState.QUEUED))
        return affected

    @operation(Scope.WRITE, audited=True)
    async def discard(self, selection: DeadLetterSelection) -> AffectedRuns:
        """Discard dead letters.

        Cancels each run; its last error stays on record. Returns the ids of the runs that were dead.
        """
        affected = await dead_letters.discard(self._resources.database, self._caller, selection)
        await events.publish_states(self._resources.queue, dict.fromkeys(affected.ids, RunState.CANCELLED))
        return affected
