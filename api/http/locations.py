"""Where in a request an error is, in one grammar for all errors.

A JSON path in the body (`$.execution.leverage`), a parameter (`query.limit`, `path.run_id`, `header.If-Match`), or a place in an uploaded file
(`file`, `file, line 3`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

import msgspec
from litestar import Request
from litestar.handlers.http_handlers import HTTPRouteHandler
from litestar.params import ParameterKwarg
from litestar.typing import FieldDefinition
from litestar.utils.signature import ParsedSignature

# What the service calls a thing, and the parameters that may name it.
_PARAMETERS: Final = {
    "dataset": ("dataset", "name"),
    "digest": ("run_id",),
    "fetch": ("fetch_id",),
    "key": ("key_id", "idempotency_key"),
    "result": ("run_id",),
    "run": ("run_id",),
    "schedule": ("schedule_id",),
    "version": ("if_match",),
}
# And the fields of bodies that may name it.
_FIELDS: Final = {"run": "backtest"}
# Headers that the service calls by their names.
_HEADERS: Final = ("Authorization", "Barstorm-Owner", "Last-Event-ID")
_LOCATED: Final = re.compile(r"\$|(query|path|header)\.")
# How many structs of a body lie within each other.
_DEPTH: Final = 2


def locate(request: Request[Any, Any, Any], where: str) -> str:
    """The place of a request that the service calls `where`: at least the body or the file that it is in, and `where` if there is neither."""
    if _LOCATED.match(where):
        return where
    if where in _HEADERS:
        return f"header.{where}"
    handler: HTTPRouteHandler = request.route_handler
    name = re.split(r"\W", where, maxsplit=1)[0]
    found = parameters(handler)
    for key in _PARAMETERS.get(name, (name,)):
        if key in found:
            return found[key][0]
    if where and (body := _body(handler)) is not None:
        return locate_in(body, where) or locate_in(body, _FIELDS.get(name, "")) or "$"
    if "read" in handler.parsed_fn_signature.parameters:
        return f"file, {where}" if where else "file"
    return where


def locate_in(body: Any, where: str) -> str:
    """The JSON path of what the service calls `where` in a body of a type, without a column in a text; empty if it is not in there."""
    place = where.partition(",")[0]
    prefix = _prefix(body, re.split(r"\W", place, maxsplit=1)[0], _DEPTH)
    return "" if prefix is None else f"${prefix}.{place}"


@cache
def parameters(handler: HTTPRouteHandler) -> dict[str, tuple[str, FieldDefinition]]:
    """The place and the definition of each parameter of a handler and of what it depends on, by its name in Python."""
    return {
        key: (f"{parameter.param_type.value}.{parameter.name or key}", field)
        for key, field in _fields(handler.parsed_fn_signature, handler)
        if isinstance(parameter := field.kwarg_definition, ParameterKwarg)
    }


def _fields(signature: ParsedSignature, handler: HTTPRouteHandler) -> Iterator[tuple[str, FieldDefinition]]:
    dependencies = handler.resolve_dependencies()
    for key, field in signature.parameters.items():
        yield from _fields(dependencies[key].parsed_fn_signature, handler) if key in dependencies else ((key, field),)


def _body(handler: HTTPRouteHandler) -> Any:
    """The type of a handler's body, None if it has none."""
    field = handler.parsed_data_field
    return getattr(handler.operation_class, "body", None) if field is None else field.annotation


def _prefix(kind: Any, name: str, depth: int) -> str | None:
    """The path of the struct inside a type that has a field of this name, the outermost one."""
    structs = list(_structs(kind))
    if any(name == field.encode_name for struct in structs for field in msgspec.structs.fields(struct)):
        return ""
    if depth:
        for field in (field for struct in structs for field in msgspec.structs.fields(struct)):
            if (inner := _prefix(field.type, name, depth - 1)) is not None:
                return f".{field.encode_name}{inner}"
    return None


def _structs(kind: Any) -> Iterator[type[msgspec.Struct]]:
    """The structs among the types of a union."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
    elif get_origin(kind) in (Annotated, Union, UnionType):
        for each in get_args(kind):
            yield from _structs(each)
