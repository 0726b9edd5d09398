"""The backtest job: load the bars, run the kernel, store the result."""

from __future__ import annotations

import asyncio

import structlog

import python_core as bt
from workers.data import catalog
from workers.errors import WorkersError
from workers.jobs.attempt import Executor, Job, contain_panics
from workers.jobs.compute import Computed, compute
from workers.jobs.isolated import compute_isolated
from workers.model.runs import StageDurations, decode_request
from workers.model.states import RunState
from workers.runs import results, store
from workers.runs.store import StartedRun

_log = structlog.stdlib.get_logger(__name__)


async def run(executor: Executor, started: StartedRun, job: Job) -> None:
    row = started.row
    request = decode_request(row.request)
    # An equal run may have finished while this one was queued.
    if result := await executor.results.reusable(row.fingerprint, request.engine):
        async with executor.database.write() as session:
            await store.finish(session, started, RunState.SUCCEEDED, engine=result.engine, cached=True)
        return
    async with executor.database.read() as session:
        dataset = await catalog.get(session, f"{row.dataset_id}@{row.dataset_version}")
        parts = await catalog.list_parts(session, dataset)

    if executor.settings.isolate_python and (bt.engine if request.engine == "auto" else request.engine) == "python":
        computed = await compute_isolated(executor.settings, job, dataset, tuple(parts), request)
    else:
        # In a thread: the Rust kernel releases the interpreter while it computes.
        def work() -> Computed:
            return compute(executor.artifacts, executor.bars, dataset, parts, request, job.control)

        computed = await asyncio.get_running_loop().run_in_executor(executor.threads, contain_panics, work)
    values = computed.row
    stages = StageDurations(
        queue_ms=max((row.started_at or row.created_at) - row.created_at, 0),
        load_ms=computed.load_ms,
        kernel_ms=computed.kernel_ms,
        save_ms=computed.save_ms,
    )
    # One transaction: a run is never succeeded without its result, nor a result stored by an attempt that was taken over.
    async with executor.database.write() as session:
        is_current = await store.finish(
            session, started, RunState.SUCCEEDED, stages=stages, engine=values["engine"], fingerprint=values["fingerprint"]
        )
        if is_current and await store.save_result(session, values) != values["digest"]:
            raise WorkersError(
                "an equal run had a different result",
                where="digest",
                hint="this is a bug in Barstorm; please report it with the digests of both engines",
                code="not_reproducible",
            )
    if not is_current:
        _log.warning("result not stored: another worker has taken over the run", run=row.id, attempt=started.attempt)
        return
    await executor.results.cache(results.from_row(values))
    _log.info("run succeeded", run=row.id, engine=values["engine"], bars=values["bars"], kernel_ms=stages.kernel_ms)
