"""Limits, HTTP and forwarding in the native document: defaults at its top, and listeners' own."""
from __future__ import annotations

import re
from typing import Final

from attrs import evolve

from edgegw.config.addresses import parse_network
from edgegw.config.document_terms import COUNT, UNITS, setting
from edgegw.config.scalars import Boolean, Choice, Duration, Integer, Parsed, Size, Text, Unparsable, Words
from edgegw.config.shapes import REQUIRED, Field, ListOf, OrWord, Record, Section
from edgegw.model import (
    AmbiguousPaths,
    ConnectionLimits,
    ConnectionRate,
    Forwarding,
    HTTP2Settings,
    HTTPSettings,
    UnderscoreAction,
)

__all__ = [
    "CONNECTION_RATE", "FORWARDING", "HEALTH_CHECK", "HTTP", "HTTP2", "LIMITS", "UPGRADES", "connection_rate", "limits",
]  # fmt: skip

_PSEUDONYM: Final = Text(
    "a pseudonym", r"[!#$%&'*+.^_`|~0-9A-Za-z\-]+", "write a token of RFC 9110: letters, digits, hyphens, dots"
)

CONNECTION_RATE: Final = Record(
    (
        Field("connections", Integer(1, 1_000_000), "So many in each unit.", REQUIRED),
        Field("unit", Words(tuple(UNITS)), "second, minute, hour or day.", "second"),
        Field("burst", Integer(1, 1_000_000), "So many at once. Default: connections."),
    ),
    name="connection_rate",
)


def connection_rate(section: Section | None) -> ConnectionRate | None:
    """Make the model of a rate of connections; ``None`` where there is none."""
    if section is None or "connections" not in section:
        return None
    connections = section.get("connections")
    return ConnectionRate(connections, UNITS[section.get("unit", "second")], section.get("burst", connections))


_limits = ConnectionLimits()
LIMITS: Final = Record(
    (
        setting(_limits, "max_connections", COUNT, "Connections at a time."),
        setting(_limits, "max_connections_per_peer", COUNT, "Connections at a time from one client address."),
        setting(_limits, "max_handshakes", COUNT, "TLS handshakes at a time."),
        setting(_limits, "handshake_timeout", Duration(), "From accepting a connection to the end of its handshake."),
        Field(
            "connection_rate",
            OrWord("unlimited", CONNECTION_RATE),
            "New connections; further ones are refused. Default: unlimited.",
        ),
    ),
    name="limits",
    description="What clients may hold of a listener.",
)


def limits(section: Section | None, defaults: ConnectionLimits) -> ConnectionLimits:
    """Make the limits of a listener."""
    made = LIMITS.settings(section, defaults)
    if section is None or "connection_rate" not in section:
        return made
    return evolve(made, connection_rate=connection_rate(section.get("connection_rate")))


HEALTH_CHECK: Final = Record(
    (
        Field(
            "path",
            Text("a path", r"/[\-A-Za-z0-9/._~!$&'()*+,;=:@%]*", "begin with /, and leave out the query", 1024),
            "Requests with exactly this path are answered with 200.",
            REQUIRED,
        ),
        Field(
            "sources",
            ListOf(
                Parsed("a network such as 10.0.0.0/8", parse_network, {"pattern": "^[0-9A-Fa-f.:]+(/[0-9]+)?$"}),
                1,
                distinct=True,
            ),
            "Addresses and networks of the probes.",
            REQUIRED,
        ),
    ),
    name="health_check",
    description="What load balancers ask for, answered without a certificate.",
)

