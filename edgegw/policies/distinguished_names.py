"""``subject`` and ``issuer``: the names in the client's certificate, whole or by their parts."""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import Factory, frozen

from edgegw.api import Accept, Certificate, IEnvironment, Peer, Reason, Reject, Verdict, option, policy
from edgegw.policies.details import listed, shown
from edgegw.policies.rfc4514 import (
    MAX_NAME,
    WrittenName,
    attribute_type,
    comparable,
    comparable_value,
    is_folded,
    parse_name,
    read_name,
)
from edgegw.policies.text_matchers import MAX_REGEX_TEXT, TextMatch, TextMatcher

__all__ = ["Config", "IssuerName", "SubjectName"]

_ACCEPT = Accept()

#: The attribute type of each option that has matchers.
_PARTS = {
    "common_name": "2.5.4.3",
    "organization": "2.5.4.10",
    "organizational_unit": "2.5.4.11",
    "organization_identifier": "2.5.4.97",
    "country": "2.5.4.6",
    "state": "2.5.4.8",
    "locality": "2.5.4.7",
    "street": "2.5.4.9",
    "postal_code": "2.5.4.17",
    "serial_number": "2.5.4.5",
    "title": "2.5.4.12",
    "given_name": "2.5.4.42",
    "surname": "2.5.4.4",
    "email": "1.2.840.113549.1.9.1",
    "user_id": "0.9.2342.19200300.100.1.1",
    "domain_component": "0.9.2342.19200300.100.1.25",
}


def _check_names(names: Iterable[str]) -> None:
    for name in names:
        if not parse_name(name):
            raise ValueError("is an empty name; write at least one part, such as CN=client")


def _check_types(matches: Mapping[str, object]) -> None:
    seen: set[str] = set()
    for written in matches:
        oid = attribute_type(written)
        option_name = next((name for name, known in _PARTS.items() if known == oid), None)
        if option_name is not None:
            raise ValueError(f"{written!r} has an option of its own; write {option_name}")
        if oid in seen:
            raise ValueError(f"{written!r} is there twice; write all its matchers in one list")
        if not matches[written]:
            raise ValueError(f"{written!r} has no matchers; give one, or leave it out")
        seen.add(oid)


def _part(what: str) -> Any:
    return option(f"Matchers of {what}; one of them must match.", default=())


@frozen(kw_only=True)
class Config:
    """Options of ``subject`` and ``issuer``: either whole names, or matchers of their parts."""

    names: tuple[str, ...] = option(
        "Whole names as RFC 4514 writes them, the most specific part first: CN=client,O=Acme,C=US.  One must be the "
        "certificate's.",
        default=(),
        check=_check_names,
    )
    common_name: tuple[TextMatch, ...] = _part("the common name (CN)")
    organization: tuple[TextMatch, ...] = _part("the organization (O)")
    organizational_unit: tuple[TextMatch, ...] = _part("the organizational unit (OU)")
    organization_identifier: tuple[TextMatch, ...] = _part("the organization's identifier (2.5.4.97, ETSI EN 319 412)")
    country: tuple[TextMatch, ...] = _part("the country (C)")
    state: tuple[TextMatch, ...] = _part("the state or province (ST)")
    locality: tuple[TextMatch, ...] = _part("the locality (L)")
    street: tuple[TextMatch, ...] = _part("the street")
    postal_code: tuple[TextMatch, ...] = _part("the postal code")
    serial_number: tuple[TextMatch, ...] = _part("the serial number in the name, which is not the certificate's")
    title: tuple[TextMatch, ...] = _part("the title")
    given_name: tuple[TextMatch, ...] = _part("the given name (GN)")
    surname: tuple[TextMatch, ...] = _part("the surname (SN)")
    email: tuple[TextMatch, ...] = _part("the mail address (emailAddress)")
    user_id: tuple[TextMatch, ...] = _part("the user's id (UID)")
    domain_component: tuple[TextMatch, ...] = _part("a domain component (DC)")
    attributes: Mapping[str, tuple[TextMatch, ...]] = option(
        "Matchers of other attributes, by their name or object identifier.", default=Factory(dict), convert=dict,
        check=_check_types
    )

    def __attrs_post_init__(self) -> None:
        parts = any(getattr(self, name) for name in _PARTS) or bool(self.attributes)
        if self.names and parts:
            raise ValueError("has names and matchers of parts; give either, or two policies, under any or in the list")
        if not self.names and not parts:
            raise ValueError("says nothing to match, which would refuse everyone; give names, or a part such as "
                             "organization")


