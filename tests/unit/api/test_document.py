"""The OpenAPI document and the page's files."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar.serialization import encode_json
from litestar.testing import TestClient

import workers
from api import app, create_app


@cache
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(encode_json(create_app(workers.Settings(data_dir="unused")).openapi_schema.to_schema()))
    return found


def operations() -> list[tuple[str, dict[str, Any]]]:
    return [(f"{method} {path}", operation) for path, methods in document()["paths"].items() for method, operation in methods.items()]


def test_every_operation_is_named_grouped_and_told() -> None:
    names = [operation["operationId"] for _, operation in operations()]
    assert len(set(names)) == len(names)
    groups = {tag["name"] for tag in document()["tags"]}
    for address, operation in operations():
        assert operation["summary"], address
        assert operation["description"], address
        assert set(operation["tags"]) <= groups, address


def test_every_error_of_an_operation_is_a_problem() -> None:
    for address, operation in operations():
        errors = {status: answer for status, answer in operation["responses"].items() if int(status) >= 400}
        assert "400" in errors, address
        for status, answer in errors.items():
            if (operation["operationId"], status) != ("get_health", "503"):
                assert list(answer["content"]) == ["application/problem+json"], address
                example = next(iter(answer["content"]["application/problem+json"]["examples"].values()))["value"]
                assert str(example["status"]) == status, address


def test_the_schemas_are_those_that_check_the_bodies() -> None:
    _, written = msgspec.json.schema_components(app.schemas(), ref_template="#/components/schemas/{name}")
    schemas = document()["components"]["schemas"]
    assert set(schemas) == set(written)
    assert schemas["BacktestRequest"]["additionalProperties"] is False
    assert {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1} in schemas["Execution"]["properties"]["stop_loss"]["anyOf"]


def test_the_examples_of_bodies_are_taken() -> None:
    bodies = {
        operation["operationId"]: operation["requestBody"]["content"]["application/json"]["schema"]
        for _, operation in operations()
        if "application/json" in operation.get("requestBody", {}).get("content", {})
    }
    assert len(bodies) == 12
    for schema in bodies.values():
        name = schema["allOf"][0]["$ref"].rpartition("/")[2]
        struct = next(struct for struct in app.schemas() if struct.__name__ == name)
        for example in schema["examples"]:
            msgspec.json.decode(json.dumps(example), type=struct)


@pytest.fixture
def client(tmp_path: Path, redis_url: str) -> Any:
    with TestClient(create_app(workers.Settings(data_dir=str(tmp_path), redis_url=redis_url))) as client:
        yield client


def test_the_page_names_no_other_host(client: Any) -> None:
    page = client.get("/schema").text
    assert client.get("/", follow_redirects=True).text == page
    for tag in ("<script src=", "<link "):
        assert tag in page
    addresses = [part.split('"')[0] for part in page.replace('src="', 'href="').split('href="')[1:]]
    assert len(addresses) >= 4
    for address in addresses:
        assert address.startswith("/schema/assets/")
        assert client.get(address).status_code == 200


def test_options_names_all_methods(client: Any) -> None:
    for path, methods in document()["paths"].items():
        answer = client.options(path.replace("{", "").replace("}", ""))
        assert set(answer.headers["allow"].split(", ")) == {*(method.upper() for method in methods), "OPTIONS"}


def test_pages_of_other_sites_can_change_nothing(client: Any) -> None:
    body = {"name": "cross", "strategy": {"entry_long": "close > 1"}}
    foreign = client.post("/api/v1/strategies", json=body, headers={"sec-fetch-site": "cross-site"})
    assert (foreign.status_code, foreign.json()["code"]) == (403, "forbidden")
    assert client.post("/api/v1/strategies", json=body, headers={"sec-fetch-site": "same-origin"}).status_code == 201
    assert not {name for name in foreign.headers if name.startswith("access-control-")}


def test_nothing_happens_before_the_application_is_started(tmp_path: Path) -> None:
    create_app(workers.Settings(data_dir=str(tmp_path / "data")))
    assert not (tmp_path / "data").exists()
