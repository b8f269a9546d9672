"""Name constraints (RFC 5280 §4.2.1.10), with nothing forgiven.

OpenSSL has applied them before; what it lets pass is refused here: constraints that are malformed, names
that are malformed where constraints of their kind hold, wildcards that reach out of what is permitted or
into what is excluded, and kinds of names that nobody can compare.

What a CA permits and excludes is made into sets once, so that a certificate costs the number of its names
and not their product with the constraints.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from edgegw.certificate import MAX_CACHED_BYTES
from edgegw.der import SEQUENCE, DERError, elements, only, read
from edgegw.policies.certificate_parts import MOST_NAMES, NAME_CONSTRAINTS, CertificateParts
from edgegw.policies.der_elements import element
from edgegw.policies.directory_names import EMAIL_ADDRESS, CanonicalName, canonical
from edgegw.policies.name_rules import (
    DIRECTORY_NAME,
    DNS_NAME,
    IP_ADDRESS,
    OTHER_NAME,
    RFC822_NAME,
    URI,
    address_fault,
    alternative_name_fault,
    dns_fault,
    shown_name,
    uri_host,
)

__all__ = ["NameConstraints", "Subtrees", "constraint_faults", "name_constraints"]

#: Who has found this many faults in an extension has seen enough.
_MOST_FAULTS = 8

_PERMITTED = 0xA0
_EXCLUDED = 0xA1
#: ``SmtpUTF8Mailbox``, an address under another kind, which constraints on addresses hold for (RFC 9598 §6).
_SMTP_UTF8_MAILBOX = bytes.fromhex("06082b06010505070809")


def _ancestors(name: bytes) -> Iterator[bytes]:
    """Give a domain name, then each one above it; the empty name, above all, last."""
    yield name
    while name:
        name = name.partition(b".")[2]
        yield name


class Subtrees:
    """A set of subtrees: what ``permittedSubtrees`` or ``excludedSubtrees`` has.

    :ivar kinds: the tags of the kinds of names in it.
    """

    def __init__(self) -> None:
        self.kinds: set[int] = set()
        self._domains: set[bytes] = set()
        self._above_domains: set[bytes] = set()
        self._mailboxes: set[tuple[bytes, bytes]] = set()
        self._hosts: dict[int, set[bytes]] = {RFC822_NAME: set(), URI: set()}
        self._below: dict[int, set[bytes]] = {RFC822_NAME: set(), URI: set()}
        self._networks: dict[tuple[int, int], set[int]] = {}
        self._directories: set[CanonicalName] = set()
        # How many RDNs they have, so that only beginnings of a name are tried that one of them can be.
        self._depths: set[int] = set()

    def add(self, tag: int, base: bytes) -> None:
        """Add the subtree below ``base``.

        :raises DERError: it is none of the kind that ``tag`` says.
        """
        if tag == DNS_NAME:
            fault = dns_fault(base, wildcard=False) if base else None
            if fault is not None:
                raise DERError(fault)
            self._domains.add(base.lower())
            self._above_domains.update(list(_ancestors(base.lower()))[1:])
        elif tag in self._hosts:
            self._add_host(tag, base)
        elif tag == IP_ADDRESS:
            self._add_network(base)
        elif tag == DIRECTORY_NAME:
            directory = canonical(only(base, SEQUENCE))
            self._directories.add(directory)
            self._depths.add(len(directory))
        self.kinds.add(tag)

    def _add_host(self, tag: int, base: bytes) -> None:
        if tag == RFC822_NAME and b"@" in base:
            fault = address_fault(base)
            local, _, host = base.rpartition(b"@")
            self._mailboxes.add((local, host.lower()))
        else:
            inside = base.startswith(b".")
            fault = dns_fault(base[inside:], wildcard=False)
            (self._below if inside else self._hosts)[tag].add(base[inside:].lower())
        if fault is not None:
            raise DERError(fault)

    def _add_network(self, base: bytes) -> None:
        if len(base) not in (8, 32):
            raise DERError("is no address and mask")
        half = len(base) // 2
        address, mask = int.from_bytes(base[:half], "big"), int.from_bytes(base[half:], "big")
        unset = ~mask & (1 << 8 * half) - 1
        if unset & unset + 1:
            raise DERError("has a mask with holes")
        self._networks.setdefault((half, mask), set()).add(address & mask)

    def has(self, tag: int, name: bytes) -> bool:
        """Whether a name, which must be well-formed, lies in a subtree of its kind."""
        if tag == DNS_NAME:
            host = name[2:] if name.startswith(b"*.") else name
            return not self._domains.isdisjoint(_ancestors(host.lower()))
        if tag == RFC822_NAME:
            local, _, host = name.rpartition(b"@")
            return (local, host.lower()) in self._mailboxes or self._has_host(tag, host)
        if tag == URI:
            return self._has_host(tag, uri_host(name) or b"")
        if tag == IP_ADDRESS:
            address = int.from_bytes(name, "big")
            return any(
                size == len(name) and address & mask in networks for (size, mask), networks in self._networks.items()
            )
        if tag == DIRECTORY_NAME and self._directories:
            rdns = canonical(only(name, SEQUENCE))
            return any(length <= len(rdns) and rdns[:length] in self._directories for length in self._depths)
        return False

    def reaches_into(self, tag: int, name: bytes) -> bool:
        """Whether a wildcard name can stand for one that lies in a subtree which it does not lie in itself."""
        return tag == DNS_NAME and name.startswith(b"*.") and name[2:].lower() in self._above_domains

    def _has_host(self, tag: int, host: bytes) -> bool:
        host = host.lower()
        if host in self._hosts[tag]:
            return True
        return not self._below[tag].isdisjoint(list(_ancestors(host))[1:])


class NameConstraints:
    """One ``nameConstraints`` extension.

    :ivar faults: what is malformed in it; it must not be used then.
    """

    def __init__(self, value: bytes) -> None:
        """:param value: contents of the extension's octet string; nothing is raised for what is wrong in it."""
        self.permitted = Subtrees()
        self.excluded = Subtrees()
        self.faults: list[str] = []
        try:
            self._read(only(value, SEQUENCE))
        except DERError as error:
            self.faults.append(f"nameConstraints that are none: {error}")

    def _read(self, body: bytes) -> None:
        trees = {_PERMITTED: self.permitted, _EXCLUDED: self.excluded}
        for tag, start, stop in elements(body):
            if tag not in trees:
                raise DERError(f"tag {tag:#04x}")
            subtrees = trees.pop(tag)
            if tag == _EXCLUDED:
                trees.clear()
            for kind, first, last in elements(body, start, stop):
                if kind != SEQUENCE:
                    raise DERError("a subtree that is no sequence")
                if len(self.faults) < _MOST_FAULTS:
                    self._add(subtrees, body[first:last])
        if not self.permitted.kinds and not self.excluded.kinds and not self.faults:
            self.faults.append("nameConstraints without a subtree")

    def _add(self, subtrees: Subtrees, subtree: bytes) -> None:
        tag, start, stop = read(subtree, 0, len(subtree))
        base = subtree[start:stop]
        if stop != len(subtree):
            self.faults.append("a name constraint with a minimum or maximum")
        try:
            subtrees.add(tag, base)
        except DERError as error:
            self.faults.append(f"the name constraint {shown_name(tag, base)} {error}")

    def fault(self, tag: int, name: bytes) -> str | None:
        """Say why a name is not one that the CA may issue."""
        permitted, excluded = tag in self.permitted.kinds, tag in self.excluded.kinds
        if not permitted and not excluded:
            kinds = self.permitted.kinds | self.excluded.kinds
            if tag == OTHER_NAME and RFC822_NAME in kinds and name.startswith(_SMTP_UTF8_MAILBOX):
                return "is an address that cannot be compared with the constraints"
            return None
        if tag not in (DNS_NAME, RFC822_NAME, URI, IP_ADDRESS, DIRECTORY_NAME):
            return "is of a kind that cannot be compared with the constraints"
        malformed = dns_fault(name) if tag == DNS_NAME else alternative_name_fault(tag, name)
        if malformed is None and tag == URI and not _is_host_name(uri_host(name)):
            malformed = "has no host name"
        if malformed is not None:
            return f"{malformed}, where constraints of its kind hold"
        if excluded and (self.excluded.has(tag, name) or self.excluded.reaches_into(tag, name)):
            return "is excluded"
        return None if not permitted or self.permitted.has(tag, name) else "is not permitted"


