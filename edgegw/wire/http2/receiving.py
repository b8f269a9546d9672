"""The receiving half of a connection: bytes to frames, and what is the same for clients and servers.

A frame is looked at when all of it has come; its length is judged before, so that no more than a frame of the
default size is ever held.  A fault of the connection is raised wherever it is found, and caught in one place.
"""
from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Final

from . import frames
from .connection_frames import DRIBBLE, TINY, ConnectionFrames
from .errors import CodecFault, ErrorCode, Reason, frame_size_fault, protocol_fault
from .events import (
    ConnectionFault,
    DataReceived,
    Event,
    StreamReset,
    WindowOpened,
)
from .frames import ACK, DEFAULT_FRAME_SIZE, END_HEADERS, END_STREAM, FRAME_HEAD, MAX_WINDOW, PADDED, PRIORITY_FLAG
from .hpack_decoder import Entry, HPACKBomb, HPACKFault
from .limits import Limits
from .streams import Stream

__all__ = ["ReceivingHalf"]

#: Pieces of an unfinished frame that are kept apart: each costs more than the few bytes it may have.
_MOST_PIECES = 64
#: Pieces of bodies, in bytes, below which those of a stream that come together are given as one: each costs whoever
#: passes it on ten times what it costs to be read.
_SMALL: Final = 512
#: Blocks of which is kept what they said, and the size of their lists up to which it is.
MOST_KEPT = 16
LONGEST_KEPT = 4096


