"""What a gRPC client is told in place of an HTTP status: a ``grpc-status``, mostly in a response without a body."""
from __future__ import annotations

from typing import Final

from edgegw.proxy.answers import answer_text
from edgegw.wire.http1 import RequestHead

__all__ = ["STATUS_FIELDS", "denial_text", "grpc_error", "grpc_media_type", "grpc_status"]

#: The names of what :func:`grpc_error` says beside ``:status``.
STATUS_FIELDS: Final = frozenset({b"content-type", b"content-length", b"grpc-status", b"grpc-message"})
#: Bytes of another service's words that a client is told.
MAX_TEXT: Final = 1024

_MEDIA_TYPE: Final = b"application/grpc"
_UNKNOWN: Final = 2
#: gRPC, "HTTP to gRPC Status Code Mapping".
_STATUS: Final = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
#: What may stand in grpc-message as it is; everything else is percent-encoded.
_PLAIN: Final = frozenset(range(0x20, 0x7F)) - {0x25}


def grpc_media_type(head: RequestHead | None) -> bytes:
    """Give the media type of a gRPC request, without its parameters; empty for any other.

    That is ``application/grpc``, or ``application/grpc+`` and the name of a coding; ``application/grpc-web`` is another
    protocol, whose clients read HTTP statuses.  Nor is it one that asks for a tunnel, which status 200 would be.
    """
    if head is not None and b"upgrade" not in head.options:
        for name, value, _ in head.fields:
            if name == b"content-type":
                kind = value.partition(b";")[0].strip(b" \t").lower()
                return kind if kind == _MEDIA_TYPE or kind.startswith(b"application/grpc+") else b""
    return b""


def grpc_status(status: int, text: str) -> tuple[tuple[bytes, bytes], ...]:
    """Give the fields of a header or trailer section that say what an HTTP status would."""
    message = b"".join(b"%c" % byte if byte in _PLAIN else b"%%%02X" % byte for byte in text.encode("utf-8"))
    return (b"grpc-status", b"%d" % _STATUS.get(status, _UNKNOWN)), (b"grpc-message", message)


def grpc_error(status: int, media_type: bytes, reason: str, text: str = "") -> tuple[tuple[bytes, bytes], ...]:
    """Give the fields of a response that says what an HTTP status would ("Trailers-Only" in gRPC over HTTP/2).

    :param reason: the reason code, where the client may know it.
    :param text: what is said of it; the gateway's own words if left out.
    """
    text = text or answer_text(status) or f"HTTP status {status}"
    if reason:
        text = f"{text} reason: {reason}"
    return ((b":status", b"200"), (b"content-type", media_type), *grpc_status(status, text))


def denial_text(body: bytes) -> str:
    """Give what a service says of its refusal, for ``grpc-message``; empty where it is no short text."""
    if len(body) > MAX_TEXT:
        return ""
    try:
        return body.decode("utf-8").strip()
    except UnicodeDecodeError:
        return ""
