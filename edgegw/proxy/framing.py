"""How a response is framed for the client that asked (RFC 9112 §6)."""
from __future__ import annotations

from edgegw.wire.http1 import RequestHead, ResponseHead

__all__ = ["frame_response"]


def frame_response(request: RequestHead, head: ResponseHead, length: int, keep_alive: bool) -> tuple[bytes, bool, bool]:
    """Choose the framing.

    :param length: bytes of the body, ``CHUNKED`` or ``UNTIL_CLOSE``; 0 where there is none.
    :param keep_alive: whether the connection is to go on, as far as the request says.
    :returns: the framing's header lines, whether the body goes in chunks, and whether the connection goes on.
    """
    lines = b""
    chunked = False
    if head.status == 204 or head.status == 304 or request.method == b"HEAD":
        if head.length >= 0 and head.status != 204:
            lines = b"content-length: %d\r\n" % head.length
    elif length >= 0:
        lines = b"content-length: %d\r\n" % length
    elif request.version == 1:
        chunked = True
        lines = b"transfer-encoding: chunked\r\n"
    else:
        # An HTTP/1.0 client knows the end of such a body by the connection's end only.
        keep_alive = False
    if not keep_alive:
        lines += b"connection: close\r\n"
    elif request.version == 0:
        lines += b"connection: keep-alive\r\n"
    return lines, chunked, keep_alive
