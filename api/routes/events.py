"""Streams of server-sent events: of one backtest, and of all runs."""

from __future__ import annotations

from typing import Annotated, Any, Final

from litestar import Controller, Request, Response, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter

from api.http import sse
from api.http.openapi import described
from api.http.problems import problem_responses
from api.routes.backtests import RunId
from workers import Service
from workers.runs.follow import END, EVENT_ID

STREAM: Final = ResponseSpec(str, description="Stream of server-sent events.", media_type=sse.MEDIA_TYPE, generate_examples=False)
OF_ALL: Final = (
    "The response is a stream of server-sent events: `state` has a run's new state, which may be its last, and `progress` how far it is; their data "
    "is a `FeedEvent`. After `gap`, read the lists again."
)
LAST_EVENT: Final = "Id of the last event received; the stream continues after it."
LastEventId = Annotated[str, HeaderParameter(name="Last-Event-ID", max_length=60, description=LAST_EVENT)]
LastEventOfRun = Annotated[str, HeaderParameter(name="Last-Event-ID", pattern=f"^({END}|{EVENT_ID})?$", description=LAST_EVENT)]


class Events(Controller):
    path = "/"
    tags = ("backtests",)

    @get(
        "/backtests/{run_id:str}/events",
        **described("backtests.stream_events", "The response is a stream of server-sent events."),
        media_type=sse.MEDIA_TYPE,
        response_headers=[],
        responses={
            200: STREAM,
            204: ResponseSpec(None, description="The last event received was `end`.", generate_examples=False),
        }
        | problem_responses(404, 429, 503),
    )
    async def stream_backtest_events(
        self, request: Request[Any, Any, Any], service: NamedDependency[Service], run_id: RunId, last_event_id: LastEventOfRun = ""
    ) -> Response[Any]:
        if last_event_id == END:
            return Response(None, status_code=204)
        sse.check_capacity(service)
        return sse.event_stream(request, await service.backtests.stream_events(run_id, after=last_event_id))

    @get(
        "/events",
        **described("backtests.stream_all_events", OF_ALL),
        media_type=sse.MEDIA_TYPE,
        response_headers=[],
        responses={200: STREAM} | problem_responses(429, 503),
    )
    async def stream_all_events(
        self, request: Request[Any, Any, Any], service: NamedDependency[Service], last_event_id: LastEventId = ""
    ) -> Response[Any]:
        sse.check_capacity(service)
        return sse.feed_stream(request, await service.backtests.stream_all_events(after=last_event_id))
