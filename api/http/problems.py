"""Translates every error into a problem details response (RFC 9457)."""

from __future__ import annotations

import re
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Any, Literal, get_args, get_origin
from urllib.parse import quote
from uuid import uuid4

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, InternalServerException, ValidationException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.types import ExceptionHandlersMap
from msgspec import Meta

import workers
from api.http.locations import locate, parameters
from python_core import BarstormError
from python_core.language.vocabulary import suggest
from workers.codes import Code

_log = structlog.stdlib.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
MAX_DETAIL = 1_000
# Unknown and missing fields or parameters that are listed, and unknown ones whose nearest name is looked for.
MAX_LISTED = 100
MAX_HINTS = 20
PATH_SUFFIX = re.compile(r" - at (`key` in )?`(?P<path>[^`]+)`$")
# What Litestar raises, without naming the field in `extra`.
_MISSING = re.compile(r"Missing required (?P<source>\w+) parameter '(?P<name>[^']+)'")
CODES = {
    400: "invalid_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    408: "request_timeout",
    409: "conflict",
    412: "precondition_failed",
    413: "too_large",
    414: "url_too_long",
    415: "unsupported_media_type",
    421: "unknown_host",
    429: "too_many_requests",
    431: "headers_too_large",
    500: "internal",
    501: "not_installed",
    503: "unavailable",
}


