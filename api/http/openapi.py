"""The API described: its OpenAPI document, and the page to read and try it, which needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib.metadata import distribution
from typing import Any, TypedDict

import msgspec
from litestar import Response, Router
from litestar.exceptions import NotFoundException
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, SwaggerRenderPlugin
from litestar.openapi.spec import OpenAPI, OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema, Tag
from litestar.static_files import create_static_files_router

from api.http.uploads import FORM, RAW
from python_core import __version__
from workers.service.operations import OPERATIONS

ASSETS = "/schema/assets"
TEXT = """Backtests as a service. Upload bars as a dataset, post a strategy written as data, read the result:
`POST /api/v1/datasets`, `POST /api/v1/backtests`, then `GET /api/v1/backtests/{id}` until its `state` is final.

Every error is a problem of RFC 9457 (`application/problem+json`); its `code` is made for programs."""
CROSS = {
    "entry_long": "crossover(sma(close, fast), sma(close, slow))",
    "exit_long": "crossunder(sma(close, fast), sma(close, slow))",
    "params": {"fast": 10, "slow": 30},
}
TAGS = [
    Tag(name="datasets", description="Market data: the bars of one instrument in one timeframe."),
    Tag(name="strategies", description="Strategies written as data, kept under a name."),
    Tag(name="backtests", description="Runs of a strategy over a dataset."),
    Tag(name="queue", description="How the service does."),
]


@dataclass
class UploadOperation(Operation):
    """An operation whose body is a file, which Litestar can't tell since the handler reads it as a stream."""

    def __post_init__(self) -> None:
        file = Schema(type=OpenAPIType.STRING, content_media_type="application/octet-stream")
        form = Schema(type=OpenAPIType.OBJECT, properties={"file": file}, required=["file"])
        content = {FORM: OpenAPIMediaType(schema=form), **{name: OpenAPIMediaType(schema=file) for name in RAW}}
        self.request_body = RequestBody(content=content, required=True)


@dataclass
class Document(OpenAPI):
    """Litestar's document, with the schemas of structs as msgspec writes them: it is msgspec that checks the bodies.

    Litestar's own leave out limits within unions and that unknown fields are refused.
    """

    structs: tuple[type[msgspec.Struct], ...] = ()

    @property
    def _exclude_fields(self) -> set[str]:
        return {"structs"}

    def to_schema(self) -> dict[str, Any]:
        document = super().to_schema()
        _, schemas = msgspec.json.schema_components(self.structs, ref_template="#/components/schemas/{name}")
        document["components"]["schemas"].update(schemas)
        return document


@dataclass
class DocumentConfig(OpenAPIConfig):
    structs: tuple[type[msgspec.Struct], ...] = ()

    def to_openapi_schema(self) -> OpenAPI:
        plain = super().to_openapi_schema()
        return Document(**{field.name: getattr(plain, field.name) for field in fields(plain)}, structs=self.structs)


class Described(TypedDict):
    """What the table of operations says of a route."""

    summary: str
    description: str


def described(operation: str, more: str = "", *, summary: str = "") -> Described:
    """Summary and description of an operation, for a route; `more` adds what only HTTP has."""
    entry = OPERATIONS[operation]
    return Described(summary=summary or entry.summary, description="\n\n".join(filter(None, (entry.description, more))))


def openapi_config(structs: Sequence[type[msgspec.Struct]]) -> OpenAPIConfig:
    """The document below /schema and its page; `structs` are those that bodies and answers are made of."""
    page = SwaggerRenderPlugin(
        path="/",
        js_url=f"{ASSETS}/swagger-ui-bundle.js",
        css_url=f"{ASSETS}/swagger-ui.css",
        standalone_preset_js_url=f"{ASSETS}/swagger-ui-standalone-preset.js",
        favicon=f'<link rel="icon" type="image/png" href="{ASSETS}/favicon-32x32.png">',
    )
    return DocumentConfig(
        title="Barstorm",
        version=__version__,
        description=TEXT,
        tags=TAGS,
        structs=tuple(structs),
        operation_id_creator=lambda handler, _method, _path: handler.fn.__name__,
        render_plugins=[page, JsonRenderPlugin()],
        openapi_router=Router("/schema", route_handlers=[], include_in_schema=False, after_request=_refuse_unknown),
    )


def page_assets() -> Router:
    """The page's scripts and styles, from the package that ships them."""
    folder = distribution("flask-swagger-ui").locate_file("flask_swagger_ui/dist")
    return create_static_files_router(path=ASSETS, directories=[str(folder)], name="assets")


async def _refuse_unknown(response: Response[Any]) -> Response[Any]:
    # Litestar answers unknown addresses below its page in HTML.
    if response.status_code == 404:
        raise NotFoundException
    return response
