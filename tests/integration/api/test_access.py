"""Who may use the API: keys, hosts, origins, and the headers that protect browsers."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest

import workers
from api import create_app
from tests.support.ports import free_port
from tests.support.serving import Serve
from tests.support.waiting import eventually

Start = Callable[..., httpx.Client]
STRATEGY = {"name": "cross", "strategy": {"entry_long": "close > 1"}}


@pytest.fixture
def start(serve: Serve, redis_url: str, tmp_path: Path) -> Iterator[Start]:
    """`start(**settings)`: a client of an API with these settings."""
    with ExitStack() as stack:

        def begin(**settings: object) -> httpx.Client:
            chosen = workers.Settings(data_dir=str(tmp_path), redis_url=redis_url, **settings)
            url = stack.enter_context(serve(create_app(chosen)))
            return stack.enter_context(httpx.Client(base_url=f"{url}/api/v1", timeout=30, trust_env=False))

        yield begin


def with_key(client: httpx.Client, **key: object) -> dict[str, str]:
    """The headers of a request with a new key."""
    response = client.post("/keys", json={"name": "test", "scope": "write"} | key)
    assert response.status_code == 201, response.text
    assert response.headers["cache-control"] == "no-store"
    return {"authorization": f"Bearer {response.json()['secret']}"}


def with_first_key(client: httpx.Client, **key: object) -> dict[str, str]:
    """The headers of a request with a new key, made by an administrator with the first one."""
    admin = with_key(client, scope="admin")
    response = client.post("/keys", json={"name": "test", "scope": "write"} | key, headers=admin)
    return {"authorization": f"Bearer {response.json()['secret']}"}


def test_the_first_key_is_an_administrators(start: Start) -> None:
    client = start()
    for scope in ("read", "write"):
        refused = client.post("/keys", json={"name": "mine", "scope": scope})
        assert (refused.status_code, refused.json()["code"]) == (400, "first_key")
    assert client.get("/keys").json()["items"] == []


def test_what_has_no_owner_is_not_found_by_owners_and_the_hint_says_so(start: Start) -> None:
    client = start()
    client.post("/strategies", json=STRATEGY).raise_for_status()
    anna = with_first_key(client, owner="anna")
    missing = client.get("/strategies/cross", headers=anna)
    assert missing.status_code == 404
    assert "of 'anna'; only administrators use what has no owner" in missing.json()["detail"]


def test_without_keys_everybody_is_the_operator_and_with_the_first_key_nobody_is(start: Start) -> None:
    client = start()
    assert client.get("/caller").json() == {"owner": "", "scope": "admin", "sees_all": True, "key_id": ""}
    headers = with_key(client, owner="anna", scope="admin")
    refused = client.get("/strategies")
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert client.get("/caller", headers=headers).json()["owner"] == "anna"
    created = client.post("/strategies", json=STRATEGY, headers=headers)
    assert (created.status_code, created.json()["owner"]) == (201, "anna")


def test_keys_can_be_needed_from_the_start(start: Start) -> None:
    client = start(require_keys=True)
    assert client.get("/caller").status_code == 401
    for path in ("/schema", "/health/live", "/health/ready"):
        assert httpx.get(str(client.base_url.copy_with(path=path))).status_code == 200
    assert httpx.get(str(client.base_url.copy_with(path="/metrics"))).status_code == 401


@pytest.mark.parametrize("header", ["Basic YTpi", "Bearer", "Bearer x y", "Bearer bst_x", "bst_x"])
def test_a_wrong_header_is_refused(start: Start, header: str) -> None:
    response = start().get("/strategies", headers={"authorization": header})
    assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")


def test_what_a_scope_does_not_allow_is_forbidden(start: Start) -> None:
    client = start()
    admin = with_key(client, scope="admin")
    writer = {"authorization": f"Bearer {client.post('/keys', json={'name': 'w'}, headers=admin).json()['secret']}"}
    forbidden = client.post("/queue/pause", headers=writer)
    assert (forbidden.status_code, forbidden.json()["errors"][0]["path"]) == (403, "header.Authorization")
    response = client.get("/strategies", headers=writer | {"barstorm-owner": "ben"})
    assert (response.status_code, response.json()["code"]) == (403, "forbidden")


def test_owners_are_sent_in_utf_8(start: Start) -> None:
    client = start()
    admin = with_key(client, scope="admin")
    created = client.post("/strategies", json=STRATEGY, headers=[*admin.items(), (b"barstorm-owner", "josé".encode())])
    assert (created.status_code, created.json()["owner"]) == (201, "josé")
    refused = client.get("/strategies", headers=[*admin.items(), (b"barstorm-owner", b"jos\xe9")])
    assert (refused.status_code, refused.json()["errors"][0]["path"]) == (400, "header.Barstorm-Owner")


def test_a_key_can_be_rotated_and_deleted(start: Start) -> None:
    client = start()
    admin = with_key(client, scope="admin")
    listed = client.get("/keys", headers=admin).json()["items"]
    assert [key["scope"] for key in listed] == ["admin"]
    rotated = client.post(f"/keys/{listed[0]['id']}/rotate", headers=admin)
    assert rotated.status_code == 201
    assert client.get("/caller", headers=admin).status_code == 401
    admin = {"authorization": f"Bearer {rotated.json()['secret']}"}
    assert client.get(rotated.headers["location"].removeprefix("/api/v1"), headers=admin).json()["id"] == rotated.json()["key"]["id"]
    assert client.delete(f"/keys/{rotated.json()['key']['id']}", headers=admin).status_code == 204
    assert client.get("/caller", headers=admin).status_code == 401


def test_too_many_requests_of_an_owner_are_refused(start: Start) -> None:
    client = start(owner_requests_s=0.3)
    headers = with_key(client, owner="anna", scope="admin")
    allowed = [client.get("/caller", headers=headers) for _ in range(3)]
    assert [response.status_code for response in allowed] == [200] * 3
    assert allowed[0].headers["ratelimit-policy"] == '"requests";q=3;w=10'
    assert allowed[0].headers["ratelimit"].startswith('"requests";r=2;t=')
    refused = client.get("/caller", headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limit")
    assert 1 <= int(refused.headers["retry-after"]) <= 4
    assert refused.headers["ratelimit-policy"] == '"requests";q=3;w=10'
    assert refused.headers["ratelimit"].startswith('"requests";r=0;t=')


def raw(client: httpx.Client, hosts: list[str]) -> tuple[int, str]:
    """Status and code of a GET with these Host headers."""
    with closing(http.client.HTTPConnection(urlsplit(str(client.base_url)).netloc, timeout=30)) as connection:
        connection.putrequest("GET", "/api/v1/strategies", skip_host=True)
        for host in hosts:
            connection.putheader("Host", host)
        connection.endheaders()
        response = connection.getresponse()
        return response.status, msgspec.json.decode(response.read()).get("code", "")


@pytest.mark.parametrize(
    ("hosts", "status"),
    [
        (["evil.example"], 421),
        (["evil.example:80"], 421),
        (["localhost.evil.example"], 421),
        (["127.0.0.1.evil.example"], 421),
        ([], 400),
        (["127.0.0.1", "127.0.0.1"], 400),
        ([""], 400),
        (["127.0.0.1"], 200),
        (["LOCALHOST:8000"], 200),
        (["[::1]:8000"], 200),
        (["bars.example"], 200),
        (["bars.example:443"], 200),
        (["[2001:db8::5]:8000"], 200),
        (["[2001:db8::6]"], 421),
    ],
)
def test_requests_to_other_names_are_refused(start: Start, hosts: list[str], status: int) -> None:
    client = start(allowed_hosts="bars.example, other.example, 2001:db8::5")
    assert raw(client, hosts) == (status, "" if status == 200 else "unknown_host")


def test_any_name_can_be_allowed(start: Start) -> None:
    client = start(allowed_hosts="*")
    assert raw(client, ["evil.example"])[0] == 200
    assert raw(client, [])[0] == raw(client, ["a.example", "b.example"])[0] == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://["}, 403),
        ({"origin": "http://127.0.0.1:1"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-origin"}, 201),
        ({"origin": "https://app.example"}, 201),
        ({}, 201),
    ],
)
def test_pages_of_other_origins_change_nothing(start: Start, headers: dict[str, str], status: int) -> None:
    client = start(cors_origins="https://app.example")
    response = client.post("/strategies", json=STRATEGY, headers=headers)
    assert response.status_code == status, response.text
    assert client.get("/strategies", headers=headers).status_code == 200


def test_a_page_of_the_service_itself_may_make_changes(start: Start) -> None:
    client = start()
    origin = str(client.base_url.copy_with(path="")).rstrip("/")
    assert client.post("/strategies", json=STRATEGY, headers={"origin": origin}).status_code == 201


def test_other_origins_may_read_only_if_they_are_listed(start: Start) -> None:
    client = start(cors_origins="https://app.example")
    answers = {
        origin: client.get("/strategies", headers={"origin": origin}).headers for origin in ("https://app.example", "https://evil.example")
    }
    assert answers["https://app.example"]["access-control-allow-origin"] == "https://app.example"
    assert answers["https://evil.example"].get("access-control-allow-origin") != "https://evil.example"
    for headers in ({}, {"origin": "https://app.example"}):
        vary = client.get("/strategies", headers=headers).headers.get_list("vary")
        assert vary == ["Accept, Accept-Encoding, Origin"], "a cache must not confuse formats, nor origins"
    closed = start()
    assert not [name for name in closed.get("/strategies", headers={"origin": "https://app.example"}).headers if name.startswith("access-")]


@pytest.mark.parametrize("path", ["/strategies", "/strategies/none", "/nowhere", "/../schema"])
def test_every_response_has_the_headers_that_protect_browsers_and_its_request_id(start: Start, path: str) -> None:
    client = start()
    response = client.get(path, headers={"x-request-id": "mine-1"})
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["x-frame-options"] == "DENY"
    assert "default-src" in response.headers["content-security-policy"]
    assert response.headers["x-request-id"] == "mine-1"
    assert client.get(path, headers={"x-request-id": "not valid"}).headers["x-request-id"] != "not valid"


def test_no_key_is_ever_logged(tmp_path: Path, sqlite_url: str, redis_url: str) -> None:
    settings = workers.Settings(data_dir=str(tmp_path), database_url=sqlite_url, redis_url=redis_url, log_level="debug", log_format="json")
    environ = {**os.environ, **settings.to_env()}
    command = [sys.executable, "-m", "workers.cli.main"]
    created = subprocess.run(
        [*command, "keys", "create", "root", "--scope", "admin"], env=environ, capture_output=True, text=True, check=True
    )
    secret = next(line for line in created.stdout.splitlines() if line.startswith("bst_"))
    port = free_port()
    api = subprocess.Popen([*command, "api", "--port", str(port)], env=environ, stderr=subprocess.PIPE, text=True)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", trust_env=False, timeout=30) as client:
            eventually(lambda: reached(client))
            headers = {"authorization": f"Bearer {secret}", "x-request-id": "logged-1"}
            other = client.post("/keys", json={"name": "other"}, headers=headers).json()["secret"]
            for wrong in (secret, secret[:-1], secret + "x"):
                client.post(f"/strategies?name={wrong}", json={"name": wrong}, headers={"authorization": f"Bearer {wrong}"})
    finally:
        api.terminate()
        log = api.communicate(timeout=60)[1]
    assert '"request_id": "logged-1"' in log, "log lines have the id of their request"
    for logged in (log, created.stderr):
        assert secret.rpartition("_")[2][:30] not in logged
        assert other.rpartition("_")[2] not in logged


def reached(client: httpx.Client) -> bool:
    try:
        return client.get("/caller").status_code == 401
    except httpx.TransportError:
        return False
