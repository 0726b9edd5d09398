"""HEAD on every path that has GET: the same handler, whose response is sent without its body."""

from __future__ import annotations

from litestar.plugins import ReceiveRoutePlugin
from litestar.routes import HTTPRoute
from litestar.routes.base import BaseRoute
from litestar.types import ASGIApp, HTTPReceiveMessage, Message, Receive, Scope, Send, WebSocketReceiveMessage


class HeadRequests(ReceiveRoutePlugin):
    """Routes HEAD to the handlers of GET."""

    def receive_route(self, route: BaseRoute) -> None:
        if isinstance(route, HTTPRoute) and "GET" in route.route_handler_map:
            route.route_handler_map.setdefault("HEAD", route.route_handler_map["GET"])
            route.methods.add("HEAD")


def without_body(app: ASGIApp) -> ASGIApp:
    """Middleware that ends the response to HEAD after its headers."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("method") != "HEAD":
            await app(scope, receive, send)
            return
        is_sent = False

        async def send_head(message: Message) -> None:
            nonlocal is_sent
            if message["type"] == "http.response.start":
                is_sent = True
                await send(message)
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        async def receive_until_sent() -> HTTPReceiveMessage | WebSocketReceiveMessage:
            # A stream ends, as if its client had left.
            return {"type": "http.disconnect"} if is_sent else await receive()

        await app(scope, receive_until_sent, send_head)

    return call
