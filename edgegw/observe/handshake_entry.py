"""One handshake in the record: what is kept of it, within bounds, and how it is told.

A row is a tuple of plain values, because a tuple is quickly made and, holding nothing else, left alone by
the garbage collector.  It becomes JSON when somebody asks.  A row and all that it alone keeps alive take
:data:`MAX_BYTES` at most, whatever the client sent and however much the policies had to say.
"""
from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from edgegw.observe.certificate_summary import Kept, certificate_facts, shorten
from edgegw.proxied import ProxyFacts
from edgegw.verdict import Accept, Reason, Ruling

__all__ = [
    "CODES",
    "FAILURES",
    "MAX_BYTES",
    "MAX_DETAIL",
    "MAX_RULINGS",
    "MAX_RULING_DETAILS",
    "Parameters",
    "Row",
    "entry",
    "kept_proxied",
    "kept_rulings",
    "moment",
    "visible",
]

#: Characters of a handshake's detail.
MAX_DETAIL: Final = 256
#: Policies whose verdicts are kept: the first ones and the last, which decided.
MAX_RULINGS: Final = 16
#: Characters that the details of all of them share.
MAX_RULING_DETAILS: Final = 512
#: Bytes in memory of one handshake at its worst; one with a certificate of its own and two policies has 1 KB.
MAX_BYTES: Final = 6_100

#: Characters that are kept of what a proxy says of a connection: of a name, and of anything else.
_MAX_AUTHORITY: Final = 255
_MAX_PROXIED: Final = 64

#: Reasons that are no decision of the gateway's: client and gateway did not get a handshake done.
FAILURES: Final = frozenset({
    Reason.NOT_TLS, Reason.PLAIN_HTTP, Reason.BAD_CLIENT_HELLO, Reason.PROTOCOL_VERSION,
    Reason.NO_SHARED_CIPHER, Reason.NO_SHARED_GROUP, Reason.NO_APPLICATION_PROTOCOL, Reason.CLIENT_ALERT,
    Reason.CLIENT_CLOSED, Reason.HANDSHAKE_TIMEOUT, Reason.TLS_ERROR, Reason.PROXY_HEADER_MISSING,
    Reason.BAD_PROXY_HEADER, Reason.PROXY_HEADER_TIMEOUT,
})  # fmt: skip

#: The gateway's own codes as plain text: members of an enumeration would keep the collector busy.
CODES: Final[dict[str, str]] = {reason: reason.value for reason in Reason}
_UNPRINTABLE = re.compile("[^ -~]")

#: TLS version, cipher suite, group; one tuple for all rows with the same.
Parameters = tuple[str | None, str | None, str | None]

#: Number; id if it is not the number's; seconds since the epoch; listener; address; port; SNI; what was negotiated;
#: whether resumed; the certificate's status; what is kept of it; reason code, empty if accepted; detail; what
#: :func:`kept_rulings` gives; seconds that it took; JA3 and JA4 where they were taken; what :func:`kept_proxied` gives.
Row = tuple[
    int, str | None, float, str, str, int, str | None, Parameters, bool, str, Kept | None, str, str,
    tuple[Any, ...], float, tuple[str, str] | None, tuple[Any, ...] | None,
]  # fmt: skip


def kept_rulings(rulings: Sequence[Ruling]) -> tuple[Any, ...]:
    """Give what is kept of the policies' verdicts: how many were left out, then five values for each of the others.

    These are the policy, the code (empty if it accepted), the detail (of one that accepted: what it said of the
    client), seconds and whether it was an earlier answer.
    """
    if len(rulings) == 1:
        policy, verdict, seconds, cached = rulings[0]
        if type(verdict) is Accept and not verdict.attributes:
            return (0, policy, "", "", seconds, cached)
    left_out = len(rulings) - MAX_RULINGS
    if left_out > 0:
        rulings = (*rulings[: MAX_RULINGS - 1], rulings[-1])
    flat: list[Any] = [max(0, left_out)]
    room = MAX_RULING_DETAILS
    for ruling in rulings:
        verdict = ruling.verdict
        if isinstance(verdict, Accept):
            attributes = verdict.attributes
            if not attributes:
                flat += (ruling.policy, "", "", ruling.seconds, ruling.cached)
                continue
            code = ""
            detail = ", ".join([f"{name}={value}" for name, value in attributes.items()])
        else:
            code = CODES.get(verdict.code) or str(verdict.code)
            detail = verdict.detail
        if detail:
            detail = shorten(detail, min(room, MAX_DETAIL))
            room -= len(detail)
        flat += (ruling.policy, code, detail, ruling.seconds, ruling.cached)
    return tuple(flat)


