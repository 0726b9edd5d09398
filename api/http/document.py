"""What Litestar's document lacks: schemas with all limits, named types, errors of every operation, entity tags and links."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from api.http.idempotency import HEADER
from api.http.links import add_links
from api.http.names import NAMES
from api.http.problems import CODES, DESCRIPTIONS, MEDIA_TYPE, ProblemError, to_problem
from api.http.schemas import REF, Schema, component_schemas, references, tidy, without_null
from api.http.sse import MEDIA_TYPE as EVENTS

Operation = dict[str, Any]

RESPONSES: Final = "#/components/responses/"
# Before an operation begins, the server may refuse any request.
ANYWHERE: Final = (405, 408, 414, 421, 429, 431, 500)
# What a response of this status always has.
_HEADERS: Final = {
    405: ("Allow", {"type": "string"}, "Methods that the path supports.", "GET, POST"),
    415: ("Accept", {"type": "string"}, "Supported content types.", "application/json"),
    429: ("Retry-After", {"type": "integer"}, "Seconds after which to try again.", 1),
}
_UPLOAD: Final[Schema] = {
    "description": "A form with one file.",
    "type": "object",
    "properties": {
        "file": {"description": "A CSV, JSON, Parquet or Arrow file, which may be compressed.", "type": "string", "format": "binary"}
    },
    "required": ["file"],
    "additionalProperties": False,
}
_KEY: Final[Schema] = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key, which every request needs as soon as there is one. An admin's key may act as another owner, whom the header "
    "`Barstorm-Owner` names; so may every request while there are no keys.",
}
_CACHE_HEADERS: Final[dict[str, Schema]] = {
    "ETag": {"description": "Entity tag, for `If-None-Match`.", "required": True, "schema": {"type": "string"}},
    "Cache-Control": {
        "description": "`no-cache`, or for what never changes `private, max-age=31536000, immutable`.",
        "required": True,
        "schema": {"type": "string"},
    },
}
_REPLAYED: Final[Schema] = {
    "description": "`true` if the response is that of an earlier request with the same key.",
    "schema": {"type": "string", "const": "true"},
}
# No URL may have a null character.
_NO_NULL: Final = r"^[^\x00]*$"
_IF_NONE_MATCH: Final[Schema] = {
    "name": "If-None-Match",
    "in": "header",
    "description": "Entity tag of a response that the client has; 304 if it is still the current one.",
    "required": False,
    "schema": {"type": "string"},
}


def finish(document: dict[str, Any], structs: Sequence[type[msgspec.Struct]]) -> dict[str, Any]:
    """The document with all that Litestar leaves out; `structs` are the types of bodies and responses."""
    document["paths"] = dict(sorted(document["paths"].items()))
    for path in document["paths"].values():
        path.pop("head", None)  # clients made from the document would have each method of GET twice
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    for operation in operations:
        _finish(operation)
    bodies = {name for operation in operations for name in references(operation.get("requestBody", {}))} - {"Upload"}
    document["components"]["schemas"] = component_schemas(structs, NAMES, bodies) | {"Upload": _UPLOAD}
    document["components"]["responses"] = {_component(status): _problem(status) for status in sorted(DESCRIPTIONS)}
    document["components"]["securitySchemes"] = {"key": _KEY}
    document["security"] = [{}, {"key": []}]
    add_links(document)
    return document


def _finish(operation: Operation) -> None:
    operation["parameters"] = [_parameter(each) for each in operation.get("parameters", [])]
    for media_type in operation.get("requestBody", {}).get("content", {}).values():
        schema = _single(media_type["schema"])
        media_type["schema"] = {key: value for key, value in schema.items() if key != "examples"}
        if examples := schema.get("examples"):
            media_type["examples"] = {f"example-{i}": {"value": value} for i, value in enumerate(examples, 1)}
    responses = operation["responses"]
    takes_key = any(parameter["name"] == "Idempotency-Key" for parameter in operation["parameters"])
    for status, response in list(responses.items()):
        code = HTTPStatus(int(status))
        if takes_key and code < 300:
            response["headers"] = response.get("headers", {}) | {HEADER: _REPLAYED}
        if MEDIA_TYPE in response.get("content", {}):
            responses[status] = {"$ref": f"{RESPONSES}{_component(code)}"}
            continue
        if headers := response.get("headers"):
            response["headers"] = {
                name: {key: value for key, value in header.items() if value is not False} for name, header in headers.items()
            }
        for media_type in response.get("content", {}).values():
            if choices := media_type.get("schema", {}).pop("oneOf", None):
                media_type["schema"]["anyOf"] = choices  # a response may fit several
        # A stream is not one value, and a schema means each event to some readers and the whole to others.
        response.get("content", {}).get(EVENTS, {}).pop("schema", None)
        if response["description"] == code.description:
            # Litestar's default is a sentence such as "Document created, URL follows".
            response["description"] = code.phrase
    if "406" in responses:
        # In the text only: with these types, what a TypeScript client reads would be an object or a string.
        responses["200"]["description"] += ", as JSON, or as the table that `format` asks for"
    if {"200", "202"} <= set(responses):
        responses["200"]["headers"] = responses["202"]["headers"]
    for number in ANYWHERE:
        responses[str(number)] = {"$ref": f"{RESPONSES}{_component(number)}"}
    operation["responses"] = dict(sorted(responses.items()))
    if "304" in responses:
        operation["parameters"].append(_IF_NONE_MATCH)
        for status in ("200", "304"):
            responses[status]["headers"] = responses[status].get("headers", {}) | _CACHE_HEADERS


def _parameter(parameter: Schema) -> Schema:
    """A parameter whose schema says only what is valid; an empty default means that it is left out."""
    schema = NAMES.refer(without_null(tidy(_single(parameter["schema"]), {})))
    schema = {key: _whole(value) for key, value in schema.items() if key != "description"}
    if schema.get("default", "") in ("", None):
        schema.pop("default", None)
    for text in (schema, schema.get("items", {})):
        if text.get("type") == "string" and parameter["in"] != "header":
            text.setdefault("pattern", _NO_NULL)
    return {key: value for key, value in parameter.items() if value is not False} | {"schema": schema, "required": parameter["required"]}


def _single(schema: Schema) -> Schema:
    """A schema that combines a single one with annotations, without the combination."""
    (inner,) = schema.get("allOf") or ({},)
    return inner | {key: value for key, value in schema.items() if key != "allOf"}


def _whole(value: Any) -> Any:
    """Litestar writes limits of integers as floats."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _component(status: int) -> str:
    """The name of the response of a status, such as `NotFound`."""
    return "".join(word.capitalize() for word in CODES[status].split("_"))


def _problem(status: int) -> Schema:
    example = to_problem(ProblemError(status, DESCRIPTIONS[status]), "/api/v1/...")
    response: Schema = {
        "description": DESCRIPTIONS[status],
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": f"{REF}Problem"},
                "examples": {CODES[status]: {"value": msgspec.to_builtins(example)}},
            }
        },
    }
    if status in _HEADERS:
        name, schema, description, value = _HEADERS[status]
        response["headers"] = {name: {"description": description, "required": True, "schema": schema, "example": value}}
    return response
