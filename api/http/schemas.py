"""Names for the schemas that msgspec leaves inside others, since generated clients name their classes by them."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def named_parts(schemas: dict[str, Schema]) -> dict[str, Schema]:
    """Move each object with a title inside the schemas out of them, and refer to it; returns these objects by title."""
    parts: dict[str, Schema] = {}
    for schema in schemas.values():
        for name, value in schema.items():
            schema[name] = _replaced(value, parts)
    return parts


def _replaced(node: Any, parts: dict[str, Schema]) -> Any:
    """The node with references to the parts that it held."""
    if isinstance(node, list):
        return [_replaced(each, parts) for each in node]
    if not isinstance(node, dict):
        return node
    found = {name: _replaced(value, parts) for name, value in node.items()}
    if found.get("items") is False:
        # `maxItems` already says so, and some generators of clients refuse a schema that is not an object.
        del found["items"]
    if "anyOf" in found:
        found["anyOf"] = [choice for each in found["anyOf"] for choice in _choices(each)]
    if found.get("type") != "object" or "title" not in found:
        return found
    parts[found["title"]] = found
    return {"$ref": f"#/components/schemas/{found['title']}"}


def _choices(node: Schema) -> list[Schema]:
    """The choices of a choice among objects, which stand beside the others; any other node itself."""
    return node["anyOf"] if set(node) == {"anyOf", "type"} else [node]
