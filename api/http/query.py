"""Query parameters: a request with one that its operation doesn't have is refused, as it may mean something else than the client thinks.

Integers have digits only, whereas Litestar takes `1e3` and `1.0`, too.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final, NamedTuple, get_args

from litestar import Request
from litestar.handlers.http_handlers import HTTPRouteHandler

from api.http.locations import parameters
from api.http.problems import MAX_LISTED, FieldError, invalid_fields, unknown

_INTEGER: Final = re.compile("-?[0-9]+")


def check_query(request: Request[Any, Any, Any]) -> None:
    """
    Raises:
        ProblemError: names the parameters that are unknown, null, no integers, or have several values where one is expected.
    """
    if not request.scope["query_string"] or not request.route_handler.resolve_include_in_schema():
        return
    known = query_parameters(request.route_handler)
    given: dict[str, list[str]] = {}
    for name, value in request.query_params.items():  # in their order, and each value of a repeated one
        given.setdefault(name, []).append(value)
    names = sorted(known)
    errors: list[FieldError] = []
    for name, values in given.items():
        path, kind = f"query.{name:.60}", known.get(name)
        if kind is None:
            errors.append(unknown(path, name, names, rank=len(errors)))
        elif "null" in values and not kind.is_text:
            # Litestar takes it for a parameter that is left out.
            errors.append(FieldError(path=path, message="null is not a value", hint="leave the parameter out"))
        elif len(values) > 1 and not kind.is_list:
            message = f"given {len(values)} times"
            errors.append(FieldError(path=path, message=message, hint="give it once", code="repeated_parameter"))
        elif kind.is_integer and not _INTEGER.fullmatch(values[0]):
            errors.append(FieldError(path=path, message=f"{values[0]!r:.40} is not an integer", hint="use digits only, such as 1000"))
        if len(errors) == MAX_LISTED:
            break
    if errors:
        raise invalid_fields(*errors, code=errors[0].code)


class Kind(NamedTuple):
    """What values a parameter may have."""

    is_list: bool
    is_text: bool
    is_integer: bool


@cache
def query_parameters(handler: HTTPRouteHandler) -> dict[str, Kind]:
    """The query parameters of a handler and of what it depends on, and what values they may have."""
    found = {}
    for place, field in parameters(handler).values():
        source, _, name = place.partition(".")
        if source == "query":
            types = (field, *field.inner_types)
            found[name] = Kind(
                is_list=any(each.is_non_string_sequence for each in types),
                is_text=any(each.annotation is str for each in types),
                is_integer=field.annotation is int or set(get_args(field.annotation)) == {int, type(None)},
            )
    return found
