"""The page that shows the OpenAPI document without loading anything from other hosts, and the texts of the document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib.metadata import distribution
from typing import Any, ClassVar, TypedDict, Union

import msgspec
from litestar import Response, Router
from litestar.exceptions import NotFoundException
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, SwaggerRenderPlugin
from litestar.openapi.spec import (
    OpenAPI,
    OpenAPIFormat,
    OpenAPIMediaType,
    OpenAPIType,
    Operation,
    Reference,
    RequestBody,
    Schema,
    Tag,
)
from litestar.static_files import create_static_files_router

from api.http.document import finish
from api.http.schemas import REF
from api.http.uploads import MULTIPART, OCTET_STREAM
from python_core import __version__
from workers.service.operations import OPERATIONS

ASSETS = "/schema/assets"
DESCRIPTION = """Backtests as a service.

1. Upload bars as a dataset: `POST /api/v1/datasets`.
2. Submit a backtest of a strategy: `POST /api/v1/backtests`.
3. Poll `GET /api/v1/backtests/{run_id}` until `state` is `succeeded`, `failed`, `cancelled` or `dead`.

Times are UTC epoch milliseconds. Fractions are plain numbers: 0.01 is 1 %. Money is in the quote currency.
Long lists come in pages of up to `limit` items. While `next_cursor` is not null, the same request with it as `cursor` gives the next page.
Every path with GET has HEAD, too, with the same headers; this document doesn't list it.
Reads have an entity tag: send it back as `If-None-Match`, and the response is 304 while nothing has changed. What never changes, the results of a
finished run and versions of a dataset by id and number, `{id}@3`, may be kept for a year, as `Cache-Control` says.

Lists, trades, equity and bars are JSON, CSV, Parquet or an Arrow stream, as `Accept` or `?format=` asks. In a table, times are dates in UTC, objects are
columns such as `request.dataset`, and the address of the next page is in the header `Link`. Bodies are compressed with zstd, brotli or gzip, as
`Accept-Encoding` asks.

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
    Tag(name="keys", description="API keys, who the caller is, and the audit log."),
    Tag(name="queue", description="Health, metrics, workers, pause, and dead letters."),
]


@dataclass
class UploadOperation(Operation):
    """An operation whose body is a file. The handler reads it as a stream, so Litestar doesn't document it."""

    def __post_init__(self) -> None:
        form = OpenAPIMediaType(schema=Reference(ref=f"{REF}Upload"))
        file = OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY))
        self.request_body = RequestBody(content={MULTIPART: form, OCTET_STREAM: file}, required=True)


class BodyOperation(Operation):
    """An operation whose handler decodes its body itself."""

    body: ClassVar[Any]


def body_of(struct: type[msgspec.Struct], *older: Any, examples: list[Any]) -> type[BodyOperation]:
    """The class of an operation whose handler decodes its body, of this type or those of older clients, which are not documented."""

    @dataclass
    class OperationOfStruct(BodyOperation):
        body: ClassVar[Any] = Union[(struct, *older)]  # of what is only known here

        def __post_init__(self) -> None:
            schema = Schema(all_of=[Reference(ref=f"{REF}{struct.__name__}")], examples=examples)
            self.request_body = RequestBody(content={"application/json": OpenAPIMediaType(schema=schema)}, required=True)

    return OperationOfStruct


@dataclass
class BatchOperation(Operation):
    """An operation whose handler decodes the items of its body one by one, so that a faulty one spoils no other."""

    def __post_init__(self) -> None:
        schema = Schema(
            all_of=[Reference(ref=f"{REF}BatchRequest")], examples=[{"backtests": [{"dataset": "btcusdt-1h", "strategy": SMA_CROSS}]}]
        )
        self.request_body = RequestBody(content={"application/json": OpenAPIMediaType(schema=schema)}, required=True)


@dataclass
class OptionalBodyOperation(Operation):
    """An operation whose body may be left out, which Litestar doesn't tell from others."""

    def __post_init__(self) -> None:
        if isinstance(self.request_body, RequestBody):
            self.request_body.required = False


@dataclass
class Document(OpenAPI):
    """Litestar's document with the schemas of msgspec, which validates the bodies."""

    structs: tuple[type[msgspec.Struct], ...] = ()

    @property
    def _exclude_fields(self) -> set[str]:
        return {"structs"}

    def to_schema(self) -> dict[str, Any]:
        return finish(super().to_schema(), self.structs)


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
        operation_id_creator=lambda handler, method, _path: f"head_{handler.fn.__name__}" if method == "HEAD" else handler.fn.__name__,
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