#: RFC 9110 §7.8: a token, and where it has one a version.
_UPGRADE: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z\-]{1,64}(/[!#$%&'*+.^_`|~0-9A-Za-z\-]{1,64})?")
_NO_UPGRADE: Final = re.compile(r"(?i:h2c?|https?|tls)(/.*)?")


def _parse_upgrade(text: str) -> str:
    if not _UPGRADE.fullmatch(text):
        raise Unparsable("is not the name of a protocol", "write a name such as websocket, or a name, / and a version")
    if _NO_UPGRADE.fullmatch(text):
        raise Unparsable("would carry requests past the rules", "leave it out")
    return text.lower() if text.lower() == "websocket" else text


UPGRADES: Final = ListOf(
    Parsed(
        "the name of a protocol such as websocket",
        _parse_upgrade,
        {"pattern": f"^(?!(([hH]2[cC]?)|([hH][tT]{{2}}[pP][sS]?)|([tT][lL][sS]))(/|$)){_UPGRADE.pattern}$"},
    ),
    0,
    16,
    distinct=True,
)

_http = HTTPSettings()
HTTP: Final = Record(
    (
        setting(
            _http, "max_head_size", Size(1024, 16 * 1024**2), "Request line and headers; past it 431.", "max_head_bytes"
        ),
        setting(_http, "max_headers", Integer(1, 10_000), "Header lines of a request; past it 431."),
        setting(
            _http, "max_uri_size", Size(64, 16 * 1024**2), "The target of a request; past it 414.", "max_uri_bytes"
        ),
        Field(
            "max_body_size",
            OrWord("unlimited", Size(0, 1024**5)),
            "The body of a request; past it 413. Default: unlimited.",
            attribute="max_body_bytes",
        ),
        setting(_http, "head_timeout", Duration(), "For a whole request head, from its first byte; past it 408."),
        setting(_http, "body_idle_timeout", Duration(), "Without a byte of a request's body; past it 408."),
        setting(_http, "keep_alive_timeout", Duration(), "Between requests; past it the connection closes."),
        setting(_http, "write_timeout", Duration(), "Without the client taking anything of a response."),
        Field(
            "max_requests",
            OrWord("unlimited", Integer(1, 1_000_000_000)),
            "Requests on one connection. Default: unlimited.",
            attribute="max_requests",
        ),
        setting(
            _http, "upgrades", UPGRADES,
            "Protocols that requests may ask for in place of HTTP; requests for others go on without that.",
        ),
        setting(_http, "upgrade_idle_timeout", Duration(), "Without a byte of such a protocol, either way."),
        Field(
            "ambiguous_paths",
            Choice(AmbiguousPaths),
            "Paths that upstreams may read as others, such as /a/../b: refuse is 400, pass forwards them.  "
            "Default: refuse where a rule has client or policies, pass elsewhere.",
            attribute="ambiguous_paths",
        ),
    ),
    name="http",
    description="Limits and time-outs of HTTP.",
)

_http2 = HTTP2Settings()
HTTP2: Final = Record(
    (
        setting(
            _http2, "prior_knowledge", Boolean(), "Whether clients of HTTP listeners may begin with HTTP/2 at once."
        ),
        setting(
            _http2,
            "max_concurrent_streams",
            Integer(1, 10_000),
            "Requests of one connection at a time; further ones are refused.",
        ),
        setting(
            _http2,
            "stream_window",
            Size(1024, 2**31 - 1),
            "What a client may send of a request's body before it is passed on.",
        ),
        Field(
            "connection_window",
            OrWord("automatic", Size(65_535, 2**31 - 1)),
            "The same for all of a connection's requests together. Default: enough for all of them.",
            attribute="connection_window",
        ),
        setting(
            _http2, "header_table_size", Size(0, 65_536), "Each of the tables of header compression.", "header_table"
        ),
        setting(
            _http2,
            "max_open_heads_size",
            Size(1024, 1024**3),
            "Heads above 4KiB of all of a connection's requests under way; a further one is refused.",
            "max_open_heads",
        ),
        setting(
            _http2,
            "max_continuations",
            Integer(0, 1000),
            "CONTINUATION frames of one header list; past it the connection ends.",
        ),
        setting(
            _http2, "max_cookie_crumbs", Integer(1, 10_000), "Cookie fields, which upstreams get as one; past it 431."
        ),
        setting(
            _http2,
            "max_resets",
            Integer(1, 1_000_000),
            "Requests that a client takes back, or that are malformed, in ten seconds; past it the connection ends.",
        ),
        setting(
            _http2,
            "max_useless_frames",
            Integer(1, 1_000_000),
            "Frames that ask for nothing, in ten seconds; past it the connection ends.",
        ),
        setting(
            _http2,
            "max_unread_answers",
            Integer(1, 1_000_000),
            "Answers to frames that a client leaves unread; past it the connection ends.",
        ),
        setting(
            _http2,
            "stream_idle_timeout",
            Duration(),
            "Without a byte either way once the response has begun and while the request goes on.",
        ),
        Field(
            "ping_interval",
            OrWord("disabled", Duration()),
            "A client with open requests that is silent for so long is asked for a sign of life.",
            _http2.ping_interval,
            "ping_interval",
        ),
        setting(_http2, "ping_timeout", Duration(), "For the answer to that; past it the connection ends."),
    ),
    name="http2",
    description="Limits and time-outs of HTTP/2, beside those of http.",
)

_forwarding = Forwarding()
FORWARDING: Final = Record(
    (
        setting(
            _forwarding,
            "trusted_proxies",
            ListOf(
                Parsed(
                    "a network such as 10.0.0.0/8", parse_network, {"pattern": "^[0-9A-Fa-f.:]+(/[0-9]+)?$"}
                ),
                distinct=True,
            ),
            "Peers whose x-forwarded-*, x-request-id and identity headers that the listener does not set are believed.",
        ),
        Field(
            "via",
            OrWord("disabled", _PSEUDONYM),
            "The pseudonym that the gateway puts into Via. Default: disabled.",
            attribute="via",
        ),
        setting(
            _forwarding, "underscores", Choice(UnderscoreAction), "What becomes of headers with _ in their names."
        ),
        setting(_forwarding, "preserve_host", Boolean(), "Send upstreams the client's Host and not their own."),
    ),
    name="forwarding",
    description="What upstreams are told of the way a request came.",
)
