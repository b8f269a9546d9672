"""What of a listener's settings the codec of HTTP/2 is told."""
from __future__ import annotations

from typing import Final

from edgegw.model import Listener
from edgegw.wire.http2 import Limits

__all__ = ["codec_limits"]

#: Bytes of a field list, with 32 for each field, without which no ordinary request gets in.
_SHORTEST: Final = 1024


def codec_limits(listener: Listener, upgrades: bool) -> Limits:
    """Give the limits of a listener's connections.

    :param upgrades: whether any request may ask for another protocol: clients are told that they may (RFC 8441).
    """
    http, http2 = listener.http, listener.http2
    return Limits(
        max_concurrent_streams=http2.max_concurrent_streams,
        max_header_list=max(http.max_head_bytes, _SHORTEST),
        max_fields=http.max_headers,
        max_cookie_crumbs=http2.max_cookie_crumbs,
        max_open_heads=http2.max_open_heads,
        max_continuations=http2.max_continuations,
        max_resets=http2.max_resets,
        max_useless_frames=http2.max_useless_frames,
        max_unread_answers=http2.max_unread_answers,
        stream_window=http2.stream_window,
        connection_window=http2.connection_window,
        header_table=http2.header_table,
        extended_connect=upgrades,
    )
