"""The Compose file fits the commands, the settings and the images that it uses; its services work together as processes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest
from obstore.store import S3Store
from redis import Redis
from redis.exceptions import AuthenticationError

from tests.deploy.conftest import Stack
from tests.support import compose
from workers import Settings
from workers.cli.main import _parser
from workers.process.worker import REQUEUE_S
from workers.queue import server
from workers.queue.queue import open_queue
from workers.settings import variable

SERVICES = compose.services()
OURS = ("migrate", "api", "worker")
LASTING = [name for name in SERVICES if name != "migrate"]
SETTINGS = {variable(field.name) for field in msgspec.structs.fields(Settings)}
# What the documentation of an image describes, and what our own command there reads.
OF_IMAGES = {
    "postgres": {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD"},
    "valkey": {"VALKEY_PASSWORD"},
    "s3": {"S3_BUCKET", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
}


def seconds(text: str) -> int:
    assert text.endswith("s")
    return int(text[:-1])


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting_or_one_of_the_object_store(name: str) -> None:
    environ = SERVICES[name]["environment"]
    assert Settings.from_env(environ).require_keys == (name == "api")
    others = {key.lower(): value for key, value in environ.items() if key not in SETTINGS | {"TMPDIR"}}
    assert {key for key in others if not key.startswith("aws_")} == set()
    S3Store("bucket", config=others)  # type: ignore[arg-type]  # refuses unknown names
    with pytest.raises(Exception, match="aws_nonsense"):
        S3Store("bucket", config={"aws_nonsense": "1"})  # type: ignore[arg-type]


def test_the_images_know_their_variables() -> None:
    assert {name: set(SERVICES[name]["environment"]) for name in SERVICES if name not in OURS} == OF_IMAGES
    assert "$VALKEY_PASSWORD" in SERVICES["valkey"]["command"][-1]


def test_the_addresses_are_those_of_the_services() -> None:
    environ = SERVICES["worker"]["environment"]
    addresses = [urlsplit(environ[name]).hostname for name in ("DATABASE_URL", "REDIS_URL", "AWS_ENDPOINT_URL")]
    assert addresses == ["postgres", "valkey", "s3"]
    assert environ["BARSTORM_ARTIFACTS_URL"] == "s3://" + SERVICES["s3"]["environment"]["S3_BUCKET"]
    for name, service in SERVICES.items():
        assert set(service.get("depends_on", ())) <= set(SERVICES), name
        assert "stores" in service["networks"], name


@pytest.mark.parametrize("name", OURS)
def test_every_command_is_one_of_barstorm(name: str) -> None:
    assert _parser().parse_args(SERVICES[name]["command"])
    with pytest.raises(SystemExit):
        _parser().parse_args([*SERVICES[name]["command"], "--nonsense"])


@pytest.mark.parametrize("password", compose.PASSWORDS)
def test_no_password_has_a_default(password: str) -> None:
    others = {name: value for name, value in compose.PASSWORDS.items() if name != password}
    with pytest.raises(KeyError, match=password):
        compose.services(others)
    given = {
        value
        for service in SERVICES.values()
        for name, value in service["environment"].items()
        if name.endswith(("PASSWORD", "ACCESS_KEY"))
    }
    assert given == set(compose.PASSWORDS.values())


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_has_few_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"]
    assert re.fullmatch(r"[1-9]\d*(:[1-9]\d*)?", service["user"])
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert ("ports" in service) == (name == "api")
    assert not service["image"].endswith(":latest")


@pytest.mark.parametrize("name", OURS)
def test_temporary_files_are_on_a_disk(name: str) -> None:
    assert f"scratch:{SERVICES[name]['environment']['TMPDIR']}" in SERVICES[name]["volumes"]


def test_only_this_machine_reaches_the_api_by_default() -> None:
    assert SERVICES["api"]["ports"] == ["127.0.0.1:8000:8000"]


@pytest.mark.parametrize("name", LASTING)
def test_every_lasting_service_is_restarted_and_has_a_health_check(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    check = service["healthcheck"]
    assert check["test"][0] in ("CMD", "CMD-SHELL")
    assert seconds(check["timeout"]) <= seconds(check["interval"])


def test_workers_have_time_to_drain() -> None:
    drain_s = Settings.from_env(SERVICES["worker"]["environment"]).drain_s
    assert seconds(SERVICES["worker"]["stop_grace_period"]) > drain_s + REQUEUE_S + 5


def test_services_start_after_the_migration_and_the_stores() -> None:
    for name in ("api", "worker"):
        conditions = {other: given["condition"] for other, given in SERVICES[name]["depends_on"].items()}
        assert conditions.pop("migrate") == "service_completed_successfully"
        assert conditions == {"valkey": "service_healthy", "s3": "service_healthy"}
    assert SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}


@pytest.mark.anyio
async def test_valkey_loses_no_jobs_and_asks_for_its_password(valkey_url: str, stack: Stack) -> None:
    async with open_queue(valkey_url) as queue:
        assert await server.list_risks(queue) == []
        found = await queue.redis.config_get("append*", "maxmemory*")
    assert (found["appendonly"], found["appendfsync"], found["maxmemory-policy"]) == ("yes", "everysec", "noeviction")
    assert int(found["maxmemory"]) * 2 == int(SERVICES["valkey"]["mem_limit"].removesuffix("g")) << 30
    with Redis.from_url(valkey_url.replace("va1key", "wrong")) as client, pytest.raises(AuthenticationError):
        client.ping()


def test_the_api_asks_for_a_first_key(stack: Stack) -> None:
    assert "barstorm keys create NAME --scope admin" in stack.refusal
    assert httpx.get(f"{stack.url}/metrics").status_code == 401


def test_other_containers_reach_the_api_by_its_name(stack: Stack) -> None:
    with stack.client() as client:
        assert client.get("/metrics", headers={"host": "api:8000"}).status_code == 200
        assert client.get("/metrics", headers={"host": "example.com"}).status_code == 421


def test_a_worker_starts_for_a_run_and_stores_it_in_the_bucket(stack: Stack, exposition: str) -> None:
    with stack.client() as client:
        health = client.get("/api/v1/queue/health").json()
        assert [health[part]["kind"] for part in ("database", "redis", "files")] == ["postgresql", "valkey", "s3"]
        (run,) = client.get("/api/v1/backtests").json()["items"]
        assert run["state"] == "succeeded"


def test_the_health_checks_of_our_containers_tell_good_from_bad(stack: Stack) -> None:
    _, _, *arguments = SERVICES["api"]["healthcheck"]["test"]
    away = stack.url.replace(stack.url.rpartition(":")[2], "1")
    for url, is_healthy in ((stack.url, True), (away, False)):
        command = [sys.executable, *(argument.replace("http://127.0.0.1:8000", url) for argument in arguments)]
        assert (subprocess.run(command, capture_output=True, timeout=60).returncode == 0) == is_healthy
    _, program, *arguments = SERVICES["worker"]["healthcheck"]["test"]
    assert program == "barstorm"
    for environ, is_healthy in ((stack.environ, True), (stack.environ | {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, False)):
        checked = run_barstorm(arguments, environ)
        assert (checked.returncode == 0) == is_healthy, checked.stdout + checked.stderr


def run_barstorm(arguments: list[str], environ: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    path = {"PATH": str(Path(sys.executable).parent)}
    return subprocess.run(
        [sys.executable, "-m", "workers.cli.main", *arguments], env=path | environ, capture_output=True, text=True, timeout=60
    )
