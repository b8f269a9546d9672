"""The proxy as a resource of twisted.web: a part of a site that is answered by upstreams.

::

    root = Resource()
    root.putChild(b"api", ReverseProxy(reactor, ["127.0.0.1:8000", "127.0.0.1:8001"]))
    site = Site(root, requestFactory=StreamingRequest)

Behind it is what a gateway's own listeners have: kept connections, endpoints in turn, header rules, time limits.
:class:`StreamingRequest` is needed for one thing only: that a request's body goes on as it comes.  Without it
twisted.web keeps the whole of it before any resource is asked.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from edgegw.config.addresses import parse_endpoint
from edgegw.config.injection import DEFAULT_INJECTION
from edgegw.config.scalars import Unparsable
from edgegw.deadlines import Deadlines
from edgegw.headers.injection import build_injectors
from edgegw.headers.request import HeaderRefusal, RequestHeaders
from edgegw.headers.response import ResponseHeaders
from edgegw.identity import ConnectionInfo, Identity
from edgegw.model import AmbiguousPaths, Endpoint, Forwarding, HeaderInjection, Upstream
from edgegw.names import canonical_authority
from edgegw.observe.metrics import Metrics
from edgegw.observe.plugin_counters import PluginCounters
from edgegw.proxy.access import is_ambiguous
from edgegw.proxy.answers import new_request_id
from edgegw.proxy.exchange import Exchange
from edgegw.proxy.plugin_backend import PluginUpstream
from edgegw.proxy.resource_client import ResourceClient, answer_request
from edgegw.proxy.resource_path import Unmappable, path_below
from edgegw.proxy.site import Backend
from edgegw.proxy.streaming import StreamingRequest
from edgegw.upstream.upstream import UpstreamPool
from edgegw.wire.http1 import HTTPFault, RequestHead, parse_request_head

__all__ = ["ReverseProxy", "StreamingRequest"]

#: twisted.web has bounds of its own for what it reads.
_MAX_HEAD: Final = 1_048_576
_MAX_FIELDS: Final = 1_000
_MAX_TARGET: Final = 65_536
#: What tells of the framing that twisted.web has undone already, and what it has answered.
_UNDONE: Final = frozenset({b"content-length", b"transfer-encoding", b"expect"})
#: Seconds between two looks at whether the last connection is gone.
_LOOK_AGAIN: Final = 0.01

_log = Logger(namespace="edgegw.proxy")


class ReverseProxy(Resource):
    """Sends requests to an upstream, in place of :class:`twisted.web.proxy.ReverseProxyResource`.

    Below it lie no other resources: what of a request's path comes behind its own goes to the upstream, byte by byte as
    the client sent it.

    :ivar upstream: where requests go.
    :ivar metrics: counts requests and connections.
    """

    isLeaf = True

    def __init__(
        self,
        reactor: Any,
        upstream: Upstream | Sequence[str],
        path: bytes = b"",
        *,
        name: str = "proxy",
        forwarding: Forwarding | None = None,
        header_injection: Sequence[HeaderInjection] = DEFAULT_INJECTION,
        ambiguous_paths: AmbiguousPaths = AmbiguousPaths.REFUSE,
        write_timeout: float = 60.0,
        metrics: Metrics | None = None,
    ) -> None:
        """
        :param upstream: the model of one, or its endpoints, each ``host:port`` or ``[address]:port``.
        :param path: begins the path at the upstream: ``b"/v1"`` sends ``/v1/a`` for ``a`` below the resource.
        :param name: of the upstream, if that is not a model, in the log and in the metrics.
        :param forwarding: which headers tell of the way a request came; whether ``Host`` is kept.
        :param header_injection: how upstreams are told who calls, where that is known: behind
            :class:`edgegw.endpoints.EdgeServerEndpoint`.  What clients send under these names is removed anyway.
        :param ambiguous_paths: what becomes of paths with ``..`` in them and the like, which may lead out of ``path``.
        :param write_timeout: seconds that a client has to take what waits for it, some 64 KiB; past it it is cut off.
        :raises ValueError: an endpoint is none, there is none, ``path`` does not begin with a slash, or two injectors
            set the same header.
        """
        super().__init__()
        if path and not path.startswith(b"/"):
            raise ValueError(f"the path {path!r} does not begin with /")
        self.upstream = upstream if isinstance(upstream, Upstream) else Upstream(name, _endpoints(upstream))
        self.metrics = Metrics() if metrics is None else metrics
        self._reactor = reactor
        self._path = path.rstrip(b"/")
        self._forwarding = Forwarding() if forwarding is None else forwarding
        injectors = build_injectors(header_injection)
        self._owned = owned = frozenset(name for one in injectors for name in one.owned)
        self._request_headers = {
            secure: RequestHeaders(self._forwarding, injectors, owned, b"https" if secure else b"http")
            for secure in (False, True)
        }
        secret = frozenset(name for one in injectors for name in one.owned_responses)
        self.response_headers = ResponseHeaders(secret, self._forwarding.via)
        self._refuses_ambiguous = ambiguous_paths is AmbiguousPaths.REFUSE
        self._deadlines = Deadlines(reactor)
        self._write_timeout = write_timeout
        self._counts = self.metrics.upstream(self.upstream.name)
        self._pool = self._make_pool()
        self._backend = Backend(self._pool, 1, self.metrics.requests("", "", self.upstream.name))
        self._own = self.metrics.requests("", "", "")
        self._clients: set[ResourceClient] = set()
        self._closing = False
        # Names are looked up and endpoints checked once the reactor runs.
        reactor.callWhenRunning(self._start)

    def _make_pool(self) -> UpstreamPool | PluginUpstream:
        if self.upstream.backend is not None:
            count_error = PluginCounters().count_error
            return PluginUpstream(self._reactor, self.upstream, self._counts, self._deadlines, count_error)
        pool = UpstreamPool(self._reactor, self.upstream, self._counts, self._deadlines)
        pool.never_index(self._owned)
        return pool

    def _start(self) -> None:
        if not self._closing:
            self._pool.start()

    # --- requests ---------------------------------------------------------------------------

    def render(self, request: Request) -> int:
        """Send a request whose body is whole."""
        client = self._client(request)
        if client is not None:
            client.send_content()
        return NOT_DONE_YET

    def begin(self, request: Request, length: int | None) -> ResourceClient | None:
        """Send a request whose body is still to come; for :class:`StreamingRequest`.

        :param length: of the body; ``None`` where its end alone will tell.
        :returns: what takes the body, ``None`` where the request was answered.
        """
        client = self._client(request, length, True)
        if client is not None:
            client.start(b"", False)
        return client

    def _client(self, request: Request, length: int | None = None, streams: bool = False) -> ResourceClient | None:
        """Prepare to send a request; one that goes nowhere is answered."""
        try:
            target = self._target(request)
            head = _head_of(request, target)
            info = self._info_of(request)
            rules = self._request_headers[bool(request.isSecure())].for_connection(info)
            lines, needs_id = rules.block(head.fields, head.options, head.host, head.version)
        except (HTTPFault, HeaderRefusal) as refusal:
            _log.info("{status} to {peer}: {detail}", status=refusal.status, peer=str(request.getClientAddress()),
                      detail=refusal.detail)  # fmt: skip
            self._own.done(refusal.status, 0.0)
            answer_request(request, refusal.status)
            return None
        if needs_id:
            lines += b"x-request-id: %b\r\n" % new_request_id()
        client = ResourceClient(
            request, info, self.response_headers, length, streams, self._gone, self._deadlines, self._write_timeout
        )
        self._clients.add(client)
        client.exchange = Exchange(
            client, self._backend, head.method, b"%b %b HTTP/1.1\r\n" % (head.method, head.target),
            head.host if self._forwarding.preserve_host else b"", lines + client.framing + b"\r\n",
        )  # fmt: skip
        return client

    def _target(self, request: Request) -> bytes:
        """Give what is asked of the upstream.

        :raises HTTPFault: it cannot be told, or could be read in two ways.
        """
        uri: bytes = request.uri
        asked, mark, query = uri.partition(b"?")
        if self._refuses_ambiguous and is_ambiguous(asked):
            raise HTTPFault(400, "an ambiguous path")
        try:
            below = path_below(asked, request.postpath or [])
        except Unmappable as error:
            raise HTTPFault(400, "a request target that is no path") from error
        return (self._path + below or b"/") + mark + query

    def _info_of(self, request: Request) -> ConnectionInfo:
        info = getattr(request.transport, "info", None)
        if isinstance(info, ConnectionInfo):
            return info
        client, own = request.getClientAddress(), request.getHost()
        return ConnectionInfo(
            "", Identity(), getattr(client, "host", "unix:"), getattr(client, "port", 0), getattr(own, "port", 0)
        )

    # --- ends -------------------------------------------------------------------------------

    def _gone(self, client: ResourceClient) -> None:
        self._clients.discard(client)

    def close(self) -> Deferred[None]:
        """Keep no connections any more: those that are unused close now, the others after their responses.

        :returns: fires when the last one is gone.
        """
        self._closing = True
        self._pool.close()
        return Deferred.fromCoroutine(self._closed())

    async def _closed(self) -> None:
        while self._clients or self._counts.connections:
            await deferLater(self._reactor, _LOOK_AGAIN)
        self._deadlines.stop()


def _endpoints(texts: Iterable[str]) -> tuple[Endpoint, ...]:
    endpoints = []
    for text in texts:
        try:
            endpoints.append(parse_endpoint(text))
        except Unparsable as error:
            raise ValueError(f"the endpoint {text!r} {error}; {error.remedy}") from error
    if not endpoints:
        raise ValueError("there is no endpoint; give one as host:port")
    return tuple(endpoints)


def _head_of(request: Request, target: bytes) -> RequestHead:
    """Read a request anew, as strictly as the gateway reads its own.

    :raises HTTPFault: twisted.web has let something through that must not go on.
    """
    lines = [
        b"%b: %b\r\n" % (name, value)
        for name, values in request.requestHeaders.getAllRawHeaders()
        if name.lower() not in _UNDONE
        for value in values
    ]
    version = b"HTTP/1.0" if request.clientproto == b"HTTP/1.0" else b"HTTP/1.1"
    raw = b"%b %b %b\r\n%b\r\n" % (request.method, target, version, b"".join(lines))
    head = parse_request_head(raw, _MAX_HEAD, _MAX_FIELDS, _MAX_TARGET)
    if head is None or head.size != len(raw):
        raise HTTPFault(400, "a request with an end inside of it")
    if head.host and canonical_authority(head.host) is None:
        raise HTTPFault(400, "a Host that is none")
    if request.clientproto == b"HTTP/2":
        head.version = 2
    return head
