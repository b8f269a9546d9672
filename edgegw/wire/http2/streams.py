"""The state of one stream, and what is remembered of streams that are no more (RFC 9113 §5.1)."""
from __future__ import annotations

from .errors import CodecFault, ErrorCode, Reason

__all__ = ["ClosedStreams", "Stream"]

#: Streams of each kind that are remembered after their end, and gaps in the numbers of streams.
_MOST_REMEMBERED = 1000
_MOST_GAPS = 64


class Stream:
    """A stream that is open or half-closed.

    :ivar send_window: bytes that the peer takes; may be negative after a change of its settings.
    :ivar receive_window: bytes that the peer may still send.
    :ivar unacknowledged: bytes received that the owner still holds.
    :ivar freed: bytes that the owner has let go and that no WINDOW_UPDATE has told yet.
    :ivar expected: bytes of the body that are still to come, or -1 where that is not known.
    :ivar head_seen: whether the head (of the final response) has come.
    :ivar bodiless: whether the response has no body whatever its head says: it answers HEAD.
    """

    __slots__ = (
        "bodiless", "expected", "freed", "head_seen", "id", "local_ended", "receive_window", "remote_ended",
        "send_window", "unacknowledged",
    )

    def __init__(self, id: int, send_window: int, receive_window: int) -> None:
        self.id = id
        self.send_window = send_window
        self.receive_window = receive_window
        self.unacknowledged = 0
        self.freed = 0
        self.expected = -1
        self.head_seen = False
        self.bodiless = False
        self.local_ended = False
        self.remote_ended = False


class ClosedStreams:
    """Tells apart how streams ended, in bounded memory.

    One that was reset here may still have frames on their way, which are let pass up to the window it had.
    One that the peer reset is not used any more by an orderly peer, one that ended even less; one whose number
    was left out never was.
    """

    __slots__ = ("_gaps", "_reset_by_peer", "_reset_here")

    def __init__(self) -> None:
        self._reset_here: dict[int, int] = {}
        self._reset_by_peer: dict[int, None] = {}
        self._gaps: list[range] = []

    def reset_here(self, stream: int, window: int) -> None:
        """Remember a stream that was reset from here.

        :param window: what the peer may still send on it.
        """
        if len(self._reset_here) >= _MOST_REMEMBERED:
            del self._reset_here[next(iter(self._reset_here))]
        self._reset_here[stream] = window

    def reset_by_peer(self, stream: int) -> None:
        """Remember a stream that the peer reset, be it one that was reset here before: nothing more comes of it."""
        self._reset_here.pop(stream, None)
        if len(self._reset_by_peer) >= _MOST_REMEMBERED:
            del self._reset_by_peer[next(iter(self._reset_by_peer))]
        self._reset_by_peer[stream] = None

    def skipped(self, numbers: range) -> None:
        """Remember numbers that the peer left out: those streams are closed too (RFC 9113 §5.1.1)."""
        self._gaps.append(numbers)
        if len(self._gaps) > _MOST_GAPS:
            del self._gaps[0]

    def was_reset_here(self, stream: int) -> bool:
        """Whether frames on it are let pass."""
        return stream in self._reset_here

    def was_reset_by_peer(self, stream: int) -> bool:
        """Whether the peer reset it, and knows that it is closed."""
        return stream in self._reset_by_peer

    def take_data(self, stream: int, size: int) -> None:
        """Count data that was on its way to a stream when it was reset.

        :raises CodecFault: it cannot have been on its way.
        """
        left = self._reset_here[stream] - size
        if left < 0:
            raise CodecFault(
                ErrorCode.FLOW_CONTROL_ERROR, Reason.FLOW_CONTROL, "data past the window of a stream that was reset"
            )
        self._reset_here[stream] = left

    def fault(self, stream: int) -> CodecFault:
        """Give what a message on a stream deserves that ended or never was."""
        if any(stream in numbers for numbers in self._gaps):
            return CodecFault(ErrorCode.PROTOCOL_ERROR, Reason.PROTOCOL, "a stream below one that was opened before")
        return CodecFault(ErrorCode.STREAM_CLOSED, Reason.STREAM_CLOSED, "a frame on a stream that has ended")
