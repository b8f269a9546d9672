"""Trust bundles: the certificates of the authorities that a trust domain's SVIDs come from."""
from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from edgegw.certificate import Certificate, certificate
from edgegw.der import DERError
from edgegw.policies.certificate_parts import KEY_CERT_SIGN, CertificateParts, authority_parts, certificate_parts
from edgegw.policies.directory_names import CanonicalName
from edgegw.policies.name_constraints import constraint_faults, name_constraints

__all__ = ["Bundle", "read_bundle"]

_X509_SVID = "x509-svid"
_CRL = b"-----BEGIN X509 CRL-----"
#: Signatures that are checked for one chain at most.
_MOST_SIGNATURES: Final = 8


class Bundle:
    """The authorities of a trust domain.

    :ivar authorities: their certificates, each once.
    """

    def __init__(self, authorities: Iterable[Certificate]) -> None:
        """:raises ValueError: one of them is no CA's certificate."""
        self.authorities = tuple(dict.fromkeys(authorities))
        self._known = frozenset(self.authorities)
        self._by_name: dict[CanonicalName, list[tuple[Certificate, CertificateParts]]] = {}
        for one in self.authorities:
            try:
                parts = authority_parts(one)
                signs = parts.ca and (parts.key_usage is None or parts.key_usage & KEY_CERT_SIGN)
                self._by_name.setdefault(parts.subject_name, []).append((one, parts))
            except DERError as error:
                raise ValueError(f"a certificate in it cannot be read: {error}") from None
            if not signs:
                raise ValueError(f"the certificate of {one.subject or 'no subject'} in it is no CA's")

    def anchors(self, chain: tuple[Certificate, ...], now: datetime) -> bool:
        """Whether a chain that was verified up to whatever anchor ends in this bundle as well.

        It does if one of the authorities is in it above the client's certificate; or if one has signed a
        certificate of it, is valid itself, and allows the length of the path below and the names in it.

        :param chain: the client's certificate first.
        :param now: aware.
        """
        if not self._known.isdisjoint(chain[1:]):
            return True
        try:
            return self._signed_one(chain, now)
        except DERError:
            return False

    def _signed_one(self, chain: tuple[Certificate, ...], now: datetime) -> bool:
        checked = 0
        # From above, where what was found is remembered.
        for place in range(len(chain) - 1, -1, -1):
            parts = _parts(chain, place)
            for authority, its_parts in self._by_name.get(parts.issuer_name, ()):
                if not _may_issue(authority, its_parts, parts, now):
                    continue
                if checked == _MOST_SIGNATURES:
                    return False
                checked += 1
                signed = (_signed if place else _signed.__wrapped__)(chain[place], authority)
                if signed and _allows(its_parts, chain, place):
                    return True
        return False


def _parts(chain: tuple[Certificate, ...], place: int) -> CertificateParts:
    return authority_parts(chain[place]) if place else certificate_parts(chain[0].der)


def _may_issue(authority: Certificate, its_parts: CertificateParts, parts: CertificateParts, now: datetime) -> bool:
    """Whether an authority of the right name has the right key, as far as that is said, and is valid."""
    identifier = parts.authority_key_identifier
    key = None if identifier is None else identifier.key_identifier
    if key is not None and its_parts.subject_key_identifier not in (None, key):
        return False
    begin, end = authority.not_before, authority.not_after
    return begin is not None and end is not None and begin <= now <= end


def _allows(authority: CertificateParts, chain: tuple[Certificate, ...], place: int) -> bool:
    """Whether an authority above the first certificates of a chain, up to ``place``, allows their number and names."""
    limit = None if authority.basic_constraints is None else authority.basic_constraints.path_length
    if limit is not None and sum(not _parts(chain, one).self_issued for one in range(1, place + 1)) > limit:
        return False
    if name_constraints(authority) is None:
        return True
    path = [_parts(chain, one) for one in range(place + 1)]
    return not any(constraint_faults([*path, authority]))


@lru_cache(maxsize=256)
def _signed(subject: Certificate, authority: Certificate) -> bool:
    try:
        subject.x509.verify_directly_issued_by(authority.x509)
    except Exception:
        # InvalidSignature, or one of the several for certificates, keys and algorithms that it does not take.
        return False
    return True


# --- files ----------------------------------------------------------------------------------------


def read_bundle(data: bytes, trust_domain: str) -> Bundle:
    """Read a file: PEM, a SPIFFE bundle (SPIFFE Trust Domain and Bundle §4), or a map of such bundles.

    Of a SPIFFE bundle, which is JSON, the keys for X.509-SVIDs count; others and those without a certificate
    do not (X509-SVID §6.2).  One in which none is left makes all SVIDs of the trust domain invalid (§4.1.3): the bundle
    then has no authority, and no chain ends in it.  A map, ``{"trust_domains": {"example.com": {"keys": […]}}}``, has
    several.

    :param trust_domain: whose bundle is wanted of a map.
    :raises ValueError: the text says why it cannot be read, or that PEM has no certificate in it.
    """
    if data.lstrip()[:1] == b"{":
        return Bundle(_of_json(data, trust_domain))
    if _CRL in data:
        # Envoy would check it; not to do so in silence is worse than to refuse it.
        raise ValueError("a CRL is in it; name its file in the policy crl")
    try:
        loaded = x509.load_pem_x509_certificates(data)
    except (ValueError, x509.InvalidVersion) as error:
        raise ValueError(f"it is neither PEM certificates nor a SPIFFE bundle: {error}") from None
    if not loaded:
        raise ValueError("no certificate of an authority is in it")
    return Bundle(certificate(one.public_bytes(Encoding.DER)) for one in loaded)


def _of_json(data: bytes, trust_domain: str) -> Iterator[Certificate]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is no JSON: {error}") from None
    bundles = document.get("trust_domains")
    if isinstance(bundles, dict):
        document = bundles.get(trust_domain)
        if not isinstance(document, dict):
            raise ValueError(f"it has no bundle of {trust_domain}")
    keys = document.get("keys")
    if not isinstance(keys, list):
        raise ValueError("it is no SPIFFE bundle: it has no list of keys")
    for key in keys:
        if isinstance(key, dict) and key.get("use") == _X509_SVID:
            yield from _of_key(key)


def _of_key(key: dict[str, Any]) -> Iterator[Certificate]:
    chain = key.get("x5c")
    if not isinstance(chain, list) or not chain:
        return
    try:
        der = b64decode(chain[0], validate=True)
        x509.load_der_x509_certificate(der)
    except (ValueError, TypeError, x509.InvalidVersion) as error:
        raise ValueError(f"an x5c of it has no certificate: {error}") from None
    yield certificate(der)
