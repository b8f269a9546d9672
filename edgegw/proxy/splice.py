"""One end of a tunnel on a bare socket: what it reads goes into the other end's socket.

Small pieces are received and sent.  Whoever sends much has its bytes moved by the kernel, through a pipe
(``splice(2)``), unless the system has no such thing.  An end is read only while nothing that came from it is left here:
what the other end does not take stays in the pipe, then in this end's socket, then with who sends it.  While that lasts
the reactor is asked for the other end's room and not for this end's bytes, of which it would tell again and again.
"""
from __future__ import annotations

import os
import socket
import struct
from errno import EINVAL, ENOSYS, EPERM
from typing import Any, Final

from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from edgegw.proxy.splice_pipes import CAN_SPLICE, PIPE_SIZE, Pipe, close_pipe, give_back, take_pipe

__all__ = ["SocketEnd"]

#: Bytes that are received at a time; whoever fills it is spliced from.
COPY_SIZE: Final = 16_384
#: What is spliced at a time is at least this much, or it is copied again.
LEAST_SPLICE: Final = 4_096
#: Times that bytes are moved in one turn of the reactor.
MOVES_PER_TURN: Final = 4

#: What a system answers that cannot splice this kind of socket, or must not.
_UNABLE: Final = frozenset({EINVAL, ENOSYS, EPERM})
#: ``SO_LINGER`` for which close() resets the connection.
_RESET: Final = struct.pack("ii", 1, 0)

if CAN_SPLICE:
    _splice = os.splice
    _FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK


