"""The client's end of an HTTP/2 connection: requests out, responses in."""
from __future__ import annotations

from collections.abc import Callable, Iterable

from . import frames
from .errors import CodecFault, ErrorCode, Reason
from .events import ResponseReceived, StreamReset, TrailersReceived
from .field_rules import MalformedMessage, ResponseHead, TooManyFields, read_response, read_trailers
from .limits import Limits
from .receiving import LONGEST_KEPT, MOST_KEPT, ReceivingHalf
from .streams import Stream

__all__ = ["ClientConnection"]

_NONE: frozenset[bytes] = frozenset()


class ClientConnection(ReceivingHalf):
    """A connection to a server.

    :param clock: seconds, monotonic.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        super().__init__(limits, clock, b"")
        self._next = 1
        self._going: int | None = None
        # Heads by the blocks they came in, as long as the table is what it was.
        self._kept: dict[bytes, ResponseHead] = {}
        self._kept_generation = 0
        values = {
            frames.ENABLE_PUSH: 0,
            frames.MAX_HEADER_LIST_SIZE: limits.max_header_list,
            frames.INITIAL_WINDOW_SIZE: limits.stream_window,
        }
        if limits.header_table != 4096:
            values[frames.HEADER_TABLE_SIZE] = limits.header_table
        self._output += (frames.PREFACE, frames.settings(values))
        if self._whole_window > frames.DEFAULT_WINDOW:
            self._output.append(frames.window_update(0, self._whole_window - frames.DEFAULT_WINDOW))
            self._receive_window = self._whole_window

    @property
    def going(self) -> bool:
        """Whether no request will ever be taken again: fault, GOAWAY, or no numbers left."""
        return self.closed or self._going is not None or self._next > frames.LAST_STREAM

    @property
    def room(self) -> int:
        """Give how many requests may be begun now."""
        return 0 if self.going else max(0, self.peer_max_streams - len(self.streams))

    def send_request(
        self, fields: Iterable[tuple[bytes, bytes]], ended: bool, *, head: bool = False,
        never_indexed: frozenset[bytes] = _NONE,
    ) -> int:
        """Begin a request and give its stream.

        :param head: whether the method is HEAD, to which no response has a body.
        :raises ValueError: there is no :attr:`room` for it.
        """
        if self.room < 1:
            raise ValueError("no stream can be opened")
        stream = self._next
        self._next += 2
        one = self.streams[stream] = Stream(stream, self._peer_initial_window, self._initial_window)
        one.bodiless = head
        self.send_headers(stream, fields, ended, never_indexed)
        return stream

    def _count_refusal(self, reason: Reason) -> None:
        # Each of these costs a request of ours.
        pass

    def _is_idle(self, stream: int) -> bool:
        return stream >= self._next or not stream & 1

    def _apply_settings(self, values: dict[int, int]) -> None:
        if values.get(frames.ENABLE_PUSH):
            raise CodecFault(ErrorCode.PROTOCOL_ERROR, Reason.PROTOCOL, "a server that enables push")
        super()._apply_settings(values)

    def _peer_goes(self, last: int) -> None:
        if self._going is not None and last > self._going:
            raise CodecFault(ErrorCode.PROTOCOL_ERROR, Reason.PROTOCOL, "a GOAWAY that takes more than one before")
        self._going = last
        for one in [one for one in self.streams.values() if one.id > last]:
            self._gone.reset_here(one.id, one.receive_window)
            self._drop(one)
            self._events.append(
                StreamReset(one.id, ErrorCode.REFUSED_STREAM, Reason.PEER, "above GOAWAY's last stream", True)
            )

    def _take_block(self, stream: int, ended: bool, block: bytes) -> None:
        one = self.streams.get(stream)
        if one is not None and not one.head_seen:
            head = self._kept.get(block)
            if head is None or self._kept_generation != self._decoder.generation:
                head = self._read_head(stream, block)
                if head is None:
                    return
            self._take_head(one, head, ended)
            return
        entries = self._decode(block)
        if one is None:
            if self._is_idle(stream):
                raise CodecFault(ErrorCode.PROTOCOL_ERROR, Reason.PROTOCOL, "HEADERS on an idle stream")
            if self._gone.was_reset_here(stream):
                self._waste(Reason.CLOSED_STREAMS)
            elif self._gone.was_reset_by_peer(stream):
                self._refuse(stream, ErrorCode.STREAM_CLOSED, Reason.STREAM_CLOSED, "HEADERS after RST_STREAM")
            else:
                raise self._gone.fault(stream)
        elif one.remote_ended:
            self._refuse(stream, ErrorCode.STREAM_CLOSED, Reason.STREAM_CLOSED, "HEADERS after the end of the response")
        elif not ended:
            self._refuse(stream, ErrorCode.PROTOCOL_ERROR, Reason.MALFORMED, "trailers without END_STREAM")
        else:
            try:
                if self._decoder.oversized:
                    raise TooManyFields("trailers over the limit")
                fields = read_trailers(entries, self.limits)
            except MalformedMessage as fault:
                self._refuse(stream, ErrorCode.PROTOCOL_ERROR, Reason.MALFORMED, str(fault))
                return
            except TooManyFields as fault:
                self._refuse(stream, ErrorCode.ENHANCE_YOUR_CALM, Reason.HEADER_LIST, str(fault))
                return
            self._own_message_ended(one)
            if not one.expected > 0 or one.bodiless:
                self._events.append(TrailersReceived(stream, fields))

    def _take_head(self, one: Stream, head: ResponseHead, ended: bool) -> None:
        if head.status < 200:
            self._waste(Reason.INTERIM)
            if ended:
                self._refuse(one.id, ErrorCode.PROTOCOL_ERROR, Reason.MALFORMED, "an interim response with END_STREAM")
                return
            self._events.append(ResponseReceived(one.id, head, False))
            return
        one.head_seen = True
        if head.status in (204, 304):
            one.bodiless = True
        one.expected = head.length if head.length >= 0 else -1
        if ended and one.expected > 0 and not one.bodiless:
            self._refuse(one.id, ErrorCode.PROTOCOL_ERROR, Reason.MALFORMED, "a Content-Length where no body is")
            return
        self._events.append(ResponseReceived(one.id, head, ended))
        if ended:
            self._end_remotely(one)

    def _read_head(self, stream: int, block: bytes) -> ResponseHead | None:
        """Decode a response's head; ``None`` if it has been dealt with already."""
        decoder = self._decoder
        generation = decoder.generation
        entries = self._decode(block)
        try:
            if decoder.oversized:
                raise TooManyFields("a field list over the limit")
            head = read_response(entries, self.limits)
        except MalformedMessage as fault:
            self._refuse(stream, ErrorCode.PROTOCOL_ERROR, Reason.MALFORMED, str(fault))
            return None
        except TooManyFields as fault:
            self._refuse(stream, ErrorCode.ENHANCE_YOUR_CALM, Reason.HEADER_LIST, str(fault))
            return None
        if decoder.generation != self._kept_generation or len(self._kept) >= MOST_KEPT:
            self._kept.clear()
            self._kept_generation = decoder.generation
        if generation == decoder.generation and len(block) <= LONGEST_KEPT and (
            sum(len(line) for _, _, line in head.fields) <= LONGEST_KEPT
        ):
            self._kept[block] = head
        return head
