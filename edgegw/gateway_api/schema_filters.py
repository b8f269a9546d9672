"""Filters of HTTPRoutes and GRPCRoutes (gateway.networking.k8s.io/v1)."""
from __future__ import annotations

from typing import Any, Final

from edgegw.gateway_api.schema import INVALID, REQUIRED, Faults, ListOf, Prop, Rule, Shape, Struct, at, given, pairs
from edgegw.gateway_api.schema_terms import (
    BACKEND_OBJECT_REFERENCE,
    HEADER_NAME,
    HEADER_VALUE,
    LOCAL_OBJECT_REFERENCE,
    PORT,
    PRECISE_HOSTNAME,
)
from edgegw.gateway_api.schema_values import Flag, Integer, Text, Words

__all__ = ["GRPC_FILTERS", "HTTP_FILTERS", "HTTP_METHODS", "PATH_CHARACTERS"]

HTTP_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
#: What paths are made of, as a pattern.
PATH_CHARACTERS: Final = r"(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+"

# --- headers ------------------------------------------------------------------------------------

_HEADER: Final = Struct({"name": Prop(HEADER_NAME, REQUIRED), "value": Prop(HEADER_VALUE, REQUIRED)})


def _one_action_per_header(value: Any, node: Any, report: Faults) -> None:
    seen: dict[str, str] = {}
    for action in ("set", "add", "remove"):
        for element, place in pairs(value.get(action), node.values.get(action)):
            name = element if action == "remove" else element.get("name")
            if name is None:
                continue
            first = seen.setdefault(name.lower(), action)
            # That a list has one name twice is for the list to say, but it compares letters as they are written.
            if first != action:
                report.fault(place, f"{name} is under {first} too", "keep one action for each header")


_HEADER_MODIFIER: Final = Struct(
    {
        "set": Prop(ListOf(_HEADER, 0, 16, keys=("name",))),
        "add": Prop(ListOf(_HEADER, 0, 16, keys=("name",))),
        "remove": Prop(ListOf(Text("a header name", HEADER_NAME.pattern, 1, 256), 0, 16, distinct=True)),
    },
    (_one_action_per_header,),
)

# --- redirects and rewrites ---------------------------------------------------------------------

_REPLACEMENTS: Final = {"ReplaceFullPath": "replaceFullPath", "ReplacePrefixMatch": "replacePrefixMatch"}


def _replacement_of_type(value: Any, node: Any, report: Faults) -> None:
    type_ = value.get("type")
    if type_ is None:
        return
    for other, key in _REPLACEMENTS.items():
        if other == type_ and not given(node, key):
            report.fault(node, f"has type {type_} and no {key}", f"give {key}: a path")
        elif other != type_ and given(node, key):
            report.fault(node.key(key), f"does not go with type {type_}", f"write type: {other}, or leave it out")


_PATH_MODIFIER: Final = Struct(
    {
        "type": Prop(Words(tuple(_REPLACEMENTS)), REQUIRED),
        "replaceFullPath": Prop(Text("a path", None, 0, 1024)),
        "replacePrefixMatch": Prop(Text("a path", None, 0, 1024)),
    },
    (_replacement_of_type,),
)
_REDIRECT: Final = Struct({
    "scheme": Prop(Words(("http", "https"))),
    "hostname": Prop(PRECISE_HOSTNAME),
    "path": Prop(_PATH_MODIFIER),
    "port": Prop(PORT),
    "statusCode": Prop(Integer(values=(301, 302, 303, 307, 308)), 302),
})
_REWRITE: Final = Struct({"hostname": Prop(PRECISE_HOSTNAME), "path": Prop(_PATH_MODIFIER)})

# --- mirrors ------------------------------------------------------------------------------------


def _part_of_whole(value: Any, node: Any, report: Faults) -> None:
    numerator, denominator = value.get("numerator"), value.get("denominator")
    if numerator is not None and denominator is not None and numerator > denominator:
        report.fault(at(node, "numerator"), f"is more than the denominator {denominator}", "write a part of it")


def _percent_or_fraction(value: Any, node: Any, report: Faults) -> None:
    if given(node, "percent") and given(node, "fraction"):
        report.fault(node.key("fraction"), "does not go with percent", "keep one of the two")


_MIRROR: Final = Struct(
    {
        "backendRef": Prop(BACKEND_OBJECT_REFERENCE, REQUIRED),
        "percent": Prop(Integer(0, 100)),
        "fraction": Prop(
            Struct(
                {"numerator": Prop(Integer(0), REQUIRED), "denominator": Prop(Integer(1), 100)},
                (_part_of_whole,),
            )
        ),
    },
    (_percent_or_fraction,),
)

# --- CORS ---------------------------------------------------------------------------------------

_ORIGIN: Final = Text(
    "*, or an origin such as https://www.example.com or https://*.example.com:8443",
    r"\*|https?://(?:\*|(?:\*\.)?(?:[a-zA-Z0-9\-]+\.)*[a-zA-Z0-9\-]+)(?::[0-9]{1,5})?",
    1,
    253,
)


