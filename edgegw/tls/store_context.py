"""A chain that OpenSSL verifies, from inside the verification: an ``X509_STORE_CTX`` (x509_vfy.h).

pyOpenSSL gives its callback copies of certificates and an error that it cannot set.  Here the error can be set, so that
the client gets the alert that belongs to it, and nothing is copied that is not asked for.
"""
from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from OpenSSL import SSL, crypto

from edgegw.tls.bindings import ffi, lib, require

__all__ = [
    "client_certificate",
    "client_digest",
    "client_store",
    "depth",
    "digest_of",
    "error",
    "set_error",
    "verified_chain",
    "verify_error_text",
]

require(
    "EVP_get_digestbyname",
    "X509_STORE_CTX_get0_cert",
    "X509_STORE_CTX_get1_chain",
    "X509_STORE_CTX_get_error",
    "X509_STORE_CTX_get_error_depth",
    "X509_STORE_CTX_set_error",
    "X509_STORE_set_purpose",
    "X509_digest",
    "X509_free",
    "X509_up_ref",
    "X509_verify_cert_error_string",
    "sk_X509_free",
    "sk_X509_num",
    "sk_X509_value",
)

# Nothing of it is in use when a call returns, and everything runs on one thread at a time.
_digest = ffi.new("unsigned char[]", 32)
_digest_size = ffi.new("unsigned int *")
_digest_bytes = ffi.buffer(_digest)
_SHA256 = lib.EVP_get_digestbyname(b"sha256")
_x509_digest = lib.X509_digest
_certificate_of = lib.X509_STORE_CTX_get0_cert

#: Gives the ``X509_V_ERR_…`` that is asked about.
error = lib.X509_STORE_CTX_get_error
#: Puts another ``X509_V_ERR_…`` in its place: the alert to the client follows from it; 0 forgives.
set_error = lib.X509_STORE_CTX_set_error
#: Gives how far the certificate that is asked about is from the client's own, which is 0.
depth = lib.X509_STORE_CTX_get_error_depth


def verify_error_text(result: int) -> str:
    """Give OpenSSL's words for an ``X509_V_…`` result."""
    return str(ffi.string(lib.X509_verify_cert_error_string(result)).decode("ascii", "replace"))


def digest_of(certificate: Any) -> bytes:
    """Give the SHA-256 of a certificate, an ``X509 *``: 32 bytes."""
    if _x509_digest(certificate, _SHA256, _digest, _digest_size) != 1:
        raise SSL.Error([("", "", "no digest of the client's certificate")])
    return _digest_bytes[:]  # type: ignore[no-any-return]  # cffi


def client_digest(store: Any) -> bytes:
    """Give the SHA-256 of the client's own certificate, 32 bytes."""
    return digest_of(_certificate_of(store))


def client_certificate(store: Any) -> bytes:
    """Give the client's own certificate, DER."""
    return _der(_certificate_of(store))


def verified_chain(store: Any) -> list[bytes]:
    """Give the chain as far as it was built, DER, the client's own certificate first."""
    chain = lib.X509_STORE_CTX_get1_chain(store)
    if chain == ffi.NULL:
        return []
    ders = []
    for at in range(lib.sk_X509_num(chain)):
        certificate = lib.sk_X509_value(chain, at)
        ders.append(_der(certificate))
        lib.X509_free(certificate)
    lib.sk_X509_free(chain)
    return ders


def client_store(anchors: Iterable[crypto.X509], now: datetime) -> crypto.X509Store:
    """Make a store that trusts certificates as issuers of clients, intermediates as well as roots."""
    store = crypto.X509Store()
    for anchor in anchors:
        store.add_cert(anchor)
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    store.set_time(now)
    if lib.X509_STORE_set_purpose(store._store, lib.X509_PURPOSE_SSL_CLIENT) != 1:
        raise crypto.Error([("", "", "no purpose for a store")])
    return store


def _der(certificate: Any) -> bytes:
    lib.X509_up_ref(certificate)
    # It takes the reference over and gives it back when it is collected.
    owned = crypto.X509._from_raw_x509_ptr(certificate)
    return crypto.dump_certificate(crypto.FILETYPE_ASN1, owned)
