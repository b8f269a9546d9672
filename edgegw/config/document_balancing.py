"""How endpoints are chosen, in the native document."""
from __future__ import annotations

from typing import Final

from edgegw.config.document_terms import setting
from edgegw.config.faults import Report
from edgegw.config.scalars import Choice, Duration, Text, Words
from edgegw.config.shapes import Alternatives, Field, ListOf, OrWord, Record, Section
from edgegw.identity import FACTS
from edgegw.model import (
    Balancing,
    BalancingPolicy,
    CookieLifetime,
    HashKey,
    HashSource,
    SameSite,
    SessionPersistence,
    SessionType,
)

__all__ = ["BALANCING", "SESSION_PERSISTENCE", "translate_balancing"]

_TOKEN: Final = Text(
    "a name of letters, digits, hyphens and the like",
    r"[!#$%&'*+.^_`|~0-9A-Za-z\-]{1,128}",
    "write a token of RFC 9110",
)
_ADDRESS_WORD: Final = "address"
_HASH_KEY: Final = OrWord(
    _ADDRESS_WORD,
    Alternatives(
        (
            Field("header", _TOKEN, "A request header's value."),
            Field("cookie", _TOKEN, "A cookie's value."),
            Field("identity", Words(tuple(FACTS)), "A fact of the client: sha256, spiffe_id, subject …"),
        )
    ),
    (_ADDRESS_WORD, ""),
)


def _check_balancing(section: Section, report: Report) -> None:
    hashes = section.get("policy") is BalancingPolicy.CONSISTENT_HASH
    given = "hash_on" in section.node.values
    if hashes and not given:
        report.fault(section.node, "has no hash_on", "give hash_on: [{header: x-user}], or [address]")
    if given and not hashes and ("policy" in section or "policy" not in section.node.values):
        report.fault(section.node.key("hash_on"), "does nothing without policy: consistent_hash", "leave it out")


BALANCING: Final = Record(
    (
        setting(Balancing(), "policy", Choice(BalancingPolicy), "How an endpoint of a priority is chosen."),
        Field(
            "hash_on",
            ListOf(_HASH_KEY, 1, distinct=True),
            "What consistent_hash goes by: the first that a request has; without any of them an endpoint at random.",
        ),
    ),
    name="balancing",
    check=_check_balancing,
)


def translate_balancing(section: Section | None) -> Balancing:
    """Make what chooses an endpoint."""
    if section is None:
        return Balancing()
    keys = []
    for item in section.items("hash_on"):
        source, name = item.value
        keys.append(HashKey(HashSource(source), name.lower() if source == "header" else name))
    return Balancing(section.get("policy", BalancingPolicy.ROUND_ROBIN), tuple(keys))


def _check_persistence(section: Section, report: Report) -> None:
    if section.get("lifetime") is CookieLifetime.PERMANENT and "absolute_timeout" not in section.node.values:
        report.fault(section.at("lifetime"), "needs absolute_timeout", "give absolute_timeout: 24h, or leave it out")
    if section.get("type") is SessionType.HEADER:
        for key in ("lifetime", "path", "same_site"):
            if key in section.node.values:
                report.fault(section.node.key(key), "is for cookies", "leave it out")


_persistence = SessionPersistence()
SESSION_PERSISTENCE: Final = Record(
    (
        setting(_persistence, "type", Choice(SessionType), "What the client brings along: a cookie or a header."),
        setting(_persistence, "session_name", _TOKEN, "The name of the cookie or the header."),
        setting(
            _persistence, "absolute_timeout", Duration(maximum=365 * 24 * 3600.0),
            "After which a session begins anew. Default: never.",
        ),
        setting(
            _persistence, "lifetime", Choice(CookieLifetime),
            "Session: the browser forgets the cookie when it ends; Permanent: after absolute_timeout.",
        ),
        setting(
            _persistence, "path", Text("a path", r"/[\-A-Za-z0-9/._~!$&'()*+,=:@%]*", "begin with /", 1024),
            "The cookie's path.",
        ),
        setting(_persistence, "same_site", Choice(SameSite), "Which other sites' requests have the cookie with them."),
        setting(
            _persistence, "secret", Text("text of 16 characters or more", r"[^\u0000-\u001f\u007f]{16,}"),
            "What sessions are sealed with, for several processes. Default: one of this process's own.",
        ),
    ),
    name="session_persistence",
    description="Let a client stay with the endpoint that answered it first.",
    check=_check_persistence,
)
