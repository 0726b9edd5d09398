"""API keys, the audit log, and who the caller is."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg, PathParameter, QueryParameter

from api.http.conditional import conditional, not_modified
from api.http.formats import AnswerFormat, listed
from api.http.openapi import described
from api.http.problems import FieldError, invalid_fields, problem_responses
from api.http.responses import Cursor, Limit, created, location_header
from workers import ApiKey, ApiKeyPage, AuditPage, Caller, KeyRequest, NewApiKey, Scope, Service
from workers.accounts.keys import MAX_GRACE_S

KeyId = Annotated[str, PathParameter(description="Id of the key.")]
NO_KEY = "`Idempotency-Key` is ignored here: to repeat the response, the service would have to store the secret."
Grace = Annotated[int, QueryParameter(ge=0, le=MAX_GRACE_S, description="For how many more seconds the old key works.")]


class Keys(Controller):
    path = "/keys"
    tags = ("keys",)

    @post(
        "/",
        **described("keys.create", f"The first key must have the scope `admin`, as only an administrator can create more. {NO_KEY}"),
        response_headers=[location_header()],
        responses=problem_responses(408, 413, 415, 503),
    )
    async def create_key(
        self,
        service: NamedDependency[Service],
        data: Annotated[KeyRequest, BodyKwarg(examples=[Example(value={"name": "notebook", "owner": "anna", "scope": "write"})])],
    ) -> Response[NewApiKey]:
        if not service.caller.key_id and data.scope is not Scope.ADMIN:
            hint = "use scope admin, and create the others with that key"
            error = FieldError(path="$.scope", message="the first key must be an administrator's", hint=hint)
            raise invalid_fields(error, code="first_key")
        return _created(await service.keys.create(data))

    @get("/", **described("keys.list"), responses=not_modified() | problem_responses(406, 503))
    async def list_keys(
        self,
        request: Request[Any, Any, Any],
        service: NamedDependency[Service],
        answer_format: NamedDependency[AnswerFormat],
        limit: Limit = 50,
        cursor: Cursor = "",
    ) -> Response[ApiKeyPage]:
        return await listed(request, answer_format, await service.keys.list(limit=limit, cursor=cursor or None))

    @get("/{key_id:str}", **described("keys.get"), responses=not_modified() | problem_responses(404, 503))
    async def get_key(self, request: Request[Any, Any, Any], service: NamedDependency[Service], key_id: KeyId) -> Response[ApiKey]:
        return conditional(request, await service.keys.get(key_id))

    @post(
        "/{key_id:str}/rotate",
        **described("keys.rotate", NO_KEY),
        response_headers=[location_header()],
        responses=problem_responses(404, 409, 503),
    )
    async def rotate_key(self, service: NamedDependency[Service], key_id: KeyId, grace_s: Grace = 0) -> Response[NewApiKey]:
        return _created(await service.keys.rotate(key_id, grace_s=grace_s))

    @delete("/{key_id:str}", **described("keys.delete"), responses=problem_responses(404, 503))
    async def delete_key(self, service: NamedDependency[Service], key_id: KeyId) -> None:
        await service.keys.delete(key_id)


class Account(Controller):
    path = "/"
    tags = ("keys",)

    @get("/caller", **described("keys.get_caller"), responses=not_modified() | problem_responses(503))
    async def get_caller(self, request: Request[Any, Any, Any], service: NamedDependency[Service]) -> Response[Caller]:
        return conditional(request, await service.keys.get_caller())

    @get("/audit", **described("keys.list_audit"), responses=not_modified() | problem_responses(406, 503))
    async def list_audit(
        self,
        request: Request[Any, Any, Any],
        service: NamedDependency[Service],
        answer_format: NamedDependency[AnswerFormat],
        limit: Limit = 50,
        cursor: Cursor = "",
    ) -> Response[AuditPage]:
        return await listed(request, answer_format, await service.keys.list_audit(limit=limit, cursor=cursor or None))


def _created(new: NewApiKey) -> Response[NewApiKey]:
    response = created(f"/api/v1/keys/{new.key.id}", new)
    response.headers["cache-control"] = "no-store"
    return response
