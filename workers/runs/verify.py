"""Verification: compute a run again, and compare the digests."""

from __future__ import annotations

from typing import Annotated

import msgspec
import structlog
from msgspec import Meta

from workers.data import tasks
from workers.data.workroom import Workroom
from workers.model.runs import Run
from workers.runs.lookups import Lookups
from workers.runs.results import Results, check_contract

_log = structlog.stdlib.get_logger(__name__)


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a run gives its stored result when it is computed again."""

    equal: Annotated[bool, Meta(description="Whether both digests are equal.")]
    stored_digest: Annotated[str, Meta(description="Digest of the stored result.")]
    computed_digest: Annotated[str, Meta(description="Digest of the result that was computed now.")]
    engine: Annotated[str, Meta(description="Engine that computed it now.")]


async def verify(results: Results, lookups: Lookups, workroom: Workroom, run: Run) -> Verification:
    """Compute a run that has succeeded again, within the limits of the workroom.

    Raises:
        Conflict: its result is missing, or was computed by another contract.
    """
    stored = (await results.require_stored(run)).result
    check_contract(stored)
    dataset, parts = await lookups.version(run.dataset_id, run.dataset_version)
    computed = await workroom.run("backtests", tasks.Recompute(dataset, parts, run.request), tasks.Recomputed)
    equal = computed.digest == stored.digest
    if not equal:
        _log.error("a result can't be reproduced", run=run.id, stored=stored.digest, computed=computed.digest, engine=computed.engine)
    return Verification(equal=equal, stored_digest=stored.digest, computed_digest=computed.digest, engine=computed.engine)
