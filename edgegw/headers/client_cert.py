"""``Client-Cert`` and ``Client-Cert-Chain`` (RFC 9440)."""
from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence

from attrs import field, frozen
from zope.interface import implementer

from edgegw.identity import ConnectionInfo
from edgegw.interfaces import IHeaderInjector
from edgegw.model import ClientCertificateField

from .value import header_value

__all__ = ["CHAIN_HEADER", "HEADER", "ClientCertInjector"]

HEADER = b"client-cert"
CHAIN_HEADER = b"client-cert-chain"
_BOTH = frozenset({HEADER, CHAIN_HEADER})


@implementer(IHeaderInjector)
@frozen
class ClientCertInjector:
    """Sends the verified certificate and, if asked to, what the client sent above it.

    Both are base64 of DER between colons (structured fields' Byte Sequence, RFC 8941 §3.3.5), so that
    nothing a certificate holds can mean anything in them.  ``Client-Cert-Chain`` is one line with
    ``", "`` between certificates in TLS's order; without a chain, and without ``Client-Cert``, it is
    not sent (§2.3).  Neither is sent for a certificate that was not verified.  Both names are taken
    out of what clients send even where the chain is not asked for (§2.4).
    """

    settings: ClientCertificateField
    owned: frozenset[bytes] = field(init=False, default=_BOTH)
    owned_responses: frozenset[bytes] = field(init=False, default=_BOTH)
    per_request: bool = field(init=False, default=False)

    @property
    def needs_chain(self) -> bool:
        """Whether ``Client-Cert-Chain`` is asked for."""
        return self.settings.chain

    def inject(
        self, connection: ConnectionInfo, received: Mapping[bytes, Sequence[bytes]]
    ) -> Sequence[tuple[bytes, bytes]]:
        """Give one header, both, or nothing.

        :raises ValueTooLargeError: see :class:`edgegw.headers.value.ValueTooLargeError`.
        """
        verified = connection.identity.verified
        if verified is None:
            return ()
        headers = [(HEADER, header_value(HEADER, _byte_sequence(verified.der)))]
        if self.settings.chain and connection.identity.chain:
            chain = b", ".join([_byte_sequence(link.der) for link in connection.identity.chain])
            headers.append((CHAIN_HEADER, header_value(CHAIN_HEADER, chain)))
        return headers


def _byte_sequence(raw: bytes) -> bytes:
    return b":" + b64encode(raw) + b":"
