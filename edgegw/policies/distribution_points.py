"""Which certificates a CRL speaks of, and where a certificate's CRLs are (RFC 5280 §4.2.1.13, §5.2.5, §6.3.3).

A CRL may be for a part of what its issuer has issued: for CAs only, for a distribution point only.  Not to
be found on such a list says nothing about a certificate that is not of that part.
"""
from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import islice

from attrs import frozen

from edgegw.certificate import MAX_CACHED_BYTES, Certificate
from edgegw.der import SEQUENCE, SET, DERError, elements, expect, only
from edgegw.policies.certificate_parts import CertificateParts, certificate_parts
from edgegw.policies.der_elements import element
from edgegw.policies.directory_names import canonical

__all__ = ["EVERYTHING", "CertificatePoints", "Scope", "points_of", "read_scope"]

_CRL_DISTRIBUTION_POINTS = bytes.fromhex("551d1f")
#: Names of distribution points that are looked at in one certificate or CRL.
_MOST = 32
#: Distribution points of one certificate, those without a name that is looked at among them.
_MOST_POINTS = 256

_URI = 0x86
_DIRECTORY_NAME = 0xA4
_FULL_NAME = 0xA0
_RELATIVE_NAME = 0xA1
#: Anything else is taken for true, which narrows a list's scope or refuses it.
_FALSE = b"\0"

#: A ``GeneralName`` for comparison: its tag and its contents, or a canonical distinguished name.
GeneralName = tuple[int, object]


@frozen
class Scope:
    """The part of its issuer's certificates that a CRL is for, from ``issuingDistributionPoint``.

    :ivar users: only certificates that are no CA's; ``authorities``: only those of CAs; ``attributes``:
        only attribute certificates, which are none of TLS clients.
    :ivar names: names of the distribution point; empty for a list that is for all of them.
    """

    users: bool = False
    authorities: bool = False
    attributes: bool = False
    names: frozenset[GeneralName] = frozenset()

    def covers(self, certificate: CertificatePoints) -> bool:
        """Whether a list with this scope speaks of a certificate."""
        if self.attributes or (self.users and certificate.ca) or (self.authorities and not certificate.ca):
            return False
        return not self.names or not self.names.isdisjoint(certificate.names)


#: The scope of a list without the extension.
EVERYTHING = Scope()


@frozen
class CertificatePoints:
    """What a certificate says about the CRLs that it may be on.

    :ivar names: names of its distribution points, and its issuer, which stands for one (RFC 5280 §6.3.3, last
        paragraph).  Points for some reasons only, and those with another CRL issuer, are left out: no list
        that is taken here fits them.
    :ivar urls: ``http`` and ``https`` URLs among the names, in their order; of printable ASCII.
    """

    ca: bool
    names: frozenset[GeneralName]
    urls: tuple[str, ...]


def read_scope(extension: bytes, issuer: bytes) -> Scope:
    """Read an ``issuingDistributionPoint``.

    :param extension: contents of its octet string.
    :param issuer: contents of the issuer's ``Name``.
    :raises ValueError: it is none, or belongs to an indirect CRL or one for some reasons only, which are not taken.
    """
    body = only(extension, SEQUENCE)
    users = authorities = attributes = False
    names: frozenset[GeneralName] = frozenset()
    before = -1
    for tag, start, stop in elements(body):
        if (tag & 0x1F) <= before:
            raise DERError("an issuing distribution point whose parts are out of order")
        before = tag & 0x1F
        value = body[start:stop]
        if tag == 0xA0:
            names = frozenset(_point_names(value, issuer))
            if not names:
                raise DERError("an issuing distribution point without a name")
        elif tag == 0x81:
            users = value != _FALSE
        elif tag == 0x82:
            authorities = value != _FALSE
        elif tag == 0x83:
            raise ValueError("it is for some reasons only (onlySomeReasons), which is not supported")
        elif tag == 0x84 and value != _FALSE:
            raise ValueError("it is an indirect CRL, which is not supported")
        elif tag == 0x85:
            attributes = value != _FALSE
        elif tag != 0x84:
            raise DERError(f"tag {tag:#04x} in an issuing distribution point")
    if users + authorities + attributes > 1:
        raise ValueError("it is for several kinds of certificates only, which RFC 5280 does not allow")
    return Scope(users, authorities, attributes, names)


def points_of(certificate: Certificate) -> CertificatePoints:
    """Give what a certificate says about its CRLs; the last 512 that are not long are remembered.

    :raises DERError: the certificate or its extension is not DER.
    """
    return _read_points(certificate) if len(certificate.der) > MAX_CACHED_BYTES else _cached(certificate)


def _read_points(certificate: Certificate) -> CertificatePoints:
    parts = certificate_parts(certificate.der)
    names: list[GeneralName] = []
    for point in _points(parts):
        names += point
        if len(names) >= _MOST:
            break
    del names[_MOST:]
    urls = [value for tag, value in names if tag == _URI and isinstance(value, bytes) and value.isascii()]
    texts = [url.decode("ascii") for url in urls]
    plain = [text for text in texts if text.lower().startswith(("http://", "https://"))]
    own = (_DIRECTORY_NAME, parts.issuer_name)
    return CertificatePoints(parts.ca, frozenset([*names, own]), tuple(dict.fromkeys(plain)))


_cached = lru_cache(maxsize=512)(_read_points)


def _points(parts: CertificateParts) -> Iterable[list[GeneralName]]:
    """Give the names of each distribution point that covers all reasons."""
    extension = parts.extension(_CRL_DISTRIBUTION_POINTS)
    if extension is None:
        return
    body = only(extension.value, SEQUENCE)
    for place, (tag, start, stop) in enumerate(elements(body)):
        if place == _MOST_POINTS:
            raise DERError(f"more than {_MOST_POINTS} distribution points")
        if tag != SEQUENCE:
            raise DERError("a distribution point that is no sequence")
        fields = {field: body[first:last] for field, first, last in elements(body, start, stop)}
        if fields.keys() == {0xA0}:
            yield _point_names(fields[0xA0], parts.issuer)


def _point_names(point: bytes, issuer: bytes) -> list[GeneralName]:
    """Read a ``DistributionPointName``: full names, or one relative to the CRL's issuer."""
    found = list(elements(point))
    if len(found) != 1:
        raise DERError("a distribution point's name that is not one")
    tag, start, stop = found[0]
    if tag == _RELATIVE_NAME:
        # An RDN under an implicit tag; the name is the issuer's with it at the end.
        rdn = point[start:stop]
        return [(_DIRECTORY_NAME, canonical(issuer) + canonical(element(SET, rdn)))]
    if tag != _FULL_NAME:
        raise DERError(f"tag {tag:#04x} in a distribution point's name")
    names: list[GeneralName] = []
    for kind, first, last in islice(elements(point, start, stop), _MOST):
        value = point[first:last]
        if kind == _DIRECTORY_NAME:
            begin, end = expect(value, 0, len(value), SEQUENCE)
            names.append((kind, canonical(value[begin:end])))
        else:
            names.append((kind, value))
    return names
