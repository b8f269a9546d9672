"""A backend that comes with the gateway, before real clients."""
from __future__ import annotations

from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from edgegw.model import BackendUse, HTTPSettings, Upstream
from edgegw.testing import FakeEnvironment
from tests.gateway import RunningGateway, gateway, http_listener, start_gateway, until
from tests.raw_client import Client, Response, connect

__all__ = ["BackendRequests", "ThreadEnvironment"]

reactor: Any = global_reactor


class ThreadEnvironment(FakeEnvironment):
    """Runs on another thread what is to run there."""

    async def in_thread(self, function: Any, *arguments: Any) -> Any:
        """See ``IEnvironment``."""
        return await deferToThread(function, *arguments)


class BackendRequests(TestCase):
    """A plain listener before an upstream with one backend."""

    async def start(self, kind: Any, config: Any, http: HTTPSettings | None = None, **options: Any) -> RunningGateway:
        """Serve with it.

        :param options: of the upstream.
        """
        environment = ThreadEnvironment()
        self.built = kind.build(config, environment)
        use = BackendUse(kind, self.built, environment)
        listener = http_listener(http=http or HTTPSettings())
        self.running = await start_gateway(self, gateway([listener], Upstream("plugin", (), backend=use, **options)))
        self.addCleanup(lambda: getattr(self.built, "close", lambda: None)())
        return self.running

    async def client(self) -> Client:
        """Connect."""
        return await connect(self, self.running.address())

    async def ask(self, line: str = "GET /", *headers: str, body: bytes = b"") -> Response:
        """Give the answer to one request, on a connection of its own."""
        client = await self.client()
        lines = [f"{line} HTTP/1.1", "host: a.example", *headers, *([f"content-length: {len(body)}"] if body else [])]
        client.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        return await client.response(line.startswith("HEAD"))

    async def quiet(self) -> None:
        """See that nothing is counted as under way any more."""
        await until(lambda: not any(one.in_progress for one in self.running.metrics.routes.values()))

    def failures(self) -> dict[str, int]:
        """What is counted as failed, but for zeros."""
        found = self.running.metrics.upstream("plugin").response_failures
        return {word: number for word, number in found.items() if number}