def _star_alone(value: Any, node: Any, report: Faults) -> None:
    for one, place in pairs(value, node):
        if one == "*" and len(node.items) > 1:
            report.fault(place, "* stands beside others", "keep * alone, or leave it out")


_CORS: Final = Struct({
    "allowOrigins": Prop(ListOf(_ORIGIN, 0, 64, distinct=True, rules=(_star_alone,))),
    "allowCredentials": Prop(Flag()),
    "allowMethods": Prop(ListOf(Words((*HTTP_METHODS, "*")), 0, 9, distinct=True, rules=(_star_alone,))),
    "allowHeaders": Prop(ListOf(HEADER_NAME, 0, 64, distinct=True, rules=(_star_alone,))),
    "exposeHeaders": Prop(ListOf(HEADER_NAME, 0, 64, distinct=True)),
    "maxAge": Prop(Integer(1), 5),
})

# --- external authorization ---------------------------------------------------------------------


def _settings_of_protocol(value: Any, node: Any, report: Faults) -> None:
    protocol = value.get("protocol")
    if protocol is None:
        return
    for other, key in (("GRPC", "grpc"), ("HTTP", "http")):
        if other == protocol and not given(node, key):
            report.fault(node, f"has protocol {protocol} and no {key}", f"give {key}: {{}}")
        elif other != protocol and given(node, key):
            report.fault(node.key(key), f"does not go with protocol {protocol}", f"leave {key} out")


_NAMES: Final = ListOf(Text("a header name", None, 1, 256), 0, 64, distinct=True)
_EXTERNAL_AUTH: Final = Struct(
    {
        "protocol": Prop(Words(("HTTP", "GRPC")), REQUIRED),
        "backendRef": Prop(BACKEND_OBJECT_REFERENCE, REQUIRED),
        "grpc": Prop(Struct({"allowedHeaders": Prop(_NAMES)})),
        "http": Prop(
            Struct({
                "path": Prop(Text("a path", PATH_CHARACTERS, 0, 1024)),
                "allowedHeaders": Prop(_NAMES),
                "allowedResponseHeaders": Prop(_NAMES),
            })
        ),
        "forwardBody": Prop(Struct({"maxSize": Prop(Integer(0))})),
    },
    (_settings_of_protocol,),
)

# --- lists of filters ---------------------------------------------------------------------------


def _filter(settings: dict[str, tuple[str, Shape]]) -> Struct:
    """Describe a filter: a type, and under the key of that type its settings.

    :param settings: key and shape of the settings by type.
    """

    def settings_of_type(value: Any, node: Any, report: Faults) -> None:
        type_ = value.get("type")
        if type_ is None:
            return
        for other, (key, _) in settings.items():
            if other == type_ and not given(node, key):
                report.fault(node, f"has type {type_} and no {key}", f"give {key}")
            elif other != type_ and given(node, key):
                report.fault(node.key(key), f"does not go with type {type_}", f"write type: {other}, or leave it out")

    fields = {key: Prop(shape) for key, shape in settings.values()}
    return Struct({"type": Prop(Words(tuple(settings)), REQUIRED), **fields}, (settings_of_type,))


def _once(types: tuple[str, ...]) -> Rule:
    def rule(value: Any, node: Any, report: Faults) -> None:
        seen: set[str] = set()
        for element, place in pairs(value, node):
            type_ = element.get("type")
            if type_ in types and type_ in seen:
                report.fault(place, f"is another {type_} filter", "put both into one")
            seen.add(type_)

    return rule


def _redirect_or_rewrite(value: Any, node: Any, report: Faults) -> None:
    types = [element.get("type") for element in value if element is not INVALID]
    if "RequestRedirect" in types and "URLRewrite" in types:
        place = next(place for element, place in pairs(value, node) if element.get("type") == "URLRewrite")
        report.fault(place, "URLRewrite does not go with RequestRedirect", "keep one of the two")


_HEADER_TYPES: Final[dict[str, tuple[str, Shape]]] = {
    "RequestHeaderModifier": ("requestHeaderModifier", _HEADER_MODIFIER),
    "ResponseHeaderModifier": ("responseHeaderModifier", _HEADER_MODIFIER),
    "RequestMirror": ("requestMirror", _MIRROR),
    "ExtensionRef": ("extensionRef", LOCAL_OBJECT_REFERENCE),
}
#: ``filters`` of HTTPRoutes' rules and backends.
HTTP_FILTERS: Final = ListOf(
    _filter({
        **_HEADER_TYPES,
        "RequestRedirect": ("requestRedirect", _REDIRECT),
        "URLRewrite": ("urlRewrite", _REWRITE),
        "CORS": ("cors", _CORS),
        "ExternalAuth": ("externalAuth", _EXTERNAL_AUTH),
    }),
    0,
    16,
    rules=(
        _once(("RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "URLRewrite", "CORS")),
        _redirect_or_rewrite,
    ),
)
#: ``filters`` of GRPCRoutes' rules and backends.
GRPC_FILTERS: Final = ListOf(
    _filter(_HEADER_TYPES), 0, 16, rules=(_once(("RequestHeaderModifier", "ResponseHeaderModifier")),)
)