class FieldError(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One error in a request."""

    path: Annotated[
        str,
        Meta(
            description="Where the error is: a JSON path in the body, a parameter (`query.limit`, `path.run_id`, `header.If-Match`), or a place "
            "in the uploaded file (`file, line 3`).",
            examples=["$.execution.leverage"],
        ),
    ]
    message: Annotated[str, Meta(description="What is wrong.")]
    code: Annotated[Code, Meta(description="Stable, machine-readable name of the error.")] = ""
    hint: Annotated[str, Meta(description="How to fix it.")] = ""


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Problem details (RFC 9457). Programs should check `code`, which is stable; `detail` is for people."""

    type: Annotated[str, Meta(description="URI of the problem type.", examples=["urn:barstorm:problem:not_found"])]
    title: Annotated[str, Meta(description="HTTP status phrase.", examples=["Not Found"])]
    status: Annotated[int, Meta(ge=400, le=599, description="HTTP status code.")]
    detail: Annotated[str, Meta(description="What went wrong and, where possible, how to fix it.")]
    instance: Annotated[str, Meta(description="Path of the request; for an internal error a URN that also appears in the server's log.")]
    code: Annotated[Code, Meta(description="Stable, machine-readable name of the problem.")]
    errors: Annotated[tuple[FieldError, ...], Meta(description="Errors that belong to a field or parameter.")] = ()


class ProblemError(Exception):
    """An error of the HTTP layer itself."""

    def __init__(
        self, status: int, detail: str, *, code: str = "", errors: tuple[FieldError, ...] = (), headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.code = code or CODES[status]
        self.errors = errors
        self.headers = headers


def too_large(max_bytes: int) -> ProblemError:
    return ProblemError(413, f"the body exceeds the limit of {max_bytes:,} bytes")


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
    """The problem responses of an operation, those that all have and `statuses`, for the OpenAPI document."""
    return {
        status: ResponseSpec(
            Problem,
            description=DESCRIPTIONS[status],
            media_type=MEDIA_TYPE,
            generate_examples=False,
            examples=[Example(summary=CODES[status], value=to_problem(ProblemError(status, DESCRIPTIONS[status]), "/api/v1/..."))],
        )
        for status in sorted({400, 401, 403, 429, *statuses})
    }


def to_problem(error: ProblemError, instance: str) -> Problem:
    return Problem(
        type=f"urn:barstorm:problem:{error.code}",
        title=HTTPStatus(error.status).phrase,
        status=error.status,
        detail=shortened(error.detail),
        instance=instance,
        code=error.code,
        errors=error.errors,
    )


def _translate(request: Request[Any, Any, Any], error: Exception) -> ProblemError | None:
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, workers.Unauthenticated):
        return _from_known_error(request, 401, error, headers={"www-authenticate": 'Bearer realm="barstorm"'})
    if isinstance(error, workers.Forbidden):
        return _from_known_error(request, 403, error)
    if isinstance(error, workers.NotFound):
        return _from_known_error(request, 404, error)
    if isinstance(error, workers.Conflict):
        return _from_known_error(request, 409, error)
    if isinstance(error, workers.Invalid | workers.LimitExceeded | BarstormError):
        return _from_known_error(request, 413 if error.code == "file_too_large" else 400, error)
    if isinstance(error, workers.TooManyRequests):
        return _from_known_error(request, 429, error, headers={"retry-after": str(error.retry_after_s)})
    if isinstance(error, workers.NotInstalled):
        return _from_known_error(request, 501, error)
    if isinstance(error, workers.Unavailable):
        return _from_known_error(request, 503, error)
    if isinstance(error, ValidationException):
        if missing := _MISSING.match(error.detail):
            return invalid_fields(FieldError(path=f"{missing['source']}.{missing['name']}", message="the parameter is missing"))
        errors = tuple(_field_error(request, extra) for extra in error.extra or () if isinstance(extra, dict))
        return invalid_fields(*errors) if errors else ProblemError(400, error.detail)
    if isinstance(error, InternalServerException) and error.detail == "client disconnected prematurely":
        return ProblemError(400, "the connection closed before the end of the request")
    if isinstance(error, RequestEntityTooLarge):
        return too_large(request.route_handler.resolve_request_max_body_size() or 0)
    if isinstance(error, HTTPException) and error.status_code < 500:
        detail = _DETAILS.get(error.status_code, error.detail)
        return ProblemError(error.status_code, detail, code=CODES.get(error.status_code, "invalid_request"), headers=error.headers)
    return None


def _from_known_error(
    request: Request[Any, Any, Any], status: int, error: BarstormError | workers.WorkersError, *, headers: dict[str, str] | None = None
) -> ProblemError:
    # What the service depends on is not in the request, nor are its limits.
    path = "" if status in (429, 503) else locate(request, error.where)
    errors = (FieldError(path=path, message=error.message, code=error.code, hint=error.hint),) if path else ()
    return ProblemError(status, str(error), code=error.code, errors=errors, headers=headers)


def invalid_fields(*errors: FieldError, code: str = "") -> ProblemError:
    """The problem of these errors in a request."""
    return ProblemError(400, "; ".join(map(describe, errors)), errors=errors, code=code)


def unknown(path: str, name: str, known: list[str], *, rank: int) -> FieldError:
    """The error of a field or query parameter that doesn't exist; for the first ones, with the nearest that does."""
    hint = "" if rank >= MAX_HINTS else suggest(name, known) if known else "this operation has none"
    if path.startswith("$"):
        return FieldError(path=path, message="unknown field", code="unknown_field", hint=hint)
    return FieldError(path=path, message="unknown parameter", code="unknown_parameter", hint=hint)


def describe(error: FieldError) -> str:
    """The error in one line."""
    return f"{error.path}: {error.message}" + (f"; {error.hint}" if error.hint else "")


def _field_error(request: Request[Any, Any, Any], extra: dict[str, Any]) -> FieldError:
    key, message = str(extra.get("key", "")), PATH_SUFFIX.sub("", str(extra.get("message", "")))
    if extra.get("source") == "body":
        return FieldError(path="$", message="the body is empty", hint="send a JSON object")
    found = parameters(request.route_handler)
    if key in found:
        path, field = found[key]
        values = [value for part in (field.annotation, *get_args(field.annotation)) for value in permitted_values(part)]
        return FieldError(path=path, message=message, hint=f"use one of {', '.join(values)}" if values else "")
    return FieldError(path=key, message=message)


def permitted_values(annotation: Any) -> tuple[str, ...]:
    """The values of an enum or a literal type."""
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return tuple(annotation)
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def shortened(text: str) -> str:
    return text if len(text) <= MAX_DETAIL else text[: MAX_DETAIL - 1] + "…"


_DETAILS = {
    404: "no such path; see /schema for all operations",
    405: "this path doesn't support the method; the `Allow` header lists those it supports",
}
DESCRIPTIONS = {
    400: "Invalid request: `errors` lists what is wrong and where.",
    401: "The API key is missing, unknown or expired.",
    403: "The API key may not do this, or a page of another host may not make changes.",
    404: "Not found.",
    405: "The path doesn't support the method; the `Allow` header lists those that it supports.",
    406: "`Accept` lists no format that is available; `detail` names those that are.",
    408: "The request arrived too slowly.",
    409: "Conflict with the current state; `code` says which.",
    412: "Changed since it was read: `If-Match` doesn't match the current entity tag.",
    413: "The request body is too large, or unpacks to too much.",
    414: "The URL is too long.",
    415: "Unsupported content type; the `Accept` header of the response lists the supported ones.",
    421: "The request was sent to a host that is not this one.",
    429: "Too much of this is going on already; `Retry-After` says in how many seconds to try again.",
    431: "The request line and headers are too long.",
    500: "A fault of the server, whose log has the details under the `instance` of the response.",
    501: "A package that this needs is not installed; `detail` says how to install it.",
    503: "A service that is needed, such as the database, is unavailable; `detail` names it.",
}

EXCEPTION_HANDLERS: ExceptionHandlersMap = {Exception: problem_response, HTTPException: problem_response}
