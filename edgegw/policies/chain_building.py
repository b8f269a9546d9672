"""Other chains from a client's certificate to a trust anchor than the one that OpenSSL tries.

OpenSSL chooses one issuer for each certificate and stays with it.  Where a CA has several certificates, as when
two others have signed it, or a root was renewed, the one that it takes may have expired while another is
good (RFC 4158 describes the whole of it).  Here the others are found; whoever asks has OpenSSL verify them.

Chains are found by names and key identifiers alone.  No signature is checked and nothing is trusted, so
that what a hostile client sends costs no more than a bounded search.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from heapq import heappop, heappush
from itertools import count
from typing import Final

from attrs import frozen

from edgegw.certificate import Certificate
from edgegw.der import DERError
from edgegw.policies.certificate_parts import CertificateParts, certificate_parts
from edgegw.policies.directory_names import CanonicalName

__all__ = ["MOST_SENT", "alternative_chains"]

#: More certificates than this are not looked at among those that a client sent.
MOST_SENT: Final = 32
#: Certificates that are tried as the issuer of one.
_MOST_ISSUERS: Final = 16
#: Certificates whose issuers are looked for: these, and so many more for each chain that is wanted.
_LEAST_STEPS: Final = 32
_STEPS_PER_CHAIN: Final = 8


@frozen(eq=False)
class _Link:
    """A certificate that may stand in a chain.

    :ivar entity: a digest of its subject and key; no two of a chain may be the same.
    :ivar subject: its name, ``issuer`` that of its issuer.
    :ivar key: its key identifier, ``issuer_key`` that of its issuer; ``None`` where it does not say.
    :ivar anchor: whether a chain may end here.
    """

    certificate: Certificate
    entity: bytes
    subject: CanonicalName
    issuer: CanonicalName
    key: bytes | None
    issuer_key: bytes | None
    anchor: bool

    def expired(self, now: datetime | None) -> bool:
        """Whether it is not valid at ``now``, or cannot be read."""
        if now is None:
            return False
        begin, end = self.certificate.not_before, self.certificate.not_after
        return begin is None or end is None or not begin <= now <= end


def _link(certificate: Certificate, anchor: bool = False) -> _Link | None:
    """Read a certificate; ``None`` if it cannot be read, or is the certificate of none that issues."""
    try:
        parts = certificate_parts(certificate.der)
        # A root of version 1 cannot say that it is a CA.
        if not (parts.ca or (anchor and parts.basic_constraints is None)):
            return None
        return _as_link(certificate, parts, anchor)
    except DERError:
        return None


def _as_link(certificate: Certificate, parts: CertificateParts, anchor: bool) -> _Link:
    authority = parts.authority_key_identifier
    subject = repr([sorted(rdn) for rdn in parts.subject_name]).encode("ascii")
    return _Link(
        certificate,
        sha256(subject + parts.public_key).digest(),
        parts.subject_name,
        parts.issuer_name,
        parts.subject_key_identifier,
        None if authority is None else authority.key_identifier,
        anchor,
    )


@lru_cache(maxsize=16)
def _anchors_by_name(anchors: tuple[Certificate, ...]) -> dict[CanonicalName, list[_Link]]:
    found: dict[CanonicalName, list[_Link]] = {}
    for anchor in dict.fromkeys(anchors):
        link = _link(anchor, anchor=True)
        if link is not None:
            found.setdefault(link.subject, []).append(link)
    return found


def alternative_chains(
    leaf: Certificate,
    sent: Sequence[Certificate],
    anchors: Sequence[Certificate],
    limit: int,
    *,
    depth: int = 10,
    now: datetime | None = None,
) -> Iterator[tuple[Certificate, ...]]:
    """Give chains by issuers' names, key identifiers where both sides have them, and ``cA``; the best first.

    Those with fewer certificates that are not valid at ``now`` come first, then those with fewer links that no
    key identifier confirms, then shorter ones.  A chain that OpenSSL has tried may be among them.

    :param leaf: the client's certificate, which is the first of every chain.
    :param sent: what else the client sent, in any order; the first :data:`MOST_SENT` are looked at.
    :param anchors: trust anchors, one of which is the last of every chain.
    :param limit: how many chains are given at most; the search is bounded in proportion.
    :param depth: how many certificates may stand above ``leaf``, the anchor included.
    :param now: aware; ``None`` prefers none for its validity.
    """
    by_name = _anchors_by_name(tuple(anchors))
    known = {one.der for one in anchors}
    issuers: dict[CanonicalName, list[_Link]] = {}
    for one in dict.fromkeys(sent[:MOST_SENT]):
        link = None if one.der in known or one.der == leaf.der else _link(one)
        if link is not None:
            issuers.setdefault(link.subject, []).append(link)
    for links in issuers.values():
        # Those that an anchor may have issued are near the end of a chain.
        links.sort(key=lambda link: (link.expired(now), link.issuer not in by_name))
    try:
        first = _as_link(leaf, certificate_parts(leaf.der), anchor=False)
    except DERError:
        return
    order = count()
    waiting: list[tuple[tuple[int, int, int], int, tuple[_Link, ...]]] = []
    heappush(waiting, ((0, 0, 1), next(order), (first,)))
    given = 0
    steps = _LEAST_STEPS + _STEPS_PER_CHAIN * limit
    while waiting and given < limit:
        (expired, unconfirmed, length), _, chain = heappop(waiting)
        top = chain[-1]
        if top.anchor:
            given += 1
            yield tuple(link.certificate for link in chain)
            continue
        if length > depth or steps == 0:
            continue
        steps -= 1
        entities = [below.entity for below in chain]
        candidates = [*by_name.get(top.issuer, ()), *issuers.get(top.issuer, ())]
        tried = 0
        for link in candidates:
            confirmed = None not in (link.key, top.issuer_key)
            if confirmed and link.key != top.issuer_key:
                continue
            if link.entity in entities:
                continue
            cost = (expired + link.expired(now), unconfirmed + (not confirmed), length + 1)
            heappush(waiting, (cost, next(order), (*chain, link)))
            tried += 1
            if tried == _MOST_ISSUERS:
                break
