"""Labels of runs: change them at any time."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from workers.db import revision
from workers.db.database import Database
from workers.db.tables import RunRow, RunTagRow
from workers.db.visible import visible
from workers.model.callers import Caller
from workers.model.labels import LabelChanges
from workers.model.names import is_reference
from workers.model.runs import encode
from workers.model.states import RunState
from workers.runs import store
from workers.runs.runs import not_found
from workers.runs.runs_revision import outdate
from workers.runs.submission import OPERATION


async def change(database: Database, caller: Caller, run_id: str, changes: LabelChanges) -> None:
    """Give a run new labels, in any state.

    Raises:
        NotFound: there is no such backtest, or the caller doesn't see it.
    """
    given = changes.given()
    columns = given | ({"tags": encode(given["tags"])} if "tags" in given else {})

    def change_row(connection: sa.Connection) -> RunState | None:
        its_row = (RunRow.id == run_id, RunRow.kind == OPERATION, visible(caller, RunRow.owner))
        # Without a change, it is only looked for.
        found: Any = (
            sa.update(RunRow).where(*its_row).values(columns).returning(RunRow.state)
            if columns
            else sa.select(RunRow.state).where(*its_row)
        )
        state = connection.scalar(found)
        if state is None:
            return None
        if "tags" in given:
            connection.execute(sa.delete(RunTagRow).where(RunTagRow.run_id == run_id))
            store.insert_tags(connection, {run_id: given["tags"]})
        if columns and state == RunState.SUCCEEDED:
            revision.count_change_of_runs(connection)
        return RunState(state)

    state = await database.transact(change_row) if is_reference(run_id) else None
    if state is None:
        raise not_found(run_id)
    if columns and state == RunState.SUCCEEDED:
        await outdate()
