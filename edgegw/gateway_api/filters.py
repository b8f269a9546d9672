"""What a rule or a backend does with requests and responses: filters of the Gateway API in the native language."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import define, field

from edgegw.gateway_api.durations import duration, share
from edgegw.gateway_api.findings import RouteFindings, RuleError

__all__ = ["FilterResult", "translate_filters"]

#: Gives the name of a mirror's upstream for its ``backendRef`` and the reference's place; ``None`` where it leads
#: nowhere, which has been said.
FindMirror = Callable[[Mapping[str, Any], str], "str | None"]
#: Gives ``external_auth`` for an ExternalAuth filter and its place; ``None`` as above.
FindAuth = Callable[[Mapping[str, Any], str], "dict[str, Any] | None"]

#: Nobody's origin (RFC 2606): the native language wants one at least.
_NO_ORIGIN: Final = "https://none.invalid"
_LISTS_OF_CORS: Final = (
    ("allowMethods", "allow_methods"), ("allowHeaders", "allow_headers"), ("exposeHeaders", "expose_headers")
)


@define(eq=False)
class FilterResult:
    """What comes of the filters of one rule or backend.

    :ivar native: keys of a rule or of a backend in the native language.
    :ivar broken: whether one of them cannot be had, so that requests must not pass.
    """

    native: dict[str, Any] = field(factory=dict)
    broken: bool = False


def translate_filters(
    filters: list[Mapping[str, Any]] | None,
    place: str,
    findings: RouteFindings,
    find_mirror: FindMirror,
    find_auth: FindAuth | None,
) -> FilterResult:
    """Translate filters.

    :param place: of what has them, in the route.
    :param find_auth: ``None`` where nobody can be asked.
    :raises RuleError: they are not supported, or not together.
    """
    result = FilterResult()
    native = result.native
    for number, one in enumerate(filters or ()):
        kind, here = one.get("type", ""), f"{place}filters[{number}]"
        if kind == "RequestMirror":
            mirror = one["requestMirror"]
            upstream = find_mirror(mirror["backendRef"], f"{here}.requestMirror.backendRef")
            if upstream is not None:
                native.setdefault("mirrors", []).append({"upstream": upstream, **share(mirror)})
        elif kind == "ExtensionRef":
            ref = one.get("extensionRef") or {}
            group, name = ref.get("group") or "", ref.get("name", "")
            shown = f"{group}/{ref.get('kind')}" if group else ref.get("kind")
            findings.reference("InvalidKind", f"{here}: {shown} {name} is no filter that is known here")
            result.broken = True
        elif kind == "ExternalAuth":
            if find_auth is None:
                raise RuleError(f"{here}: ExternalAuth is not supported here; put it into the rule's filters")
            auth = find_auth(one.get("externalAuth") or {}, f"{here}.externalAuth")
            if auth is None:
                result.broken = True
            else:
                _put(native, "external_auth", auth, here)
        elif kind in _TRANSLATIONS:
            key, entry, translate = _TRANSLATIONS[kind]
            _put(native, key, translate(one.get(entry) or {}), here)
        else:
            raise RuleError(f"{here}: the type {kind} is not supported")
    if "redirect" in native and "rewrite" in native:
        raise RuleError(f"{place}filters: RequestRedirect does not go with URLRewrite", "IncompatibleFilters")
    return result


def _put(native: dict[str, Any], key: str, value: dict[str, Any], place: str) -> None:
    if key in native:
        raise RuleError(f"{place}: repeats the type of another filter", "IncompatibleFilters")
    if value:
        native[key] = value


# --- each of them ---------------------------------------------------------------------------


def _headers(modifier: Mapping[str, Any]) -> dict[str, Any]:
    """Of several actions for a name, set goes before add, as the first of one action before others."""
    written: dict[str, Any] = {}
    for action in ("set", "add"):
        for entry in modifier.get(action) or ():
            written.setdefault(action, {}).setdefault(entry["name"].lower(), entry["value"])
    removed = dict.fromkeys(name.lower() for name in modifier.get("remove") or ())
    if removed:
        written["remove"] = list(removed)
    return written


def _path(path: Mapping[str, Any] | None) -> dict[str, Any]:
    if not path:
        return {}
    kind = path.get("type", "")
    key = {"ReplaceFullPath": "replaceFullPath", "ReplacePrefixMatch": "replacePrefixMatch"}.get(kind)
    if key is None:
        raise RuleError(f"filters: path: the type {kind} is not supported")
    value = path.get(key) or ""
    return {"path": {"type": kind, "value": value or "/" if kind == "ReplaceFullPath" else value}}


def _redirect(redirect: Mapping[str, Any]) -> dict[str, Any]:
    given = {key: redirect[key] for key in ("scheme", "hostname", "port") if redirect.get(key) is not None}
    return {**given, **_path(redirect.get("path")), "status": redirect.get("statusCode") or 302}


def _rewrite(rewrite: Mapping[str, Any]) -> dict[str, Any]:
    given = {"hostname": rewrite["hostname"]} if rewrite.get("hostname") else {}
    return {**given, **_path(rewrite.get("path"))}


def _cors(cors: Mapping[str, Any]) -> dict[str, Any]:
    max_age = cors.get("maxAge")
    written: dict[str, Any] = {
        "allow_origins": list(dict.fromkeys(cors.get("allowOrigins") or ())) or [_NO_ORIGIN],
        "max_age": duration(5 if max_age is None else max_age),
    }
    for key, native in _LISTS_OF_CORS:
        if cors.get(key):
            written[native] = list(dict.fromkeys(cors[key]))
    if cors.get("allowCredentials"):
        written["allow_credentials"] = True
    return written


_TRANSLATIONS: Final[dict[str, tuple[str, str, Callable[[Mapping[str, Any]], dict[str, Any]]]]] = {
    "RequestHeaderModifier": ("request_headers", "requestHeaderModifier", _headers),
    "ResponseHeaderModifier": ("response_headers", "responseHeaderModifier", _headers),
    "RequestRedirect": ("redirect", "requestRedirect", _redirect),
    "URLRewrite": ("rewrite", "urlRewrite", _rewrite),
    "CORS": ("cors", "cors", _cors),
}
