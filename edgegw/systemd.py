"""Tells systemd how the service is doing, as ``sd_notify(3)`` does.

Outside systemd, which is without ``NOTIFY_SOCKET`` in the environment, every method does nothing.
"""
from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

from twisted.logger import Logger

__all__ = ["Notifier"]

_log = Logger(namespace="edgegw.systemd")


class Notifier:
    """Sends the states of a service to the socket in ``NOTIFY_SOCKET``.

    :param environ: the environment to look into; the process's own if not given.

    A message that cannot be sent is lost, and the first one that is gets logged: a service manager
    that went away does not stop the gateway.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        address = (os.environ if environ is None else environ).get("NOTIFY_SOCKET", "")
        #: Path of a Unix socket, or an abstract name behind NUL; ``None`` outside systemd.
        self.address: str | None = None
        if address.startswith("/"):
            self.address = address
        elif address.startswith("@"):
            self.address = "\0" + address[1:]
        elif address:
            _log.warn("NOTIFY_SOCKET is neither a path nor an abstract name: {address}", address=address)
        self._failed = False

    def ready(self, status: str) -> None:
        """Say that the service is up, or that a reload is over, however it ended.

        :param status: one line for ``systemctl status``.
        """
        self._send("READY=1", _status(status))

    def reloading(self) -> None:
        """Say that a reload begins; :meth:`ready` must follow (``Type=notify-reload`` waits for it)."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", _status("Reloading"))

    def stopping(self, status: str, seconds: float) -> None:
        """Say that the service goes down.

        :param seconds: how long it may take at most; systemd waits that long even where its own
            ``TimeoutStopSec`` is shorter.
        """
        self._send("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}", _status(status))

    def _send(self, *fields: str) -> None:
        if self.address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
                sender.sendto("\n".join(fields).encode(), self.address)
        except OSError as error:
            if not self._failed:
                _log.warn("systemd cannot be notified: {reason}", reason=str(error))
            self._failed = True


def _status(text: str) -> str:
    return "STATUS=" + " ".join(text.split())
