"""An attacker's connection: whatever frames it likes, and an eye on what comes back."""
from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import islice
from time import monotonic
from typing import Final

from attrs import define

from edgegw.wire.http2 import PREFACE
from edgegw.wire.http2.frames import FRAME_HEAD, frame

__all__ = ["Ending", "Line"]

#: Seconds after which nothing is expected any more.
PATIENCE: Final = 8.0
#: Frames that are sent at once.
_TOGETHER: Final = 50


@define
class Ending:
    """How a connection ended, as far as it has.

    :ivar code: of GOAWAY.
    :ivar told: its debug data.
    :ivar closed: whether nothing more comes.
    """

    code: int | None = None
    told: str = ""
    closed: bool = False


class Line:
    """One connection, on which the preface has been sent.

    :param reads: whether what comes is read.
    :param settles: whether the gateway's settings are acknowledged.
    :ivar begun: streams on which a response has begun.
    :ivar over: streams that have ended either way.
    :ivar resets: error codes of streams.
    :ivar frames: that :meth:`flood` and :meth:`send` were given.
    """

    def __init__(self, address: tuple[str, int], tls: bool = False, reads: bool = True, settles: bool = True) -> None:
        self.address = address
        self.tls = tls
        self.reads = reads
        self.answers_pings = True
        self.ending = Ending()
        self.begun: set[int] = set()
        self.over: set[int] = set()
        self.resets: dict[int, int] = {}
        self.frames = 0
        self._received = b""
        plain = socket.socket()
        plain.settimeout(PATIENCE)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not reads:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.connect(address)
        self._socket = _wrapped(plain) if tls else plain
        self._socket.setblocking(False)
        self._write(PREFACE + frame(4, 0, 0, b"") + (frame(4, 1, 0, b"") if settles else b""))

    @property
    def _ended(self) -> bool:
        return self.ending.closed or self.ending.code is not None

    # --- sending ------------------------------------------------------------------------------

    def send(self, data: bytes) -> bool:
        """Send something; whether the gateway still listens."""
        self.frames += 1
        return self._write(data)

    def flood(self, pieces: Iterable[bytes], most: int = 1_000_000) -> bool:
        """Send one piece after another until the gateway ends it, or time is up; whether it still listens."""
        left = islice(pieces, most)
        deadline = monotonic() + PATIENCE
        while some := list(islice(left, _TOGETHER)):
            self.frames += len(some)
            if not self._write(b"".join(some)) or monotonic() > deadline:
                return not self._ended
        return not self._ended

    def _write(self, data: bytes) -> bool:
        """Send all of it, and read meanwhile."""
        view = memoryview(data)
        deadline = monotonic() + PATIENCE
        while view and not self._ended:
            try:
                view = view[self._socket.send(view) :]
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                if monotonic() > deadline:
                    return False
                select.select([self._socket] if self.reads else [], [self._socket], [], 0.05)
            except OSError:
                # What the gateway has said before it closed can still be read.
                self.until_closed()
                self.ending.closed = True
            if self.reads:
                self._read()
        return not self._ended

    # --- receiving ----------------------------------------------------------------------------

    def wait(self, seconds: float) -> bool:
        """Read for some time; whether the connection has ended."""
        deadline = monotonic() + seconds
        while not self._ended and (left := deadline - monotonic()) > 0:
            self._wait_once(left)
        return self._ended

    def until(self, condition: Callable[[], bool]) -> bool:
        """Read until something is so; whether the connection has ended instead, or nothing happened for long."""
        deadline = monotonic() + PATIENCE
        while not condition():
            if self._ended or monotonic() > deadline:
                return True
            self._wait_once(0.1)
        return False

    def until_closed(self) -> None:
        """Read on after GOAWAY, to its end."""
        deadline = monotonic() + PATIENCE
        while not self.ending.closed and monotonic() < deadline:
            self._wait_once(0.1)

    def until_reset(self) -> None:
        """Wait for the end without reading anything: what is not read hides it, but for a reset."""
        poll = select.poll()
        poll.register(self._socket, 0)
        self.ending.closed = bool(poll.poll(PATIENCE * 1000))

    def _wait_once(self, seconds: float) -> None:
        if not (isinstance(self._socket, ssl.SSLSocket) and self._socket.pending()):
            select.select([self._socket], [], [], min(seconds, 0.1))
        self._read()

    def _read(self) -> None:
        try:
            while not self.ending.closed:
                data = self._socket.recv(65_536)
                if not data:
                    self.ending.closed = True
                self._take(data)
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        except OSError:
            self.ending.closed = True

    def _take(self, data: bytes) -> None:
        data = self._received + data
        at = 0
        while len(data) - at >= 9:
            high, length, kind, flags, stream = FRAME_HEAD.unpack_from(data, at)
            end = at + 9 + (high << 16 | length)
            if end > len(data):
                break
            self._take_frame(kind, flags, stream, data[at + 9 : end])
            at = end
        self._received = data[at:]

    def _take_frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind in (0, 1):
            self.begun.add(stream)
            if flags & 1:
                self.over.add(stream)
        elif kind == 3:
            self.over.add(stream)
            self.resets[stream] = int.from_bytes(payload, "big")
        elif kind == 6 and not flags and self.answers_pings:
            with suppress(OSError):
                self._socket.send(frame(6, 1, 0, payload))
        elif kind == 7 and (code := int.from_bytes(payload[4:8], "big")):
            self.ending.code = code
            self.ending.told = payload[8:].decode("ascii", "replace")

    def close(self) -> None:
        """Leave, as rudely as can be."""
        self._socket.close()


def _wrapped(plain: socket.socket) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context.wrap_socket(plain, server_hostname="localhost")
