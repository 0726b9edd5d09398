"""The OpenAPI document, and the page that shows it without loading anything from other hosts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from http import HTTPStatus
from importlib.metadata import distribution
from typing import Any, TypedDict

import msgspec
from litestar import Response, Router
from litestar.exceptions import NotFoundException
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, SwaggerRenderPlugin
from litestar.openapi.spec import OpenAPI, OpenAPIMediaType, OpenAPIType, Operation, Reference, RequestBody, Schema, Tag
from litestar.static_files import create_static_files_router

from api.http.schemas import named_parts
from api.http.uploads import FILE_TYPES, MULTIPART
from python_core import __version__
from workers.service.operations import OPERATIONS, client_text

ASSETS = "/schema/assets"
DESCRIPTION = """Backtests as a service.

1. Upload bars as a dataset: `POST /api/v1/datasets`.
2. Submit a backtest of a strategy: `POST /api/v1/backtests`.
3. Poll `GET /api/v1/backtests/{run_id}` until `state` is `succeeded`, `failed`, `cancelled` or `dead`.

Times are UTC epoch milliseconds. Fractions are plain numbers: 0.01 is 1 %.
Every error response is a problem document (RFC 9457, `application/problem+json`) with a stable `code` for programs."""
SMA_CROSS = {
    "entry_long": "crossover(sma(close, fast), sma(close, slow))",
    "exit_long": "crossunder(sma(close, fast), sma(close, slow))",
    "params": {"fast": 10, "slow": 30},
}
TAGS = [
    Tag(name="datasets", description="Market data: the bars of one instrument in one timeframe, in versions."),
    Tag(name="fetches", description="Market data from exchanges, fetched once or on a schedule."),
    Tag(name="strategies", description="Strategies, stored under a name, checked, diagnosed and plotted."),
    Tag(name="backtests", description="Runs of a strategy on a dataset."),
    Tag(name="queue", description="Health, metrics, workers, pause, and dead letters."),
]


@dataclass
class UploadOperation(Operation):
    """An operation whose body is a file. The handler reads it as a stream, so Litestar doesn't document it."""

    def __post_init__(self) -> None:
        file = Schema(type=OpenAPIType.STRING, content_media_type="application/octet-stream")
        form = Schema(type=OpenAPIType.OBJECT, properties={"file": file}, required=["file"])
        content = {MULTIPART: OpenAPIMediaType(schema=form), **{name: OpenAPIMediaType(schema=file) for name in FILE_TYPES}}
        self.request_body = RequestBody(content=content, required=True)


@dataclass
class BatchOperation(Operation):
    """An operation whose handler decodes the items of its body one by one, so that a faulty one spoils no other."""

    def __post_init__(self) -> None:
        batch = Reference(ref="#/components/schemas/BatchRequest")
        schema = Schema(all_of=[batch], examples=[{"backtests": [{"dataset": "btcusdt-1h", "strategy": SMA_CROSS}]}])
        self.request_body = RequestBody(content={"application/json": OpenAPIMediaType(schema=schema)}, required=True)


@dataclass
class Document(OpenAPI):
    """Litestar's document with msgspec's schemas, since msgspec validates the bodies.

    Litestar's own schemas omit limits in unions and that unknown fields are refused.
    """

    structs: tuple[type[msgspec.Struct], ...] = ()

    @property
    def _exclude_fields(self) -> set[str]:
        return {"structs"}

    def to_schema(self) -> dict[str, Any]:
        document = super().to_schema()
        _, schemas = msgspec.json.schema_components(self.structs, ref_template="#/components/schemas/{name}")
        for schema in schemas.values():
            schema["description"] = client_text(schema["description"])
        document["components"]["schemas"].update(schemas | named_parts(schemas))
        document["paths"] = dict(sorted(document["paths"].items()))
        for operation in (operation for path in document["paths"].values() for operation in path.values()):
            for status, response in operation["responses"].items():
                code = HTTPStatus(int(status))
                # Litestar's default is a sentence such as "Document created, URL follows".
                if response["description"] == code.description:
                    response["description"] = code.phrase
        return document


@dataclass
class DocumentConfig(OpenAPIConfig):
    structs: tuple[type[msgspec.Struct], ...] = ()

    def to_openapi_schema(self) -> OpenAPI:
        document = super().to_openapi_schema()
        return Document(**{field.name: getattr(document, field.name) for field in fields(document)}, structs=self.structs)


class Described(TypedDict):
    """The texts of a route."""

    summary: str
    description: str


def described(operation: str, http: str = "", *, summary: str = "") -> Described:
    """The texts of an operation, from the table of operations; `http` is added to the description."""
    entry = OPERATIONS[operation]
    return Described(summary=summary or entry.summary, description="\n\n".join(filter(None, (entry.description, http))))


def openapi_config(structs: Sequence[type[msgspec.Struct]]) -> OpenAPIConfig:
    """The document and its page at /schema; `structs` are the types of bodies and responses."""
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
        description=DESCRIPTION,
        tags=TAGS,
        structs=tuple(structs),
        operation_id_creator=lambda handler, _method, _path: handler.fn.__name__,
        render_plugins=[page, JsonRenderPlugin()],
        openapi_router=Router("/schema", route_handlers=[], include_in_schema=False, after_request=_raise_not_found),
    )


def page_assets() -> Router:
    """The page's scripts and styles, from the package that ships them."""
    folder = distribution("flask-swagger-ui").locate_file("flask_swagger_ui/dist")
    return create_static_files_router(path=ASSETS, directories=[str(folder)], name="assets")


async def _raise_not_found(response: Response[Any]) -> Response[Any]:
    # Litestar responds to unknown paths below its page in HTML, not with a problem document.
    if response.status_code == 404:
        raise NotFoundException
    return response
