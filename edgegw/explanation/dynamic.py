"""The certificate that a client's name leads to where a source gives it."""
from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet.defer import Deferred

from edgegw.interfaces import CertificateAndKey
from edgegw.tls.listener import TLSListener
from edgegw.verdict import Reject

__all__ = ["find_context", "is_asked"]

_DAY: Final = timedelta(days=1)


def is_asked(listener: TLSListener, server_name: str | None, routed: bool, online: bool) -> bool | None:
    """Whether a listener's source is asked about a name; ``None`` where no source is there for it.

    :param online: whether one that waits is asked; it may ask others over a network.
    """
    if server_name is None or listener.dynamic is None or not listener.asks_about(server_name, routed):
        return None
    return online or not listener.dynamic.waits


async def find_context(
    listener: TLSListener, server_name: str | None, routed: bool, online: bool
) -> SSL.Context | Reject | None:
    """Give what a name leads to, as :meth:`~edgegw.tls.listener.TLSListener.find` does.

    Where the source is not asked, a certificate stands in for the one that it would have given.
    """
    asked, dynamic = is_asked(listener, server_name, routed, online), listener.dynamic
    if asked is not None and dynamic is not None and server_name is not None:
        if not asked:
            return dynamic.show_now(server_name, _stand_in(server_name))
        if not online:
            return dynamic.ask_now(server_name)
    found = listener.find(server_name, routed)
    return await found if isinstance(found, Deferred) else found


def _stand_in(name: str) -> CertificateAndKey:
    """Make a certificate that nobody trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stand-in")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return CertificateAndKey(certificate.public_bytes(Encoding.PEM), pem, "a stand-in")
