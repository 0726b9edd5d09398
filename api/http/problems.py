"""Translates every error into a problem details response (RFC 9457)."""

from __future__ import annotations

import re
from enum import StrEnum
from http import HTTPStatus
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from urllib.parse import quote
from uuid import uuid4

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, InternalServerException, ValidationException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import ParameterKwarg
from litestar.types import ExceptionHandlersMap
from msgspec import Meta

import workers
from python_core import BarstormError
from python_core.language.vocabulary import suggest

_log = structlog.stdlib.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
MAX_DETAIL = 1_000
_PATH_SUFFIX = re.compile(r" - at `(?P<path>[^`]+)`$")
# What Litestar raises, without naming the field in `extra`.
_MISSING = re.compile(r"Missing required (?P<source>\w+) parameter '(?P<name>[^']+)'")
# What our structs raise: "field: message; hint".
_FIELD_MESSAGE = re.compile(r"(?P<field>[\w.]+): (?P<message>.*?)(; (?P<hint>.*))?", re.DOTALL)
_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)
_CODES = {
    400: "invalid_request",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    409: "conflict",
    412: "precondition_failed",
    413: "too_large",
    414: "url_too_long",
    415: "unsupported_media_type",
    429: "too_many_requests",
    431: "headers_too_large",
    500: "internal",
    503: "unavailable",
}


