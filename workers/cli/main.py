"""The `barstorm` command."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog
from sqlalchemy.engine import make_url

import python_core as bt
from workers import logs
from workers.accounts import keys as api_keys
from workers.cli import data as data_commands
from workers.cli import dead_letters, fetch, keys
from workers.data import samples
from workers.db.database import open_database
from workers.errors import Invalid, Unavailable, WorkersError
from workers.model.states import Priority
from workers.process import forking
from workers.process.forking import Forks, end_with_parent
from workers.process.run import run as run_worker
from workers.process.scaling import Scaling
from workers.process.startup import migrate_when_reachable
from workers.process.supervisor import Child, WorkerPool, supervise
from workers.queue.queue import ALL_PRIORITIES, PRIORITY_CODES, open_queue
from workers.queue.valkey import with_redis
from workers.service import health
from workers.settings import Settings, variable
from workers.storage.open import open_artifacts

# By name, because `api` imports `workers`, not the other way round.
APPLICATION: Final = "api.app:create_app"
HTTP_PROTOCOL: Final = "api.http.protocol:LimitedProtocol"
# What each process of a kind needs, and what its parent imports for all of them.
WORKER_IMPORTS: Final = ("workers.process.run", "uvloop")
API_IMPORTS: Final = ("api.app", "api.http.protocol", "uvicorn", "uvicorn.loops.auto", "uvicorn.lifespan.on")
HOST: Final = "127.0.0.1"
PORT: Final = 8000
ANY_ADDRESS: Final = ("0.0.0.0", "::", "")
MAX_WORKERS: Final = 1024
_log = structlog.stdlib.get_logger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command of these arguments; returns the exit code."""
    options = _parser().parse_args(arguments)

    def run() -> int:
        settings = Settings.from_env()
        logs.set_up(settings)
        code: int = options.run(settings, options)
        return code

    return _exit_code(run)


