"""The OpenAPI document and the page's files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from litestar.serialization import encode_json
from litestar.testing import TestClient

import python_core as bt
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
    assert set(schemas) == {*expected, "Atr", "FractionPerSide", "ProfitPerSide"}
    assert schemas["BacktestRequest"]["additionalProperties"] is False
    assert {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1} in schemas["Execution"]["properties"]["stop_loss"]["anyOf"]


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    """All objects inside a document."""
    if isinstance(node, dict):
        yield node
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from nodes(value)


def test_objects_in_schemas_are_named_and_choices_are_not_nested() -> None:
    schemas = document()["components"]["schemas"]
    for name, schema in schemas.items():
        for part in nodes(schema.get("properties", {})):
            assert not ("title" in part and part.get("type") == "object"), name
            for choice in part.get("anyOf", ()) if isinstance(part.get("anyOf"), list) else ():
                assert "anyOf" not in choice, name
    for node in nodes(document()):
        if isinstance(reference := node.get("$ref"), str):
            assert reference.removeprefix("#/components/schemas/") in schemas


def test_every_schema_of_elements_is_an_object_for_generators_of_clients() -> None:
    for node in nodes(document()["components"]["schemas"]):
        assert not isinstance(node.get("items"), bool), node


def test_every_field_of_the_execution_is_described_with_its_bounds() -> None:
    fields = document()["components"]["schemas"]["Execution"]["properties"]
    assert set(fields) == set(bt.Execution.__struct_fields__)
    for name, field in fields.items():
        assert field["description"], name
        for choice in field.get("anyOf", [field]):
            if choice.get("type") in ("number", "integer"):
                assert {"minimum", "exclusiveMinimum"} & set(choice), name
            if choice.get("type") == "array":
                assert choice["maxItems"], name


LEVELS: list[tuple[Any, bool]] = [
    (None, True),
    (0.02, True),
    ("low[1]", True),
    ({"multiple": 2.0}, True),
    ({"long": 0.02}, True),
    ({"long": {"multiple": 2, "period": 20}, "short": "high"}, True),
    (1.5, False),
    (-0.1, False),
    ("", False),
    ({}, False),
    ({"period": 14}, False),
    ({"multiple": 2.0, "other": 1}, False),
    ({"long": 0.02, "both": 0.02}, False),
    ({"long": {"long": 0.02}}, False),
    ({"long": 1.5}, False),
    ([0.02], False),
]


@pytest.mark.parametrize(("level", "valid"), LEVELS)
def test_the_schema_of_a_level_accepts_what_the_service_does(level: Any, valid: bool) -> None:
    schema = {**document()["components"]["schemas"]["Execution"], "components": document()["components"]}
    body = {"stop_loss": level}
    assert jsonschema_rs.is_valid(schema, body) == valid
    if valid:
        msgspec.convert(body, bt.Execution)
    else:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(body, bt.Execution)


def test_example_bodies_are_valid() -> None:
    bodies = {
        operation["operationId"]: operation["requestBody"]["content"]["application/json"]["schema"]
        for _, operation in operations()
        if "application/json" in operation.get("requestBody", {}).get("content", {})
    }
    assert len(bodies) == 13
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
