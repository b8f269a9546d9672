"""The frames that are about a connection and not about one stream: SETTINGS, PING and GOAWAY (RFC 9113 §6)."""
from __future__ import annotations

from collections.abc import Callable

from . import frames
from .errors import CodecFault, ErrorCode, Reason, frame_size_fault, protocol_fault
from .events import GoAwayReceived, PingAcknowledged, SettingsReceived, WindowOpened
from .field_rules import judge
from .frames import ACK, DEFAULT_FRAME_SIZE, MAX_WINDOW
from .hpack_decoder import Decoder
from .limits import Limits
from .sending import SendingHalf

__all__ = ["DRIBBLE", "TINY", "ConnectionFrames"]

#: Bytes of GOAWAY's debug data that are given on.
_MOST_DEBUG = 256
#: To open a shut window by less than this is of no use.
TINY = 64
#: Frames that are wasted by doing so: what it lets us send would earn more than it costs.  Peers whose buffer is about
#: as large as a frame do it now and then.
DRIBBLE = 4


class ConnectionFrames(SendingHalf):
    """Follows the peer's settings, answers its pings, hears that it goes.

    :ivar settings_acknowledged: whether the peer has taken our settings; the owner bounds the time for it.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        super().__init__(limits, clock)
        self.settings_acknowledged = False
        self._settings_seen = False
        self._decoder = Decoder(
            judge, limits.max_header_list, limits.header_table, 4 * (limits.max_fields + limits.max_cookie_crumbs)
        )

    def _take_settings(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise protocol_fault("SETTINGS on a stream")
        if flags & ACK:
            if payload:
                raise frame_size_fault("an acknowledgement of SETTINGS with a payload")
            if self.settings_acknowledged:
                self._waste(Reason.SETTINGS)
            else:
                self._apply_own_settings()
            return
        if len(payload) % 6:
            raise frame_size_fault("SETTINGS not of 6 bytes each")
        first = not self._settings_seen
        self._settings_seen = True
        values: dict[int, int] = {}
        for name, value in frames.SETTING.iter_unpack(payload):
            _check_setting(name, value)
            values[name] = value
            if name == frames.HEADER_TABLE_SIZE:
                # In between it may have been smaller, which the next block has to say.
                self._encoder.allow(value)
        acknowledgement = frames.frame(frames.SETTINGS, ACK, 0, b"")
        if first:
            self._apply_settings(values)
            self._output.append(acknowledgement)
        else:
            self._waste(Reason.SETTINGS, 1 + len(payload) // 96)
            self._apply_settings(values)
            self._answer(acknowledgement)
        self._events.append(SettingsReceived())

    def _apply_settings(self, values: dict[int, int]) -> None:
        """Follow the peer's settings, of each the last value."""
        if frames.MAX_FRAME_SIZE in values:
            # Larger frames than the default only make other streams wait.
            self._max_frame = min(values[frames.MAX_FRAME_SIZE], DEFAULT_FRAME_SIZE)
        if frames.MAX_HEADER_LIST_SIZE in values:
            self.peer_max_header_list = values[frames.MAX_HEADER_LIST_SIZE]
        if frames.MAX_CONCURRENT_STREAMS in values:
            self.peer_max_streams = min(values[frames.MAX_CONCURRENT_STREAMS], self.limits.max_concurrent_streams)
        if frames.ENABLE_CONNECT_PROTOCOL in values:
            wanted = values[frames.ENABLE_CONNECT_PROTOCOL] == 1
            if self.peer_extended_connect and not wanted:
                raise protocol_fault("extended CONNECT taken back")
            self.peer_extended_connect = wanted
        if frames.INITIAL_WINDOW_SIZE in values:
            change = values[frames.INITIAL_WINDOW_SIZE] - self._peer_initial_window
            self._peer_initial_window += change
            opened = 0
            for one in self.streams.values():
                before = one.send_window
                one.send_window += change
                if one.send_window > MAX_WINDOW:
                    raise CodecFault(ErrorCode.FLOW_CONTROL_ERROR, Reason.FLOW_CONTROL, "a window past 2^31-1")
                if before <= 0 < one.send_window:
                    self._events.append(WindowOpened(one.id))
                    opened += 1
            if opened and change < TINY:
                # As tiny WINDOW_UPDATEs on all of them would.
                self._waste(Reason.WINDOW_UPDATES, DRIBBLE * opened)
            elif change < 0:
                # Shut and opened again, all streams would be looked at each time.
                self._waste(Reason.SETTINGS, len(self.streams))

    def _apply_own_settings(self) -> None:
        """Hold the peer to our settings, which it has taken."""
        self.settings_acknowledged = True
        self._decoder.allow(self.limits.header_table)
        change = self.limits.stream_window - self._initial_window
        self._initial_window += change
        if change:
            for one in self.streams.values():
                one.receive_window += change

    def _take_ping(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise protocol_fault("PING on a stream")
        if len(payload) != 8:
            raise frame_size_fault("PING not of 8 bytes")
        self._waste(Reason.PINGS)
        if flags & ACK:
            self._events.append(PingAcknowledged(payload))
        else:
            self._answer(frames.frame(frames.PING, ACK, 0, payload))

    def _take_goaway(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise protocol_fault("GOAWAY on a stream")
        if len(payload) < 8:
            raise frame_size_fault("GOAWAY of less than 8 bytes")
        self._waste(Reason.GOAWAYS)
        last = int.from_bytes(payload[:4], "big") & MAX_WINDOW
        self._peer_goes(last)
        self._events.append(GoAwayReceived(last, int.from_bytes(payload[4:8], "big"), payload[8 : 8 + _MOST_DEBUG]))

    def _peer_goes(self, last: int) -> None:
        """Take back what the peer says it will not answer."""


def _check_setting(name: int, value: int) -> None:
    """Refuse a value that a setting must not have (RFC 9113 §6.5.2, RFC 8441 §3)."""
    if name in (frames.ENABLE_PUSH, frames.ENABLE_CONNECT_PROTOCOL):
        if value > 1:
            raise protocol_fault("a setting that is neither 0 nor 1")
    elif name == frames.INITIAL_WINDOW_SIZE:
        if value > MAX_WINDOW:
            raise CodecFault(ErrorCode.FLOW_CONTROL_ERROR, Reason.FLOW_CONTROL, "an initial window past 2^31-1")
    elif name == frames.MAX_FRAME_SIZE and not DEFAULT_FRAME_SIZE <= value < 2**24:
        raise protocol_fault("a maximal frame size out of range")
