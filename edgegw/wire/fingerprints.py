"""What tells one TLS library from another: the JA3 and the JA4 of a ClientHello.

A fingerprint is made of what a client offers, and not of what it is: whoever writes a ClientHello like a browser's has
a browser's fingerprint.  It authenticates nobody.

Both leave out the values that GREASE has reserved (RFC 8701), wherever they stand: a client draws them by lot.

JA3 (Salesforce, 2017) is the MD5 of five lists in decimal: ``version,ciphers,extensions,groups,point formats``.
Extensions count in the order in which they stand, which some clients draw by lot, too: each of their connections has
another JA3.

JA4 (FoxIO, "JA4: TLS Client Fingerprinting") has three parts, ``t13d1516h2_8daaf6152771_e5627efa2ab1``.  They are

1. ``t`` for TCP; the version, the highest of ``supported_versions`` or else ``legacy_version``; ``d`` with a
   ``server_name`` and ``i`` without; how many cipher suites and extensions there are, in two digits, 99 at most; the
   first and the last character of the first protocol of ALPN;
2. the first twelve hexadecimal digits of the SHA-256 of the cipher suites, sorted, with commas between them;
3. the same of the extensions, sorted, without ``server_name`` and ALPN, and after ``_`` of the signature algorithms in
   the client's order.

Numbers have four lower-case hexadecimal digits there.
"""
from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from hashlib import md5, sha256
from struct import pack, unpack
from typing import Final, NamedTuple

from edgegw.wire.client_hello import BadClientHello

__all__ = ["MOST_NUMBERS", "Fingerprints", "Offer", "fingerprints", "ja3_text", "ja4", "read_offer"]

_SERVER_NAME: Final = 0
_GROUPS: Final = 10
_POINT_FORMATS: Final = 11
_SIGNATURE_ALGORITHMS: Final = 13
_ALPN: Final = 16
_SUPPORTED_VERSIONS: Final = 43

