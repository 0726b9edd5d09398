"""The OpenAPI document of the API, and its parts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from litestar.serialization import encode_json

import workers
from api import create_app


@cache
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(encode_json(create_app(workers.Settings(data_dir="unused")).openapi_schema.to_schema()))
    return found


def all_schemas() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = document()["components"]["schemas"]
    return found


def operations() -> list[tuple[str, dict[str, Any]]]:
    return [(f"{method} {path}", operation) for path, methods in document()["paths"].items() for method, operation in methods.items()]


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    """All objects inside a document."""
    if isinstance(node, dict):
        yield node
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from nodes(value)


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    """What a node refers to; any other node itself."""
    if not isinstance(reference := node.get("$ref"), str):
        return node
    found = document()
    for name in reference.removeprefix("#/").split("/"):
        found = found[name]
    return found


def fields() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """All properties of all schemas, with the name of the schema and their own."""
    for name, schema in all_schemas().items():
        for field, value in schema.get("properties", {}).items():
            yield name, field, value
