"""The server's end of an HTTP/2 connection: requests in, responses out."""
from __future__ import annotations

from collections.abc import Callable

from . import frames
from .errors import CodecFault, ErrorCode, Reason
from .events import RequestOversized, RequestReceived, TrailersReceived
from .field_rules import MalformedMessage, RequestHead, TooManyFields, read_request, read_trailers
from .limits import Limits
from .receiving import LONGEST_KEPT, MOST_KEPT, ReceivingHalf
from .streams import Stream

__all__ = ["ServerConnection"]


class ServerConnection(ReceivingHalf):
    """A connection from a client.

    :param clock: seconds, monotonic.
    :ivar last_stream: the highest number of a stream that the client has opened.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        super().__init__(limits, clock, frames.PREFACE)
        # Heads by the blocks they came in, without and with END_STREAM, as long as the table is what it was.
        self._kept: tuple[dict[bytes, RequestHead], dict[bytes, RequestHead]] = ({}, {})
        self._kept_generation = 0
        self._previous: RequestHead | None = None
        # The sizes of large heads, by their streams, some of which may have ended.
        self._large: dict[int, int] = {}
        values = {
            frames.MAX_CONCURRENT_STREAMS: limits.max_concurrent_streams,
            frames.MAX_HEADER_LIST_SIZE: limits.max_header_list,
            frames.INITIAL_WINDOW_SIZE: limits.stream_window,
        }
        if limits.header_table != 4096:
            values[frames.HEADER_TABLE_SIZE] = limits.header_table
        if limits.extended_connect:
            values[frames.ENABLE_CONNECT_PROTOCOL] = 1
        self._output.append(frames.settings(values))
        if self._whole_window > frames.DEFAULT_WINDOW:
            self._output.append(frames.window_update(0, self._whole_window - frames.DEFAULT_WINDOW))
            self._receive_window = self._whole_window

    @property
    def last_stream(self) -> int:
        """Give the highest number of a stream that the client has opened."""
        return self._highest

    def _count_refusal(self, reason: Reason) -> None:
        self._count_reset(reason)

    def _is_idle(self, stream: int) -> bool:
        return stream > self._highest or not stream & 1

    def _is_ignored(self, stream: int) -> bool:
        return stream > self._last_taken and stream & 1 == 1

    def _take_block(self, stream: int, ended: bool, block: bytes) -> None:
        if stream > self._highest and stream & 1 and stream <= self._last_taken:
            if len(self.streams) >= self.limits.max_concurrent_streams:
                self._decode(block)
                self._open(stream)
                self._refuse(
                    stream, ErrorCode.REFUSED_STREAM, Reason.CONCURRENCY, "more streams than may be open", True
                )
                return
            head = self._kept[ended].get(block)
            if head is None or self._kept_generation != self._decoder.generation:
                head = self._read_head(stream, ended, block)
                if head is None:
                    return
            one = self._open(stream)
            if ended:
                one.remote_ended = True
            else:
                one.expected = head.length
            self._events.append(RequestReceived(stream, head, ended))
            return
        if not stream & 1:
            raise CodecFault(ErrorCode.PROTOCOL_ERROR, Reason.PROTOCOL, "a client's stream with an even number")
        entries = self._decode(block)
        existing = self.streams.get(stream)
        if existing is None:
            if self._is_ignored(stream) or self._gone.was_reset_here(stream):
                self._waste(Reason.CLOSED_STREAMS)
            elif self._gone.was_reset_by_peer(stream):
                self._refuse(stream, ErrorCode.STREAM_CLOSED, Reason.STREAM_CLOSED, "HEADERS after RST_STREAM")
            else:
                raise self._gone.fault(stream)
        elif existing.remote_ended:
            self._refuse(stream, ErrorCode.STREAM_CLOSED, Reason.STREAM_CLOSED, "HEADERS after the end of the request")
        elif not ended:
            self._refuse(stream, ErrorCode.PROTOCOL_ERROR, Reason.MALFORMED, "trailers without END_STREAM")
        elif self._decoder.oversized:
            self._refuse(stream, ErrorCode.ENHANCE_YOUR_CALM, Reason.HEADER_LIST, "trailers over the limit")
        else:
            try:
                fields = read_trailers(entries, self.limits)
            except MalformedMessage as fault:
                self._refuse(stream, ErrorCode.PROTOCOL_ERROR, Reason.MALFORMED, str(fault))
                return
            except TooManyFields as fault:
                self._refuse(stream, ErrorCode.ENHANCE_YOUR_CALM, Reason.HEADER_LIST, str(fault))
                return
            self._own_message_ended(existing)
            if not existing.expected > 0:
                self._events.append(TrailersReceived(stream, fields))

    def _remember_large(self, stream: int, size: int) -> bool:
        """Note a request with a large head; whether there is room for it beside those that are still open."""
        large = self._large
        for one in [one for one in large if one not in self.streams]:
            del large[one]
        if sum(large.values()) + size > max(self.limits.max_open_heads, self.limits.max_header_list):
            return False
        large[stream] = size
        return True

    def _open(self, stream: int) -> Stream:
        highest = self._highest
        if stream > highest + 2 and (highest or stream > 1):
            self._gone.skipped(range(highest + 2 if highest else 1, stream, 2))
        self._highest = stream
        one = self.streams[stream] = Stream(stream, self._peer_initial_window, self._initial_window)
        one.head_seen = True
        return one

    def _read_head(self, stream: int, ended: bool, block: bytes) -> RequestHead | None:
        """Decode a request's head; ``None`` if it has been dealt with already."""
        decoder = self._decoder
        generation = decoder.generation
        entries = self._decode(block)
        try:
            if decoder.oversized:
                raise TooManyFields("a field list over the limit")
            head = read_request(entries, ended, self.limits, self._previous)
        except MalformedMessage as fault:
            self._open(stream)
            self._refuse(stream, ErrorCode.PROTOCOL_ERROR, Reason.MALFORMED, str(fault))
            return None
        except TooManyFields:
            # The owner answers 431; who asks for that again and again is at fault as with a reset.
            self._count_reset(Reason.HEADER_LIST)
            self._open(stream).remote_ended = ended
            self._events.append(RequestOversized(stream, ended))
            return None
        if head.size > LONGEST_KEPT and not self._remember_large(stream, head.size):
            self._open(stream)
            self._refuse(
                stream, ErrorCode.REFUSED_STREAM, Reason.OPEN_HEADS, "large heads of too many open requests", True
            )
            return None
        self._previous = head
        kept = self._kept
        if decoder.generation != self._kept_generation or len(kept[ended]) >= MOST_KEPT:
            kept[0].clear()
            kept[1].clear()
            self._kept_generation = decoder.generation
        if generation == decoder.generation and head.size <= LONGEST_KEPT and len(block) <= LONGEST_KEPT:
            kept[ended][block] = head
        return head
