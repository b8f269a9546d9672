"""The sending half of a connection: frames out, within the windows that the peer grants.

Everything goes to one list of pieces that the owner takes with :meth:`SendingHalf.take_output`.  What to send when
the windows are shut is kept by the owner, stream by stream: that is where it can stop whoever produces it.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable

from . import frames
from .errors import CodecFault, ErrorCode, Reason
from .events import Event
from .hpack_encoder import Encoder
from .limits import FloodCounter, Limits
from .streams import ClosedStreams, Stream

__all__ = ["SendingHalf"]

_NONE: frozenset[bytes] = frozenset()
#: Most of the frames that may be earned in advance.
_MOST_EARNED = 2000
#: One is earned by so many bytes of data, as a power of two: peers that read a frame piece by piece acknowledge each.
_EARNED_BY = 9


class SendingHalf:
    """What both halves of a connection know, and the calls that put frames into the output.

    :ivar streams: the streams that are open or half-closed, by number.
    :ivar closed: whether the connection has had a fault: nothing is read or sent any more.
    :ivar peer_max_header_list: bytes of a field list that the peer says it takes; ``None`` if it does not.
    :ivar peer_max_streams: streams that the peer lets us open.
    :ivar peer_extended_connect: whether the peer takes extended CONNECT (RFC 8441).
    """

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self.limits = limits
        self.streams: dict[int, Stream] = {}
        self.closed = False
        self.peer_max_header_list: int | None = None
        self.peer_max_streams = limits.max_concurrent_streams
        self.peer_extended_connect = False
        self._output: list[bytes] = []
        self._events: list[Event] = []
        self._gone = ClosedStreams()
        self._encoder = Encoder(limits.header_table)
        self._send_window = frames.DEFAULT_WINDOW
        self._peer_initial_window = frames.DEFAULT_WINDOW
        self._max_frame = frames.DEFAULT_FRAME_SIZE
        self._whole_window = limits.whole_window
        self._receive_window = frames.DEFAULT_WINDOW
        self._freed = 0
        # What streams begin with: what is announced counts from its acknowledgement on, if it is less.
        self._initial_window = max(frames.DEFAULT_WINDOW, limits.stream_window)
        self._useless = FloodCounter(limits.max_useless_frames, limits.interval, clock)
        self._resets = FloodCounter(limits.max_resets, limits.interval, clock)
        self._earned = 0
        self._answers = 0
        #: Streams of the peer above this number are not looked at: GOAWAY has said so.
        self._last_taken = frames.LAST_STREAM
        self._highest = 0

    # --- output -----------------------------------------------------------------------------

    def take_output(self) -> bytes:
        """Give what is to be written, and forget it."""
        output = self._output
        if not output:
            return b""
        data = output[0] if len(output) == 1 else b"".join(output)
        output.clear()
        return data

    def output_read(self) -> None:
        """Note that the transport holds no output any more: the peer reads what it is answered."""
        self._answers = 0

    def sendable(self, stream: int) -> int:
        """Give how many bytes of data may be sent on a stream now; 0 too if it is closed."""
        one = self.streams.get(stream)
        if one is None or one.local_ended:
            return 0
        room = one.send_window if one.send_window < self._send_window else self._send_window
        return room if room > 0 else 0

    def send_headers(
        self, stream: int, fields: Iterable[tuple[bytes, bytes]], ended: bool, never_indexed: frozenset[bytes] = _NONE
    ) -> bool:
        """Send a head, an interim head or trailers.

        :param fields: lower-case names, pseudo-headers first, none of :data:`edgegw.wire.http2.FORBIDDEN`.
            A tuple that is given again is encoded faster than an equal one.
        :param never_indexed: names that no table may keep (RFC 7541 §7.1.3); give the same set each time.
        :returns: whether the stream was still there to send on.
        """
        one = self.streams.get(stream)
        if one is None or one.local_ended or self.closed:
            return False
        block = self._encoder.encode(fields, never_indexed)
        flags = frames.END_STREAM if ended else 0
        if len(block) <= self._max_frame:
            length = len(block)
            self._output.append(
                frames.FRAME_HEAD.pack(length >> 16, length & 0xFFFF, 1, flags | frames.END_HEADERS, stream) + block
            )
        else:
            self._send_long_block(stream, block, flags)
        if self._earned < _MOST_EARNED:
            self._earned += 2
        if ended:
            self._end_locally(one)
        return True

    def _send_long_block(self, stream: int, block: bytes, flags: int) -> None:
        size = self._max_frame
        self._output.append(frames.frame(frames.HEADERS, flags, stream, block[:size]))
        for at in range(size, len(block), size):
            last = frames.END_HEADERS if at + size >= len(block) else 0
            self._output.append(frames.frame(frames.CONTINUATION, last, stream, block[at : at + size]))

    def send_data(self, stream: int, data: bytes, ended: bool) -> bool:
        """Send a piece of a body, in as many frames as it takes; empty only to end the stream.

        :returns: whether the stream was still there to send on.
        :raises ValueError: there is more data than :meth:`sendable` says.
        """
        one = self.streams.get(stream)
        if one is None or one.local_ended or self.closed:
            return False
        size = len(data)
        if size:
            if size > one.send_window or size > self._send_window:
                raise ValueError("more data than the windows allow")
            one.send_window -= size
            self._send_window -= size
        output = self._output
        most = self._max_frame
        at = 0
        while size - at > most:
            output.append(frames.frame(frames.DATA, 0, stream, data[at : at + most]))
            at += most
            if self._earned < _MOST_EARNED:
                self._earned += 2 + (most >> _EARNED_BY)
        length = size - at
        if length or ended:
            flags = 1 if ended else 0
            output.append(frames.FRAME_HEAD.pack(0, length, 0, flags, stream))
            output.append(data[at:] if at else data)
        if self._earned < _MOST_EARNED:
            self._earned += 2 + (length >> _EARNED_BY)
        if ended:
            self._end_locally(one)
        return True

    def reset(self, stream: int, code: ErrorCode = ErrorCode.CANCEL) -> None:
        """Give a stream up.  Nothing more is reported of it; what was received on it counts as acknowledged."""
        one = self.streams.get(stream)
        if one is not None and not self.closed:
            self._output.append(frames.rst_stream(stream, code))
            self._gone.reset_here(stream, one.receive_window)
            self._drop(one)

    def acknowledge(self, stream: int, size: int) -> None:
        """Let the peer send as much again: the data of events with this size in all is gone."""
        one = self.streams.get(stream)
        # What a closed stream had was let go with it.
        if one is None or self.closed or not size:
            return
        size = min(size, one.unacknowledged)
        one.unacknowledged -= size
        self._free(size)
        if not one.remote_ended:
            one.freed += size
            if one.freed * 2 >= self.limits.stream_window:
                self._output.append(frames.window_update(stream, one.freed))
                one.receive_window += one.freed
                one.freed = 0

    def ping(self, opaque: bytes = b"edgegw\0\0") -> None:
        """Ask the peer for a sign of life.

        :param opaque: eight bytes, which come back with :class:`edgegw.wire.http2.PingAcknowledged`.
        """
        if not self.closed:
            self._output.append(frames.frame(frames.PING, 0, 0, opaque))

    def announce_drain(self) -> None:
        """Ask the peer not to open streams; those that it has opened on the way are still taken (RFC 9113 §6.8)."""
        if not self.closed and self._last_taken == frames.LAST_STREAM:
            self._output.append(frames.goaway(frames.LAST_STREAM, ErrorCode.NO_ERROR))

    def go_away(
        self, code: ErrorCode = ErrorCode.NO_ERROR, last_stream: int | None = None, reason: str = ""
    ) -> None:
        """Tell the peer the last of its streams that is taken, by default the last that came; others are ignored.

        :param reason: goes as debug data.
        """
        if not self.closed:
            last = self._highest if last_stream is None else last_stream
            self._last_taken = min(self._last_taken, last)
            self._output.append(frames.goaway(self._last_taken, code, reason.encode()))

    # --- what the halves do for each other ------------------------------------------------------

    def _end_locally(self, stream: Stream) -> None:
        stream.local_ended = True
        if stream.remote_ended:
            self._drop(stream)

    def _end_remotely(self, stream: Stream) -> None:
        stream.remote_ended = True
        if stream.local_ended:
            self._drop(stream)

    def _drop(self, stream: Stream) -> None:
        """Forget a stream; what the owner may still hold of it does not stand in the way of others."""
        del self.streams[stream.id]
        if stream.unacknowledged:
            self._free(stream.unacknowledged)

    def _free(self, size: int) -> None:
        self._freed += size
        if self._freed * 2 >= self._whole_window:
            self._output.append(frames.window_update(0, self._freed))
            self._receive_window += self._freed
            self._freed = 0

    def _answer(self, data: bytes) -> None:
        """Send what a frame of the peer asked for."""
        self._output.append(data)
        self._answers += 1

    def _waste(self, reason: Reason, count: int = 1) -> None:
        """Count frames that asked for nothing; those of all kinds together.

        :param reason: what it is if this one is too many.
        :raises CodecFault: there are too many.
        """
        if self._earned >= count:
            self._earned -= count
        elif self._useless.exceeded(count):
            raise CodecFault(ErrorCode.ENHANCE_YOUR_CALM, reason, "too many frames of no use")

    def _count_reset(self, reason: Reason) -> None:
        """Count a stream that was reset, or a request that was refused.

        :raises CodecFault: there are too many.
        """
        if self._resets.exceeded():
            raise CodecFault(ErrorCode.ENHANCE_YOUR_CALM, reason, "too many streams that were reset")
