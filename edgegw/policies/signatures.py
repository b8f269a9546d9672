"""Signatures on CRLs and OCSP responses: which algorithm, and whether a key made it.

``cryptography`` verifies a CRL's signature by writing all of it anew, which takes seconds for a million
entries while nothing else runs.  Here what was signed is hashed when it is read, on whatever thread that
is, and only the hash is compared with the signature later.
"""
from __future__ import annotations

import hashlib
from typing import Any, Final

from attrs import frozen
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import load_der_public_key

from edgegw.der import INTEGER, OID, SEQUENCE, DERError, elements, expect, only

try:
    from cryptography.hazmat.primitives.asymmetric import mldsa
except ImportError:  # releases before ML-DSA
    mldsa = None  # type: ignore[assignment]

__all__ = ["SignatureScheme", "is_signed", "load_public_key", "signature_scheme", "to_be_signed"]

_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "sha1": hashes.SHA1(),
    "sha224": hashes.SHA224(),
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
    "sha3_256": hashes.SHA3_256(),
    "sha3_384": hashes.SHA3_384(),
    "sha3_512": hashes.SHA3_512(),
}
#: RFC 8017 §A.2.4 and RFC 5758 §3.2, RFC 8692: contents of the object identifiers, in hexadecimal.
_HASH_FIRST: Final = {
    "2a864886f70d010105": ("RSA", "sha1"),
    "2a864886f70d01010e": ("RSA", "sha224"),
    "2a864886f70d01010b": ("RSA", "sha256"),
    "2a864886f70d01010c": ("RSA", "sha384"),
    "2a864886f70d01010d": ("RSA", "sha512"),
    "60864801650304030e": ("RSA", "sha3_256"),
    "60864801650304030f": ("RSA", "sha3_384"),
    "608648016503040310": ("RSA", "sha3_512"),
    "2a8648ce3d0401": ("ECDSA", "sha1"),
    "2a8648ce3d040301": ("ECDSA", "sha224"),
    "2a8648ce3d040302": ("ECDSA", "sha256"),
    "2a8648ce3d040303": ("ECDSA", "sha384"),
    "2a8648ce3d040304": ("ECDSA", "sha512"),
    "60864801650304030a": ("ECDSA", "sha3_256"),
    "60864801650304030b": ("ECDSA", "sha3_384"),
    "60864801650304030c": ("ECDSA", "sha3_512"),
}
#: RFC 8410 §3 and RFC 9881 §2: algorithms that sign the message and no hash of it.
_WHOLE: Final[dict[str, tuple[str, type[Any]]]] = {
    "2b6570": ("Ed25519", ed25519.Ed25519PublicKey),
    "2b6571": ("Ed448", ed448.Ed448PublicKey),
}
if mldsa is not None:
    _WHOLE["608648016503040311"] = ("ML-DSA-44", mldsa.MLDSA44PublicKey)
    _WHOLE["608648016503040312"] = ("ML-DSA-65", mldsa.MLDSA65PublicKey)
    _WHOLE["608648016503040313"] = ("ML-DSA-87", mldsa.MLDSA87PublicKey)
_PSS: Final = "2a864886f70d01010a"
_MGF1: Final = "2a864886f70d010108"
_DIGESTS: Final = {
    "2b0e03021a": "sha1",
    "608648016503040204": "sha224",
    "608648016503040201": "sha256",
    "608648016503040202": "sha384",
    "608648016503040203": "sha512",
}
#: Collisions can be made (RFC 9155 §1).
_WEAK: Final = frozenset({"sha1"})


@frozen
class SignatureScheme:
    """How a signature is made.

    :ivar name: for messages.
    :ivar digest: the hash that is signed, as :mod:`hashlib` calls it; empty where the whole message is.
    :ivar key_type: the class of the public keys that fit.
    :ivar padding: of RSA; ``None`` for other keys.
    """

    name: str
    digest: str
    key_type: type[Any]
    padding: padding.AsymmetricPadding | None = None

    @property
    def weak(self) -> bool:
        """Whether who chooses a part of what is signed can get another text signed along with it."""
        return self.digest in _WEAK


