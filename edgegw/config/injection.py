"""Header injection in the native document: its shape, its rules for names and templates, its translation.

The gateway's own injectors are described here; every other name is a plugin's.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Union

from attrs import frozen
from zope.interface.exceptions import Invalid as InterfaceFault
from zope.interface.verify import verifyObject

from edgegw.config.faults import Place, Report, shown
from edgegw.config.header_names import HOP_BY_HOP
from edgegw.config.nodes import Mapping, Node, Scalar, ScalarType
from edgegw.config.policies import PLUGIN, PluginTranslation
from edgegw.config.scalars import Boolean, Choice, Parsed, Unparsable
from edgegw.config.shapes import (
    REQUIRED,
    Alternatives,
    Entries,
    Field,
    Invalid,
    Item,
    ListOf,
    Record,
    Schema,
    Section,
    Shape,
    did_you_mean,
)
from edgegw.identity import FACTS
from edgegw.interfaces import IHeaderInjector
from edgegw.model import (
    XFCC,
    ClientCertificateField,
    FieldHeaders,
    HeaderInjection,
    InjectorUse,
    PEMHeader,
    XFCCDetail,
    XFCCMode,
)

__all__ = [
    "DEFAULT_INJECTION",
    "HEADER_INJECTION",
    "HEADER_TEMPLATES",
    "injected_headers",
    "parse_header_name",
    "parse_template",
    "translate_injection",
]

#: Injected on listeners that ask for client certificates, where nothing else is said.
DEFAULT_INJECTION: Final[tuple[HeaderInjection, ...]] = (XFCC(),)

_TOKEN = re.compile(r"[!#$%&'*+.^`|~0-9A-Za-z_-]+")
_LOWER_TOKEN: Final = r"[!#$%&'*+.^`|~0-9a-z-]+"
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
#: What policies have said of the client, by its name.
_ATTRIBUTE: Final = r"attribute:[A-Za-z0-9_.\-]{1,64}"
_ATTRIBUTE_FACT = re.compile(_ATTRIBUTE)
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
    if text in HOP_BY_HOP:
        raise Unparsable("belongs to the connection and does not reach upstreams (RFC 9110 §7.6.1)", "use another name")
    if text in _GATEWAYS_OWN:
        raise Unparsable("is set by the gateway itself", "use another name")
    return text


def parse_template(text: str) -> str:
    """Check a header's template: text with ``{fact}`` in it, ``{{`` and ``}}`` for braces.

    ``{attribute:team}`` stands for what policies have said under the name ``team``.

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
        if match[1] in FACTS or _ATTRIBUTE_FACT.fullmatch(match[1]):
            continue
        if match[1].startswith("attribute:"):
            remedy = "write attribute: and letters, digits, _, . and -"
            raise Unparsable(f"names the attribute {match[0]}, which cannot be one", remedy)
        raise Unparsable(f"names the unknown fact {match[0]}", did_you_mean(match[1], (*FACTS, "attribute:NAME")))
    return text


_NAME = Parsed("a header's name in lower case", parse_header_name, {"pattern": f"^{_LOWER_TOKEN}$"})
_TEMPLATE = Parsed(
    "text with {fact} in it",
    parse_template,
    {
        "pattern": r"^(?=[^ ])(?=.*[^ ]$)([ -z|~]|\{\{|\}\}|\{("
        + "|".join([*map(re.escape, FACTS), _ATTRIBUTE])
        + r")\})+$",
    },
)

#: Templates by header name.
HEADER_TEMPLATES: Final = Entries(_NAME, _TEMPLATE)

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

_GATEWAYS: Final = Alternatives(
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
            Record((Field("headers", HEADER_TEMPLATES, "Templates by header name.", REQUIRED),)),
            "Headers made of facts about the client and of what policies have said.",
        ),
    )
)
_WORDS: Final = tuple(entry.key for entry in _GATEWAYS.fields)
_WHAT: Final = "header_injector"
_PLUGIN: Final = PLUGIN(_WHAT)


