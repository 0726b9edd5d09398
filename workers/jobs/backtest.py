"""The backtest job: load the bars, run the kernel, store the result."""

from __future__ import annotations

import asyncio

import structlog

import python_core as bt
from workers.jobs.attempt import Executor
from workers.jobs.compute import Computed, compute
from workers.jobs.isolated import compute_isolated
from workers.jobs.job import Job
from workers.model.runs import StageDurations, decode_request
from workers.model.states import RunState
from workers.runs.attempts import End, StartedRun

_log = structlog.stdlib.get_logger(__name__)


async def run(executor: Executor, started: StartedRun, job: Job) -> None:
    row, known = started.row, started.known
    request = decode_request(row.request)
    # An equal run may have finished while this one was queued.
    if known is not None and request.engine in ("auto", known.engine) and await asyncio.to_thread(executor.results.is_complete, known):
        await executor.end(End(started=started, state=RunState.SUCCEEDED, engine=known.engine, cached=True))
        return
    dataset, parts = await executor.lookups.version(row.dataset_id, row.dataset_version)
    if executor.settings.isolate_python and (bt.engine if request.engine == "auto" else request.engine) == "python":
        async with executor.slot(job):
            computed = await compute_isolated(executor.settings, job, dataset, parts, request)
    else:
        # In a thread: the Rust kernel releases the interpreter while it computes.
        def work() -> Computed:
            return compute(executor.artifacts, executor.bars, dataset, parts, request, job.control)

        computed = await executor.threads.call(job, work)
    values = computed.row
    stages = StageDurations(
        queue_ms=max((row.started_at or row.created_at) - row.created_at, 0),
        load_ms=computed.load_ms,
        kernel_ms=computed.kernel_ms,
        save_ms=computed.save_ms,
    )
    # One transaction: a run is never succeeded without its result, nor a result stored by an attempt that was taken over.
    if await executor.end(End(started=started, state=RunState.SUCCEEDED, stages=stages, engine=values["engine"], result=values)):
        _log.info("run succeeded", run=row.id, engine=values["engine"], bars=values["bars"], kernel_ms=stages.kernel_ms)
    else:
        _log.warning("result not stored: another worker has taken over the run", run=row.id, attempt=started.attempt)
