"""Names and values of headers that a rule may change: neither what frames a message nor what tells who is calling."""
from __future__ import annotations

import re
from typing import Final

from edgegw.config.scalars import Parsed, Text, Unparsable

__all__ = [
    "HEADER_VALUE",
    "HOP_BY_HOP",
    "REQUEST_HEADER",
    "RESPONSE_HEADER",
    "parse_request_header",
    "parse_response_header",
]

_TOKEN = re.compile(r"[!#$%&'*+.^`|~0-9a-z_-]+")
#: What belongs to one connection and does not reach upstreams (RFC 9110 §7.6.1).
HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
#: That, and what else frames a message (RFC 9112 §6).
_FRAMING: Final = HOP_BY_HOP | {"content-length", "expect"}
#: What the gateway says of the way a request came.
_WAY: Final = frozenset(
    {"forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "x-request-id"}
)
#: What says who is calling, whichever injectors there are.
_IDENTITY: Final = frozenset({"client-cert", "client-cert-chain", "x-client-cert", "x-forwarded-client-cert"})
_IDENTITY_PREFIXES: Final = ("ssl-client-", "x-ssl-client-")


def parse_request_header(text: str) -> str:
    """Give the name, in lower case, of a request header that a rule may change.

    :raises Unparsable: it is no name, or one that the gateway alone sets.
    """
    name = _name(text)
    if name == "host":
        raise Unparsable("is not changed here", "use rewrite with hostname")
    if name in _WAY:
        raise Unparsable("is set by the gateway itself", "use another name")
    return name


def parse_response_header(text: str) -> str:
    """Give the name, in lower case, of a response header that a rule may change.

    :raises Unparsable: as :func:`parse_request_header` does.
    """
    name = _name(text)
    if name == "via":
        raise Unparsable("is set by the gateway itself", "use forwarding with via")
    return name


def _name(text: str) -> str:
    name = text.lower()
    if not _TOKEN.fullmatch(name):
        raise Unparsable("is not a header's name", "write letters, digits and hyphens")
    if "_" in name:
        raise Unparsable("has an underscore, and many upstreams read it as a hyphen", f"write {name.replace('_', '-')}")
    if name in _FRAMING:
        raise Unparsable("frames messages or belongs to one connection", "use another name")
    if name in _IDENTITY or name.startswith(_IDENTITY_PREFIXES):
        raise Unparsable("tells upstreams who is calling", "use header_injection of the listener")
    return name


_RULES: Final = {"pattern": "^[!#$%&'*+.^`|~0-9A-Za-z-]+$"}
REQUEST_HEADER: Final = Parsed("a header's name", parse_request_header, _RULES)
RESPONSE_HEADER: Final = Parsed("a header's name", parse_response_header, _RULES)
HEADER_VALUE: Final = Text(
    "a header's value", r"[!-~]([ -~]*[!-~])?", "write printable ASCII without spaces around it", 8192
)