class ReceivingHalf(ConnectionFrames):
    """Takes frames apart and keeps the states of streams.

    :ivar pieces: how many of bodies came so small that they were put to others; the owner may begin to count anew.
    :ivar begun: tells apart what is :attr:`unfinished`: another number is another frame, or another field block.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float], preface: bytes) -> None:
        super().__init__(limits, clock)
        self._expected_preface = preface
        self._held: list[bytes] = []
        self._held_size = 0
        self._needed = 0
        self.begun = 0
        # The field block that is not complete: its stream (0: none), its flags, its pieces and their size.
        self._block_stream = 0
        self._block_flags = 0
        self._block: list[bytes] = []
        self._block_size = 0
        # Small pieces of bodies of what is being received, by their streams: what comes next is put to them.
        self._small: dict[int, DataReceived] = {}
        self.pieces = 0

    @property
    def unfinished(self) -> bool:
        """Whether a frame or a field block has begun to come: its end is to be awaited for a bounded time only.

        Of a peer that sends without a pause there is nearly always a frame unfinished, see :attr:`begun`.
        """
        return self._held_size > 0 or self._block_stream > 0

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes from the peer, in pieces as they come, and give what came of them.

        Never raises: the last event says so if the connection is over.
        """
        if self.closed:
            return []
        if self._held_size:
            self._held.append(data)
            self._held_size += len(data)
            if self._held_size < self._needed:
                if len(self._held) >= _MOST_PIECES:
                    self._held = [b"".join(self._held)]
                return []
            data = b"".join(self._held)
            self._held.clear()
            self._held_size = 0
        try:
            # Those of one call are not written before it is over: the next one knows whether they were read.
            if self._answers > self.limits.max_unread_answers:
                raise CodecFault(
                    ErrorCode.ENHANCE_YOUR_CALM, Reason.ANSWERS_NOT_READ, f"{self._answers} answers that are not read"
                )
            self._take_frames(data)
        except CodecFault as fault:
            last = min(self._highest, self._last_taken)
            self._output.append(frames.goaway(last, fault.code, fault.reason.encode()))
            self._events.append(ConnectionFault(fault.code, fault.reason, fault.detail))
            self.closed = True
            self.streams.clear()
            self._block.clear()
        events = self._events
        self._events = []
        if self._small:
            self._small = {}
        return events

    def _take_frames(self, data: bytes) -> None:
        at = 0
        size = len(data)
        preface = self._expected_preface
        if preface:
            if not data.startswith(preface[:size]):
                raise protocol_fault("no connection preface")
            if size < len(preface):
                self._hold(data, len(preface))
                return
            self._expected_preface = b""
            at = len(preface)
        unpack = FRAME_HEAD.unpack_from
        needed = 9
        while size - at >= 9:
            high, length, kind, flags, stream = unpack(data, at)
            if high or length > DEFAULT_FRAME_SIZE:
                raise frame_size_fault("a frame larger than SETTINGS_MAX_FRAME_SIZE")
            end = at + 9 + length
            # A stranger is told before it has sent all of a frame.
            if not self._settings_seen and (kind != frames.SETTINGS or flags & ACK):
                raise protocol_fault("the first frame is not SETTINGS")
            if end > size:
                needed = 9 + length
                break
            if self._block_stream and kind != frames.CONTINUATION:
                raise protocol_fault("another frame within a field block")
            payload = data[at + 9 : end]
            if kind < 10:
                _TAKERS[kind](self, flags, stream & MAX_WINDOW, payload)
            else:
                self._waste(Reason.UNKNOWN_FRAMES)
            at = end
        if at < size:
            if at and not self._block_stream:
                self.begun += 1
            self._hold(data[at:] if at else data, needed)

    def _hold(self, data: bytes, needed: int) -> None:
        self._held.append(data)
        self._held_size = len(data)
        self._needed = needed

    # --- frames with fields ---------------------------------------------------------------------

    def _take_headers(self, flags: int, stream: int, payload: bytes) -> None:
        if not stream:
            raise protocol_fault("HEADERS on stream 0")
        if flags & (PADDED | PRIORITY_FLAG):
            if flags & PADDED:
                payload = frames.unpadded(payload)
            if flags & PRIORITY_FLAG:
                if len(payload) < 5:
                    raise frame_size_fault("HEADERS too short for its priority")
                if int.from_bytes(payload[:4], "big") & MAX_WINDOW == stream:
                    raise protocol_fault("a stream that depends on itself")
                payload = payload[5:]
        if flags & END_HEADERS:
            self._take_block(stream, flags & END_STREAM > 0, payload)
        else:
            self.begun += 1
            self._block_stream = stream
            self._block_flags = flags
            self._block = [payload]
            self._block_size = len(payload)

    def _take_continuation(self, flags: int, stream: int, payload: bytes) -> None:
        if not self._block_stream or stream != self._block_stream:
            raise protocol_fault("CONTINUATION without the field block that it continues")
        self._block.append(payload)
        self._block_size += len(payload)
        if len(self._block) > self.limits.max_continuations + 1:
            raise CodecFault(ErrorCode.ENHANCE_YOUR_CALM, Reason.CONTINUATIONS, "too many CONTINUATION frames")
        if self._block_size > 2 * self.limits.max_header_list:
            raise CodecFault(ErrorCode.ENHANCE_YOUR_CALM, Reason.HEADER_LIST, "a field block that is too long")
        if flags & END_HEADERS:
            block = b"".join(self._block)
            self._block.clear()
            self._block_stream = 0
            self._take_block(stream, self._block_flags & END_STREAM > 0, block)

    @abstractmethod
    def _take_block(self, stream: int, ended: bool, block: bytes) -> None:
        """Take a whole field block, which has to be decoded whatever becomes of it."""

    def _decode(self, block: bytes) -> list[Entry]:
        try:
            return self._decoder.decode(block)
        except HPACKBomb as bomb:
            raise CodecFault(ErrorCode.ENHANCE_YOUR_CALM, Reason.HEADER_BOMB, str(bomb)) from None
        except HPACKFault as fault:
            raise CodecFault(ErrorCode.COMPRESSION_ERROR, Reason.COMPRESSION, str(fault)) from None

    def _take_push_promise(self, flags: int, stream: int, payload: bytes) -> None:
        raise protocol_fault("PUSH_PROMISE, which no client sends and this one has refused")

    # --- data ---------------------------------------------------------------------------------------

    def _take_data(self, flags: int, stream: int, payload: bytes) -> None:
        if not stream:
            raise protocol_fault("DATA on stream 0")
        size = len(payload)
        if size > self._receive_window:
            raise CodecFault(ErrorCode.FLOW_CONTROL_ERROR, Reason.FLOW_CONTROL, "data past the connection's window")
        self._receive_window -= size
        if flags & PADDED:
            payload = frames.unpadded(payload)
        one = self.streams.get(stream)
        if one is None:
            self._take_late_data(stream, size)
            return
        ended = flags & END_STREAM > 0
        length = len(payload)
        if not length and not ended:
            self._waste(Reason.EMPTY_DATA)
        one.unacknowledged += size
        if one.remote_ended:
            self._refuse(stream, ErrorCode.STREAM_CLOSED, Reason.STREAM_CLOSED, "DATA after the end of the message")
            return
        if size > one.receive_window:
            one.receive_window = 0
            self._refuse(stream, ErrorCode.FLOW_CONTROL_ERROR, Reason.FLOW_CONTROL, "data past the stream's window")
            return
        one.receive_window -= size
        if not one.head_seen or (one.bodiless and length):
            self._refuse(stream, ErrorCode.PROTOCOL_ERROR, Reason.MALFORMED, "DATA where no body is")
            return
        if one.expected >= 0 and not one.bodiless:
            one.expected -= length
            if one.expected < 0 or (ended and one.expected):
                self._refuse(
                    stream, ErrorCode.PROTOCOL_ERROR, Reason.MALFORMED, "a body of another length than Content-Length"
                )
                return
        small = self._small
        event = small.get(stream) if small else None
        if event is not None and length < _SMALL:
            event.data += payload
            event.size += size
            event.ended = ended
            self.pieces += 1
        else:
            following = DataReceived(stream, payload, size, ended)
            self._events.append(following)
            if event is not None:
                del small[stream]
            elif length < _SMALL and not ended:
                small[stream] = following
        if ended:
            self._end_remotely(one)

    def _take_late_data(self, stream: int, size: int) -> None:
        if self._is_ignored(stream):
            self._waste(Reason.CLOSED_STREAMS, 0 if size else 1)
        elif self._is_idle(stream):
            raise protocol_fault("DATA on an idle stream")
        elif self._gone.was_reset_here(stream):
            self._gone.take_data(stream, size)
            if not size:
                self._waste(Reason.CLOSED_STREAMS)
        elif self._gone.was_reset_by_peer(stream):
            self._refuse(stream, ErrorCode.STREAM_CLOSED, Reason.STREAM_CLOSED, "DATA after RST_STREAM")
        else:
            raise self._gone.fault(stream)
        self._free(size)

    # --- frames about streams -----------------------------------------------------------------------

    def _refuse(self, stream: int, code: ErrorCode, reason: Reason, detail: str, unprocessed: bool = False) -> None:
        """Reset a stream because of what the peer sent on it."""
        self._answer(frames.rst_stream(stream, code))
        self._count_refusal(reason if unprocessed else Reason.PROVOKED_RESETS)
        one = self.streams.get(stream)
        if one is None:
            # Not to be taken for one that never was when more of it comes.
            self._gone.reset_here(stream, self._initial_window)
        else:
            self._gone.reset_here(stream, one.receive_window)
            self._drop(one)
        self._events.append(StreamReset(stream, code, reason, detail, unprocessed))

    @abstractmethod
    def _count_refusal(self, reason: Reason) -> None:
        """Count a stream that the peer brought to its end, by a reset or by a fault."""

    @abstractmethod
    def _is_idle(self, stream: int) -> bool:
        """Whether a stream that is not open never was."""

    def _is_ignored(self, stream: int) -> bool:
        """Whether GOAWAY has told the peer that a stream is not taken."""
        return False

    def _take_priority(self, flags: int, stream: int, payload: bytes) -> None:
        if not stream:
            raise protocol_fault("PRIORITY on stream 0")
        self._waste(Reason.PRIORITIES)
        if len(payload) != 5 or int.from_bytes(payload[:4], "big") & MAX_WINDOW == stream:
            if len(payload) != 5:
                fault = frame_size_fault("PRIORITY not of 5 bytes")
            else:
                fault = protocol_fault("PRIORITY on itself")
            if stream not in self.streams:
                raise fault
            self._refuse(stream, fault.code, fault.reason, fault.detail)

    def _take_reset(self, flags: int, stream: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise frame_size_fault("RST_STREAM not of 4 bytes")
        one = self.streams.get(stream)
        if one is None:
            if not self._is_ignored(stream) and (not stream or self._is_idle(stream)):
                raise protocol_fault("RST_STREAM on stream 0 or an idle stream")
            self._waste(Reason.CLOSED_STREAMS)
            if self._gone.was_reset_here(stream):
                self._gone.reset_by_peer(stream)
            return
        code = int.from_bytes(payload, "big")
        if one.local_ended:
            # No work is taken back: the peer is answered, and spares both the rest of what it has to say.
            self._waste(Reason.CLOSED_STREAMS)
        else:
            self._count_refusal(Reason.RESETS)
        self._gone.reset_by_peer(stream)
        self._drop(one)
        self._events.append(
            StreamReset(stream, code, Reason.PEER, unprocessed=code == ErrorCode.REFUSED_STREAM)
        )

    def _take_window_update(self, flags: int, stream: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise frame_size_fault("WINDOW_UPDATE not of 4 bytes")
        increment = int.from_bytes(payload, "big") & MAX_WINDOW
        if not stream:
            before = self._send_window
            self._send_window += increment
            if not increment:
                raise protocol_fault("WINDOW_UPDATE by 0")
            if self._send_window > MAX_WINDOW:
                raise CodecFault(ErrorCode.FLOW_CONTROL_ERROR, Reason.FLOW_CONTROL, "a connection window past 2^31-1")
        else:
            one = self.streams.get(stream)
            if one is None:
                if not self._is_ignored(stream) and self._is_idle(stream):
                    raise protocol_fault("WINDOW_UPDATE on an idle stream")
                self._waste(Reason.CLOSED_STREAMS)
                return
            before = one.send_window
            one.send_window += increment
            if not increment:
                self._refuse(stream, ErrorCode.PROTOCOL_ERROR, Reason.PROTOCOL, "WINDOW_UPDATE by 0")
                return
            if one.send_window > MAX_WINDOW:
                self._refuse(stream, ErrorCode.FLOW_CONTROL_ERROR, Reason.FLOW_CONTROL, "a window past 2^31-1")
                return
        if before <= 0 < before + increment:
            self._events.append(WindowOpened(stream))
            if increment < TINY:
                self._waste(Reason.WINDOW_UPDATES, DRIBBLE)
        self._waste(Reason.WINDOW_UPDATES)

    def _own_message_ended(self, one: Stream) -> None:
        """Note that the peer's message on a stream has ended with its fields."""
        if one.expected > 0 and not one.bodiless:
            self._refuse(
                one.id, ErrorCode.PROTOCOL_ERROR, Reason.MALFORMED, "a body of another length than Content-Length"
            )
        else:
            self._end_remotely(one)


#: By the type of a frame.  Not bound to a connection, which would hold itself by them.
_TAKERS: Final[tuple[Callable[[ReceivingHalf, int, int, bytes], None], ...]] = (
    ReceivingHalf._take_data, ReceivingHalf._take_headers, ReceivingHalf._take_priority, ReceivingHalf._take_reset,
    ReceivingHalf._take_settings, ReceivingHalf._take_push_promise, ReceivingHalf._take_ping,
    ReceivingHalf._take_goaway, ReceivingHalf._take_window_update, ReceivingHalf._take_continuation,
)
