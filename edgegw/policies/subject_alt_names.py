"""``subject_alt_names``: one of the client's names must match, each type of name by matchers of its own."""
from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from itertools import islice
from typing import ClassVar

import idna
from attrs import frozen

from edgegw.api import Accept, Certificate, IEnvironment, Peer, Reason, Reject, Verdict, option, policy
from edgegw.certificate import is_plain
from edgegw.der import DERError
from edgegw.policies.details import MOST_ITEMS, listed, shown
from edgegw.policies.object_identifiers import oid_bytes
from edgegw.policies.other_names import MOST_NAMES, OtherName, other_names
from edgegw.policies.text_matchers import MAX_REGEX_TEXT, TextMatch, TextMatcher

__all__ = ["AddressMatch", "Config", "OtherNameMatch", "SubjectAltNames", "literal_dns_name", "parse_dns_names"]

_ACCEPT = Accept()

Network = IPv4Network | IPv6Network


# --- matchers that a configuration gives ------------------------------------------------------


@frozen(kw_only=True)
class AddressMatch(TextMatch):
    """One way to match an IP address: as an address, by its network, or by its text in the shortest form."""

    ways: ClassVar[tuple[str, ...]] = (*TextMatch.ways, "network")

    network: str | None = option("A network that the address is in, such as 10.0.0.0/8 or 2001:db8::/32.", default=None)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.ignore_case and (self.exact is not None or self.network is not None):
            raise ValueError("has ignore_case, which means nothing for addresses; leave it out")
        if self.exact is not None and (not _is_address(self.exact) or "%" in self.exact):
            raise ValueError(f"{shown(self.exact)!r} is no IP address; write it without a mask, port or zone")
        if self.network is not None:
            _network(self.network)


@frozen(kw_only=True)
class OtherNameMatch(TextMatch):
    """One way to match an other name of one type, such as a user principal name."""

    ways: ClassVar[tuple[str, ...]] = (*TextMatch.ways, "der")

    oid: str = option("The name's type, such as 1.3.6.1.4.1.311.20.2.3 for a user principal name.")
    der: str | None = option(
        "The whole value in hexadecimal, DER with tag and length: for values that are no text.", default=None
    )

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        oid_bytes(self.oid)
        if self.der is not None:
            if self.ignore_case:
                raise ValueError("has ignore_case, which means nothing for der; leave it out")
            try:
                bytes.fromhex(self.der)
            except ValueError:
                raise ValueError(f"{shown(self.der)!r} is no hexadecimal; write two digits for each byte") from None


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise ValueError(
            f"{shown(text)!r} is no network: {error}; write its first address, / and the bits, such as 10.0.0.0/8"
        ) from None


def literal_dns_name(name: str) -> TextMatch:
    """Give the matcher of a DNS name as Envoy and kgateway have them, where ``*`` stands for itself.

    A name with ``*`` in it then matches only a certificate with that very wildcard.

    :raises ValueError: the name is empty.
    """
    return TextMatch(regex=re.escape(name), ignore_case=True) if "*" in name else TextMatch(exact=name)


def parse_dns_names(text: str) -> tuple[TextMatch, ...]:
    """Read a list of DNS names as kgateway writes them in ``verify-subject-alt-names``.

    Items stand apart by ``,``; white space around them does not count.  Empty items, which kgateway keeps, match
    no name and are left out.

    :raises ValueError: there is no name in it.
    """
    names = [name for part in text.split(",") if (name := part.strip())]
    if not names:
        raise ValueError(f"{shown(text)!r} names no DNS name; give one, or several with commas between")
    return tuple(map(literal_dns_name, names))


# --- options ------------------------------------------------------------------------------------


def _check_plain(matches: Iterable[TextMatch]) -> None:
    for match in matches:
        for text in (match.exact, match.prefix, match.suffix, match.contains):
            if text is not None and not is_plain(text):
                raise ValueError(
                    f"{shown(text)!r} matches no name; names are printable ASCII without spaces, international host "
                    "names in them A-labels (xn--…)"
                )


def _check_dns(matches: Iterable[TextMatch]) -> None:
    for match in matches:
        name = match.exact
        if name is None:
            continue
        if "*" in name:
            raise ValueError(
                f"{shown(name)!r} has a wildcard, which only a certificate may have; write {_instead(name)}"
            )
        if name.startswith("."):
            raise ValueError(f"{shown(name)!r} is no DNS name; write suffix: {shown(name)} for the names below it")
        _dns_name(name)
    _check_plain([match for match in matches if match.exact is None])


