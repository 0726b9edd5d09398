"""Uploads that are too large, stall or break off are refused and leave no files."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

import workers
from api import create_app
from api.http import requests
from tests.support.serving import Serve

MAX_BYTES = 300_000
HEADER = b"time,open,high,low,close,volume\n"
RAW = {"content-type": "text/csv"}


def rows(count: int) -> bytes:
    return HEADER + b"".join(b"%d,1,1,1,1,1\n" % (1_704_067_200_000 + i * 60_000) for i in range(count))


@pytest.fixture
def drafts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files."""
    folder = tmp_path / "drafts"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def url(tmp_path: Path, sqlite_url: str, redis_url: str, drafts: Path, serve: Serve) -> Iterator[str]:
    settings = workers.Settings(data_dir=str(tmp_path / "data"), database_url=sqlite_url, redis_url=redis_url)
    with serve(create_app(settings, max_upload_bytes=MAX_BYTES)) as url:
        yield url


def left(folder: Path) -> list[str]:
    """Files in the folder, including unnamed ones that the server, which is in this process, has open."""
    named = [str(Path(root, name)) for root, _, names in os.walk(folder) for name in names]
    open_files = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            open_files.append(os.readlink(link))
    return named + [name for name in open_files if name.startswith(f"{folder}/")]


def upload(url: str, content: Any, name: str = "bars", **arguments: Any) -> httpx.Response:
    return httpx.post(f"{url}/api/v1/datasets", params={"name": name}, content=content, timeout=20, **arguments)


def test_a_file_and_a_form_give_the_same_dataset(url: str, drafts: Path) -> None:
    raw = upload(url, rows(100), headers=RAW).raise_for_status().json()
    form = httpx.post(
        f"{url}/api/v1/datasets",
        params={"name": "form"},
        files={"file": ("bars.csv", rows(100))},
    )
    assert form.status_code == 201, form.text
    assert form.json()["fingerprint"] == raw["fingerprint"]
    assert form.json()["timeframe"] == "1m"
    assert not left(drafts)


@pytest.mark.parametrize(
    ("parts", "detail"),
    [
        ({"data": {"name": "x"}}, "the form has a field 'name'; send the file only, and options as query parameters"),
        ({"files": {"other": ("b.csv", b"b")}}, "the form has a second file, 'b.csv'; send each file in a request of its own"),
    ],
)
def test_a_form_with_more_than_a_file_is_refused(url: str, drafts: Path, parts: dict[str, Any], detail: str) -> None:
    files = {"file": ("bars.csv", rows(100))} | parts.get("files", {})
    form = httpx.post(f"{url}/api/v1/datasets", params={"name": "form"}, files=files, data=parts.get("data"))
    assert (form.status_code, form.json()["code"], form.json()["detail"]) == (400, "invalid_form", detail)
    assert not left(drafts)


def test_a_json_file_may_be_called_json(url: str) -> None:
    content = json.dumps([[1_700_000_000_000 + minute * 60_000, 1, 1, 1, 1, 1] for minute in range(3)]).encode()
    response = upload(url, content, headers={"content-type": "application/json"})
    assert response.status_code == 201, response.text


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_refused(url: str, drafts: Path, chunked: bool) -> None:
    content = b"x" * (4 * MAX_BYTES)
    response = upload(url, (content[i : i + 50_000] for i in range(0, len(content), 50_000)) if chunked else content, headers=RAW)
    assert (response.status_code, response.headers["content-type"]) == (413, "application/problem+json")
    assert "300,000 bytes" in response.json()["detail"]
    form = httpx.post(f"{url}/api/v1/datasets", params={"name": "form"}, files={"file": ("bars.csv", content)}, timeout=20)
    assert form.status_code == 413
    assert not left(drafts)


def test_a_body_of_the_maximum_size_is_accepted(url: str) -> None:
    content = rows(10_000)
    assert upload(url, content + b"\n" * (MAX_BYTES - len(content)), headers=RAW).status_code == 201


def test_invalid_bars_are_refused_with_their_line(url: str, drafts: Path) -> None:
    response = upload(url, HEADER + b"0,1,1,1,1,1\n60000,1,1,2,1,1\n", headers=RAW)
    assert response.status_code == 400, response.text
    assert response.json()["errors"][0]["message"]
    assert "upload" not in response.text
    assert not left(drafts)


def begin(url: str, head: bytes = b"content-length: 100000\r\n") -> socket.socket:
    """A connection that has sent the first bytes of an upload."""
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20)
    connection.sendall(
        b"POST /api/v1/datasets?name=slow HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: text/csv\r\n" + head + b"\r\n" + HEADER
    )
    return connection


def test_a_client_that_disconnects_leaves_nothing(url: str, drafts: Path, eventually: Callable[..., None]) -> None:
    connection = begin(url)
    eventually(lambda: left(drafts))
    connection.close()
    eventually(lambda: not left(drafts))
    assert upload(url, rows(10), headers=RAW).status_code == 201


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04" + b"x" * 1_000,
        b"\x89HDF\r\n\x1a\n" + b"x" * 1_000,
        rows(5_000) + b"x,1,1,1,1,1\n" + rows(5)[len(HEADER) :],
        rows(10).replace(b"time,", b"when,"),
        HEADER + b"".join(b"2024-01-%02d,1.234;2\n" % day for day in range(1, 29)),
        b'[{"time": 1704067200000, "open": 1}]',
    ],
)
def test_a_refused_upload_leaves_no_file(url: str, drafts: Path, tmp_path: Path, content: bytes) -> None:
    before = sorted(path for path in (tmp_path / "data").rglob("*") if path.is_file())
    response = upload(url, content, headers=RAW)
    assert response.status_code == 400, response.text
    assert sorted(path for path in (tmp_path / "data").rglob("*") if path.is_file()) == before
    assert not left(drafts)
    assert httpx.get(f"{url}/api/v1/datasets").json()["items"] == []


def test_a_stalled_upload_is_ended(url: str, drafts: Path, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., None]) -> None:
    monkeypatch.setattr(requests, "STALL_S", 0.2)
    with begin(url) as connection, connection.makefile("rb") as response:
        assert response.readline().startswith(b"HTTP/1.1 408 ")
        assert b"request_timeout" in response.read()  # to the end: the connection is closed
    eventually(lambda: not left(drafts))
    with begin(url, b"transfer-encoding: chunked\r\n") as connection:
        assert b"400" in connection.recv(100)  # the first bytes are not a chunk
    eventually(lambda: not left(drafts))
