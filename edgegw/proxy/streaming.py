"""Requests of twisted.web whose bodies go on to an upstream as they come."""
from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

from twisted.web.http import parse_qs
from twisted.web.server import Request

from edgegw.wire.chunked import LAST_CHUNK

if TYPE_CHECKING:
    from edgegw.proxy.resource import ReverseProxy
    from edgegw.proxy.resource_client import ResourceClient

__all__ = ["StreamingRequest"]

#: Bytes of a body that are read when its request has been answered already; past that the connection closes.
MOST_THROWN_AWAY: Final = 1_048_576


class StreamingRequest(Request):
    """A request that looks for its resource before its body has come; the ``requestFactory`` of a ``Site``.

    If that is a :class:`~edgegw.proxy.resource.ReverseProxy`, the body is sent to the upstream as it comes, no faster
    than the upstream takes it.  Every other resource gets its request as always, when the body is whole; it may have
    been looked for twice, though, first without ``request.content``.  Under HTTP/2, which twisted.web reads
    differently, all bodies are kept whole.
    """

    _client: ResourceClient | None = None
    #: Whether the body is left to a proxy, and what of it is thrown away because the response is over already.
    _taken = False
    _whole = False
    _over = False
    _thrown_away = 0

    def gotLength(self, length: int | None) -> None:
        """Called by the channel when the headers have come."""
        proxy = None if length == 0 else self._find_proxy()
        if proxy is None:
            super().gotLength(length)
            return
        self._taken = True
        self.content = BytesIO()
        self._client = proxy.begin(self, length)
        if self._over:
            # The channel would have the client go on, behind its answer.
            self.requestHeaders.removeHeader(b"expect")

    def _find_proxy(self) -> ReverseProxy | None:
        """Find the resource, and give it if it is a proxy."""
        from edgegw.proxy.resource import ReverseProxy

        channel: Any = self.channel
        command, uri = getattr(channel, "_command", None), getattr(channel, "_path", None)
        if not isinstance(command, bytes) or not isinstance(uri, bytes):
            return None
        self.method, self.uri, self.clientproto = command, uri, channel._version
        self.path, _, query = uri.partition(b"?")
        self.args = parse_qs(query, 1)
        self.site = channel.site
        self.prepath = []
        self.postpath = [unquote_to_bytes(name) for name in self.path[1:].split(b"/")]
        try:
            resource = channel.site.getResourceFor(self)
        except Exception:
            # It is looked for again when the body is there, and what is wrong is told then.
            return None
        return resource if isinstance(resource, ReverseProxy) else None

    def handleContentChunk(self, data: bytes) -> None:
        """Called by the channel with a part of the body."""
        if not self._taken:
            super().handleContentChunk(data)
        elif self._over:
            self._thrown_away += len(data)
            if self._thrown_away > MOST_THROWN_AWAY:
                self.loseConnection()
        elif self._client is not None:
            self._client.body(data, False)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Called by the channel when the body is whole."""
        if not self._taken:
            super().requestReceived(command, path, version)
            return
        self._whole = True
        if self._over:
            if self.channel is not None:
                self.finish()
        elif self._client is not None:
            self._client.body(b"", True)

    def end_response(self) -> None:
        """Finish, as soon as what is left of the body is out of the way: behind it is the next request."""
        if not self._taken or self._whole:
            self.finish()
            return
        self._over = True
        self._client = None
        if self.chunked and self.channel is not None:
            # The client can know the end of the response now.
            self.channel.write(LAST_CHUNK)
            self.chunked = 0