def _instead(name: str) -> str:
    pattern = re.escape(name).replace("\\*", "[^.]+")
    below = f"suffix: {shown(name[1:])} for all names below it, or " if name.startswith("*.") else ""
    return f"{below}regex: {shown(pattern)} for any label in the place of *"


def _dns_name(name: str) -> str:
    """Give a DNS name in lower case; an international one in A-labels."""
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise ValueError(f"{shown(name)!r} is no international host name: {error}; correct it") from None
    if not is_plain(name):
        raise ValueError(f"{shown(name)!r} is no DNS name; write labels of letters, digits and hyphens with dots")
    return name.lower()


@frozen(kw_only=True)
class Config:
    """Options of ``subject_alt_names``; one matcher at least."""

    dns: tuple[TextMatch, ...] = option(
        "Matchers of DNS names.  exact ignores case, and a wildcard *. in the certificate stands for one label.",
        default=(),
        check=_check_dns,
    )
    uri: tuple[TextMatch, ...] = option("Matchers of URIs, SPIFFE IDs among them.", default=(), check=_check_plain)
    email: tuple[TextMatch, ...] = option(
        "Matchers of mail addresses.  exact ignores the case of what follows the @.", default=(), check=_check_plain
    )
    ip: tuple[AddressMatch, ...] = option("Matchers of IP addresses.", default=(), check=_check_plain)
    other_name: tuple[OtherNameMatch, ...] = option("Matchers of other names.", default=())

    def __attrs_post_init__(self) -> None:
        if not (self.dns or self.uri or self.email or self.ip or self.other_name):
            raise ValueError("names no matcher, which would refuse everyone; give one under dns, uri, email or ip")


# --- matchers that are ready --------------------------------------------------------------------


class _DNSMatcher:
    def __init__(self, matches: Sequence[TextMatch]) -> None:
        self._exact = frozenset(_dns_name(match.exact) for match in matches if match.exact is not None)
        # What stands behind the first label of each: a wildcard there takes any first label.
        self._parents = frozenset(parent for name in self._exact if (parent := name.partition(".")[2]))
        self._other = TextMatcher([match for match in matches if match.exact is None])
        self.bounded = self._other.bounded

    def __call__(self, name: str) -> bool:
        lower = name.lower()
        if lower in self._exact or (lower.startswith("*.") and lower[2:] in self._parents):
            return True
        return self._other(name)


class _AddressMatcher:
    #: No address is too long for an expression.
    bounded = False

    def __init__(self, matches: Sequence[AddressMatch]) -> None:
        self._exact = frozenset(ip_address(match.exact) for match in matches if match.exact is not None)
        self._networks = tuple(_network(match.network) for match in matches if match.network is not None)
        self._texts = TextMatcher([match for match in matches if match.exact is None and match.network is None])

    def __call__(self, text: str) -> bool:
        address = ip_address(text)
        if address in self._exact:
            return True
        return any(address in network for network in self._networks) or self._texts(text)


_Matcher = TextMatcher | _DNSMatcher | _AddressMatcher


class _OtherNameMatcher:
    def __init__(self, matches: Sequence[OtherNameMatch]) -> None:
        by_type: dict[bytes, list[OtherNameMatch]] = {}
        for match in matches:
            by_type.setdefault(oid_bytes(match.oid), []).append(match)
        self._texts = {
            oid: TextMatcher([match for match in of_type if match.der is None]) for oid, of_type in by_type.items()
        }
        self._values = frozenset(
            (oid, bytes.fromhex(match.der))
            for oid, of_type in by_type.items()
            for match in of_type
            if match.der is not None
        )

    def __call__(self, name: OtherName) -> bool:
        if (name.oid, name.value) in self._values:
            return True
        matcher = self._texts.get(name.oid)
        return matcher is not None and name.text is not None and matcher(name.text)


def _mail_address(address: str) -> str:
    # RFC 5280 §7.5: the host's case does not count, the mailbox's does.
    mailbox, at, host = address.rpartition("@")
    return f"{mailbox}{at}{host.lower()}"


