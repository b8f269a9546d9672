"""Other ways from a client's certificate to a trust anchor, where OpenSSL gives up on the first that it builds."""
from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import MD5, SHA1
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import crypto

from edgegw.certificate import Certificate, certificate
from edgegw.model import ClientValidation
from edgegw.policies.chain_building import alternative_chains
from edgegw.tls import store_context

__all__ = ["Alternatives", "namesakes"]

#: X509_V_ERR_… about keys and signatures that are too weak: no other chain mends a weak one of the client's, and
#: what OpenSSL demands in a handshake (security level 2: 112 bits) is demanded here of the others.
_WEAK: Final = frozenset({66, 67, 68})
_LEAST_RSA: Final = 2048
_LEAST_EC: Final = 224
#: Chains that are tried for one client because of their names.
_MOST_NAMESAKES: Final = 32


def namesakes(validation: ClientValidation) -> int:
    """Give how many trust anchors have the name of another one with another key.

    Where a client's certificate does not say which key has signed it, OpenSSL takes the first CA of the name for its
    issuer, and looks no further when the signature is not that one's.
    """
    keys: dict[bytes, set[bytes]] = {}
    for anchor in validation.trust_anchors:
        one = x509.load_pem_x509_certificate(anchor.pem)
        try:
            key = one.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            keys.setdefault(one.subject.public_bytes(), set()).add(key)
        except (ValueError, UnsupportedAlgorithm):
            continue
    return min(sum(len(found) for found in keys.values() if len(found) > 1), _MOST_NAMESAKES)


class Alternatives:
    """Looks for another chain.

    :param limit: chains that are tried for one client.
    """

    def __init__(self, validation: ClientValidation, limit: int) -> None:
        self._limit = limit
        self._depth = validation.max_depth
        self._anchors = tuple(
            certificate(x509.load_pem_x509_certificate(anchor.pem).public_bytes(Encoding.DER))
            for anchor in validation.trust_anchors
        )

    def find(
        self, leaf: Certificate, sent: Sequence[Certificate], errors: Sequence[tuple[int, int]], now: datetime
    ) -> tuple[Certificate, ...] | None:
        """Give a chain that OpenSSL finds good, the client's certificate first and the anchor last.

        :param sent: what the client sent above its own certificate.
        :param errors: what OpenSSL found wrong with the first chain, with the distance from ``leaf``.
        :param now: aware.
        """
        if any(error in _WEAK and depth == 0 for error, depth in errors):
            return None
        for chain in alternative_chains(
            leaf, sent, self._anchors, self._limit, depth=self._depth, now=now
        ):
            if len(chain) - 1 <= self._depth and all(map(_is_strong, chain[1:])) and _is_good(chain, now):
                return chain
        return None


def _is_good(chain: tuple[Certificate, ...], now: datetime) -> bool:
    try:
        parsed = [crypto.X509.from_cryptography(one.x509) for one in chain]
        store = store_context.client_store(parsed[-1:], now)
        crypto.X509StoreContext(store, parsed[0], parsed[1:-1]).verify_certificate()
    except (ValueError, crypto.Error, crypto.X509StoreContextError):
        return False
    return True


def _is_strong(issuer: Certificate) -> bool:
    try:
        key = issuer.x509.public_key()
        digest = issuer.x509.signature_hash_algorithm
        if isinstance(digest, (MD5, SHA1)) and issuer.x509.issuer != issuer.x509.subject:
            return False
    except Exception:
        return False
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size >= _LEAST_RSA
    return not isinstance(key, ec.EllipticCurvePublicKey) or key.key_size >= _LEAST_EC
