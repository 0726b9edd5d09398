"""`barstorm keys`: API keys on the command line, in the service's database; no server has to run."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from python_core.data.columns import iso
from workers.accounts import audit, keys
from workers.accounts.keys import ApiKey, KeyRequest, NewApiKey
from workers.cli.operations import add_command
from workers.cli.pages import LIMIT, all_items
from workers.db.database import Database, open_database
from workers.errors import Invalid
from workers.model.callers import OPERATOR, Scope
from workers.model.clock import now_ms
from workers.settings import Settings

DAY_MS: Final = 86_400_000
Command = Callable[[Database, argparse.Namespace], Awaitable[None]]


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Run a subcommand of `add_parsers`."""

    async def work() -> None:
        async with open_database(settings.database_url) as database:
            await database.migrate()
            await options.keys_command(database, options)

    asyncio.run(work())
    return 0


async def create(database: Database, options: argparse.Namespace) -> None:
    try:
        expires_at = None if options.days is None else now_ms() + int(options.days * DAY_MS)
        request = KeyRequest(name=options.name, owner=options.owner, scope=Scope(options.scope), expires_at=expires_at)
    except (ValueError, OverflowError) as error:
        raise Invalid(str(error), where="keys create") from None
    await _print_new(database, "keys.create", options.name, await keys.create(database, OPERATOR, request))


async def list_keys(database: Database, options: argparse.Namespace) -> None:
    found = False
    async for key in all_items(lambda cursor: keys.page(database, limit=LIMIT, cursor=cursor)):
        found = True
        print(_line(key))
    if not found:
        print("no keys: requests need none until there is one; create one with `barstorm keys create NAME`")


async def rotate(database: Database, options: argparse.Namespace) -> None:
    new = await keys.rotate(database, options.id, grace_s=options.grace)
    await _print_new(database, "keys.rotate", options.id, new)


async def delete(database: Database, options: argparse.Namespace) -> None:
    await keys.delete(database, options.id)
    await audit.record(database, OPERATOR, "keys.delete", options.id, audit.SUCCEEDED)
    print(f"{options.id} deleted")


def add_parsers(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of `barstorm keys`."""
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(name: str, command: Command, operation: str) -> argparse.ArgumentParser:
        added = add_command(commands, name, operation)
        added.set_defaults(keys_command=command)
        return added

    creating = add("create", create, "keys.create")
    creating.add_argument("name", metavar="NAME", help="what the key is for")
    creating.add_argument("--owner", default="", help="owner of all that is created with the key (default: none)")
    creating.add_argument(
        "--scope",
        default=Scope.WRITE,
        choices=tuple(Scope),
        help="read, write, or admin: keys, queue and all owners (default: %(default)s)",
    )
    creating.add_argument("--days", type=float, metavar="N", help="how long it works (default: for ever)")
    add("list", list_keys, "keys.list")
    rotating = add("rotate", rotate, "keys.rotate")
    rotating.add_argument("id", metavar="ID", help="id of the key")
    rotating.add_argument("--grace", type=int, default=0, metavar="SECONDS", help="how long the old key still works (default: %(default)s)")
    add("delete", delete, "keys.delete").add_argument("id", metavar="ID", help="id of the key")


async def _print_new(database: Database, operation: str, subject: str, new: NewApiKey) -> None:
    print(_line(new.key))
    print(f"{new.secret}\nThis is the only time that the key is shown. Send it as `Authorization: Bearer {new.key.prefix}...`.", flush=True)
    await audit.record(database, OPERATOR, operation, subject, audit.SUCCEEDED)


def _line(key: ApiKey) -> str:
    ends = "never ends" if key.expires_at is None else f"ends {iso(key.expires_at)}"
    used = "never used" if key.last_used_at is None else f"used {iso(key.last_used_at)}"
    return f"{key.id}  {key.prefix}  {key.scope:5}  owner {key.owner!r}  {ends}  {used}  {key.name}"
