"""Applications that tests run behind the gateway; configurations name them as ``tests.web_applications:NAME``."""
from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.internet.task import LoopingCall
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from edgegw.applications import connection_info

PIECE: Final = bytes(65_536)


class Echo(Resource):
    """Gives a request's body back, with what it was asked in headers."""

    isLeaf = True

    def render(self, request: Any) -> bytes:
        """Answer."""
        info = connection_info(request)
        assert info is not None
        certificate = info.identity.verified
        for name, value in {
            "x-method": request.method, "x-uri": request.uri, "x-post": b"/".join(request.postpath),
            "x-client": str(request.getClientAddress().host).encode(),
            "x-secure": str(request.isSecure()).encode(), "x-host": request.getRequestHostname(),
            "x-xfcc": request.getHeader(b"x-forwarded-client-cert") or b"",
            "x-subject": b"" if certificate is None else certificate.subject.encode(),
            "x-arguments": repr(sorted(request.args.items())).encode(),
            "x-team": info.attributes.get("team", "").encode(),
        }.items():  # fmt: skip
            request.setHeader(name, value)
        return request.content.read()  # type: ignore[no-any-return]  # a file's


@implementer(IPushProducer)
class _Push:
    """Writes without end for as long as it is let."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.written = 0
        self.pauses = 0
        self.stopped = False
        self._loop = LoopingCall(self._write)
        self._loop.start(0)

    def _write(self) -> None:
        self.written += len(PIECE)
        self.request.write(PIECE)

    @property
    def running(self) -> bool:
        """Whether it writes."""
        return bool(self._loop.running)

    def pauseProducing(self) -> None:
        self.pauses += 1
        if self._loop.running:
            self._loop.stop()

    def resumeProducing(self) -> None:
        if not self._loop.running:
            self._loop.start(0)

    def stopProducing(self) -> None:
        self.stopped = True
        if self._loop.running:
            self._loop.stop()


@implementer(IPullProducer)
class _Pull:
    def __init__(self, request: Request, pieces: int) -> None:
        self.request = request
        self.left = pieces

    def resumeProducing(self) -> None:
        self.request.write(PIECE)
        self.left -= 1
        if not self.left:
            self.request.unregisterProducer()
            self.request.finish()

    def stopProducing(self) -> None: ...


class Root(Resource):
    """Does one thing or another, by the path.

    :ivar finished: the ``notifyFinish`` of the last request that was left open.
    """

    def __init__(self) -> None:
        super().__init__()
        self.finished: Deferred[None] | None = None
        self.request: Any = None
        self.producer: Any = None
        self.putChild(b"echo", Echo())

    def getChild(self, path: bytes, request: Request) -> Resource:
        """Give itself for everything."""
        return self

    def render_GET(self, request: Any) -> Any:
        """Answer."""
        name = request.prepath[-1]
        if name == b"push":
            self._leave_open(request)
            self.producer = _Push(request)
            request.registerProducer(self.producer, True)
            return NOT_DONE_YET
        if name == b"pull":
            request.registerProducer(_Pull(request, 20), False)
            return NOT_DONE_YET
        if name == b"length":
            request.setHeader(b"content-length", b"10")
            request.write(b"12345")
            request.write(b"67890")
            request.finish()
            return NOT_DONE_YET
        if name == b"wrong":
            request.setHeader(b"content-length", b"10")
            request.write(b"1234")
            request.finish()
            return NOT_DONE_YET
        if name == b"open":
            self._leave_open(request)
            return NOT_DONE_YET
        if name == b"begun":
            self._leave_open(request)
            request.write(b"begun")
            return NOT_DONE_YET
        if name == b"close":
            request.loseConnection()
            return NOT_DONE_YET
        if name == b"session":
            session = request.getSession()
            session.visits = getattr(session, "visits", 0) + 1
            return b"%d" % session.visits
        if name == b"nothing":
            request.setResponseCode(204)
            return b""
        if name == b"not-modified":
            request.setETag(b'"x"')
            request.setResponseCode(304)
            request.setHeader(b"content-length", b"500")
            return b""
        raise RuntimeError("on purpose")

    def _leave_open(self, request: Any) -> None:
        self.request = request
        self.finished = request.notifyFinish()


class Klein:
    """As Klein's applications are: what has a method that makes a resource."""

    def resource(self) -> Resource:
        """Make it."""
        return Echo()


def with_reactor(reactor: Any) -> Resource:
    """Make a resource that knows the reactor."""
    made = Root()
    made.reactor = reactor  # type: ignore[attr-defined]  # for a test to look at
    MADE.append(made)
    return made


def no_resource() -> str:
    """Make none."""
    return "none"


MADE: Final[list[Any]] = []
klein = Klein()
echo = Echo()
number = 7


# --- WSGI ---------------------------------------------------------------------------------------

StartResponse = Callable[..., Callable[[bytes], None]]
#: What the last call was told, and what became of it.
SEEN: Final[dict[str, Any]] = {}
GO: Final = threading.Event()


class _Endless:
    """Yields for ever, and remembers how much and that it was closed."""

    def __init__(self) -> None:
        self.yielded = 0
        self.closed = False
        SEEN["endless"] = self

    def __iter__(self) -> Iterator[bytes]:
        while True:
            self.yielded += len(PIECE)
            yield PIECE

    def close(self) -> None:
        self.closed = True


def wsgi(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Do one thing or another, by the path."""
    path = environ["PATH_INFO"]
    SEEN["environ"] = environ
    SEEN["thread"] = threading.current_thread()
    if path == "/fails":
        raise RuntimeError("on purpose")
    if path == "/waits":
        SEEN["waiting"] = SEEN.get("waiting", 0) + 1
        GO.wait(20)
    start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/endless":
        return _Endless()
    if path == "/breaks":
        return _broken()
    if path == "/writes":
        write = start_response("200 OK", [])
        write(b"one ")
        write(b"two ")
        return [b"three"]
    if path == "/size":
        size = 0
        while piece := environ["wsgi.input"].read(65_536):
            size += len(piece)
        return [str(size).encode()]
    return [environ["REQUEST_METHOD"].encode(), b" ", environ["wsgi.input"].read()]


def _broken() -> Iterator[bytes]:
    yield b"begun"
    raise RuntimeError("on purpose")