def signature_scheme(algorithm: bytes) -> SignatureScheme:
    """Read an ``AlgorithmIdentifier`` (RFC 5280 §4.1.1.2).

    :param algorithm: DER with its tag.
    :raises ValueError: it is none, or one that is not verified here, MD5 among them.
    """
    oid, parameters = _algorithm(algorithm)
    whole = _WHOLE.get(oid)
    if whole is not None:
        return SignatureScheme(whole[0], "", whole[1])
    if oid == _PSS:
        return _pss(parameters)
    kind, digest = _HASH_FIRST.get(oid, ("", ""))
    if kind == "RSA":
        return SignatureScheme(f"RSA with {digest}", digest, rsa.RSAPublicKey, padding.PKCS1v15())
    if kind == "ECDSA":
        return SignatureScheme(f"ECDSA with {digest}", digest, ec.EllipticCurvePublicKey)
    raise ValueError(f"the signature algorithm {oid} (its object identifier's bytes) is not one that is verified")


def _algorithm(data: bytes) -> tuple[str, bytes]:
    """Give an algorithm's object identifier in hexadecimal, and its parameters' DER."""
    body = only(data, SEQUENCE)
    start, stop = expect(body, 0, len(body), OID)
    return body[start:stop].hex(), body[stop:]


def _pss(parameters: bytes) -> SignatureScheme:
    """Read ``RSASSA-PSS-params`` (RFC 4055 §3.1), whose defaults are SHA-1 and a salt of 20 bytes."""
    digest, mask, salt = "sha1", "sha1", 20
    body = only(parameters, SEQUENCE)
    for tag, start, stop in elements(body):
        value = body[start:stop]
        if tag == 0xA0:
            digest = _digest(value)
        elif tag == 0xA1:
            oid, inner = _algorithm(value)
            if oid != _MGF1:
                raise DERError("a mask generation function other than MGF1")
            mask = _digest(inner)
        elif tag == 0xA2:
            salt = int.from_bytes(only(value, INTEGER), "big")
        elif tag != 0xA3 or value != b"\x02\x01\x01":
            raise DERError(f"tag {tag:#04x} among the parameters of RSASSA-PSS")
    if salt > 512:
        raise DERError("a salt of more than 512 bytes")
    made = padding.PSS(padding.MGF1(_HASHES[mask]), salt)
    return SignatureScheme(f"RSASSA-PSS with {digest}", digest, rsa.RSAPublicKey, made)


def _digest(algorithm: bytes) -> str:
    oid, _ = _algorithm(algorithm)
    name = _DIGESTS.get(oid)
    if name is None:
        raise DERError("a hash of RSASSA-PSS that is not known")
    return name


def to_be_signed(scheme: SignatureScheme, message: bytes | memoryview) -> bytes:
    """Give what :func:`is_signed` takes in place of a message: its hash, or the message where it is signed whole."""
    if not scheme.digest:
        return bytes(message)
    return hashlib.new(scheme.digest, message, usedforsecurity=False).digest()


def is_signed(scheme: SignatureScheme, public_key: Any, signature: bytes, prepared: bytes) -> bool:
    """Whether a key has signed a message.

    :param public_key: any of ``cryptography``'s; one that does not fit the scheme has not.
    :param prepared: what :func:`to_be_signed` gave for the message.
    """
    if not isinstance(public_key, scheme.key_type):
        return False
    key: Any = public_key
    try:
        if not scheme.digest:
            key.verify(signature, prepared)
        elif scheme.padding is not None:
            key.verify(signature, prepared, scheme.padding, Prehashed(_HASHES[scheme.digest]))
        else:
            key.verify(signature, prepared, ec.ECDSA(Prehashed(_HASHES[scheme.digest])))
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True


def load_public_key(info: bytes) -> Any:
    """Read a ``SubjectPublicKeyInfo`` in DER; ``None`` for a key that ``cryptography`` does not take."""
    try:
        return load_der_public_key(info)
    except (ValueError, UnsupportedAlgorithm, TypeError):
        return None