#: RFC 8701 §2: both bytes the same, and ``a`` the lower half of each.
_GREASE: Final = frozenset(0x0A0A + 0x1010 * number for number in range(16))
_GREASE_PROTOCOLS: Final = frozenset(number.to_bytes(2, "big") for number in _GREASE)
_VERSIONS: Final = {0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10", 0x0300: "s3", 0x0002: "s2"}
_LETTERS_AND_DIGITS: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_COUNTED_ELSEWHERE: Final = frozenset({_SERVER_NAME, _ALPN})
_MOST: Final = 99
_NOTHING: Final = "0" * 12
#: The extensions that are read, in the order in which :data:`_Parts` has what is in them.
_READ: Final = (_GROUPS, _POINT_FORMATS, _SIGNATURE_ALGORITHMS, _ALPN, _SUPPORTED_VERSIONS)
#: Numbers that a fingerprint is made of at most.  All that IANA has registered are fewer, and thousands would take
#: longer than the handshake of somebody else, who waits meanwhile.
MOST_NUMBERS: Final = 1_000
#: Messages whose fingerprints are remembered, and bytes of the longest of them.
_MOST_REMEMBERED: Final = 128
_LONGEST_REMEMBERED: Final = 4_096

#: ``legacy_version``, cipher suites, types of extensions, and what is in those of :data:`_READ`.
_Parts = tuple[
    bytes, bytes, tuple[int, ...], bytes | None, bytes | None, bytes | None, bytes | None, bytes | None
]


class Fingerprints(NamedTuple):
    """A client's fingerprints.

    :ivar ja3: 32 lower-case hexadecimal digits.
    :ivar ja4: 36 characters, such as ``t13d1516h2_8daaf6152771_e5627efa2ab1``.
    """

    ja3: str
    ja4: str


class Offer(NamedTuple):
    """What a ClientHello offers, in the client's order, GREASE left out.

    :ivar version: ``legacy_version`` (RFC 8446 §4.1.2): 0x0303 for TLS 1.2 and everything newer.
    :ivar extensions: the extensions' types, in their order.
    :ivar groups: of ``supported_groups`` (RFC 8446 §4.2.7); empty without it, as are the next ones.
    :ivar point_formats: of ``ec_point_formats`` (RFC 8422 §5.1.2).
    :ivar versions: of ``supported_versions`` (RFC 8446 §4.2.1); ``None`` without it.
    :ivar protocols: of ALPN (RFC 7301).
    """

    version: int
    cipher_suites: list[int]
    extensions: list[int]
    groups: list[int]
    point_formats: list[int]
    signature_algorithms: list[int]
    versions: list[int] | None
    protocols: list[bytes]


def fingerprints(message: bytes) -> Fingerprints:
    """Give both fingerprints of a ClientHello.

    Those of the last hundred or so that were different are remembered, since most clients of a gateway are alike.

    :param message: the handshake message, as :attr:`edgegw.wire.client_hello.ClientHello.message` has it.
    :raises BadClientHello: a list in it does not end where it must, and OpenSSL refuses such a message as well; or they
        are more than :data:`MOST_NUMBERS` in all.
    """
    parts = _parts(message)
    _, suites, kinds, groups, formats, algorithms, protocols, versions = parts
    lists = (suites, groups, formats, algorithms, versions)
    # Of the names of protocols the first one counts; the others are merely read.
    number = len(kinds) + sum([len(one) for one in lists if one]) // 2 + len(protocols or b"") // 16
    if number > MOST_NUMBERS:
        raise BadClientHello(f"it offers {number} things, and no fingerprint is made of more than {MOST_NUMBERS}")
    return _remembered(parts) if len(message) <= _LONGEST_REMEMBERED else _fingerprints(parts)


def _fingerprints(parts: _Parts) -> Fingerprints:
    offer = _offer(parts)
    # It is no signature: MD5 is what JA3 is made with.
    return Fingerprints(md5(ja3_text(offer).encode(), usedforsecurity=False).hexdigest(), ja4(offer))


# By all that fingerprints are made of, so that it cannot be wrong.
_remembered = lru_cache(_MOST_REMEMBERED)(_fingerprints)


# --- reading ----------------------------------------------------------------------------------


def read_offer(message: bytes) -> Offer:
    """Read what a ClientHello offers.

    Of an extension that stands there twice the last one counts: the message is refused by OpenSSL anyway.

    :param message: the handshake message with its header.
    :raises BadClientHello: it is none, or a list in it does not end where it must.
    """
    return _offer(_parts(message))


def _parts(message: bytes) -> _Parts:
    """Cut out what fingerprints are made of, as it stands in the message."""
    try:
        at = 4 + 2 + 32  # message header, legacy_version, random
        at += 1 + message[at]  # legacy_session_id
        start = at + 2
        at = start + (message[at] << 8 | message[at + 1])
        suites = message[start:at]
        at += 1 + message[at]  # legacy_compression_methods
        end = len(message)
        if at > end:
            raise BadClientHello("the message ends too early")
        if at < end:
            if at + 2 + (message[at] << 8 | message[at + 1]) != end:
                raise BadClientHello("the extensions do not end where the message does")
            at += 2
        kinds: list[int] = []
        bodies: dict[int, bytes] = {}
        while at < end:
            kind = message[at] << 8 | message[at + 1]
            start = at + 4
            at = start + (message[at + 2] << 8 | message[at + 3])
            kinds.append(kind)
            if kind in _READ:
                bodies[kind] = message[start:at]
        if at > end:
            raise BadClientHello("an extension ends beyond the message")
    except IndexError:
        raise BadClientHello("a length in the ClientHello points beyond its end") from None
    return message[4:6], suites, tuple(kinds), *map(bodies.get, _READ)  # type: ignore[return-value]  # as many


def _offer(parts: _Parts) -> Offer:
    version, suites, kinds, groups, formats, algorithms, protocols, versions = parts
    return Offer(
        version[0] << 8 | version[1],
        _numbers(suites),
        [kind for kind in kinds if kind not in _GREASE],
        [] if groups is None else _numbers(_vector(groups, 2)),
        [] if formats is None else list(_vector(formats, 1)),
        [] if algorithms is None else _numbers(_vector(algorithms, 2)),
        None if versions is None else _numbers(_vector(versions, 1)),
        [] if protocols is None else _protocols(_vector(protocols, 2)),
    )


def _vector(body: bytes, size: int) -> bytes:
    """Give what is in an extension that is one vector (RFC 8446 §3.4), whose length stands in ``size`` bytes."""
    if len(body) < size or int.from_bytes(body[:size], "big") != len(body) - size:
        raise BadClientHello("a list in an extension has a wrong length")
    return body[size:]


def _numbers(data: bytes) -> list[int]:
    if len(data) % 2:
        raise BadClientHello("a list of numbers has a wrong length")
    return [number for number in unpack(f">{len(data) // 2}H", data) if number not in _GREASE]


def _protocols(data: bytes) -> list[bytes]:
    at = 0
    found = []
    while at < len(data):
        name = data[at + 1 : at + 1 + data[at]]
        if not name or len(name) != data[at]:
            raise BadClientHello("a protocol name has a wrong length")
        found.append(name)
        at += 1 + len(name)
    return [name for name in found if name not in _GREASE_PROTOCOLS]


# --- writing ----------------------------------------------------------------------------------


def ja3_text(offer: Offer) -> str:
    """Give what JA3 is the MD5 of: ``771,4865-4866,0-23-65281,29-23,0``."""
    lists = (offer.cipher_suites, offer.extensions, offer.groups, offer.point_formats)
    return ",".join([str(offer.version), *("-".join(map(str, numbers)) for numbers in lists)])


def ja4(offer: Offer) -> str:
    """Give the JA4 of an offer over TCP; :mod:`edgegw.wire.fingerprints` says what it is made of."""
    versions = offer.versions
    # A list with nothing that is known in it says nothing: the older field does not count beside it.
    version = offer.version if versions is None else max(versions, default=0)
    kinds = offer.extensions
    name = "d" if _SERVER_NAME in kinds else "i"
    suites, number = min(len(offer.cipher_suites), _MOST), min(len(kinds), _MOST)
    first = f"t{_VERSIONS.get(version, '00')}{name}{suites:02}{number:02}{_protocol(offer.protocols)}"
    counted = _hexadecimal(sorted([kind for kind in kinds if kind not in _COUNTED_ELSEWHERE]))
    if counted and offer.signature_algorithms:
        counted += "_" + _hexadecimal(offer.signature_algorithms)
    return f"{first}_{_digest(_hexadecimal(sorted(offer.cipher_suites)))}_{_digest(counted)}"


def _hexadecimal(numbers: Collection[int]) -> str:
    # A client may send thousands of them, for which formatting each would take longer than its handshake.
    return pack(f">{len(numbers)}H", *numbers).hex(",", 2)


def _protocol(protocols: list[bytes]) -> str:
    """Give two characters for the first protocol; those of its hexadecimal form, where one is no letter or digit."""
    if not protocols:
        return "00"
    first = protocols[0]
    if first[0] in _LETTERS_AND_DIGITS and first[-1] in _LETTERS_AND_DIGITS:
        return f"{first[0]:c}{first[-1]:c}"
    return first.hex()[0] + first.hex()[-1]


def _digest(text: str) -> str:
    # Twelve zeros stand for an empty list, and not the digest of nothing.
    return sha256(text.encode()).hexdigest()[:12] if text else _NOTHING
