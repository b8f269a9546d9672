"""What stands behind a gateway in a test, and a reactor whose timers can all be stopped."""
from __future__ import annotations

from typing import Any

from twisted.internet import protocol
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from edgegw.model import Endpoint, Upstream

__all__ = ["HelloUpstream", "StoppableTimers"]


class StoppableTimers:
    """A reactor whose timers that are set through it can all be stopped."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._calls: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def callLater(self, seconds: float, call: Any, *args: Any, **options: Any) -> Any:
        """See ``IReactorTime``."""
        self._calls = [one for one in self._calls if one.active()]
        made = self._reactor.callLater(seconds, call, *args, **options)
        self._calls.append(made)
        return made

    def stop_timers(self) -> None:
        """Cancel all that are left."""
        for call in self._calls:
            if call.active():
                call.cancel()


class _Talk(protocol.Protocol):
    transport: Any

    def __init__(self, upstream: HelloUpstream) -> None:
        self._upstream = upstream
        self._received = b""
        self.lost: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self._upstream.talks.append(self)

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        head, end, _ = self._received.partition(b"\r\n\r\n")
        if end:
            self._received = b""
            self._upstream.headers = _headers(head)
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello")

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        self.lost.callback(None)


def _headers(head: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in head.decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip()
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


class HelloUpstream(protocol.Factory):
    """Answers every request with ``hello``.

    :ivar headers: of the last request, by lower-case name; those that came more than once joined with a comma.
    :ivar model: as a gateway's configuration has it.
    """

    noisy = False

    def __init__(self, reactor: Any) -> None:
        self.talks: list[_Talk] = []
        self.headers: dict[str, str] = {}
        self._port = reactor.listenTCP(0, self, interface="127.0.0.1")
        self.model = Upstream("upstream", (Endpoint("127.0.0.1", self._port.getHost().port),))

    def buildProtocol(self, addr: object) -> _Talk:
        """Make one for each connection."""
        return _Talk(self)

    def close(self) -> Any:
        """Close the port; gives a Deferred."""
        return self._port.stopListening()

    async def stop(self) -> None:
        """Close the port and every connection, and wait until they are gone."""
        await self.close()
        for talk in self.talks:
            if not talk.lost.called:
                talk.transport.abortConnection()
            await talk.lost
