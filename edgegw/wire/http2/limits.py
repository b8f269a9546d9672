"""What a peer may do on one connection, and the counting of what it does too often."""
from __future__ import annotations

from collections.abc import Callable

from attrs import field, frozen, validators

__all__ = ["FloodCounter", "Limits"]

_MOST_WINDOW = 2**31 - 1


@frozen
class Limits:
    """The limits of a connection, for either role.

    :ivar max_concurrent_streams: streams that the peer may have open, or, as the client, that are opened at most.
    :ivar max_header_list: bytes of a field list by RFC 9113 §6.5.2: each field counts 32 bytes more than it has.
        A request over it is reported for 431; four times as much, or twice as much on the wire, ends the connection.
    :ivar max_fields: fields of a list, cookie crumbs not counted.
    :ivar max_cookie_crumbs: ``cookie`` fields, which are joined to one (RFC 9113 §8.2.3).  A request over either is
        reported for 431; four times as many as both together that are no references to the table end the connection.
    :ivar max_open_heads: bytes of the heads, counted as for :attr:`max_header_list`, of all requests that are open at a
        time, as far as they are larger than 4 KiB.  A request that would be over it is refused, and may be sent again.
    :ivar max_continuations: CONTINUATION frames of a field block, empty ones too.
    :ivar max_resets: streams that the client resets before they are answered to their end, or makes the server reset,
        per :attr:`interval`.
    :ivar max_useless_frames: frames that ask for nothing, per :attr:`interval`: PING, SETTINGS, PRIORITY, unknown ones,
        empty DATA, tiny or superfluous WINDOW_UPDATE, anything on closed streams.  Two for each frame of DATA or
        HEADERS that was sent are free, and one for each 512 bytes of data: who measures or opens windows while it
        receives is no nuisance.
    :ivar max_unread_answers: answers to frames (SETTINGS, PING, RST_STREAM) that may wait in output
        that the peer does not read.
    :ivar interval: seconds.
    :ivar stream_window: bytes that the peer may send on a stream before they are acknowledged.
    :ivar connection_window: the same for all streams together.  ``None`` is enough for all of them, so that a slow one
        never stalls another: ``max_concurrent_streams * stream_window`` is then what a connection buffers at most.
    :ivar header_table: bytes of the HPACK tables, each way.
    :ivar extended_connect: whether clients may use ``:protocol`` (RFC 8441).
    """

    max_concurrent_streams: int = field(default=128, validator=validators.ge(1))
    max_header_list: int = field(default=65_536, validator=validators.ge(1024))
    max_fields: int = field(default=100, validator=validators.ge(1))
    max_cookie_crumbs: int = field(default=256, validator=validators.ge(1))
    max_open_heads: int = field(default=2_097_152, validator=validators.ge(1024))
    max_continuations: int = field(default=32, validator=validators.ge(0))
    max_resets: int = field(default=200, validator=validators.ge(1))
    max_useless_frames: int = field(default=1000, validator=validators.ge(1))
    max_unread_answers: int = field(default=1000, validator=validators.ge(1))
    interval: float = field(default=10.0, validator=validators.gt(0))
    stream_window: int = field(default=65_536, validator=[validators.ge(1), validators.le(_MOST_WINDOW)])
    connection_window: int | None = field(
        default=None, validator=validators.optional([validators.ge(65_535), validators.le(_MOST_WINDOW)])
    )
    header_table: int = field(default=4096, validator=[validators.ge(0), validators.le(65_536)])
    extended_connect: bool = False

    @property
    def whole_window(self) -> int:
        """The connection's window; never below 65,535, which a connection begins with."""
        if self.connection_window is not None:
            return self.connection_window
        return min(max(65_535, self.max_concurrent_streams * self.stream_window), _MOST_WINDOW)


class FloodCounter:
    """Counts what may happen so many times in an interval: a bucket that leaks, looked at only when it seems full."""

    __slots__ = ("_clock", "_level", "_most", "_rate", "_since")

    def __init__(self, most: int, interval: float, clock: Callable[[], float]) -> None:
        self._most = most
        self._rate = most / interval
        self._clock = clock
        self._level = 0.0
        self._since = clock()

    def exceeded(self, count: int = 1) -> bool:
        """Count, and say whether that was too much."""
        self._level += count
        if self._level <= self._most:
            return False
        now = self._clock()
        self._level = max(0.0, self._level - max(0.0, now - self._since) * self._rate)
        self._since = now
        return self._level > self._most
