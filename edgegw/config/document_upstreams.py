"""How an upstream is written in the native document."""
from __future__ import annotations

from typing import Final

from edgegw.config.addresses import parse_endpoint
from edgegw.config.document_terms import NAME, setting
from edgegw.config.policies import PLUGIN
from edgegw.config.routing import check_upstream
from edgegw.config.scalars import Duration, Integer, Parsed
from edgegw.config.shapes import REQUIRED, Field, ListOf, Record
from edgegw.model import Upstream

__all__ = ["UPSTREAM"]

_upstream = Upstream("", ())
UPSTREAM: Final = Record(
    (
        Field("name", NAME, "A unique name, for routes, logs and metrics.", REQUIRED),
        Field(
            "endpoints",
            ListOf(
                Parsed(
                    "an address and a port such as 127.0.0.1:8000",
                    parse_endpoint,
                    {"pattern": r"^(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):[0-9]{1,5}$"},
                ),
                1,
                distinct=True,
            ),
            "Addresses and ports that serve the same thing, taken in turn.",
        ),
        Field("backend", PLUGIN("backend"), "Code that answers, in place of endpoints."),
        setting(_upstream, "connect_timeout", Duration(), "For a connection; past it the next endpoint, then 503."),
        setting(_upstream, "response_timeout", Duration(), "For the head of a response; past it 504."),
        setting(_upstream, "idle_timeout", Duration(), "Without a byte of a body, either way."),
        setting(_upstream, "keep_alive_timeout", Duration(), "How long an unused connection is kept."),
        setting(_upstream, "max_idle", Integer(0, 1_000_000), "Unused connections kept to one endpoint."),
    ),
    name="upstream",
    description="Where requests are sent.",
    check=check_upstream,
    rules={"oneOf": [{"required": ["endpoints"]}, {"required": ["backend"]}]},
)
