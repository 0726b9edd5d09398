"""States of runs."""

from __future__ import annotations

from workers.model.states import TRANSITIONS, WAITING, RunState, predecessors


def test_only_a_running_run_can_succeed() -> None:
    assert predecessors(RunState.SUCCEEDED) == {RunState.RUNNING}
    assert predecessors(RunState.RUNNING) == {RunState.QUEUED, RunState.RETRYING, RunState.RUNNING}


def test_every_state_leads_to_a_final_one() -> None:
    assert set(TRANSITIONS) == set(RunState)
    for origin, targets in TRANSITIONS.items():
        assert bool(targets) == (origin in {*WAITING, RunState.RUNNING, RunState.DEAD})
    assert all(RunState.CANCELLED in TRANSITIONS[origin] for origin in WAITING)
