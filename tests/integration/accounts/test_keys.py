"""API keys: made once, stored as a hash, ended by time, rotation and deletion."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa
import structlog

import python_core as bt
import workers
from workers import Caller, KeyRequest, Scope
from workers.accounts import authentication
from workers.accounts.authentication import Authentication
from workers.db.tables import ApiKeyRow
from workers.model.callers import OPERATOR
from workers.model.clock import now_ms
from workers.model.states import RunState
from workers.service.service import Service


@pytest.fixture
async def access(service: Service, monkeypatch: pytest.MonkeyPatch) -> Authentication:
    """Authentication in another process, which remembers nothing for longer than a request."""
    monkeypatch.setattr(authentication, "REMEMBERED_MS", 0)
    return Authentication(service.resources.database, required=False)


async def test_a_key_stands_for_its_owner_and_scope(service: Service, access: Authentication) -> None:
    new = await service.keys.create(KeyRequest(name="notebook", owner="anna", scope=Scope.READ))
    caller = await access.caller(new.secret, None)
    assert caller == Caller(owner="anna", scope=Scope.READ, key_id=new.key.id)
    assert new.secret.startswith(new.key.prefix)
    async with service.resources.database.read() as session:
        stored = (await session.execute(sa.select(ApiKeyRow.__table__))).mappings().one()
    secret = new.secret.rpartition(f"{new.key.prefix}_")[2]
    assert len(secret) == 43, "256 bits"
    assert not any(secret in str(value) for value in stored.values())


@pytest.mark.parametrize("wrong", ["", "x", "bst_", "bst_0123456789ab_" + "A" * 43, "bst_0123456789ab_" + "ä" * 43, "\0", "x" * 10_000])
async def test_what_is_no_key_is_refused(service: Service, access: Authentication, wrong: str) -> None:
    new = await service.keys.create(KeyRequest(name="notebook"))
    for secret in (wrong, new.secret[:-1], new.secret + "A", new.secret[:-1] + "?", new.secret.upper()):
        with pytest.raises(workers.Unauthenticated):
            await access.caller(secret, None)


async def test_keys_are_needed_as_soon_as_there_is_one_even_if_it_is_deleted_again(service: Service, access: Authentication) -> None:
    assert await access.caller("", None) == OPERATOR
    new = await service.keys.create(KeyRequest(name="first"))
    with pytest.raises(workers.Unauthenticated):
        await access.caller("", None)
    await service.keys.delete(new.key.id)
    for secret in ("", new.secret):
        with pytest.raises(workers.Unauthenticated):
            await access.caller(secret, None)


async def test_a_key_is_read_once_for_all_requests_at_once(
    service: Service, access: Authentication, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = await service.keys.create(KeyRequest(name="busy", owner="anna"))
    reads: list[str] = []
    identify = authentication.keys.identify
    monkeypatch.setattr(authentication.keys, "identify", lambda connection, secret: (reads.append(secret), identify(connection, secret))[1])
    callers = await asyncio.gather(*(access.caller(secret, None) for secret in [new.secret] * 20 + ["bst_x"] * 5), return_exceptions=True)
    assert [caller.owner for caller in callers[:20] if isinstance(caller, Caller)] == ["anna"] * 20
    assert {type(error) for error in callers[20:]} == {workers.Unauthenticated}
    assert sorted(reads) == sorted([new.secret, "bst_x"])


async def test_a_key_ends_when_it_expires(service: Service, access: Authentication, monkeypatch: pytest.MonkeyPatch) -> None:
    ends_at = now_ms() + 60_000
    new = await service.keys.create(KeyRequest(name="short", expires_at=ends_at))
    await access.caller(new.secret, None)
    for module in ("keys", "authentication"):
        monkeypatch.setattr(f"workers.accounts.{module}.now_ms", lambda: ends_at)
    with pytest.raises(workers.Unauthenticated, match="expired"):
        await access.caller(new.secret, None)
    with pytest.raises(workers.Invalid, match="has passed"):
        await service.keys.create(KeyRequest(name="past", expires_at=ends_at))


async def test_a_rotated_key_is_replaced_at_once_or_after_a_while(service: Service, access: Authentication) -> None:
    first = await service.keys.create(KeyRequest(name="robot", owner="anna", scope=Scope.READ))
    second = await service.keys.rotate(first.key.id, grace_s=3600)
    assert {(key.owner, key.scope, key.name) for key in (first.key, second.key)} == {("anna", Scope.READ, "robot")}
    assert {(await access.caller(new.secret, None)).owner for new in (first, second)} == {"anna"}
    third = await service.keys.rotate(second.key.id)
    await access.caller(third.secret, None)
    with pytest.raises(workers.Unauthenticated):
        await access.caller(second.secret, None)


async def test_a_key_is_rotated_once_and_only_while_it_works(
    service: Service, access: Authentication, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends_at = now_ms() + 86_400_000
    first = await service.keys.create(KeyRequest(name="robot", expires_at=ends_at))
    second = await service.keys.rotate(first.key.id, grace_s=60)
    with pytest.raises(workers.Conflict, match=f"rotated already.*{second.key.id}") as refused:
        await service.keys.rotate(first.key.id)
    assert refused.value.code == "key_rotated"
    third = await service.keys.rotate(second.key.id)
    assert third.key.expires_at == ends_at
    await access.caller(third.secret, None)
    monkeypatch.setattr("workers.accounts.keys.now_ms", lambda: ends_at)
    with pytest.raises(workers.Conflict, match="has expired; create another") as refused:
        await service.keys.rotate(third.key.id)
    assert refused.value.code == "key_expired"


async def test_the_last_use_of_a_key_is_known(service: Service, access: Authentication) -> None:
    before = now_ms()
    new = await service.keys.create(KeyRequest(name="robot"))
    assert (await service.keys.get(new.key.id)).last_used_at is None
    await access.caller(new.secret, None)
    used_at = (await service.keys.get(new.key.id)).last_used_at
    assert used_at is not None
    assert before <= used_at <= now_ms()


async def test_only_administrators_may_name_an_owner(service: Service, access: Authentication) -> None:
    writer = await service.keys.create(KeyRequest(name="writer", owner="anna"))
    admin = await service.keys.create(KeyRequest(name="admin", scope=Scope.ADMIN))
    assert (await access.caller(writer.secret, "anna")).owner == "anna"
    with pytest.raises(workers.Forbidden):
        await access.caller(writer.secret, "ben")
    assert await access.caller(admin.secret, "ben") == Caller(owner="ben", scope=Scope.ADMIN, sees_all=True, key_id=admin.key.id)
    with pytest.raises(workers.Invalid):
        await access.caller(admin.secret, "a\nb")


@pytest.mark.parametrize(("scope", "allowed"), [(Scope.READ, "read"), (Scope.WRITE, "read write"), (Scope.ADMIN, "read write admin")])
async def test_a_scope_allows_what_those_below_it_allow(service: Service, scope: Scope, allowed: str) -> None:
    caller = service.acting_as(Caller(scope=scope))
    calls = {
        "read": lambda: caller.strategies.list(),
        "write": lambda: caller.queue.redrive(workers.DeadLetterSelection(all=True)),
        "admin": lambda: caller.queue.pause(),
    }
    for needed, call in calls.items():
        if needed in allowed.split():
            await call()
        else:
            with pytest.raises(workers.Forbidden, match=f"this needs the scope {needed}"):
                await call()


async def test_changes_and_refusals_are_in_the_audit_log(service: Service) -> None:
    reader = service.acting_as(Caller(owner="anna", scope=Scope.READ, key_id="k"))
    with pytest.raises(workers.Forbidden):
        await reader.strategies.delete("cross")
    with pytest.raises(workers.NotFound):
        await service.strategies.delete("cross")
    new = await service.keys.create(KeyRequest(name="robot"))
    page = await service.keys.list_audit()
    entries = [(entry.operation, entry.subject, entry.outcome, entry.owner, entry.key_id) for entry in page.items]
    assert entries == [
        ("keys.create", "robot", "ok", "", ""),
        ("strategies.delete", "cross", "not_found", "", ""),
        ("strategies.delete", "cross", "forbidden", "anna", "k"),
    ]
    assert new.secret not in str(page)


async def subjects(service: Service) -> list[tuple[str, str]]:
    """Operations and subjects of the audit log, oldest first."""
    return [(entry.operation, entry.subject) for entry in reversed((await service.keys.list_audit()).items)]


async def test_the_audit_log_says_what_was_changed(service: Service) -> None:
    fetch = workers.FetchRequest(exchange="bybit", symbol="BTC/USDT", timeframe="1h")
    schedule = await service.fetches.create_schedule(workers.ScheduleRequest(fetch=fetch), key="monday")
    await service.fetches.delete_schedule(schedule_id=schedule.id)
    await service.backtests.delete_many(workers.RunSelection(name="x", state=RunState.FAILED))
    await service.queue.redrive(workers.DeadLetterSelection(all=True))
    await service.queue.discard(workers.DeadLetterSelection(ids=tuple(f"run {i}" for i in range(100))))
    with pytest.raises(workers.NotFound):
        await service.backtests.create_and_run(
            workers.CreateAndRunRequest(name="n", dataset="none", strategy=bt.Strategy(entry_long="close > open"))
        )
    await service.queue.resume()
    *found, (discarded, many), created, resumed = await subjects(service)
    assert found == [
        ("fetches.create_schedule", "bybit-btcusdt-1h"),
        ("fetches.delete_schedule", schedule.id),
        ("backtests.delete_many", '{"state":"failed","name":"x"}'),
        ("queue.redrive", '{"ids":[],"all":true}'),
    ]
    assert (discarded, many[:20], len(many)) == ("queue.discard", '{"ids":["run 0","run', 120)
    assert (created, resumed) == (("backtests.create_and_run", "n"), ("queue.resume", ""))


async def test_a_key_passed_as_an_id_is_recorded_by_its_prefix(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    new = await service.keys.create(KeyRequest(name="robot"))
    with structlog.contextvars.bound_contextvars(request_id="r"):
        for refused in (service.keys.delete(new.secret), service.datasets.delete("x" * 100 + new.secret)):
            with pytest.raises(workers.NotFound):
                await refused
    entries = (await subjects(service))[1:]
    assert entries == [("keys.delete", new.key.prefix), ("datasets.delete", "x" * 100 + new.key.prefix)]
    written = capsys.readouterr()
    assert new.secret[17:] not in written.out + written.err


async def test_what_is_done_is_answered_even_if_it_can_not_be_audited(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lost(work: object) -> None:
        raise ConnectionRefusedError("no database")

    monkeypatch.setattr(service.resources.database, "transact", lost)
    new = await service.keys.create(KeyRequest(name="robot"))
    assert (await service.keys.get(new.key.id)).name == "robot"
    with pytest.raises(workers.NotFound):
        await service.keys.delete("none")


async def test_nobody_is_let_in_while_the_database_can_not_tell_whether_a_key_is_needed(
    access: Authentication, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(work: object) -> None:
        raise ConnectionRefusedError("no database")

    database = access._database
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(database, "query", lost)
            for secret in ("", "bst_0123456789ab_" + "A" * 43):
                with pytest.raises(ConnectionRefusedError):
                    await access.caller(secret, None)
            assert await access.is_valid(OPERATOR), "what goes on goes on"
            assert await access.is_valid(Caller(key_id="k"))
        assert await access.caller("", None) == OPERATOR


async def test_a_key_works_while_the_database_can_only_be_read(
    service: Service, access: Authentication, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read_only(work: object) -> None:
        raise OSError("read-only")

    new = await service.keys.create(KeyRequest(name="robot", owner="anna"))
    monkeypatch.setattr(access._database, "transact", read_only)
    assert (await access.caller(new.secret, None)).owner == "anna"
