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
from workers.service.operations import OPERATIONS


@cache
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(encode_json(create_app(workers.Settings(data_dir="unused")).openapi_schema.to_schema()))
    return found


def operations() -> list[tuple[str, dict[str, Any]]]:
    return [(f"{method} {path}", operation) for path, methods in document()["paths"].items() for method, operation in methods.items()]


def test_ids_and_summaries_are_unique_and_tags_described() -> None:
    tags = {tag["name"] for tag in document()["tags"]}
    for field in ("operationId", "summary"):
        values = [operation[field] for _, operation in operations()]
        assert len(set(values)) == len(values), field
    for route, operation in operations():
        assert set(operation["tags"]) <= tags, route


def test_every_parameter_is_described() -> None:
    for route, operation in operations():
        for parameter in operation.get("parameters", []):
            assert parameter["description"], f"{route}: {parameter['name']}"


def test_every_operation_has_a_route_and_every_route_an_operation() -> None:
    by_description = {operation.description: name for name, operation in OPERATIONS.items()}
    assert len(by_description) == len(OPERATIONS)
    routed = set()
    for route, operation in operations():
        names = [name for text, name in by_description.items() if operation["description"].startswith(text)]
        assert len(names) == 1, route
        routed.update(names)
    assert routed == set(OPERATIONS)


def test_every_error_response_is_a_problem() -> None:
    for route, operation in operations():
        errors = {status: response for status, response in operation["responses"].items() if int(status) >= 400}
        assert "400" in errors, route
        for status, response in errors.items():
            if (operation["operationId"], status) != ("get_health", "503"):
                assert list(response["content"]) == ["application/problem+json"], route
                example = next(iter(response["content"]["application/problem+json"]["examples"].values()))["value"]
                assert str(example["status"]) == status, route


def test_the_schemas_are_those_that_validate_the_bodies() -> None:
    _, expected = msgspec.json.schema_components(app.schemas(), ref_template="#/components/schemas/{name}")
    schemas = document()["components"]["schemas"]
    assert set(schemas) == set(expected)
    assert schemas["BacktestRequest"]["additionalProperties"] is False
    assert {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1} in schemas["Execution"]["properties"]["stop_loss"]["anyOf"]


def test_example_bodies_are_valid() -> None:
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


def test_the_page_loads_nothing_from_other_hosts(client: Any) -> None:
    page = client.get("/schema").text
    assert client.get("/", follow_redirects=True).text == page
    for tag in ("<script src=", "<link "):
        assert tag in page
    addresses = [part.split('"')[0] for part in page.replace('src="', 'href="').split('href="')[1:]]
    assert len(addresses) >= 4
    for address in addresses:
        assert address.startswith("/schema/assets/")
        assert client.get(address).status_code == 200


def test_options_lists_all_methods(client: Any) -> None:
    for path, methods in document()["paths"].items():
        response = client.options(path.replace("{", "").replace("}", ""))
        assert set(response.headers["allow"].split(", ")) == {*(method.upper() for method in methods), "OPTIONS"}


def test_cross_site_requests_are_refused(client: Any) -> None:
    body = {"name": "cross", "strategy": {"entry_long": "close > 1"}}
    cross_site = client.post("/api/v1/strategies", json=body, headers={"sec-fetch-site": "cross-site"})
    assert (cross_site.status_code, cross_site.json()["code"]) == (403, "forbidden")
    assert client.post("/api/v1/strategies", json=body, headers={"sec-fetch-site": "same-origin"}).status_code == 201
    assert not {name for name in cross_site.headers if name.startswith("access-control-")}


def test_nothing_is_opened_before_the_application_starts(tmp_path: Path) -> None:
    create_app(workers.Settings(data_dir=str(tmp_path / "data")))
    assert not (tmp_path / "data").exists()
