"""How a listener speaks HTTP/2."""
from __future__ import annotations

from attrs import frozen

__all__ = ["HTTP2Settings"]


@frozen
class HTTP2Settings:
    """Limits and time-outs of HTTP/2 on a listener, beside those of HTTP.

    Whether HTTP/2 is spoken within TLS is said by ``alpn``.

    :ivar prior_knowledge: whether clients without TLS may begin with HTTP/2 at once (RFC 9113 §3.3).
    :ivar max_concurrent_streams: requests of one connection at a time; further ones are refused.
    :ivar stream_window: bytes of a request's body that a client may send before they are passed on.
    :ivar connection_window: the same for all requests of a connection together; ``None`` is enough for all of them,
        so that none waits for another.
    :ivar header_table: bytes of each of the tables of header compression.
    :ivar max_open_heads: bytes of the heads of all requests of a connection that are under way, as far as they are
        larger than 4 KiB.
    :ivar max_continuations: CONTINUATION frames of one field block.
    :ivar max_cookie_crumbs: ``cookie`` fields of a request, which go to the upstream as one.
    :ivar max_resets: requests that a client may take back, or have refused as malformed, in ten seconds.
    :ivar max_useless_frames: frames that ask for nothing which a client may send in ten seconds.
    :ivar max_unread_answers: answers to its frames that a client may leave unread.
    :ivar stream_idle_timeout: seconds without a byte either way on a stream whose response has begun and whose
        request goes on.
    :ivar ping_interval: seconds of silence after which a client with open streams is asked for a sign of life; ``None``
        asks nobody.
    :ivar ping_timeout: seconds that it has to answer.
    """

    prior_knowledge: bool = True
    max_concurrent_streams: int = 128
    stream_window: int = 65_536
    connection_window: int | None = None
    header_table: int = 4096
    max_open_heads: int = 2_097_152
    max_continuations: int = 32
    max_cookie_crumbs: int = 256
    max_resets: int = 200
    max_useless_frames: int = 1000
    max_unread_answers: int = 1000
    stream_idle_timeout: float = 300.0
    ping_interval: float | None = 60.0
    ping_timeout: float = 20.0
