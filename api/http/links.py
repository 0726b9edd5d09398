"""Links between operations, for clients that explore the API: what an operation returns is what others go on with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from api.http.schemas import Schema, references

Operation = dict[str, Any]

# The schema of what a path with a parameter is about.
_RESOURCES: Final = {
    "/api/v1/backtests/{run_id}": "Run",
    "/api/v1/datasets/{dataset}": "Dataset",
    "/api/v1/fetches/{fetch_id}": "Fetch",
    "/api/v1/keys/{key_id}": "ApiKey",
    "/api/v1/queue/dead/{run_id}": "DeadLetter",
    "/api/v1/schedules/{schedule_id}": "Schedule",
    "/api/v1/strategies/{strategy}": "StoredStrategy",
}
# Schemas of lists that have less of a resource than it has by itself.
_SUMMARIES: Final = {"RunSummary": "Run"}
# Operations that can be given a field of a resource as their body. A body made of several parts has no form that all generators take.
_BODIES: Final = {
    "Fetch": {"create_fetch": "/request"},
    "LibraryStrategy": {"check_strategy": "/strategy"},
    "Run": {"submit_backtest": "/request"},
    "Schedule": {"create_fetch": "/fetch"},
    "StoredStrategy": {"check_strategy": "/strategy"},
}


def add_links(document: dict[str, Any]) -> None:
    """Link what creates or lists something to the operations that go on with it."""
    paths: dict[str, dict[str, Operation]] = document["paths"]
    parameters: dict[str, dict[str, str]] = {}
    for path, operations in paths.items():
        if found := re.match(r".*?\{(\w+)\}", path):
            for operation in operations.values():
                parameters.setdefault(_RESOURCES[found[0]], {})[operation["operationId"]] = found[1]
    for response in (response for path, operations in paths.items() if "{" not in path for response in _responses(operations)):
        links: dict[str, Any] = {}
        for schema, place in _places(response, document["components"]["schemas"]):
            resource = _SUMMARIES.get(schema, schema)
            for target, parameter in parameters.get(resource, {}).items():
                links[target] = {"operationId": target, "parameters": {parameter: f"$response.body#{place}/id"}}
            for target, field in _BODIES.get(resource, {}).items():
                links[target] = {"operationId": target, "requestBody": f"$response.body#{place}{field}"}
        if links:
            response["links"] = links


def _responses(operations: dict[str, Operation]) -> Iterator[Operation]:
    for operation in operations.values():
        yield from operation["responses"].values()


def _places(response: Operation, schemas: dict[str, Schema]) -> Iterator[tuple[str, str]]:
    """The schemas of what a response has, of its fields and of the items of its lists, with their places."""
    for name in references(response.get("content", {}).get("application/json", {})):
        yield name, ""
        for field, value in schemas[name].get("properties", {}).items():
            if "$ref" in value:
                yield next(references(value)), f"/{field}"
            elif value.get("type") == "array":
                yield from ((item, f"/{field}/0") for item in references(value["items"]))