@frozen
class _Injector(Shape):
    """One of the gateway's injectors, read as ``(key, section)``, or a plugin, read as the node that it is."""

    wanted: str = _GATEWAYS.wanted

    def read(self, node: Node, report: Report) -> tuple[str, Section] | Node | Invalid:
        if isinstance(node, Mapping):
            own = not node.values or any(key in _WORDS for key in node.values)
        else:
            own = isinstance(node, Scalar) and node.text in _WORDS
        return _GATEWAYS.read(node, report) if own else _PLUGIN.read(node, report)

    def schema(self, definitions: dict[str, Schema]) -> Schema:
        has_word = [{"required": [word]} for word in _WORDS]
        return {
            "if": {"anyOf": [{"enum": list(_WORDS)}, {"type": "object", "anyOf": has_word}]},
            "then": _GATEWAYS.schema(definitions),
            "else": _PLUGIN.schema(definitions),
        }


HEADER_INJECTION: Final = ListOf(_Injector())

#: Says that a header is set at a place.
Own = Callable[[str, Place], None]


def translate_injection(
    items: tuple[Item[Union[tuple[str, Section], Node]], ...], plugins: PluginTranslation, report: Report
) -> tuple[HeaderInjection, ...]:
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
        if not isinstance(item.value, tuple):
            plugin = _translate_plugin(item.value, own, plugins, report)
            if plugin is not None:
                injectors.append(plugin)
            continue
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


def injected_headers(injection: Iterable[HeaderInjection]) -> Iterator[str]:
    """Give the lower-case names of the headers that some injectors set."""
    for injector in injection:
        match injector:
            case XFCC():
                yield "x-forwarded-client-cert"
            case ClientCertificateField():
                yield from ("client-cert", "client-cert-chain")
            case PEMHeader():
                yield injector.header
            case FieldHeaders():
                yield from (name for name, _ in injector.headers)
            case InjectorUse():
                yield from (name.decode("latin-1") for name in injector.injector.owned)


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


def _translate_plugin(
    node: Node, own: Own, plugins: PluginTranslation, report: Report
) -> InjectorUse | None:
    """Give a plugin's injector; ``None`` after a fault was reported."""
    place: Node = node
    name = ""
    if isinstance(node, Mapping) and len(node.values) == 1:
        (name,) = node.values
        place = node.key(name)
    elif isinstance(node, Scalar) and node.type is ScalarType.TEXT:
        name = node.text
    if name and _is_unknown(name, place, plugins, report):
        return None
    used = plugins.use(_WHAT, node)
    if used is None:
        return None
    use = InjectorUse(*used)
    try:
        names = _owned(use.injector)
    except (InterfaceFault, TypeError) as error:
        report.fault(place, f"{use.kind.name} makes no header injector: {error}", "correct the plugin")
        return None
    if not names:
        report.fault(place, f"{use.kind.name} does not say which headers it sets", "correct the plugin or its options")
    for header in names:
        try:
            own(parse_header_name(header), place)
        except Unparsable as error:
            report.fault(place, f"sets {shown(header)}, which {error}", f"let it {error.remedy}")
    return use


def _is_unknown(name: str, place: Node, plugins: PluginTranslation, report: Report) -> bool:
    """Report a name that is neither a plugin's nor one of the gateway's injectors, misspelt as it may be."""
    found = plugins._plugins
    if ":" in name or (found is not None and (found.problems or found.find(_WHAT, name) is not None)):
        return False
    names = [] if found is None else found.names(_WHAT)
    report.fault(place, f"there is no {_WHAT} {name}", did_you_mean(name, [*_WORDS, *names]))
    return True


def _owned(injector: Any) -> list[str]:
    """Give the headers that a plugin's object sets, sorted.

    :raises zope.interface.exceptions.Invalid: it has not what the interface says.
    :raises TypeError: what it has is of another type.
    """
    verifyObject(IHeaderInjector, injector, tentative=True)
    for names in (injector.owned, injector.owned_responses):
        if not isinstance(names, (frozenset, set)) or not all(isinstance(name, bytes) for name in names):
            raise TypeError(f"{names!r} is no frozenset of bytes")
    return sorted(name.decode("latin-1") for name in injector.owned)