def _exit_code(run: Callable[[], int]) -> int:
    """The exit code of a command, also of one that fails."""
    try:
        return run()
    except (WorkersError, bt.BarstormError) as error:
        print(f"barstorm: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def serve(settings: Settings, options: argparse.Namespace) -> int:
    _check_port(options.host, options.port)
    count = _worker_count(settings, options)
    return forking.run(
        lambda forks: _exit_code(lambda: _serve(settings, options, count, forks)),
        main,
        (*WORKER_IMPORTS, *API_IMPORTS),
        prepare=lambda: _exit_code(lambda: _prepare(settings, options)),
    )


def _prepare(settings: Settings, options: argparse.Namespace) -> int:
    asyncio.run(_protect(settings, options))
    asyncio.run(_add_samples(settings))
    return 0


def _serve(settings: Settings, options: argparse.Namespace, count: int, forks: Forks | None) -> int:
    access = asyncio.run(_protect(settings, options))
    children = [Child("api", ("api", "--host", options.host, "--port", str(options.port), *["--insecure"] * options.insecure))]
    pool = None
    if settings.workers or options.workers:
        children += [Child(f"worker-{i + 1}", ("worker-process",)) for i in range(count)]
        workers = f"{count} worker processes"
    else:
        pool = WorkerPool(Scaling(0, count, ALL_PRIORITIES), 0, ("worker-process",))
        workers = f"up to {count} worker processes while there is work"
    print(f"Barstorm {bt.__version__} ({bt.engine} engine), {workers}: http://{options.host}:{options.port}/schema")
    print(
        f"database {_redacted(settings.database_url)}, queue {_redacted(settings.redis_url) or 'embedded Valkey'}; stop with Ctrl-C\n{access}",
        flush=True,
    )
    asyncio.run(supervise(settings, children, pool, forks))
    return 0


async def _protect(settings: Settings, options: argparse.Namespace) -> str:
    """Require keys where others can reach the service; returns a line that says who may use it.

    Raises:
        Invalid: there is no key, and the service would listen on an address that others can reach.
    """
    await migrate_when_reachable(settings)
    async with open_database(settings.database_url) as database:
        has_keys = await database.query(api_keys.exist)
    if not _is_loopback(options.host):
        if not (has_keys or options.insecure):
            raise Invalid(
                f"others can reach {options.host}, and there is no API key",
                where="--host",
                hint="create one with `barstorm keys create NAME --scope admin`, or accept the risk with --insecure",
            )
        if not options.insecure:
            os.environ[variable("require_keys")] = "true"
        if options.host not in ANY_ADDRESS:
            os.environ[variable("allowed_hosts")] = ",".join(filter(None, (settings.allowed_hosts, options.host)))
    hidden = options.host in ANY_ADDRESS and not settings.allowed_hosts
    names = "; requests to other names than those of loopback are refused until BARSTORM_ALLOWED_HOSTS lists them" * hidden
    if has_keys or settings.require_keys:
        return f"access by API key{names}"
    return f"access without a key, for everybody who can reach {options.host}; `barstorm keys create NAME --scope admin` makes keys necessary{names}"


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _add_samples(settings: Settings) -> None:
    async with data_commands.open_data(settings) as data:
        await samples.add_if_empty(data)


def api(settings: Settings, options: argparse.Namespace) -> int:
    import uvicorn

    end_with_parent()
    _check_port(options.host, options.port)
    asyncio.run(_protect(settings, options))
    uvicorn.run(
        APPLICATION,
        factory=True,
        host=options.host,
        port=options.port,
        http=HTTP_PROTOCOL,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
    )
    return 0


def worker(settings: Settings, options: argparse.Namespace) -> int:
    count, priorities = _worker_count(settings, options), _priorities(options.priorities)
    command = ("worker-process", "--priorities", options.priorities)
    children, pool = [], None
    min_workers = count if options.min is None else options.min
    max_workers = max(count, min_workers) if options.max is None else options.max
    if not 0 <= min_workers <= max_workers <= MAX_WORKERS or max_workers == 0:
        hint = f"use numbers from 0 to {MAX_WORKERS}, --min not above --max, and --max at least 1"
        raise Invalid(f"can't run {min_workers} to {max_workers} worker processes", where="--min, --max", hint=hint)
    initial = min(max(count, min_workers), max_workers)
    if options.burst:
        children = [Child(f"worker-{i + 1}", (*command, "--burst"), once=True) for i in range(count)]
    elif min_workers == max_workers:
        children = [Child(f"worker-{i + 1}", command) for i in range(initial)]
    else:
        pool = WorkerPool(Scaling(min_workers, max_workers, priorities), initial, command)

    def work(forks: Forks | None) -> int:
        asyncio.run(supervise(settings, children, pool, forks))
        return 0

    return forking.run(lambda forks: _exit_code(lambda: work(forks)), main, WORKER_IMPORTS)


def worker_process(settings: Settings, options: argparse.Namespace) -> int:
    end_with_parent()
    run_worker(settings, priorities=_priorities(options.priorities), burst=options.burst)
    return 0


def migrate(settings: Settings, options: argparse.Namespace) -> int:
    async def update_schema() -> None:
        async with open_database(settings.database_url) as database:
            await database.migrate()

    asyncio.run(update_schema())
    print(f"schema of {_redacted(settings.database_url)} is up to date")
    return 0


def doctor(settings: Settings, options: argparse.Namespace) -> int:
    async def check() -> tuple[health.Health, list[str]]:
        async with with_redis(settings) as shared, open_database(shared.database_url) as database, open_queue(shared.redis_url) as queue:
            check_health = health.HealthCheck(shared, database, queue, open_artifacts(shared))
            return await check_health(), await health.list_risks(database, queue)

    report, risks = asyncio.run(check())
    print(f"barstorm  {bt.__version__}, Python {sys.version.split()[0]}, {os.cpu_count()} cores")
    print(f"engine    {report.engine}: {report.engine_reason}")
    for name, component, where in (
        ("database", report.database, _redacted(settings.database_url)),
        ("queue", report.redis, _redacted(settings.redis_url) or "embedded"),
        ("files", report.files, settings.artifacts_url or settings.folder),
    ):
        state = f"responded in {component.latency_ms:.1f} ms" if component.ok else component.error
        print(f"{name:9} {component.kind}, {where}: {state}")
    print(f"workers   {report.workers if report.workers is not None else 'unknown'} running")
    free = "does not respond" if report.disk_free_bytes is None else f"{report.disk_free_bytes / 1e9:,.1f} GB free"
    print(f"data      {settings.folder}, {free}")
    for risk in risks:
        print(f"warning   {risk}")
    return 0 if report.status == "ok" else 1


def run_demo(settings: Settings, options: argparse.Namespace) -> int:
    from workers.cli import demo  # with an HTTP client, which nothing else needs

    return asyncio.run(demo.demo(settings, options.data))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="barstorm",
        description="Run and manage the Barstorm backtest service.",
        epilog="\n".join(("settings, from environment variables:", *_settings_help())),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[Settings, argparse.Namespace], int], text: str | None) -> argparse.ArgumentParser:
        # Without a text, the command is not listed: it is for the supervisor.
        added = commands.add_parser(name, help=text, description=f"{text}.") if text else commands.add_parser(name)
        added.set_defaults(run=run)
        return added

    serving = add("serve", serve, "Run the API, worker processes and, unless REDIS_URL is set, Valkey, until Ctrl-C")
    api_only = add("api", api, "Run the API without workers, until Ctrl-C")
    for added in (serving, api_only):
        added.add_argument("--host", default=HOST, help="address to listen on (default: %(default)s)")
        added.add_argument("--port", type=int, default=PORT, help="port to listen on (default: %(default)s)")
        added.add_argument("--insecure", action="store_true", help="listen on any address without API keys: whoever reaches it, may use it")
    working = add("worker", worker, "Run worker processes, until Ctrl-C")
    for added in (serving, working):
        added.add_argument("--workers", type=int, metavar="N", help="number of worker processes (default: one per core)")
    for added in (working, add("worker-process", worker_process, None)):
        added.add_argument("--burst", action="store_true", help="exit when the queue is empty")
        added.add_argument(
            "--priorities", default=",".join(Priority), metavar="LIST", help="take jobs of these priorities only (default: %(default)s)"
        )
    working.add_argument("--min", type=int, metavar="N", help="minimum number of processes, may be 0; more are started while jobs wait")
    working.add_argument("--max", type=int, metavar="N", help="maximum number of processes")
    dead_letters.add_parsers(add("dead", dead_letters.run, "Manage dead letters: runs that failed too often to be retried"))
    data_commands.add_parsers(
        add("data", data_commands.run, "Manage market data: list, import, fetch, show, export and delete datasets"), fetch.add_arguments
    )
    keys.add_parsers(add("keys", keys.run, "Manage API keys: create, list, rotate and delete them"))
    add("migrate", migrate, "Update the database schema")
    add("doctor", doctor, "Check engine, database, queue, workers and data folder")
    add("demo", run_demo, "Run one backtest through API, database, queue and worker, in a temporary folder").add_argument(
        "--data",
        type=Path,
        default=os.environ.get("DATA") or None,
        metavar="FILE",
        help="CSV, Parquet or Arrow file of bars (default: $DATA or synthetic bars)",
    )
    return parser