@implementer(IReadDescriptor, IWriteDescriptor)
class SocketEnd:
    """A socket, and what was read from it and not taken by the other end.

    :ivar socket: non-blocking; closed by :meth:`close_socket`.
    :ivar other: the other end once it is open; ``None`` again when the tunnel is at its end.
    :ivar ended: whether it sends no more.
    """

    other: SocketEnd | None = None
    ended = False
    _splices = False
    _can_splice = CAN_SPLICE
    _pipe: Pipe | None = None
    _left = 0
    _rest = b""

    def __init__(self, sock: socket.socket, reactor: Any) -> None:
        self.socket = sock
        self.fileno = sock.fileno
        self.reactor = reactor

    # --- what the tunnel does -----------------------------------------------------------------

    def moved(self, size: int) -> None:
        """Called when so many bytes were read from this end."""
        raise NotImplementedError

    def progressed(self) -> None:
        """Called when the other end has taken something that it had not when it was read."""
        raise NotImplementedError

    def hold(self) -> None:
        """Called when there is something to read and no other end for it."""

    def finish(self) -> None:
        """Called when neither end sends any more, and all of it has been passed on."""
        raise NotImplementedError

    def broken(self, end: SocketEnd) -> None:
        """Called when one of the ends can be read or written no more, though it should: close both."""
        raise NotImplementedError

    # --- what the reactor calls -----------------------------------------------------------------

    def logPrefix(self) -> str:
        """Name it in Twisted's log."""
        return "edgegw"

    def doRead(self) -> None:
        """Called by the reactor when there is something to read."""
        if self.other is None:
            self.hold()
        elif self._splices:
            self._splice_on()
        else:
            self._copy(COPY_SIZE)

    def doWrite(self) -> None:
        """Called by the reactor when there is room for what was left of the other end's."""
        source = self.other
        if source is None or not source.flush():
            return
        if source.ended:
            self.reactor.removeWriter(self)
            source.pass_end_on()
            return
        # While this end is the slower one it alone is waited for.
        source.doRead()
        if source.other is not None and not source.unsent:
            self.reactor.removeWriter(self)
            if not source.ended:
                self.reactor.addReader(source)

    def connectionLost(self, reason: Failure) -> None:
        """Called by the reactor when the connection is broken."""
        self.broken(self)

    # --- moving ---------------------------------------------------------------------------------

    @property
    def unsent(self) -> int:
        """Bytes that were read from this end and that the other end has not taken."""
        return self._left + len(self._rest)

    def _copy(self, size: int) -> None:
        try:
            data = self.socket.recv(size)
        except BlockingIOError:
            return
        except OSError:
            self.broken(self)
            return
        got = len(data)
        if not got:
            self._has_ended()
            return
        self.moved(got)
        if got == size:
            self._splices = self._can_splice
        # As send() does, without calling it for each of the pieces that most tunnels consist of.
        other = self.other
        assert other is not None
        try:
            sent = other.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.broken(other)
            return
        if sent != got:
            self._rest = data[sent:]
            self._wait()

    def send(self, data: bytes) -> None:
        """Pass bytes on that were read from this end, of which nothing is left."""
        other = self.other
        assert other is not None
        try:
            sent = other.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.broken(other)
            return
        if sent != len(data):
            self._rest = data[sent:]
            self._wait()

    def _splice_on(self) -> None:
        for move in range(MOVES_PER_TURN):
            if not self._move(move == 0):
                return

    def _move(self, first: bool) -> bool:
        """Move what there is; whether there may be more, and room for it.

        :param first: whether the reactor has told of something since it was last looked at.
        """
        pipe = take_pipe()
        if pipe is None:
            self._copy(4 * COPY_SIZE)
            return False
        try:
            size = _splice(self.fileno(), pipe[1], PIPE_SIZE, None, None, _FLAGS)
        except BlockingIOError:
            give_back(pipe)
            if first:
                self._look_again()
            return False
        except OSError as error:
            give_back(pipe)
            if error.errno in _UNABLE:
                self._copy_from_now_on()
            else:
                self.broken(self)
            return False
        if not size:
            give_back(pipe)
            self._look_again()
            return False
        self.moved(size)
        self._pipe, self._left = pipe, size
        if size < LEAST_SPLICE:
            self._splices = False
        if self._drain():
            return self._splices and size >= COPY_SIZE
        if self.other is not None:
            self._wait()
        return False

    def _look_again(self) -> None:
        # An urgent byte (RFC 6093) looks like the end, or like nothing for ever; receiving passes over it.
        self._splices = False
        self._copy(COPY_SIZE)

    def _drain(self) -> bool:
        """Pass on what is in the pipe; whether all of it was taken."""
        other, pipe = self.other, self._pipe
        assert other is not None and pipe is not None
        try:
            self._left -= _splice(pipe[0], other.fileno(), self._left, None, None, _FLAGS)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _UNABLE:
                self.broken(other)
                return False
            self._rest = os.read(pipe[0], self._left)
            self._left = 0
            self._copy_from_now_on()
        if self._left:
            return False
        self._pipe = None
        give_back(pipe)
        return not self._rest

    def _copy_from_now_on(self) -> None:
        self._splices = self._can_splice = False

    def _wait(self) -> None:
        """Read no more until the other end has taken what is left."""
        self.reactor.removeReader(self)
        self.reactor.addWriter(self.other)

    def flush(self) -> bool:
        """Pass on what is left; whether all of it was taken."""
        before = self.unsent
        if self._left:
            self._drain()
        other = self.other
        if self._rest and other is not None:
            try:
                self._rest = self._rest[other.socket.send(self._rest):]
            except BlockingIOError:
                pass
            except OSError:
                self.broken(other)
        if self.other is None:
            return False
        left = self.unsent
        if left != before:
            self.progressed()
        return not left

    # --- ends -----------------------------------------------------------------------------------

    def _has_ended(self) -> None:
        self.ended = True
        other = self.other
        if other is not None and other.ended and not other.unsent:
            self.finish()
            return
        self.reactor.removeReader(self)
        self.pass_end_on()

    def pass_end_on(self) -> None:
        """Tell the other end, which has taken everything, that no more is coming."""
        other = self.other
        assert other is not None
        if other.ended and not other.unsent:
            self.finish()
            return
        try:
            other.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.broken(other)

    def close_socket(self, reset: bool) -> None:
        """Close it, and throw away what is left.

        :param reset: tell the peer that this was no end in order.
        """
        self.other = None
        reactor = self.reactor
        forget = getattr(reactor, "forget", None)
        if forget is not None:
            forget(self)  # EdgeReactor's shorter way to the same end
        else:
            reactor.removeReader(self)
            reactor.removeWriter(self)
        if reset:
            try:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            except OSError:
                pass  # it is gone already
        self.socket.close()
        self._rest, self._left = b"", 0
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            close_pipe(pipe)
