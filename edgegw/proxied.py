"""What a proxy in front of the gateway says of a connection, in HAProxy's PROXY protocol."""
from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from edgegw.certificate import printable

__all__ = ["ProxiedTLS", "ProxyFacts"]


@frozen
class ProxiedTLS:
    """What the proxy says of the client's TLS, which it has ended.

    :ivar version: as the proxy names it, such as ``TLSv1.3``; so is ``cipher``.  Empty where it does not say.
    :ivar certificate: whether the client has sent a certificate on this connection.
    :ivar session_certificate: whether it has sent one in the session that the connection belongs to.
    :ivar verify: what came of verifying it, 0 if it was good; HAProxy gives OpenSSL's ``X509_V_ERR_…``.
    :ivar common_name: of the certificate's subject.
    """

    version: str = ""
    cipher: str = ""
    certificate: bool = False
    session_certificate: bool = False
    verify: int = 0
    common_name: str = ""

    @property
    def verified(self) -> bool:
        """Whether the proxy says that there is a certificate and that it is good."""
        # Without a certificate some proxies say 0, too.
        return (self.certificate or self.session_certificate) and self.verify == 0


@frozen
class ProxyFacts:
    """What the proxy says of a connection.

    The client's address that it gives is believed: it is the connection's ``peer``.  All else is passed on to logs and
    policies as it was said, and is nobody's identity: any character may be in the texts.

    :ivar peer: the proxy's own IP address as text; ``"unix:"`` for one on a Unix socket.
    :ivar peer_port: the proxy's own port.
    :ivar version: the header's, 1 or 2.
    :ivar local: whether the proxy says that the connection is its own, such as a health check.
    :ivar destination: the address and port that the client has connected to; ``None`` where the proxy has told no
        addresses, and counts as the client itself.
    :ivar authority: the name that the client asked for (SNI).
    :ivar alpn: the protocol that was negotiated with it, each byte a character.
    :ivar unique_id: by which the proxy knows the connection, each byte a character.
    :ivar tls: ``None`` without TLS, and where the proxy says nothing of it.
    """

    peer: str
    peer_port: int
    version: int
    local: bool = False
    destination: tuple[str, int] | None = None
    authority: str = ""
    alpn: str = ""
    unique_id: str = ""
    tls: ProxiedTLS | None = None

    def __str__(self) -> str:
        """Write it for logs, in printable ASCII: ``PROXY v2 from 10.0.0.5, authority app.example``."""
        return ", ".join([f"PROXY v{self.version} from {self.peer}", *(["local"] if self.local else []), *self._said()])

    def _said(self) -> Iterator[str]:
        texts = {"authority": self.authority, "alpn": self.alpn, "id": self.unique_id}
        tls = self.tls
        if tls is not None:
            yield f"TLS {_shown(tls.version)}".rstrip()
            if tls.certificate or tls.session_certificate:
                yield "certificate verified" if tls.verified else f"certificate not verified ({tls.verify})"
            texts["common name"] = tls.common_name
        for name, text in texts.items():
            if text:
                yield f"{name} {_shown(text)}"


def _shown(text: str) -> str:
    return printable(text[:256].encode("utf-8", "backslashreplace"))