def _settings_help() -> Iterator[str]:
    """A line for each setting: its variable, description and default."""
    fields = msgspec.structs.fields(Settings)
    width = max(len(variable(field.name)) for field in fields)
    for field in fields:
        schema = getattr(msgspec.inspect.type_info(field.type), "extra_json_schema", None) or {}
        default = f" [{field.default}]" if field.default != "" else ""
        yield f"  {variable(field.name):{width}}  {schema.get('description', '')}{default}"


def _worker_count(settings: Settings, options: argparse.Namespace) -> int:
    count: int = settings.workers or os.cpu_count() or 1 if options.workers is None else options.workers
    if not 1 <= count <= MAX_WORKERS:
        raise Invalid(f"can't run {count} worker processes", where="--workers", hint=f"use 1 to {MAX_WORKERS}")
    return count


def _priorities(text: str) -> str:
    """Priorities as the queue encodes them."""
    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in PRIORITY_CODES]:
        raise Invalid(f"unknown priority {unknown[0]!r:.40}", where="--priorities", hint=f"use some of {', '.join(PRIORITY_CODES)}")
    return "".join(sorted({PRIORITY_CODES[name] for name in names}))


def _check_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise Unavailable(f"can't listen on {host}:{port} ({error})", where="--port", hint="use another port") from None


def _redacted(url: str) -> str:
    """A URL without its password."""
    return make_url(url).render_as_string(hide_password=True) if url else ""


if __name__ == "__main__":
    sys.exit(main())