class _NameMatcher:
    """The options, ready to be asked."""

    def __init__(self, config: Config) -> None:
        names = [parse_name(text) for text in config.names]
        self._names = frozenset(map(comparable, names))
        self._reversed = frozenset(comparable(name[::-1]) for name in names)
        given: dict[str, tuple[TextMatch, ...]] = {
            **{oid: getattr(config, name) for name, oid in _PARTS.items()},
            **{attribute_type(written): matches for written, matches in config.attributes.items()},
        }
        self._parts = [
            (oid, TextMatcher(matches, comparable_value if is_folded(oid) else None))
            for oid, matches in given.items()
            if matches
        ]
        wanted = [f"{name} {match}" for name in _PARTS for match in getattr(config, name)]
        wanted += [f"{written} {match}" for written, matches in config.attributes.items() for match in matches]
        self.wanted = listed(config.names or wanted)

    def __call__(self, written: WrittenName) -> bool:
        if self._names:
            return written.comparable in self._names
        for oid, matcher in self._parts:
            for relative in written.name:
                if any(type_ == oid and isinstance(value, str) and matcher(value) for type_, value in relative):
                    break
            else:
                return False
        return True

    def is_overlong(self, written: WrittenName) -> bool:
        """Whether a part is too long for an expression that it is compared with."""
        return any(
            isinstance(value, str) and len(value.encode("utf-8", "backslashreplace")) > MAX_REGEX_TEXT
            for oid, matcher in self._parts
            if matcher.bounded
            for relative in written.name
            for type_, value in relative
            if type_ == oid
        )

    def is_reversed(self, written: WrittenName) -> bool:
        """Whether it would match in the opposite order."""
        return bool(written.name) and written.comparable in self._reversed


class _NamePolicy:
    """Compares one of a certificate's two names.

    :cvar what: the word for it.
    :cvar code: what it refuses with.
    """

    what = "subject"
    code = Reason.SUBJECT

    def __init__(self, config: Config, env: IEnvironment) -> None:
        self._matches = _NameMatcher(config)

    def name_of(self, certificate: Certificate) -> str:
        """Give the name."""
        return certificate.subject

    def check(self, peer: Peer) -> Verdict:
        """Compare the name."""
        certificate = peer.certificate
        if certificate is None:
            return Reject(Reason.NO_CERTIFICATE)
        text = self.name_of(certificate)
        if len(text) > MAX_NAME:
            return Reject(Reason.CERTIFICATE_INVALID, f"the {self.what} has {len(text)} characters, over {MAX_NAME}")
        name = read_name(text)
        if self._matches(name):
            return _ACCEPT
        if not text and certificate.parse_error is not None:
            return Reject(Reason.CERTIFICATE_INVALID, f"cannot be read: {shown(certificate.parse_error)}")
        if self._matches.is_overlong(name):
            return Reject(Reason.CERTIFICATE_INVALID, f"the {self.what} has a part of more than {MAX_REGEX_TEXT} bytes")
        order = ", and wanted the other way round" if self._matches.is_reversed(name) else ""
        found = f"the {self.what} is {shown(text) or 'empty'}{order}"
        return Reject(self.code, f"{found}; wanted is {self._matches.wanted}")


@policy("subject", Config)
class SubjectName(_NamePolicy):
    r"""Let in the certificates whose subject is one of those wanted.

    ``names`` are whole names as RFC 4514 writes them and the gateway's logs do: the most specific part first, which
    is the opposite of what ``openssl x509 -subject`` prints without ``-nameopt RFC2253``.  A comma in a value is
    ``\,``.  Parts are separate and in order; attributes of one part, joined with ``+``, are in any order.

    Or give matchers of parts.  All the attributes that are named must be there and match, each by one of its matchers;
    of an attribute that is there several times, one must match.

    Types are written by name, in any case, or as object identifiers.  Whole values, in ``names`` and in ``exact``, are
    compared as X.520 has it for all types that have a name: the case of ASCII letters does not count, and of spaces
    only single ones inside do.  The other matchers compare what stands in the certificate, with case unless
    ``ignore_case`` is set.  An attribute whose type has no name here is compared exactly.

    Example::

        policies:
          - subject:
              names:
                - CN=billing,OU=Services,O=Acme\, Inc.,C=US
          - subject:
              organization: [{exact: "Acme, Inc."}]
              organizational_unit: [{exact: Services}, {prefix: Team-}]
              organization_identifier: [{prefix: PSD}]
              attributes:
                businessCategory: [{exact: Private Organization}]
    """


@policy("issuer", Config)
class IssuerName(_NamePolicy):
    """Let in the certificates whose issuer's name is one of those wanted.

    The name is that of the CA that issued the client's own certificate, an intermediate's for most.  It is a name and
    no more: among CAs that may issue CAs, two can have the same one.  Trusting only the right CA in
    ``ca_certificates`` is stronger.

    The options are those of ``subject``.

    Example::

        policies:
          - issuer:
              names: ["CN=Device CA 2,O=Acme,C=US", "CN=Device CA 3,O=Acme,C=US"]
    """

    what = "issuer"
    code = Reason.ISSUER

    def name_of(self, certificate: Certificate) -> str:
        """Give the name."""
        return certificate.issuer
