"""What tests of filters share: a gateway with one rule, in front of an upstream or two."""
from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase

from edgegw.model import (
    NO_FILTERS,
    BackendRef,
    Filters,
    HTTPSettings,
    PathMatch,
    PathMatchType,
    Route,
    RouteMatch,
    RouteRule,
    Upstream,
)

from .gateway import ScriptedUpstream, gateway, http_listener, start_gateway, until
from .raw_client import Client, Response, connect

__all__ = ["GET", "POST", "FilterTestCase", "prefix", "request"]

GET = b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: a.example\r\n"


def prefix(value: str) -> tuple[RouteMatch, ...]:
    """Give a rule's matches: one prefix."""
    return (RouteMatch(PathMatch(PathMatchType.PATH_PREFIX, value)),)


def request(path: str = "/", method: str = "GET", *lines: str) -> bytes:
    """Give a request without a body; ``lines`` are header lines without their ends."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "host: a.example", *lines, "", ""]).encode()


class FilterTestCase(TestCase):
    """A plain listener with one rule."""

    running: Any = None
    clients: list[Client]

    def setUp(self) -> None:
        self.clients = []

    async def serve(
        self,
        filters: Filters,
        *upstreams: ScriptedUpstream | Upstream,
        matches: tuple[RouteMatch, ...] | None = None,
        of_backend: Filters = NO_FILTERS,
        more: tuple[ScriptedUpstream | Upstream, ...] = (),
        listener: dict[str, Any] | None = None,
        **http: Any,
    ) -> None:
        """Serve a rule with backends.

        :param more: upstreams that are no backends of it.
        """
        if self.running is not None:
            # So that the next one finds nothing of it.
            await self.running.stop()
        names = [one.model.name if isinstance(one, ScriptedUpstream) else one.name for one in upstreams]
        backends = tuple(BackendRef(name, filters=of_backend) for name in names)
        rule = RouteRule(RouteRule().matches if matches is None else matches, backends, filters=filters)
        model = gateway(
            [http_listener(http=HTTPSettings(**http), **(listener or {}))],
            *upstreams,
            *more,
            routes=[Route("r", rules=(rule,))],
        )
        self.running = await start_gateway(self, model)

    async def connect(self) -> Client:
        """Connect to it."""
        client = await connect(self, self.running.address())
        self.clients.append(client)
        return client

    async def ask(self, data: bytes = GET) -> Response:
        """Send a request on a connection of its own, and give the answer."""
        client = await self.connect()
        client.send(data)
        response = await client.response(data.startswith(b"HEAD"))
        while 100 <= response.status < 200:
            response = await client.response(data.startswith(b"HEAD"))
        client.transport.loseConnection()
        return response

    async def quiet(self) -> None:
        """Let all clients go, wait for the end of all exchanges, and see that nothing is counted as open."""
        for client in self.clients:
            client.transport.loseConnection()
        await self.running.idle()
        for one in self.running.metrics.routes.values():
            self.assertEqual(one.in_progress, 0)
        await until(lambda: all(one.connections == one.idle for one in self.running.metrics.upstreams.values()))
