"""How routes of connections are written in the native document."""
from __future__ import annotations

from typing import Final

from edgegw.config.document_http import CONNECTION_RATE
from edgegw.config.document_terms import COUNT, HOSTNAME, NAME, setting
from edgegw.config.scalars import Duration, Integer
from edgegw.config.shapes import REQUIRED, Field, ListOf, OrWord, Record
from edgegw.model import BackendRef

__all__ = ["TCP_ROUTE", "TLS_ROUTE", "TUNNEL_BACKEND"]

TUNNEL_BACKEND: Final = Record(
    (
        Field("upstream", NAME, "The name of an upstream that has endpoints.", REQUIRED),
        setting(BackendRef(""), "weight", Integer(0, 1_000_000), "Its share of the connections, beside the others'."),
    ),
    name="tunnel_backend",
)

_NAME: Final = Field("name", NAME, "A unique name, for logs and metrics.", REQUIRED)
_BACKENDS: Final = Field(
    "backends", ListOf(TUNNEL_BACKEND), "Where connections go; with none they are closed.", REQUIRED
)
_SETTINGS: Final = (
    Field(
        "max_connections",
        OrWord("unlimited", COUNT),
        "Connections at a time; further ones are refused. Default: unlimited.",
        attribute="max_connections",
    ),
    Field(
        "connection_rate",
        OrWord("unlimited", CONNECTION_RATE),
        "New connections; further ones are refused. Default: unlimited.",
    ),
    Field(
        "idle_timeout",
        Duration(),
        "Without a byte in either direction the connection is closed. Default: the upstream's.",
        attribute="idle_timeout",
    ),
    Field(
        "max_duration",
        OrWord("unlimited", Duration(maximum=30 * 24 * 3600.0)),
        "A connection lasts no longer. Default: unlimited.",
        attribute="max_duration",
    ),
)

TLS_ROUTE: Final = Record(
    (
        _NAME,
        Field(
            "hostnames",
            ListOf(HOSTNAME, 1, distinct=True),
            "The names that clients ask for (SNI). Default: every name of its listeners.",
        ),
        Field("listeners", ListOf(NAME, 1, distinct=True), "Names of TLS listeners. Default: all."),
        _BACKENDS,
        *_SETTINGS,
    ),
    name="tls_route",
    description="Where the connections for some names go, as the bytes that they are.",
)
TCP_ROUTE: Final = Record(
    (
        _NAME,
        Field("listeners", ListOf(NAME, 1, distinct=True), "Names of TCP listeners. Default: all."),
        _BACKENDS,
        *_SETTINGS,
    ),
    name="tcp_route",
    description="Where the connections of TCP listeners go.",
)
