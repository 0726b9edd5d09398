"""The OpenAPI document and the page's files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from litestar.testing import TestClient

import workers
from api import app, create_app
from api.http.schemas import references
from tests.support.document import all_schemas, document, nodes, operations, resolved
from workers.service.operations import OPERATIONS


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
        routed.update(
            names, (name for text, name in by_description.items() if f"In other formats than JSON: {text}" in operation["description"])
        )
    assert routed == set(OPERATIONS)


def test_lists_are_paged_in_one_way_or_short() -> None:
    pages, unpaged = set(), set()
    for route, operation in operations():
        schema = next(iter(operation["responses"].get("200", {}).get("content", {}).values()), {}).get("schema", {})
        found = {name for each in references(schema) for name in all_schemas()[each].get("properties", {})}
        query = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "query"}
        assert "offset" not in query | found, route
        assert ("next_cursor" in found) == ("cursor" in query) == ({"cursor", "limit"} <= query), route
        if "next_cursor" in found:
            pages.add(operation["operationId"])
        elif "items" in found:
            unpaged.add(operation["operationId"])
    assert unpaged == {
        "get_backtest_monthly_returns",
        "list_backtest_attempts",
        "list_strategy_library",
        "list_workers",
        "submit_backtests",
    }
    assert len(pages) == 11


def test_every_read_has_an_entity_tag_but_those_that_are_never_the_same_twice() -> None:
    never_the_same = {"get_health", "get_queue_metrics", "list_workers", "stream_all_events", "stream_backtest_events"}
    reads = {methods["get"]["operationId"]: methods["get"] for methods in document()["paths"].values() if "get" in methods}
    tagged = {name for name, read in reads.items() if "304" in read["responses"]}
    assert tagged == set(reads) - never_the_same
    assert all({"ETag", "Cache-Control"} <= set(reads[name]["responses"]["200"]["headers"]) for name in tagged)


def test_every_error_response_is_a_problem_and_every_operation_documents_what_the_server_may_refuse() -> None:
    for route, operation in operations():
        errors = {status: resolved(response) for status, response in operation["responses"].items() if int(status) >= 400}
        assert {"400", "401", "403", "405", "408", "414", "421", "429", "431", "500"} <= set(errors), route
        for status, response in errors.items():
            if (operation["operationId"], status) != ("get_health", "503"):
                assert list(response["content"]) == ["application/problem+json"], route
                example = next(iter(response["content"]["application/problem+json"]["examples"].values()))["value"]
                assert str(example["status"]) == status, route
    assert set(document()["components"]["responses"]["MethodNotAllowed"]["headers"]) == {"Allow"}
    assert set(document()["components"]["responses"]["TooManyRequests"]["headers"]) == {"Retry-After"}


def test_every_reference_leads_to_something() -> None:
    for node in nodes(document()):
        if "$ref" in node:
            assert resolved(node), node


def test_no_text_is_about_the_code() -> None:
    for node in nodes(document()):
        for key in ("description", "summary"):
            if isinstance(text := node.get(key), str):
                assert not re.search(
                    r"Raises:|Example:|Args:|MOVES|PerSide|`Param`|docs/|(?<!-)\bNone\b(?!-)|msgspec|\bbt\.|in Python", text
                ), text


def links() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """All links, with their route and the schema of the response that they start from."""
    for route, operation in operations():
        for response in operation["responses"].values():
            for link in response.get("links", {}).values():
                yield route, link, response["content"]["application/json"]["schema"]


def test_every_operation_on_something_can_be_reached_from_what_creates_or_lists_it() -> None:
    targets = {link["operationId"] for _, link, _ in links()}
    assert {operation["operationId"] for route, operation in operations() if "{" in route} <= targets


def test_links_lead_to_parameters_and_bodies_that_exist() -> None:
    by_id = {operation["operationId"]: operation for _, operation in operations()}
    for route, link, schema in links():
        target, value = by_id[link["operationId"]], resolved(schema)
        (expression,) = [*link.get("parameters", {}).values(), *([link["requestBody"]] if "requestBody" in link else [])]
        for name in expression.removeprefix("$response.body#/").split("/"):
            value = resolved(value["items"] if name == "0" else resolved(value.get("anyOf", [value])[0])["properties"][name])
        assert set(link.get("parameters", {})) <= {parameter["name"] for parameter in target["parameters"]}, route
        if "requestBody" in link:
            body = resolved(target["requestBody"]["content"]["application/json"]["schema"])
            assert set(body["required"]) <= set(value["properties"]) <= set(body["properties"]), route


def test_example_bodies_are_valid() -> None:
    bodies = [
        operation["requestBody"]["content"]["application/json"]
        for _, operation in operations()
        if "application/json" in operation.get("requestBody", {}).get("content", {})
    ]
    assert len(bodies) >= 13
    for body in bodies:
        (name,) = references(body["schema"])
        struct = next(struct for struct in app.schemas() if struct.__name__ == name)
        for example in body["examples"].values():
            msgspec.json.decode(json.dumps(example["value"]), type=struct)
            assert jsonschema_rs.is_valid({**body["schema"], "components": document()["components"]}, example["value"])


@pytest.fixture
def client(tmp_path: Path, redis_url: str) -> Any:
    with TestClient(create_app(workers.Settings(data_dir=str(tmp_path), redis_url=redis_url)), base_url="http://127.0.0.1") as client:
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


def test_options_lists_all_methods_and_head_with_get(client: Any) -> None:
    for path, methods in document()["paths"].items():
        response = client.options(path.replace("{", "").replace("}", ""))
        expected = {*(method.upper() for method in methods), "OPTIONS", *(["HEAD"] if "get" in methods else [])}
        assert set(response.headers["allow"].split(", ")) == expected


def test_cross_site_requests_are_refused(client: Any) -> None:
    body = {"name": "cross", "strategy": {"entry_long": "close > 1"}}
    cross_site = client.post("/api/v1/strategies", json=body, headers={"sec-fetch-site": "cross-site"})
    assert (cross_site.status_code, cross_site.json()["code"]) == (403, "cross_site")
    assert client.post("/api/v1/strategies", json=body, headers={"sec-fetch-site": "same-origin"}).status_code == 201
    assert not {name for name in cross_site.headers if name.startswith("access-control-")}


def test_nothing_is_opened_before_the_application_starts(tmp_path: Path) -> None:
    create_app(workers.Settings(data_dir=str(tmp_path / "data")))
    assert not (tmp_path / "data").exists()