def _is_host_name(host: bytes | None) -> bool:
    """Whether the host of a URI is a name and no address."""
    return host is not None and dns_fault(host, wildcard=False) is None and host.translate(None, b"0123456789.") != b""


_cached = lru_cache(maxsize=128)(NameConstraints)


def name_constraints(parts: CertificateParts) -> NameConstraints | None:
    """Give a certificate's name constraints, remembering the last 128 of those that are not long."""
    extension = parts.extension(NAME_CONSTRAINTS)
    if extension is None:
        return None
    return (NameConstraints if len(extension.value) > MAX_CACHED_BYTES else _cached)(extension.value)


def _names(parts: CertificateParts) -> list[tuple[int, bytes]]:
    """Give the names that constraints hold for: alternative names, the subject, addresses in the subject.

    :raises DERError: they cannot be read.
    """
    names = list(parts.alternative_names or ())
    if parts.subject:
        for attribute in parts.subject_attributes:
            if attribute.oid == EMAIL_ADDRESS:
                names.append((RFC822_NAME, (attribute.text() or "").encode("utf-8", "surrogatepass")))
        names.append((DIRECTORY_NAME, element(SEQUENCE, parts.subject)))
    return names


def constraint_faults(chain: Sequence[CertificateParts]) -> Iterator[tuple[int, str]]:
    """Give what breaks the constraints of a chain: the place of the certificate at fault, and what it is.

    Those of the trust anchor count too.  Self-issued certificates are not constrained, but the first one
    (RFC 5280 §6.1.3).

    :param chain: the client's certificate first.
    """
    above: list[NameConstraints] = []
    for place in range(len(chain) - 1, -1, -1):
        parts = chain[place]
        try:
            names = _names(parts) if above and (place == 0 or not parts.self_issued) else []
        except DERError as error:
            yield place, f"names that cannot be read: {error}"
            names = []
        if len(names) > MOST_NAMES:
            yield place, f"more than {MOST_NAMES} names to compare with constraints"
            names = []
        for tag, name in names:
            for constraints in above:
                fault = constraints.fault(tag, name)
                if fault is not None:
                    yield place, f"{shown_name(tag, name)} {fault}"
        own = name_constraints(parts) if place else None
        if own is not None:
            for fault in own.faults:
                yield place, fault
            above.append(own)
