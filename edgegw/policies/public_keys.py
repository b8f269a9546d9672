"""What kind of key a certificate holds, and with which hash it was signed, from their encodings."""
from __future__ import annotations

from attrs import frozen

from edgegw.der import INTEGER, OID, SEQUENCE, DERError, expect, only, read
from edgegw.distinguished_name import dotted
from edgegw.policies.object_identifiers import oid_bytes

__all__ = ["NO_HASH", "PublicKey", "public_key", "signature_hash"]

#: The hash of a signature that has none to choose.
NO_HASH = "none"

_BIT_STRING = 0x03
_RSA = frozenset(map(oid_bytes, ("1.2.840.113549.1.1.1", "1.2.840.113549.1.1.10")))
_EC = oid_bytes("1.2.840.10045.2.1")
_KEY_TYPES = {
    oid_bytes(oid): name
    for oid, name in {
        "1.2.840.10040.4.1": "dsa",
        "1.3.101.112": "ed25519",
        "1.3.101.113": "ed448",
        "2.16.840.1.101.3.4.3.17": "ml-dsa-44",
        "2.16.840.1.101.3.4.3.18": "ml-dsa-65",
        "2.16.840.1.101.3.4.3.19": "ml-dsa-87",
    }.items()
}
_CURVES = {
    oid_bytes(oid): name
    for oid, name in {
        "1.2.840.10045.3.1.7": "P-256",
        "1.3.132.0.34": "P-384",
        "1.3.132.0.35": "P-521",
        "1.3.132.0.33": "P-224",
        "1.2.840.10045.3.1.1": "P-192",
        "1.3.132.0.10": "secp256k1",
        "1.3.36.3.3.2.8.1.1.7": "brainpoolP256r1",
        "1.3.36.3.3.2.8.1.1.11": "brainpoolP384r1",
        "1.3.36.3.3.2.8.1.1.13": "brainpoolP512r1",
    }.items()
}
_HASHES = {
    oid_bytes(oid): name
    for oid, name in {
        "1.3.14.3.2.26": "sha1",
        "2.16.840.1.101.3.4.2.4": "sha224",
        "2.16.840.1.101.3.4.2.1": "sha256",
        "2.16.840.1.101.3.4.2.2": "sha384",
        "2.16.840.1.101.3.4.2.3": "sha512",
        "2.16.840.1.101.3.4.2.7": "sha3-224",
        "2.16.840.1.101.3.4.2.8": "sha3-256",
        "2.16.840.1.101.3.4.2.9": "sha3-384",
        "2.16.840.1.101.3.4.2.10": "sha3-512",
    }.items()
}
_RSA_PSS = oid_bytes("1.2.840.113549.1.1.10")
_SIGNATURES = {
    oid_bytes(oid): name
    for oid, name in {
        "1.2.840.113549.1.1.2": "md2",
        "1.2.840.113549.1.1.4": "md5",
        "1.2.840.113549.1.1.5": "sha1",
        "1.2.840.113549.1.1.14": "sha224",
        "1.2.840.113549.1.1.11": "sha256",
        "1.2.840.113549.1.1.12": "sha384",
        "1.2.840.113549.1.1.13": "sha512",
        "2.16.840.1.101.3.4.3.13": "sha3-224",
        "2.16.840.1.101.3.4.3.14": "sha3-256",
        "2.16.840.1.101.3.4.3.15": "sha3-384",
        "2.16.840.1.101.3.4.3.16": "sha3-512",
        "1.2.840.10045.4.1": "sha1",
        "1.2.840.10045.4.3.1": "sha224",
        "1.2.840.10045.4.3.2": "sha256",
        "1.2.840.10045.4.3.3": "sha384",
        "1.2.840.10045.4.3.4": "sha512",
        "2.16.840.1.101.3.4.3.9": "sha3-224",
        "2.16.840.1.101.3.4.3.10": "sha3-256",
        "2.16.840.1.101.3.4.3.11": "sha3-384",
        "2.16.840.1.101.3.4.3.12": "sha3-512",
        "1.2.840.10040.4.3": "sha1",
        "2.16.840.1.101.3.4.3.1": "sha224",
        "2.16.840.1.101.3.4.3.2": "sha256",
        "2.16.840.1.101.3.4.3.3": "sha384",
        "2.16.840.1.101.3.4.3.4": "sha512",
        "1.3.101.112": NO_HASH,
        "1.3.101.113": NO_HASH,
        # ML-DSA (RFC 9881), then SLH-DSA (RFC 9909)
        **{f"2.16.840.1.101.3.4.3.{number}": NO_HASH for number in (17, 18, 19, *range(20, 32))},
    }.items()
}


