"""The `barstorm` command."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog
from sqlalchemy.engine import make_url

import python_core as bt
from workers import logs
from workers.cli import data as data_commands
from workers.cli import demo, fetch
from workers.cli.dead_letters import ACTIONS, dead_lines
from workers.data import samples
from workers.db.database import open_database
from workers.errors import Unavailable, WorkersError
from workers.model.states import Priority
from workers.process.run import run as run_worker
from workers.process.scaling import Scaling
from workers.process.supervisor import Child, WorkerPool, end_with_parent, shared_queue, supervise
from workers.queue.queue import PRIORITY_CODES, open_queue
from workers.service import health
from workers.service.service import open_service
from workers.settings import Settings, variable

# Named, not imported: the API imports the workers, never the other way round.
APPLICATION: Final = "api.app:create_app"
HOST: Final = "127.0.0.1"
PORT: Final = 8000
MOST_WORKERS: Final = 1024
_log = structlog.stdlib.get_logger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        settings = Settings.from_env()
        logs.set_up(settings)
        code: int = options.run(settings, options)
        return code
    except (WorkersError, bt.BarstormError) as error:
        print(f"barstorm: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def serve(settings: Settings, options: argparse.Namespace) -> int:
    _check_port(options.host, options.port)
    workers = _worker_count(settings, options)
    children = [
        Child("api", ("api", "--host", options.host, "--port", str(options.port))),
        *(Child(f"worker-{i + 1}", ("worker-process",)) for i in range(workers)),
    ]
    print(f"Barstorm {bt.__version__} ({bt.engine} engine), {workers} worker processes: http://{options.host}:{options.port}/schema")
    print(f"database {_shown(settings.database_url)}, queue {_shown(settings.redis_url) or 'our own Valkey'}; Ctrl-C stops", flush=True)
    asyncio.run(_add_samples(settings))
    asyncio.run(supervise(settings, children))
    return 0


async def _add_samples(settings: Settings) -> None:
    async with data_commands.opened(settings) as data:
        await samples.add_if_empty(data)


def api(settings: Settings, options: argparse.Namespace) -> int:
    import uvicorn

    end_with_parent()
    _check_port(options.host, options.port)
    uvicorn.run(
        APPLICATION, factory=True, host=options.host, port=options.port, log_config=None, access_log=False, timeout_graceful_shutdown=10
    )
    return 0


def worker(settings: Settings, options: argparse.Namespace) -> int:
    count, priorities = _worker_count(settings, options), _priorities(options.queues)
    command = ("worker-process", "--queues", options.queues)
    if options.burst:
        asyncio.run(supervise(settings, [Child(f"worker-{i + 1}", (*command, "--burst"), once=True) for i in range(count)]))
        return 0
    least = count if options.min is None else options.min
    most = max(count, least) if options.max is None else options.max
    if not 0 <= least <= most <= MOST_WORKERS or most == 0:
        raise Unavailable(
            f"can't keep {least} to {most} worker processes", where="--min, --max", hint=f"use 0 to {MOST_WORKERS}, the least first"
        )
    first = min(max(count, least), most)
    if least == most:
        asyncio.run(supervise(settings, [Child(f"worker-{i + 1}", command) for i in range(first)]))
    else:
        asyncio.run(supervise(settings, [], WorkerPool(Scaling(least, most, priorities), first, command)))
    return 0


def worker_process(settings: Settings, options: argparse.Namespace) -> int:
    end_with_parent()
    run_worker(settings, priorities=_priorities(options.queues), burst=options.burst)
    return 0


def migrate(settings: Settings, options: argparse.Namespace) -> int:
    async def bring_up_to_date() -> None:
        async with open_database(settings.database_url) as database:
            await database.migrate()

    asyncio.run(bring_up_to_date())
    print(f"{_shown(settings.database_url)} is up to date")
    return 0


def doctor(settings: Settings, options: argparse.Namespace) -> int:
    async def ask() -> health.Health:
        async with shared_queue(settings) as named, open_database(named.database_url) as database, open_queue(named.redis_url) as queue:
            return await health.health(database, queue)

    settings.folder.mkdir(parents=True, exist_ok=True)
    found = asyncio.run(ask())
    free_gb = shutil.disk_usage(settings.folder).free / 1e9
    print(f"barstorm  {bt.__version__}, Python {sys.version.split()[0]}, {os.cpu_count()} cores")
    print(f"engine    {found.engine}: {found.engine_reason}")
    for name, check, where in (
        ("database", found.database, _shown(settings.database_url)),
        ("queue", found.redis, _shown(settings.redis_url) or "our own"),
    ):
        print(f"{name:9} {check.kind} at {where}: {f'answers in {check.latency_ms:.1f} ms' if check.ok else check.error}")
    print(f"workers   {found.workers if found.workers is not None else 'unknown'} reporting")
    print(f"data      {settings.folder}, {free_gb:,.1f} GB free{'' if os.access(settings.folder, os.W_OK) else ', not writable'}")
    return 0 if found.status == "ok" and os.access(settings.folder, os.W_OK) else 1


def dead_letters(settings: Settings, options: argparse.Namespace) -> int:
    async def do() -> Sequence[str]:
        async with shared_queue(settings) as named, open_service(named) as service:
            return await dead_lines(service.queue, options.action, options.id, every=options.all)

    for line in asyncio.run(do()):
        print(line)
    return 0


def run_demo(settings: Settings, options: argparse.Namespace) -> int:
    return asyncio.run(demo.demo(settings, options.data))


def _parser() -> argparse.ArgumentParser:
    fields = msgspec.structs.fields(Settings)
    described = [
        (variable(field.name), field.default, getattr(msgspec.inspect.type_info(field.type), "extra_json_schema", None)) for field in fields
    ]
    lines = [f"  {name:25} {(extra or {}).get('description', '')} [{default}]" for name, default, extra in described]
    parser = argparse.ArgumentParser(
        prog="barstorm",
        description="Backtests as a service.",
        epilog="settings, from the environment:\n" + "\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="command")

    def command(name: str, run: object, text: str | None) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text) if text else commands.add_parser(name)
        added.set_defaults(run=run)
        return added

    listening = [command("serve", serve, "API, workers and Valkey, until Ctrl-C"), command("api", api, "the API alone")]
    for parser_ in listening:
        parser_.add_argument("--host", default=HOST)
        parser_.add_argument("--port", type=int, default=PORT)
    working = command("worker", worker, "worker processes, until Ctrl-C")
    for parser_ in (listening[0], working):
        parser_.add_argument("--workers", type=int, help="how many processes; one for each core unless said otherwise")
    for parser_ in (working, command("worker-process", worker_process, None)):
        parser_.add_argument("--burst", action="store_true", help="stop when nothing is left to do")
        parser_.add_argument("--queues", default=",".join(Priority), help="priorities to take jobs of: %(default)s")
    working.add_argument("--min", type=int, help="least processes, may be 0; more are started when jobs wait")
    working.add_argument("--max", type=int, help="most processes")
    dying = command("dead", dead_letters, "runs that failed too often: list, show, redrive, discard")
    dying.add_argument("action", choices=ACTIONS)
    dying.add_argument("id", nargs="*", help="ids of runs")
    dying.add_argument("--all", action="store_true", help="redrive or discard all there are")
    market = command("data", data_commands.run, "market data: list, import, append, show, export, delete, samples, fetch")
    data_commands.add_parsers(market, fetch.add_arguments)
    command("migrate", migrate, "bring the database's schema up to date")
    command("doctor", doctor, "say what is there and how it is")
    command("demo", run_demo, "one backtest through all parts").add_argument(
        "--data", type=Path, default=os.environ.get("DATA") or None, help="a CSV, Parquet or Arrow file of bars; DATA says it, too"
    )
    return parser


def _worker_count(settings: Settings, options: argparse.Namespace) -> int:
    count: int = settings.workers or os.cpu_count() or 1 if options.workers is None else options.workers
    if not 1 <= count <= MOST_WORKERS:
        raise Unavailable(f"can't start {count} worker processes", where="--workers", hint=f"use 1 to {MOST_WORKERS}")
    return count


def _priorities(queues: str) -> str:
    names = [name.strip() for name in queues.split(",")]
    if unknown := [name for name in names if name not in PRIORITY_CODES]:
        raise Unavailable(f"there is no queue {unknown[0]!r:.40}", where="--queues", hint=f"use some of {', '.join(PRIORITY_CODES)}")
    return "".join(sorted({PRIORITY_CODES[name] for name in names}))


def _check_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise Unavailable(f"can't listen on {host}:{port} ({error})", where="--port", hint="use another port") from None


def _shown(url: str) -> str:
    """A URL without its password."""
    return make_url(url).render_as_string(hide_password=True) if url else ""


if __name__ == "__main__":
    sys.exit(main())
