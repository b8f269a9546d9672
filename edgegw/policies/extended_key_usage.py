"""``extended_key_usage``: what the client's certificate must be for, and must not be for (RFC 5280 §4.2.1.12)."""
from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from attrs import frozen

from edgegw.api import Accept, Certificate, IEnvironment, Peer, Reason, Reject, Verdict, option, policy
from edgegw.der import OID, SEQUENCE, DERError, elements, only
from edgegw.distinguished_name import dotted
from edgegw.policies.details import listed, shown
from edgegw.policies.encoded_parts import encoded_parts, remembered
from edgegw.policies.object_identifiers import oid_bytes

__all__ = ["Config", "ExtendedKeyUsage"]

_ACCEPT = Accept()
_EXTENSION = bytes.fromhex("551d25")
#: Usages of one certificate; real ones have a few.
_MOST_USAGES = 2048

#: Usages by the names that RFC 5280, OpenSSL and others give them.
_NAMES = {
    "serverAuth": "1.3.6.1.5.5.7.3.1",
    "clientAuth": "1.3.6.1.5.5.7.3.2",
    "codeSigning": "1.3.6.1.5.5.7.3.3",
    "emailProtection": "1.3.6.1.5.5.7.3.4",
    "ipsecEndSystem": "1.3.6.1.5.5.7.3.5",
    "ipsecTunnel": "1.3.6.1.5.5.7.3.6",
    "ipsecUser": "1.3.6.1.5.5.7.3.7",
    "timeStamping": "1.3.6.1.5.5.7.3.8",
    "OCSPSigning": "1.3.6.1.5.5.7.3.9",
    "ipsecIKE": "1.3.6.1.5.5.7.3.17",
    "secureShellClient": "1.3.6.1.5.5.7.3.21",
    "secureShellServer": "1.3.6.1.5.5.7.3.22",
    "smartcardLogon": "1.3.6.1.4.1.311.20.2.2",
    "pkInitClientAuth": "1.3.6.1.5.2.3.4",
    "documentSigning": "1.3.6.1.5.5.7.3.36",
    "anyExtendedKeyUsage": "2.5.29.37.0",
}
_OIDS = {name.lower(): oid_bytes(oid) for name, oid in _NAMES.items()}
_WORDS = {oid_bytes(oid): name for name, oid in _NAMES.items()}
_ANY = _OIDS["anyextendedkeyusage"]


def _usage(text: str) -> bytes:
    """Give the contents of a usage's object identifier.

    :raises ValueError: it is neither a known name nor an object identifier.
    """
    known = _OIDS.get(text.lower())
    if known is not None:
        return known
    try:
        return oid_bytes(text)
    except ValueError:
        raise ValueError(
            f"{shown(text)!r} is no usage that is known here; write clientAuth, serverAuth or the like, or the OID"
        ) from None


def _check_usages(usages: Iterable[str]) -> None:
    for usage in usages:
        _usage(usage)


@frozen(kw_only=True)
class Config:
    """Options of ``extended_key_usage``; one list at least."""

    all_of: tuple[str, ...] = option(
        "Usages that must all be there: names such as clientAuth, or object identifiers.", default=(),
        check=_check_usages,
    )
    any_of: tuple[str, ...] = option("Usages of which one must be there.", default=(), check=_check_usages)
    none_of: tuple[str, ...] = option("Usages of which none may be there.", default=(), check=_check_usages)
    without_extension: Literal["refuse", "accept"] = option(
        "What becomes of a certificate without the extension, which is for any use.", default="refuse"
    )

    def __attrs_post_init__(self) -> None:
        if not (self.all_of or self.any_of or self.none_of):
            raise ValueError("names no usage; give all_of, any_of or none_of")
        forbidden = set(map(_usage, self.none_of))
        for demanded in self.all_of:
            if _usage(demanded) in forbidden:
                raise ValueError(f"{demanded} is both demanded and forbidden; leave it out of all_of or none_of")
        if self.any_of and forbidden.issuperset(map(_usage, self.any_of)):
            raise ValueError("every usage of any_of is forbidden by none_of; leave one of them out there")


@policy("extended_key_usage", Config)
class ExtendedKeyUsage:
    """Let in the certificates that are for the usages named, and for none of others.

    TLS has already refused certificates whose extension has no ``clientAuth``; this is for whatever else is
    demanded: a usage of one's own by its object identifier, or that a client's certificate is no server's.

    ``anyExtendedKeyUsage`` in a certificate satisfies no demand but one for itself, and counts as each of the usages
    in ``none_of``.  A certificate without the extension is for any use: it is refused unless ``without_extension:
    accept`` is written out.

    Example::

        policies:
          - extended_key_usage:
              all_of: [clientAuth, 1.3.6.1.4.1.55555.1.7]
              none_of: [serverAuth]
    """

    def __init__(self, config: Config, env: IEnvironment) -> None:
        self._all_of = frozenset(map(_usage, config.all_of))
        self._any_of = frozenset(map(_usage, config.any_of))
        self._none_of = frozenset(map(_usage, config.none_of))
        self._forbidden = self._none_of | {_ANY} if self._none_of else self._none_of
        self._accept_without = config.without_extension == "accept"

    def check(self, peer: Peer) -> Verdict:
        """Compare the usages."""
        certificate = peer.certificate
        if certificate is None:
            return Reject(Reason.NO_CERTIFICATE)
        try:
            usages = _usages(certificate)
        except DERError as error:
            return Reject(Reason.CERTIFICATE_INVALID, f"the extended key usage cannot be read: {error}")
        if usages is None:
            if self._accept_without:
                return _ACCEPT
            return Reject(Reason.EXTENDED_KEY_USAGE, "there is no extended key usage: it is for any use")
        if self._all_of <= usages and (not self._any_of or self._any_of & usages) and not self._forbidden & usages:
            return _ACCEPT
        return Reject(Reason.EXTENDED_KEY_USAGE, self._explained(usages))

    def _explained(self, usages: frozenset[bytes]) -> str:
        found = f"it is for {listed(_words(usages))}"
        missing = self._all_of - usages
        if missing:
            return f"{found}, and not for {listed(_words(missing))}"
        if self._any_of and not self._any_of & usages:
            return f"{found}, and for none of {listed(_words(self._any_of))}"
        return f"{found}, and must not be for {listed(_words(self._none_of))}"


@remembered
def _usages(certificate: Certificate) -> frozenset[bytes] | None:
    """Give the usages by the contents of their object identifiers; ``None`` without the extension.

    :raises DERError: the extension is no list of them.
    """
    extension = encoded_parts(certificate).extension(_EXTENSION)
    if extension is None:
        return None
    contents = only(extension, SEQUENCE)
    found = set()
    for place, (tag, start, stop) in enumerate(elements(contents)):
        if place == _MOST_USAGES:
            raise DERError(f"more than {_MOST_USAGES} usages")
        if tag != OID or start == stop:
            raise DERError("a usage that is no object identifier")
        found.add(contents[start:stop])
    return frozenset(found)


def _words(usages: Iterable[bytes]) -> list[str]:
    return sorted(map(_word, usages))


def _word(usage: bytes) -> str:
    known = _WORDS.get(usage)
    if known is not None:
        return known
    try:
        return dotted(usage)
    except DERError:
        return usage[:32].hex()
