"""Every error of the API as problem details (RFC 9457), translated in this one place."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Annotated, Any
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

_log = structlog.stdlib.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
MAX_DETAIL = 1_000
_AT_PATH = re.compile(r" - at `(?P<path>[^`]+)`$")
_CODES = {
    400: "invalid_request",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    409: "conflict",
    412: "precondition_failed",
    413: "too_large",
    415: "unsupported_media_type",
    500: "internal",
    503: "unavailable",
}


class FieldError(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing wrong in a request."""

    path: Annotated[str, Meta(description="Where: a JSON path within the body, or the parameter.", examples=["$.execution.leverage"])]
    message: Annotated[str, Meta(description="What is wrong.")]
    code: Annotated[str, Meta(description="Stable name of the fault.", examples=["unknown_name"])] = ""
    hint: Annotated[str, Meta(description="What would be right.")] = ""


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Problem details of RFC 9457. `code` is stable and made for programs; `detail` is for people."""

    type: Annotated[str, Meta(description="URI of the kind of problem.")]
    title: Annotated[str, Meta(description="The status in words.")]
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: Annotated[str, Meta(description="What happened, and what would be right.")]
    instance: Annotated[str, Meta(description="The path asked for; of an internal error its id, which is in the log, too.")]
    code: str
    errors: Annotated[tuple[FieldError, ...], Meta(description="Each thing that was wrong, where that is known.")] = ()


class ProblemError(Exception):
    """Raised by the API's own code to answer with a problem."""

    def __init__(
        self, status: int, detail: str, *, code: str = "", faults: tuple[FieldError, ...] = (), headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.code = code or _CODES[status]
        self.faults = faults
        self.headers = headers


def too_large(most_bytes: int) -> ProblemError:
    return ProblemError(413, f"the body is larger than {most_bytes:,} bytes, the most that is taken here")


def invalid_body(error: Exception) -> ProblemError:
    """The problem of a body that msgspec refused; the path that msgspec writes at the end of its message becomes a field."""
    if isinstance(error, RecursionError):
        return ProblemError(400, "the body is nested too deeply", code="invalid_json")
    if isinstance(error, UnicodeDecodeError):
        return ProblemError(400, "the body is not UTF-8", code="invalid_json")
    if not isinstance(error, msgspec.ValidationError):
        return ProblemError(400, f"the body is no valid JSON: {error}", code="invalid_json")
    text = str(error)
    at = _AT_PATH.search(text)
    path = at["path"] if at else "$"
    cause = error.__cause__
    if isinstance(cause, BarstormError):
        where = f"{path}.{cause.where.split(',')[0]}" if cause.where else path
        fault = FieldError(path=where, message=cause.message, code=cause.code, hint=cause.hint)
        return ProblemError(400, f"{path}: {cause}", code=cause.code, faults=(fault,))
    message = _AT_PATH.sub("", text)
    return ProblemError(400, f"{path}: {message}", faults=(FieldError(path=path, message=message),))


def problem_response(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    """The answer to a request that ended in `error`; what isn't the client's doing is logged and not told."""
    known = _translate(request, error)
    instance = quote(request.scope["path"])[:MAX_DETAIL]
    if known is None:
        instance = uuid4().urn
        _log.error("request failed", method=request.method, path=request.scope["path"], instance=instance, exc_info=error)
        known = ProblemError(500, f"the server failed; its log tells more under {instance}")
    problem = _problem(known, instance)
    return Response(problem, status_code=known.status, media_type=MEDIA_TYPE, headers=known.headers)


def problem_answers(*statuses: int) -> dict[int, ResponseSpec]:
    """Which problems, besides a wrong request, an operation may answer with, for its OpenAPI description."""
    return {
        status: ResponseSpec(
            Problem,
            description=_ANSWERS[status],
            media_type=MEDIA_TYPE,
            generate_examples=False,
            examples=[Example(summary=_CODES[status], value=_problem(ProblemError(status, _ANSWERS[status]), "/api/v1/..."))],
        )
        for status in (400, *statuses)
    }


def _problem(error: ProblemError, instance: str) -> Problem:
    return Problem(
        type=f"urn:barstorm:problem:{error.code}",
        title=HTTPStatus(error.status).phrase,
        status=error.status,
        detail=_shortened(error.detail),
        instance=instance,
        code=error.code,
        errors=error.faults,
    )


def _translate(request: Request[Any, Any, Any], error: Exception) -> ProblemError | None:
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, workers.NotFound):
        return _told(404, error)
    if isinstance(error, workers.Conflict):
        return _told(409, error)
    if isinstance(error, workers.Invalid | BarstormError):
        return _told(400, error)
    if isinstance(error, workers.Unavailable):
        return _told(503, error)
    if isinstance(error, ValidationException):
        faults = tuple(_fault(request, extra) for extra in error.extra or () if isinstance(extra, dict))
        return ProblemError(400, "; ".join(f"{fault.path}: {fault.message}" for fault in faults) or error.detail, faults=faults)
    if isinstance(error, InternalServerException) and error.detail == "client disconnected prematurely":
        return ProblemError(400, "the request ended early")
    if isinstance(error, RequestEntityTooLarge):
        return too_large(request.route_handler.resolve_request_max_body_size() or 0)
    if isinstance(error, HTTPException) and error.status_code < 500:
        detail = _DETAILS.get(error.status_code, error.detail)
        return ProblemError(error.status_code, detail, code=_CODES.get(error.status_code, "invalid_request"), headers=error.headers)
    return None


def _told(status: int, error: BarstormError | workers.WorkersError) -> ProblemError:
    faults = (FieldError(path=error.where, message=error.message, code=error.code, hint=error.hint),) if error.where else ()
    return ProblemError(status, str(error), code=error.code, faults=faults)


def _fault(request: Request[Any, Any, Any], extra: dict[str, Any]) -> FieldError:
    key, source = str(extra.get("key", "")), extra.get("source")
    if source == "body":
        return FieldError(path="$", message="the body is empty", hint="send a JSON object")
    field = request.route_handler.parsed_fn_signature.parameters.get(key)
    parameter = field.kwarg_definition if field else None
    path = f"{parameter.param_type.value}.{parameter.name or key}" if isinstance(parameter, ParameterKwarg) else key
    return FieldError(path=path, message=_AT_PATH.sub("", str(extra.get("message", ""))))


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_DETAIL else text[: MAX_DETAIL - 1] + "…"


_DETAILS = {
    404: "there is nothing at this address; /schema shows what there is",
    405: "this address doesn't know the method; the header Allow names those it knows",
}
_ANSWERS = {
    400: "The request is wrong: `errors` tells where and what would be right.",
    404: "There is no such thing.",
    408: "The body came too slowly.",
    409: "It clashes with what is there.",
    412: "It was changed since you read it: `If-Match` names another version.",
    413: "The body is too large.",
    415: "The content type is not one of those taken.",
    503: "A part of the service is down: `detail` names it.",
}

EXCEPTION_HANDLERS: ExceptionHandlersMap = {Exception: problem_response, HTTPException: problem_response}
