"""HTTP/2 (RFC 9113, HPACK RFC 7541, extended CONNECT RFC 8441): bytes to events and calls to bytes.

:class:`ServerConnection` and :class:`ClientConnection` are the two ends.  Both know no sockets and no time but a
clock that they are given.  This is how one is used:

- :meth:`~ReceivingHalf.receive` takes bytes and gives events.  It never raises.  After a :class:`ConnectionFault`
  the owner writes the output (GOAWAY is in it) and closes.  Events of one call may be overtaken by a later one of
  the same call: what is sent on a stream that is gone meanwhile is dropped, and says so by giving ``False``.
- After whatever may have caused output, ``take_output`` gives all of it as one piece to write.  When the transport
  has nothing left to write, ``output_read`` says so; who never reads its answers is given up.
- The owner keeps what waits for a window, and sends at most ``sendable(stream)``, at once whenever it can:
  :class:`WindowOpened` comes only when a window was shut.  Stream 0 is the connection: any stream may go on.
- ``acknowledge(stream, size)`` for each :class:`DataReceived` when its data has been passed on.  What is not
  acknowledged is what the peer stops after: a stream's window, never more than ``Limits.whole_window`` in all.
- A fault of one stream is answered with RST_STREAM here and reported as :class:`StreamReset`, also for a stream of
  which the owner has not heard yet.  :class:`RequestOversized` is to be answered with 431.
- Requests may be CONNECT (``target`` is empty, ``host`` is where to), plain or extended: refusing is the owner's.
- Closing in good order: ``announce_drain``, a round trip later ``go_away``, then the end of what is open.
- Time-outs are the owner's: for ``unfinished`` frames, ``settings_acknowledged``, idle streams and shut windows.

Floods end with GOAWAY and ENHANCE_YOUR_CALM; :class:`Limits` says what is too much, :class:`Reason` what it was.

Taking a request of eight fields on a warmed-up connection and sending a head of five fields and one frame of data
took 8 to 14 µs here (21 to 30 where the path is another each time), 126 to 147 µs with ``jh2`` 5.0 and 171 to 181 µs
with ``h2`` 4.4: three runs on one busy core, the same fields for all.  Behind sockets, four connections of 32 streams
cost 8 µs for each request, the reactor's and the kernel's work included.

Why it is written out, beside that: ``h2`` ends the connection for one malformed message, and the HPACK decoder in
Rust that ``jh2`` has panics on a truncated integer (an exception outside ``Exception``, with a trace on stderr) and
lets wrong Huffman padding and late table size updates pass.
"""
from __future__ import annotations

from .client import ClientConnection
from .errors import ErrorCode, Reason, code_name
from .events import (
    ConnectionFault,
    DataReceived,
    Event,
    GoAwayReceived,
    PingAcknowledged,
    RequestOversized,
    RequestReceived,
    ResponseReceived,
    SettingsReceived,
    StreamReset,
    TrailersReceived,
    WindowOpened,
)
from .field_rules import FORBIDDEN, RequestHead, ResponseHead
from .frames import PREFACE
from .limits import Limits
from .receiving import ReceivingHalf
from .server import ServerConnection

__all__ = [
    "FORBIDDEN",
    "PREFACE",
    "ClientConnection",
    "ConnectionFault",
    "DataReceived",
    "ErrorCode",
    "Event",
    "GoAwayReceived",
    "Limits",
    "PingAcknowledged",
    "Reason",
    "ReceivingHalf",
    "RequestHead",
    "RequestOversized",
    "RequestReceived",
    "ResponseHead",
    "ResponseReceived",
    "ServerConnection",
    "SettingsReceived",
    "StreamReset",
    "TrailersReceived",
    "WindowOpened",
    "code_name",
]