@policy("subject_alt_names", Config)
class SubjectAltNames:
    r"""Let in the certificates of which one subject alternative name matches.

    Any one matcher is enough.  Each is for one type of name: what stands under ``dns`` never matches a URI.  The
    common name is no alternative name and never matches, nor does a malformed name, such as one with a NUL in it.  The
    first 1024 names of a type are looked at; a certificate with more, none of which matches, is refused under ``not``,
    too, and so is one with a name of more than 4096 bytes where there is a ``regex``.

    ``exact``, ``prefix``, ``suffix``, ``contains`` compare a name as it stands in the certificate; with
    ``ignore_case: true`` ASCII letters of either case are the same.  ``regex`` must match the whole name.  Dots before
    a suffix matter: ``suffix: corp.example`` takes ``evilcorp.example``, too.

    ``exact`` knows the types: of DNS names the case does not count, and a certificate with ``*.corp.example`` matches
    ``exact: a.corp.example``, though neither ``a.b.corp.example`` nor ``corp.example`` (RFC 9525 §6.3: the wildcard
    is the whole first label).  Of mail addresses the host's case does not count.  IP addresses are compared as
    addresses, and ``network`` takes whole networks; ``::ffff:10.1.2.3`` is not ``10.1.2.3``.

    A wildcard in the configuration is a fault.  Envoy takes ``exact: "*.corp.example"`` literally, which refuses
    everybody it was meant for; here ``suffix: .corp.example`` says what is meant.

    Under ``other_name`` a matcher needs the type's ``oid``.  ``der`` compares values that are no text.

    Example::

        policies:
          - subject_alt_names:
              dns:
                - exact: billing.corp.example
                - suffix: .devices.corp.example
                  ignore_case: true
              uri:
                - regex: spiffe://corp\.example/ns/[a-z]+/sa/billing
              ip:
                - network: 10.20.0.0/16
              other_name:
                - {oid: 1.3.6.1.4.1.311.20.2.3, suffix: "@corp.example"}
    """

    def __init__(self, config: Config, env: IEnvironment) -> None:
        self.judges_by = config
        # Types of which no name is wanted are not even looked at.
        self._matchers: list[tuple[Callable[[Certificate], tuple[str, ...]], _Matcher]] = []
        if config.dns:
            self._matchers.append((lambda certificate: certificate.dns_names, _DNSMatcher(config.dns)))
        if config.uri:
            self._matchers.append((lambda certificate: certificate.uris, TextMatcher(config.uri)))
        if config.email:
            self._matchers.append((lambda certificate: certificate.emails, TextMatcher(config.email, _mail_address)))
        if config.ip:
            self._matchers.append((lambda certificate: certificate.ip_addresses, _AddressMatcher(config.ip)))
        self._other_name = _OtherNameMatcher(config.other_name) if config.other_name else None
        self._wanted = listed([
            *[f"DNS {match}" for match in config.dns],
            *[f"URI {match}" for match in config.uri],
            *[f"email {match}" for match in config.email],
            *[f"IP {match}" for match in config.ip],
            *[f"{match.oid} {match}" for match in config.other_name],
        ])

    def check(self, peer: Peer) -> Verdict:
        """Look for a name that matches."""
        certificate = peer.certificate
        if certificate is None:
            return Reject(Reason.NO_CERTIFICATE)
        for names, matcher in self._matchers:
            for name in names(certificate)[:MOST_NAMES]:
                if matcher(name):
                    return _ACCEPT
        others: tuple[OtherName, ...] = ()
        try:
            if self._other_name is not None:
                others = other_names(certificate)
        except DERError as error:
            return Reject(Reason.CERTIFICATE_INVALID, f"the certificate's names cannot be read: {error}")
        if self._other_name is not None and any(map(self._other_name, others)):
            return _ACCEPT
        found, count = _found(certificate, others)
        if not count and certificate.parse_error is not None:
            return Reject(
                Reason.CERTIFICATE_INVALID, f"the certificate cannot be read: {shown(certificate.parse_error)}"
            )
        detail = f"the certificate has {listed(found, 'no names', count)}; wanted is {self._wanted}"
        if any(
            len(named) > MOST_NAMES or (matcher.bounded and any(len(name) > MAX_REGEX_TEXT for name in named))
            for named, matcher in ((names(certificate), matcher) for names, matcher in self._matchers)
        ):
            # Under not, no match would let in who has hidden a name behind others or in a long one.
            return Reject(Reason.CERTIFICATE_INVALID, f"too many or too long names to be compared: {detail}")
        return Reject(Reason.SUBJECT_ALT_NAME, detail)


def _found(certificate: Certificate, others: tuple[OtherName, ...]) -> tuple[list[str], int]:
    """Give the first names in words, and how many there are."""
    kinds: tuple[tuple[str, Sequence[object]], ...] = (
        ("DNS ", certificate.dns_names),
        ("URI ", certificate.uris),
        ("email ", certificate.emails),
        ("IP ", certificate.ip_addresses),
        ("", others),
        ("malformed ", certificate.malformed_names),
    )
    named = (f"{kind}{name}" for kind, names in kinds for name in names)
    return list(islice(named, MOST_ITEMS)), sum(len(names) for _, names in kinds)
