"""What every injected header value must be before it leaves an injector."""
from __future__ import annotations

import re

__all__ = ["MAX_VALUE_BYTES", "ValueTooLargeError", "header_value"]

#: Bytes of one injected value; upstreams commonly refuse a request head beyond 8 to 64 KiB as a whole.
MAX_VALUE_BYTES = 32_768

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


class ValueTooLargeError(Exception):
    """An identity does not fit into the header that has to tell it.

    Nothing is left out to make it fit: an upstream that asked for a chain would take a request
    without one for a caller without one.  Where the client's own headers made it too large the
    request deserves 431, else 500; it never reaches the upstream.

    :ivar name: the header, lower-case.
    :ivar size: bytes that its value would have had.
    """

    def __init__(self, name: bytes, size: int) -> None:
        super().__init__(f"{name.decode('ascii')} would have {size} bytes, more than {MAX_VALUE_BYTES}")
        self.name = name
        self.size = size


def header_value(name: bytes, value: str | bytes) -> bytes:
    """Give ``value`` as bytes that may go onto the wire under ``name``.

    :raises ValueTooLargeError: it is longer than :data:`MAX_VALUE_BYTES`.
    :raises ValueError: a control character is in it, or anything beyond ASCII in a ``str``.  An
        injector escapes what it takes from a certificate, so this is its own fault.
    """
    raw = value.encode("ascii") if isinstance(value, str) else value
    if len(raw) > MAX_VALUE_BYTES:
        raise ValueTooLargeError(name, len(raw))
    if _CONTROL.search(raw):
        raise ValueError(f"a control character in the value of {name.decode('ascii')}")
    return raw
