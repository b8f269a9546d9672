"""Header injection in the native document: its shape, its rules for names and templates, its translation."""
from __future__ import annotations

import re
from typing import Final

from edgegw.config.faults import Place, Report, shown
from edgegw.config.scalars import Boolean, Choice, Parsed, Unparsable
from edgegw.config.shapes import REQUIRED, Alternatives, Entries, Field, Item, ListOf, Record, Section, did_you_mean
from edgegw.identity import FACTS
from edgegw.model import XFCC, ClientCertificateField, FieldHeaders, HeaderInjection, PEMHeader, XFCCDetail, XFCCMode

__all__ = ["DEFAULT_INJECTION", "HEADER_INJECTION", "parse_header_name", "parse_template", "translate_injection"]

#: Injected on listeners that ask for client certificates, where nothing else is said.
DEFAULT_INJECTION: Final[tuple[HeaderInjection, ...]] = (XFCC(),)

_TOKEN = re.compile(r"[!#$%&'*+.^`|~0-9A-Za-z_-]+")
_LOWER_TOKEN: Final = r"[!#$%&'*+.^`|~0-9a-z-]+"
_HOP_BY_HOP: Final = frozenset(
    {
        "connection",
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
_GATEWAYS_OWN: Final = frozenset(
    {
        "content-length",
        "expect",
        "forwarded",
        "host",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-request-id",
    }
)
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_UNPRINTABLE = re.compile(r"[^ -~]")
_USES_DETAILS: Final = frozenset({XFCCMode.APPEND_FORWARD, XFCCMode.SANITIZE_SET})


def parse_header_name(text: str) -> str:
    """Give the name of a header that an injector may own.

    :raises Unparsable: it is no lower-case token (RFC 9110 §5.1), has an underscore, or is a header
        that frames messages or that the gateway itself sets.
    """
    if not _TOKEN.fullmatch(text):
        raise Unparsable("is not a header's name", "write letters, digits and hyphens")
    if "_" in text:
        raise Unparsable(
            "has an underscore, and many upstreams read it as a hyphen", f"write {text.lower().replace('_', '-')}"
        )
    if text != text.lower():
        raise Unparsable("is not in lower case", f"write {text.lower()}")
    if text in _HOP_BY_HOP:
        raise Unparsable("belongs to the connection and does not reach upstreams (RFC 9110 §7.6.1)", "use another name")
    if text in _GATEWAYS_OWN:
        raise Unparsable("is set by the gateway itself", "use another name")
    return text


def parse_template(text: str) -> str:
    """Check a header's template: text with ``{fact}`` in it, ``{{`` and ``}}`` for braces.

    :returns: the text as it is.
    :raises Unparsable: a fact is unknown, braces do not pair, it is empty, has spaces around it or a
        character that is not printable ASCII.
    """
    if not text.strip(" "):
        raise Unparsable("is empty", "write text with {fact} in it, or leave the header out")
    if text != text.strip(" "):
        raise Unparsable("has spaces around it, which a header's value cannot have", f"write {shown(text.strip(' '))}")
    unprintable = _UNPRINTABLE.search(text)
    if unprintable is not None:
        raise Unparsable(f"has the character U+{ord(unprintable[0]):04X}", "write printable ASCII, facts in braces")
    for match in _PLACEHOLDER.finditer(text):
        if match[0] in ("{{", "}}"):
            continue
        if match[1] is None:
            remedy = f"write {match[0] * 2} for a literal brace, {{fact}} for a fact"
            raise Unparsable(f"has a single {match[0]}", remedy)
        if match[1] not in FACTS:
            raise Unparsable(f"names the unknown fact {match[0]}", did_you_mean(match[1], FACTS))
    return text


_NAME = Parsed("a header's name in lower case", parse_header_name, {"pattern": f"^{_LOWER_TOKEN}$"})
_TEMPLATE = Parsed(
    "text with {fact} in it",
    parse_template,
    {
        "pattern": r"^(?=[^ ])(?=.*[^ ]$)([ -z|~]|\{\{|\}\}|\{(" + "|".join(map(re.escape, FACTS)) + r")\})+$",
    },
)

_XFCC: Final = Record(
    (
        Field("mode", Choice(XFCCMode), "What happens to the header that the client sent.", XFCC().mode, "mode"),
        Field(
            "details",
            ListOf(Choice(XFCCDetail), distinct=True),
            "What is told of the certificate beside By and Hash.",
            sorted(XFCC().details, key=list(XFCCDetail).index),
        ),
    ),
    name="xfcc",
)
_CLIENT_CERT: Final = Record(
    (Field("chain", Boolean(), "Send Client-Cert-Chain too.", ClientCertificateField().chain, "chain"),)
)

HEADER_INJECTION: Final = ListOf(
    Alternatives(
        (
            Field("xfcc", _XFCC, "x-forwarded-client-cert, as Envoy makes it."),
            Field("client_cert", _CLIENT_CERT, "Client-Cert (RFC 9440)."),
            Field(
                "pem",
                Record((Field("header", _NAME, "The header's name, in lower case.", REQUIRED),)),
                "The certificate as URL-encoded PEM, as nginx's $ssl_client_escaped_cert.",
            ),
            Field(
                "fields",
                Record((Field("headers", Entries(_NAME, _TEMPLATE), "Templates by header name.", REQUIRED),)),
                "Headers made of facts about the client.",
            ),
        )
    )
)


def translate_injection(items: tuple[Item[tuple[str, Section]], ...], report: Report) -> tuple[HeaderInjection, ...]:
    """Give the injectors of one listener; two that own the same header are a fault."""
    owners: dict[str, Place] = {}
    injectors: list[HeaderInjection] = []

    def own(name: str, place: Place) -> None:
        first = owners.setdefault(name, place)
        if first is not place:
            report.fault(
                place, f"{name} is set by {first.path} already", "let one injector of a listener set each header"
            )

    for item in items:
        kind, section = item.value
        if kind == "xfcc":
            own("x-forwarded-client-cert", item.node)
            injectors.append(_translate_xfcc(section, report))
        elif kind == "client_cert":
            own("client-cert", item.node)
            own("client-cert-chain", item.node)
            injectors.append(_CLIENT_CERT.settings(section, ClientCertificateField()))
        elif kind == "pem":
            header = section.get("header")
            if header is not None:
                own(header, section.at("header"))
                injectors.append(PEMHeader(header))
        else:
            headers = section.get("headers", ())
            for place, name, _ in headers:
                own(name, place)
            injectors.append(FieldHeaders(tuple((name, template) for _, name, template in headers)))
    return tuple(injectors)


def _translate_xfcc(section: Section, report: Report) -> XFCC:
    xfcc = _XFCC.settings(section, XFCC())
    if "details" not in section:
        return xfcc
    if xfcc.mode not in _USES_DETAILS:
        report.fault(
            section.at("details"),
            f"are not used in the mode {xfcc.mode.value}",
            f"leave details out, or use {' or '.join(sorted(mode.value for mode in _USES_DETAILS))}",
        )
    return XFCC(xfcc.mode, frozenset(item.value for item in section.items("details")))
