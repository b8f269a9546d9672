"""Error codes of HTTP/2 (RFC 9113 §7), the reasons the codec counts faults by, and the faults themselves."""
from __future__ import annotations

from enum import IntEnum, StrEnum

__all__ = ["CodecFault", "ErrorCode", "Reason", "code_name", "frame_size_fault", "protocol_fault"]


class ErrorCode(IntEnum):
    """What RST_STREAM and GOAWAY say."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


def code_name(code: int) -> str:
    """Give the name of a code; ``UNKNOWN`` for what is not registered, so that it can be a label."""
    try:
        return ErrorCode(code).name
    except ValueError:
        return "UNKNOWN"


class Reason(StrEnum):
    """Why a stream was reset or a connection given up: a closed list, fit for a metric's label."""

    PEER = "peer"  # the other side said so
    PROTOCOL = "protocol"
    MALFORMED = "malformed_message"
    FLOW_CONTROL = "flow_control"
    FRAME_SIZE = "frame_size"
    STREAM_CLOSED = "stream_closed"
    COMPRESSION = "compression"
    CONCURRENCY = "too_many_streams"
    HEADER_LIST = "header_list"  # longer than the limit
    HEADER_BOMB = "header_bomb"  # longer than anybody sends in good faith
    OPEN_HEADS = "open_heads"  # large ones, of many requests at the same time
    CONTINUATIONS = "continuation_flood"
    RESETS = "reset_flood"  # the peer's own
    PROVOKED_RESETS = "provoked_reset_flood"  # those that it made us send
    PINGS = "ping_flood"
    SETTINGS = "settings_flood"
    PRIORITIES = "priority_flood"
    WINDOW_UPDATES = "window_update_flood"
    EMPTY_DATA = "empty_data_flood"
    GOAWAYS = "goaway_flood"
    INTERIM = "interim_response_flood"
    UNKNOWN_FRAMES = "unknown_frame_flood"
    CLOSED_STREAMS = "closed_stream_flood"  # frames on streams that are no more
    ANSWERS_NOT_READ = "answers_not_read"
    # Time-outs, which are the owner's to see.
    SETTINGS_TIMEOUT = "settings_timeout"
    FRAME_TIMEOUT = "frame_timeout"
    PING_TIMEOUT = "ping_timeout"
    WRITE_TIMEOUT = "write_timeout"


class CodecFault(Exception):
    """What ends a connection; it never leaves the codec, which answers it with GOAWAY."""

    def __init__(self, code: ErrorCode, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.reason = reason
        self.detail = detail


def protocol_fault(detail: str) -> CodecFault:
    """Give the fault of whoever does what the protocol does not have."""
    return CodecFault(ErrorCode.PROTOCOL_ERROR, Reason.PROTOCOL, detail)


def frame_size_fault(detail: str) -> CodecFault:
    """Give the fault of a frame of a length that its type does not have."""
    return CodecFault(ErrorCode.FRAME_SIZE_ERROR, Reason.FRAME_SIZE, detail)