class FieldError(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One error in a request."""

    path: Annotated[
        str, Meta(description="Location of the error: a JSON path, a parameter, or a place in a file.", examples=["$.execution.leverage"])
    ]
    message: Annotated[str, Meta(description="What is wrong.")]
    code: Annotated[str, Meta(description="Stable, machine-readable name of the error.", examples=["unknown_name"])] = ""
    hint: Annotated[str, Meta(description="How to fix it.")] = ""


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Problem details (RFC 9457). Programs should check `code`, which is stable; `detail` is for people."""

    type: Annotated[str, Meta(description="URI of the problem type.", examples=["urn:barstorm:problem:not_found"])]
    title: Annotated[str, Meta(description="HTTP status phrase.", examples=["Not Found"])]
    status: Annotated[int, Meta(ge=400, le=599, description="HTTP status code.")]
    detail: Annotated[str, Meta(description="What went wrong and, where possible, how to fix it.")]
    instance: Annotated[str, Meta(description="Path of the request; for an internal error a URN that also appears in the server's log.")]
    code: Annotated[str, Meta(description="Stable, machine-readable name of the problem.", examples=["not_found"])]
    errors: Annotated[tuple[FieldError, ...], Meta(description="Errors that belong to a field or parameter.")] = ()


class ProblemError(Exception):
    """An error of the HTTP layer itself."""

    def __init__(
        self, status: int, detail: str, *, code: str = "", errors: tuple[FieldError, ...] = (), headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.code = code or _CODES[status]
        self.errors = errors
        self.headers = headers


def too_large(max_bytes: int) -> ProblemError:
    return ProblemError(413, f"the body exceeds the limit of {max_bytes:,} bytes")


def invalid_body(error: Exception, expected: Any = Any) -> ProblemError:
    """The problem of a body of an expected type that msgspec rejected; the path at the end of its message becomes `errors[0].path`."""
    if isinstance(error, RecursionError):
        return ProblemError(400, "the body is nested too deeply", code="invalid_json")
    if isinstance(error, UnicodeDecodeError):
        return ProblemError(400, "the body is not UTF-8", code="invalid_json")
    if not isinstance(error, msgspec.ValidationError):
        return ProblemError(400, f"the body is not valid JSON: {str(error).removeprefix('JSON is malformed: ')}", code="invalid_json")
    text = str(error)
    found = _PATH_SUFFIX.search(text)
    path = found["path"] if found else "$"
    cause = error.__cause__
    if isinstance(cause, BarstormError):
        where = f"{path}.{cause.where.split(',')[0]}" if cause.where else path
        field_error = FieldError(path=where, message=cause.message, code=cause.code, hint=cause.hint)
        return ProblemError(400, f"{path}: {cause}", code=cause.code, errors=(field_error,))
    if isinstance(cause, ValueError) and (parts := _FIELD_MESSAGE.fullmatch(str(cause))):
        return _invalid_fields(FieldError(path=f"{path}.{parts['field']}", message=parts["message"], hint=parts["hint"] or ""))
    message = _PATH_SUFFIX.sub("", text)
    return _invalid_fields(FieldError(path=path, message=message, hint=_hint(message, _types_at(expected, path))))


def run_error(error: ProblemError) -> workers.RunError:
    """The first error of a problem, for an answer that has several outcomes."""
    first = next(iter(error.errors), FieldError(path="$", message=error.detail))
    return workers.RunError(code=first.code or error.code, message=first.message, where=first.path, hint=first.hint)


def problem_response(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    """The response for an error. An unexpected error is logged; the response only gives its id in the log."""
    problem_error = _translate(request, error)
    instance = quote(request.scope["path"])[:MAX_DETAIL]
    if problem_error is None:
        instance = uuid4().urn
        _log.error("request failed", method=request.method, path=request.scope["path"], instance=instance, exc_info=error)
        problem_error = ProblemError(500, f"internal error; the server's log has the details under {instance}")
    problem = to_problem(problem_error, instance)
    return Response(problem, status_code=problem.status, media_type=MEDIA_TYPE, headers=problem_error.headers)


def problem_responses(*statuses: int) -> dict[int, ResponseSpec]:
    """The problem responses of an operation, 400 and `statuses`, for the OpenAPI document."""
    return {
        status: ResponseSpec(
            Problem,
            description=_DESCRIPTIONS[status],
            media_type=MEDIA_TYPE,
            generate_examples=False,
            examples=[Example(summary=_CODES[status], value=to_problem(ProblemError(status, _DESCRIPTIONS[status]), "/api/v1/..."))],
        )
        for status in (400, *statuses)
    }


def to_problem(error: ProblemError, instance: str) -> Problem:
    return Problem(
        type=f"urn:barstorm:problem:{error.code}",
        title=HTTPStatus(error.status).phrase,
        status=error.status,
        detail=_shortened(error.detail),
        instance=instance,
        code=error.code,
        errors=error.errors,
    )


def _translate(request: Request[Any, Any, Any], error: Exception) -> ProblemError | None:
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, workers.NotFound):
        return _from_known_error(404, error)
    if isinstance(error, workers.Conflict):
        return _from_known_error(409, error)
    if isinstance(error, workers.Invalid | workers.LimitExceeded | BarstormError):
        return _from_known_error(413 if error.code == "file_too_large" else 400, error)
    if isinstance(error, workers.TooManyRequests):
        return _from_known_error(429, error, headers={"retry-after": str(error.retry_after_s)})
    if isinstance(error, workers.Unavailable):
        return _from_known_error(503, error)
    if isinstance(error, ValidationException):
        if missing := _MISSING.match(error.detail):
            return _invalid_fields(FieldError(path=f"{missing['source']}.{missing['name']}", message="the parameter is missing"))
        errors = tuple(_field_error(request, extra) for extra in error.extra or () if isinstance(extra, dict))
        return _invalid_fields(*errors) if errors else ProblemError(400, error.detail)
    if isinstance(error, InternalServerException) and error.detail == "client disconnected prematurely":
        return ProblemError(400, "the connection closed before the end of the request")
    if isinstance(error, RequestEntityTooLarge):
        return too_large(request.route_handler.resolve_request_max_body_size() or 0)
    if isinstance(error, HTTPException) and error.status_code < 500:
        detail = _DETAILS.get(error.status_code, error.detail)
        return ProblemError(error.status_code, detail, code=_CODES.get(error.status_code, "invalid_request"), headers=error.headers)
    return None


def _from_known_error(status: int, error: BarstormError | workers.WorkersError, *, headers: dict[str, str] | None = None) -> ProblemError:
    errors = (FieldError(path=error.where, message=error.message, code=error.code, hint=error.hint),) if error.where else ()
    return ProblemError(status, str(error), code=error.code, errors=errors, headers=headers)


def _invalid_fields(*errors: FieldError) -> ProblemError:
    detail = "; ".join(f"{error.path}: {error.message}" + (f"; {error.hint}" if error.hint else "") for error in errors)
    return ProblemError(400, detail, errors=errors)


def _field_error(request: Request[Any, Any, Any], extra: dict[str, Any]) -> FieldError:
    key, message = str(extra.get("key", "")), _PATH_SUFFIX.sub("", str(extra.get("message", "")))
    if extra.get("source") == "body":
        return FieldError(path="$", message="the body is empty", hint="send a JSON object")
    handler = request.route_handler
    signatures = [handler.parsed_fn_signature, *(provider.parsed_fn_signature for provider in handler.resolve_dependencies().values())]
    for field in (signature.parameters[key] for signature in signatures if key in signature.parameters):
        if isinstance(parameter := field.kwarg_definition, ParameterKwarg):
            values = [value for part in (field.annotation, *get_args(field.annotation)) for value in _values(part)]
            hint = f"use one of {', '.join(values)}" if values else ""
            return FieldError(path=f"{parameter.param_type.value}.{parameter.name or key}", message=message, hint=hint)
    return FieldError(path=key, message=message)


def _hint(message: str, types: list[Any]) -> str:
    """What would be right where one of these types is expected: the names of its fields, or the values of a choice."""
    if unknown := _UNKNOWN_FIELD.fullmatch(message):
        names = [field.encode_name for kind in types if _is_struct(kind) for field in msgspec.structs.fields(kind)]
        return suggest(unknown["name"], names) if names else ""
    values = [value for kind in types for value in _values(kind)] if message.startswith("Invalid enum value") else []
    return f"use one of {', '.join(values)}" if values else ""


def _types_at(kind: Any, path: str) -> list[Any]:
    """The types that may stand at a JSON path inside a value of a type."""
    types = _choices(kind)
    for name in re.findall(r"\.(\w+)|\[", path):
        inner = [_type_inside(each, name) for each in types]
        types = [choice for each in inner for choice in _choices(each)]
    return types


def _type_inside(kind: Any, name: str) -> Any:
    """The type of a struct's field, or without a name that of the elements of an array or an object."""
    if name:
        return next((field.type for field in msgspec.structs.fields(kind) if field.encode_name == name), None) if _is_struct(kind) else None
    elements = [each for each in get_args(kind) if each is not ...]
    return elements[-1] if elements else None


def _choices(kind: Any) -> list[Any]:
    """The types of a union."""
    if get_origin(kind) is Annotated:
        return _choices(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return [choice for each in get_args(kind) for choice in _choices(each)]
    return [kind]


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _values(annotation: Any) -> tuple[str, ...]:
    """The values of an enum or a literal type."""
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return tuple(annotation)
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_DETAIL else text[: MAX_DETAIL - 1] + "…"


_DETAILS = {
    404: "no such path; see /schema for all operations",
    405: "this path doesn't support the method; the `Allow` header lists those it supports",
}
_DESCRIPTIONS = {
    400: "Invalid request: `errors` lists what is wrong and where.",
    404: "Not found.",
    408: "The request arrived too slowly.",
    409: "Conflict with the current state; `code` says which.",
    412: "Changed since it was read: `If-Match` doesn't match the current entity tag.",
    413: "The request body is too large, or unpacks to too much.",
    415: "Unsupported content type; the `Accept` header of the response lists the supported ones.",
    429: "Too much of this is going on already; `Retry-After` says in how many seconds to try again.",
    503: "A service that is needed, such as the database, is unavailable; `detail` names it.",
}

EXCEPTION_HANDLERS: ExceptionHandlersMap = {Exception: problem_response, HTTPException: problem_response}