@frozen
class PublicKey:
    """A key, as far as its strength goes.

    :ivar type: ``rsa``, ``ec``, ``dsa``, ``ed25519``, ``ed448``, ``ml-dsa-44``, ``-65``, ``-87``, or the object
        identifier of any other.
    :ivar bits: of an RSA key's modulus; 0 for others.
    :ivar exponent: an RSA key's; 0 for others.
    :ivar curve: ``P-256`` and so on, the object identifier of one without a name here, or ``explicit`` for a
        curve that is spelled out (RFC 5480 §2.1.1 forbids it); empty for keys that are not ``ec``.
    """

    type: str
    bits: int = 0
    exponent: int = 0
    curve: str = ""


def public_key(encoded: bytes) -> PublicKey:
    """Read a ``SubjectPublicKeyInfo`` (RFC 5280 §4.1.2.7).

    :raises DERError: it is none, or an RSA key (RFC 8017 §A.1.1) that is no two positive numbers.
    """
    contents = only(encoded, SEQUENCE)
    start, stop = expect(contents, 0, len(contents), SEQUENCE)
    first, last = expect(contents, start, stop, OID)
    algorithm = contents[first:last]
    if algorithm in _RSA:
        modulus, exponent = _rsa_numbers(only(contents[stop:], _BIT_STRING))
        return PublicKey("rsa", modulus.bit_length(), exponent)
    if algorithm == _EC:
        tag, begin, end = read(contents, last, stop)
        if tag != OID:
            return PublicKey("ec", curve="explicit")
        curve = contents[begin:end]
        return PublicKey("ec", curve=_CURVES.get(curve) or dotted(curve))
    return PublicKey(_KEY_TYPES.get(algorithm) or dotted(algorithm))


def _rsa_numbers(bits: bytes) -> tuple[int, int]:
    if bits[:1] != b"\x00":
        raise DERError("an RSA key that is no whole number of bytes")
    numbers = only(bits[1:], SEQUENCE)
    start, stop = expect(numbers, 0, len(numbers), INTEGER)
    first, last = expect(numbers, stop, len(numbers), INTEGER)
    modulus = int.from_bytes(numbers[start:stop], "big", signed=True)
    exponent = int.from_bytes(numbers[first:last], "big", signed=True)
    if last != len(numbers) or modulus <= 0 or exponent <= 0:
        raise DERError("an RSA key that is no two positive numbers")
    return modulus, exponent


def signature_hash(algorithm: bytes) -> str:
    """Give the hash of a signature algorithm: ``sha256`` and so on, :data:`NO_HASH` where there is none to choose.

    An algorithm without a name here is given as its object identifier.

    :param algorithm: contents of the ``AlgorithmIdentifier``.
    :raises DERError: it is none.
    """
    start, stop = expect(algorithm, 0, len(algorithm), OID)
    oid = algorithm[start:stop]
    if oid == _RSA_PSS:
        return _pss_hash(algorithm[stop:])
    return _SIGNATURES.get(oid) or dotted(oid)


def _pss_hash(parameters: bytes) -> str:
    """Give the hash of RSASSA-PSS (RFC 4055 §3.1), which is SHA-1 unless its parameters say otherwise."""
    contents = only(parameters, SEQUENCE)
    if contents[:1] != b"\xa0":
        return "sha1"
    start, stop = expect(contents, 0, len(contents), 0xA0)
    start, stop = expect(contents, start, stop, SEQUENCE)
    start, stop = expect(contents, start, stop, OID)
    oid = contents[start:stop]
    return _HASHES.get(oid) or dotted(oid)
