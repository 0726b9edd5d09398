"""What a backtest job does: load the bars, run the kernel, keep the result."""

from __future__ import annotations

import asyncio

import structlog

import python_core as bt
from workers.data import catalog
from workers.errors import WorkersError
from workers.jobs.attempt import Executor, Job, contained
from workers.jobs.compute import Computed, compute
from workers.jobs.isolated import compute_apart
from workers.model.runs import Stages, decode_request
from workers.model.states import RunState
from workers.runs import results, store
from workers.runs.store import StartedRun

_log = structlog.stdlib.get_logger(__name__)


async def run(executor: Executor, started: StartedRun, job: Job) -> None:
    row = started.row
    request = decode_request(row.request)
    if found := await executor.results.reusable(row.fingerprint, request.engine):
        async with executor.database.write() as session:
            await store.finish(session, started, RunState.SUCCEEDED, engine=found.engine, cached=True)
        return
    async with executor.database.read() as session:
        dataset = await catalog.get(session, f"{row.dataset_id}@{row.dataset_version}")
        of = await catalog.list_parts(session, dataset)

    if executor.settings.isolate_python and (bt.engine if request.engine == "auto" else request.engine) == "python":
        computed = await compute_apart(executor.settings, job, dataset, tuple(of), request)
    else:

        def work() -> Computed:
            return compute(executor.artifacts, executor.bars, dataset, of, request, job.control)

        computed = await asyncio.get_running_loop().run_in_executor(executor.threads, contained, work)
    kept = computed.row
    stages = Stages(
        queue_ms=max((row.started_at or row.created_at) - row.created_at, 0),
        load_ms=computed.load_ms,
        kernel_ms=computed.kernel_ms,
        save_ms=computed.save_ms,
    )
    async with executor.database.write() as session:
        mine = await store.finish(
            session, started, RunState.SUCCEEDED, stages=stages, engine=kept["engine"], fingerprint=kept["fingerprint"]
        )
        if mine and await store.save_result(session, kept) != kept["digest"]:
            raise WorkersError(
                "an equal run has found another result",
                where="digest",
                hint="this is a fault of Barstorm: please report both engines' digests",
                code="not_reproducible",
            )
    if not mine:
        _log.warning("result not kept: another worker has the run", run=row.id, attempt=started.attempt)
        return
    await executor.results.cache(results.from_row(kept))
    _log.info("run succeeded", run=row.id, engine=kept["engine"], bars=kept["bars"], kernel_ms=stages.kernel_ms)
