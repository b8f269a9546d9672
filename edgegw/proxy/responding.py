"""How responses stand on a client's HTTP/1.1 connection."""
from __future__ import annotations

from time import monotonic

from edgegw.proxy.answers import render_answer
from edgegw.proxy.body import RequestBody
from edgegw.proxy.client import ClientConnection
from edgegw.proxy.framing import frame_response
from edgegw.proxy.site import Site
from edgegw.wire.chunked import LAST_CHUNK, encode_chunk, encode_trailers
from edgegw.wire.http1 import Field, RequestHead, ResponseHead

__all__ = ["RespondingConnection"]


class RespondingConnection(ClientConnection):
    """What :class:`edgegw.proxy.connection.HTTPConnection` stands on: it puts heads and bodies of responses into words.

    What was asked, and whether its body has been read, is said by whoever reads requests.
    """

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._head: RequestHead | None = None
        self._body: RequestBody | None = None
        self._keep_alive = True
        self._responding = False
        self._chunked = False
        self._unread = False

    def interim(self, head: ResponseHead) -> None:
        """See ``Downstream``."""
        request = self._head
        if request is None or request.version == 0:
            return  # RFC 9110 §15.2: not to an HTTP/1.0 client
        lines, _ = self._site.response_headers.block(head.fields, head.options, head.version)
        self._send(b"HTTP/1.1 %d %b\r\n%b\r\n" % (head.status, head.reason, lines))
        if head.status == 100 and self._body is not None:
            self._site.deadlines.watch(self, monotonic() + self._site.http.body_idle_timeout)

    def respond(self, head: ResponseHead, length: int, data: bytes, ended: bool) -> None:
        """See ``Downstream``."""
        request = self._head
        assert request is not None
        self._responding = True
        self._chunked = False
        site = self._site
        if self._body is not None or site.retired:
            # What is left of the request would have to be read before the next one.
            self._keep_alive = False
            self._unread = self._unread or self._body is not None
        forward = head.forward
        if forward is not None and forward[0] is site:
            begin = forward[1]
        else:
            lines, same_again = site.response_headers.block(head.fields, head.options, head.version)
            begin = b"HTTP/1.1 %d %b\r\n%b" % (head.status, head.reason, lines)
            if same_again:
                head.forward = (site, begin)
        framing, self._chunked, self._keep_alive = frame_response(request, head, length, self._keep_alive)
        out = b"%b%b\r\n" % (begin, framing)
        if self._chunked:
            data = encode_chunk(data) if data else b""
        self._send(out + data if data else out)
        if ended:
            self._response_ended()
        else:
            self._watch_client()

    def respond_more(self, data: bytes, ended: bool, trailers: list[Field]) -> None:
        """See ``Downstream``."""
        if self._chunked:
            data = encode_chunk(data) if data else b""
            if ended:
                trailers = self._site.response_headers.trailers(trailers)
                data += encode_trailers(trailers) if trailers else LAST_CHUNK
        self._send(data)
        if ended:
            self._response_ended()
        elif self.transport.unsent:
            self._watch_client()

    def own_response(self, head: ResponseHead, body: bytes) -> None:
        """Send a whole response that the gateway has made itself."""
        request = self._head
        assert request is not None
        self._leave_body()
        head.length = len(body)
        if request.method == b"HEAD" or head.status in (204, 304):
            body = b""
        self.respond(head, head.length, body, True)

    def denied(self, head: ResponseHead, body: bytes) -> None:
        """Send a whole response that a service has refused the request with."""
        self.own_response(head, body)

    def answer(self, status: int, extra: bytes = b"", reason: str = "", request_id: bytes = b"") -> None:
        """See ``Downstream``."""
        self._leave_body()
        if self._site.retired:
            self._keep_alive = False
        self._send(render_answer(status, self._head, self._keep_alive, extra, reason, request_id))
        self._response_ended()

    def _leave_body(self) -> None:
        """Answer without having read the request's body: no next request can be found behind it."""
        head = self._head
        if self._body is not None or (head is not None and head.length and self._exchange is None):
            self._keep_alive = False
            self._unread = True

    def _response_ended(self) -> None:
        """The response is complete."""
        raise NotImplementedError
