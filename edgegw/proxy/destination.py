"""Where the requests of one connection go: the site of their host, and their header lines for the upstream."""
from __future__ import annotations

from edgegw.headers.request import ConnectionHeaders, forwarded_host
from edgegw.identity import ConnectionInfo
from edgegw.names import canonical_authority
from edgegw.proxy.answers import new_request_id
from edgegw.proxy.site import Site
from edgegw.wire.http1 import CHUNKED, RequestHead

__all__ = ["Destination"]


class Destination:
    """Remembers what the last request's host led to: most connections ask for one host only.

    :ivar site: what serves the host that was asked for last.
    :ivar host_name: that host in canonical form; ``None`` where none was named.
    :ivar headers: the header rules of ``site`` for this connection, once a request needed them.
    """

    __slots__ = (
        "_block", "_for_any_host", "_host", "_info", "_lines", "_listener_site", "_needs_host", "_rest", "headers",
        "host_name", "site",
    )

    def __init__(self, site: Site, info: ConnectionInfo) -> None:
        self._info = info
        self._listener_site = site
        self._host: bytes | None = None
        self.site = site
        self.host_name: str | None = None
        self.headers: ConnectionHeaders | None = None
        self._block: bytes | None = None
        self._lines = b""
        self._rest: bytes | None = None
        self._for_any_host = b""
        self._needs_host = True

    def resolve(self, head: RequestHead) -> int:
        """Find the listener of a request's host: 0, or the status that refuses it.

        The connection's listener decided who may come in.  A host that belongs to another listener of
        the port gets 421 (RFC 9110 §15.5.20), so that a certificate that was accepted for one name never
        speaks for another.  Without TLS nothing was decided, and the host alone chooses.
        """
        host = head.host
        if host == self._host:
            return 0
        site = self._listener_site
        name = site.routes.names.get(host)
        if name is None and host:
            name = canonical_authority(host)
            if name is None:
                return 400
        profile = site.profile
        if profile is not None:
            found = profile.listener_for(name, site.listener)
            if found is None:
                return 404
            if found.model is not site.listener:
                if profile.secure:
                    return 421
                site = found.site
        if site is not self.site:
            self.site = site
            self.headers = None
            self._block = self._rest = None
        self._host = host
        self.host_name = name
        return 0

    def request_lines(self, head: RequestHead) -> bytes:
        """Give the header lines for the upstream but Host, with the empty line that ends them.

        Clients mostly repeat their header lines byte for byte, or all but Host: what was made of the last ones is
        kept, here and not on the head, because it tells of this connection's client.

        :raises HeaderRefusal: the request is not to be forwarded.
        """
        # The same object, not only the same bytes: heads that were read anew may differ in the version.
        if head.block is not self._block:
            if not head.rest or head.rest is not self._rest:
                headers = self.headers
                if headers is None:
                    headers = self.headers = self.site.request_headers.for_connection(self._info)
                lines, needs_host, needs_id = headers.for_any_host(head.fields, head.options, head.version)
                lines += _framing(head)
                if not needs_id or not head.block or headers.per_request:
                    lines += forwarded_host(head.host) if needs_host else b""
                    return lines + (b"x-request-id: %b\r\n\r\n" % new_request_id() if needs_id else b"\r\n")
                self._rest = head.rest
                self._for_any_host = lines
                self._needs_host = needs_host
            self._block = head.block
            self._lines = self._for_any_host
            if self._needs_host:
                self._lines += forwarded_host(head.host)
        return b"%bx-request-id: %b\r\n\r\n" % (self._lines, new_request_id())


def _framing(head: RequestHead) -> bytes:
    """Give the header lines that go with a request's body."""
    lines = b""
    if head.length > 0 or head.values(b"content-length"):
        lines = b"content-length: %d\r\n" % head.length
    elif head.length == CHUNKED:
        lines = b"transfer-encoding: chunked\r\n"
    return lines + b"expect: 100-continue\r\n" if head.expects_continue else lines