def kept_proxied(facts: ProxyFacts) -> tuple[Any, ...]:
    """Give what is kept of what a proxy said: six values more where it told of TLS."""
    tls = facts.tls
    kept = (
        facts.peer,
        facts.peer_port,
        facts.version,
        facts.local,
        facts.destination,
        shorten(facts.authority, _MAX_AUTHORITY),
        shorten(facts.alpn, _MAX_PROXIED),
        shorten(facts.unique_id, 2 * _MAX_PROXIED),
    )
    if tls is None:
        return kept
    return (
        *kept,
        shorten(tls.version, _MAX_PROXIED),
        shorten(tls.cipher, _MAX_PROXIED),
        tls.certificate,
        tls.session_certificate,
        tls.verify,
        shorten(tls.common_name, 2 * _MAX_PROXIED),
    )


def _proxied(kept: tuple[Any, ...]) -> dict[str, object]:
    peer, port, version, local, destination, authority, alpn, unique_id, *tls = kept
    said: dict[str, object] = {
        "peer": peer,
        "port": port,
        "version": version,
        "local": local,
        "destination": None if destination is None else {"address": destination[0], "port": destination[1]},
        "authority": visible(authority),
        "alpn": visible(alpn),
        "unique_id": visible(unique_id),
        "tls": None,
    }
    if tls:
        tls_version, cipher, certificate, session_certificate, verify, common_name = tls
        said["tls"] = {
            "version": visible(tls_version),
            "cipher": visible(cipher),
            "certificate": certificate,
            "session_certificate": session_certificate,
            "verify": verify,
            "common_name": visible(common_name),
        }
    return said


def visible(text: str) -> str:
    """Escape what is not printable ASCII as ``\\x1b`` or ``\\u20ac``: a terminal or a browser would obey it."""
    return _UNPRINTABLE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def moment(seconds: float) -> str:
    """Write a time as ``2026-01-31T12:00:00.000Z``, from seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def entry(row: Row, id: str, repeats: tuple[int, float] | None) -> dict[str, object]:
    """Give a handshake as JSON has it; every text that came from a client is printable ASCII.

    :param repeats: how many more were the same, and when the last of them was.
    """
    (_, _, time, listener, peer, port, server_name, (version, cipher, group), resumed, status, certificate, reason,
     detail, rulings, seconds, fingerprints, proxied) = row  # fmt: skip
    ja3, ja4 = fingerprints or (None, None)
    more, last = (0, time) if repeats is None else repeats
    return {
        "id": id,
        "time": moment(time),
        "count": 1 + more,
        "last": moment(last),
        "listener": listener,
        "peer": visible(peer),
        "port": port,
        "proxied": None if proxied is None else _proxied(proxied),
        "server_name": None if server_name is None else visible(server_name),
        "version": version,
        "cipher": cipher,
        "group": group,
        "resumed": resumed,
        "ja3": ja3,
        "ja4": ja4,
        "status": status,
        "certificate": None if certificate is None else certificate_facts(certificate),
        "result": "accepted" if not reason else "failed" if reason in FAILURES else "refused",
        "reason": reason,
        "detail": visible(detail),
        "policies": [
            {
                "policy": rulings[at],
                "verdict": "reject" if rulings[at + 1] else "accept",
                "code": rulings[at + 1],
                "detail": visible(rulings[at + 2]),
                "seconds": round(rulings[at + 3], 6),
                "cached": rulings[at + 4],
            }
            for at in range(1, len(rulings), 5)
        ],
        "policies_left_out": rulings[0] if rulings else 0,
        "seconds": round(seconds, 6),
    }
