"""How a TLS connection ends on a transport whose socket OpenSSL writes itself, and what TLS knows of it."""
from __future__ import annotations

from typing import Any

from OpenSSL import SSL, crypto

__all__ = ["TLSEnding"]


class TLSEnding:
    """Mixed in before a transport of :mod:`edgegw.tcp`, on either side of TLS: no end without a close_notify.

    :ivar tls: OpenSSL's end of it; ``None`` before there is one, and when the connection has ended.
    """

    tls: SSL.Connection | None = None
    startWriting: Any
    _writeDisconnected: bool
    _own_end_closed = False

    def _close_notify(self) -> bool:
        """Say that no more is coming; whether the socket took it or there is nobody to tell."""
        if self._own_end_closed or self.tls is None:
            return True
        try:
            self.tls.shutdown()
        except SSL.WantWriteError:
            return False
        except SSL.Error:
            pass  # the peer is gone
        self._own_end_closed = True
        return True

    def _closeWriteConnection(self) -> None:
        if not self._close_notify():
            self._writeDisconnected = False
            self.startWriting()
            return
        super()._closeWriteConnection()  # type: ignore[misc]  # Twisted's

    @property
    def negotiatedProtocol(self) -> bytes | None:
        """The protocol that ALPN chose, or ``None``."""
        return (self.tls.get_alpn_proto_negotiated() or None) if self.tls is not None else None

    def getPeerCertificate(self) -> crypto.X509 | None:
        """The peer's certificate, whatever was made of it; ``None`` without one, and when the connection has ended."""
        return self.tls.get_peer_certificate() if self.tls is not None else None
