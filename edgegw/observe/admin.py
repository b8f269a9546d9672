"""The admin site: ``/metrics``, ``/healthz`` and ``/readyz``.

It is for the operator's own network: it speaks plain HTTP, asks nobody who they are and shows
nothing but numbers.  Requests to it are not logged.

``/healthz`` answers 200 for as long as the process works; ``/readyz`` answers 200 while new
connections are taken, and 503 before that and during the drain, so that a load balancer goes
elsewhere.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from io import BytesIO

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from twisted.internet.interfaces import IReactorTime
from twisted.web.http import NOT_ALLOWED, NOT_FOUND, OK, SERVICE_UNAVAILABLE
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

__all__ = ["AdminSite"]

_PLAIN = b"text/plain; charset=utf-8"
#: Every Prometheus reads this; the newer formats of the same media type bring nothing here.
_PROMETHEUS = b"text/plain; version=0.0.4; charset=utf-8"
_OPENMETRICS = b"application/openmetrics-text; version=1.0.0; charset=utf-8"

#: Status, media type and body of an answer.
_Answer = tuple[int, bytes, bytes]
_Page = Callable[[Request], _Answer]


class AdminSite(Site):
    """The site of one gateway.

    :param registry: what ``/metrics`` shows.
    :param is_ready: asked at each ``/readyz``.
    """

    noisy = False

    def __init__(self, reactor: IReactorTime, registry: CollectorRegistry, is_ready: Callable[[], bool]) -> None:
        def metrics(request: Request) -> _Answer:
            accept = request.getHeader(b"accept") or b""
            if b"application/openmetrics-text" in accept:
                return OK, _OPENMETRICS, openmetrics.generate_latest(registry)
            return OK, _PROMETHEUS, generate_latest(registry)

        def healthz(request: Request) -> _Answer:
            return OK, _PLAIN, b"ok\n"

        def readyz(request: Request) -> _Answer:
            return (OK, _PLAIN, b"ready\n") if is_ready() else (SERVICE_UNAVAILABLE, _PLAIN, b"not ready\n")

        pages = {b"/metrics": metrics, b"/healthz": healthz, b"/readyz": readyz}
        super().__init__(
            _Pages(pages), requestFactory=_AdminRequest, reactor=reactor, parsePOSTFormSubmission=False
        )

    def getContentFile(self, length: int | None) -> BytesIO:
        """Give where a request's body goes: nowhere, no page here takes one."""
        return _Nowhere()

    def startFactory(self) -> None:
        """Begin without the access log and its clock, which would tick every second."""

    def stopFactory(self) -> None:
        """End; there is no access log to close."""

    def log(self, request: object) -> None:
        """Leave requests to this site out of every log."""


class _AdminRequest(Request):
    def setHeader(self, name: bytes, value: bytes) -> None:
        """Set a response header; ``Server`` does not say which Twisted this is."""
        super().setHeader(name, b"edgegw" if name.lower() == b"server" else value)


class _Nowhere(BytesIO):
    def write(self, data: object) -> int:
        return len(data) if isinstance(data, bytes) else 0


class _Pages(Resource):
    """Answers by the exact path: no directory, no name below a page."""

    isLeaf = True

    def __init__(self, pages: Mapping[bytes, _Page]) -> None:
        super().__init__()
        self._pages = pages

    def render(self, request: Request) -> bytes:
        """Answer with a page, 404 for a path that has none, 405 for a method other than GET and HEAD."""
        page = self._pages.get(request.path)
        if page is None:
            status, media_type, body = NOT_FOUND, _PLAIN, b"not found\n"
        elif request.method not in (b"GET", b"HEAD"):
            request.setHeader(b"Allow", b"GET, HEAD")
            status, media_type, body = NOT_ALLOWED, _PLAIN, b"method not allowed\n"
        else:
            status, media_type, body = page(request)
        request.setResponseCode(status)
        request.setHeader(b"Content-Type", media_type)
        request.setHeader(b"Cache-Control", b"no-store")
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        request.setHeader(b"Content-Length", b"%d" % len(body))
        return b"" if request.method == b"HEAD" else body
