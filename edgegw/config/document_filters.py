"""How it is written in the native document what a rule, or a backend of it, does with requests and responses."""
from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from edgegw.config.document_terms import FILE, HOSTNAME, NAME, UNITS, setting
from edgegw.config.faults import Report
from edgegw.config.header_names import HEADER_VALUE, REQUEST_HEADER, RESPONSE_HEADER
from edgegw.config.injection import HEADER_TEMPLATES
from edgegw.config.scalars import Boolean, Choice, Duration, Integer, Number, Parsed, Size, Text, Unparsable, Words
from edgegw.config.shapes import REQUIRED, Entries, Field, ListOf, Record, Section
from edgegw.model import (
    CORS,
    Compression,
    Encoding,
    ExternalAuth,
    Mirror,
    OnFailure,
    PathModifierType,
    RateLimit,
    RateLimitKey,
    Redirect,
    Retry,
    Timeouts,
)

__all__ = [
    "BACKEND_FILTERS", "COMPRESSION", "CORS_RULES", "EXTERNAL_AUTH", "FIXED_RESPONSE", "MIRROR", "PATH_MODIFIER",
    "RATE_LIMIT", "REDIRECT", "RETRY", "REWRITE", "RULE_FILTERS", "TIMEOUTS", "mirror", "rate_limit",
]  # fmt: skip

_MOST_HEADERS: Final = 64


# --- headers and places -------------------------------------------------------------------------


def _check_modifier(section: Section, report: Report) -> None:
    """Two actions on one header would depend on their order."""
    seen: dict[str, str] = {}
    named = [(place, name) for key in ("set", "add") for place, name, _ in section.get(key, ())]
    named += [(item.node, item.value) for item in section.items("remove")]
    for place, name in named:
        first = seen.setdefault(name, place.path)
        if first != place.path:
            report.fault(place, f"{name} is in {first} too", "let one of set, add and remove name each header")


def _modifier(name: Parsed, whose: str) -> Record:
    return Record(
        (
            Field("set", Entries(name, HEADER_VALUE), "Headers in place of those that are there."),
            Field("add", Entries(name, HEADER_VALUE), "Headers beside those that are there, behind a comma."),
            Field("remove", ListOf(name, 1, _MOST_HEADERS, distinct=True), "Headers that are taken out."),
        ),
        name=f"{whose}_headers",
        check=_check_modifier,
    )


_HEADERS_OF_REQUESTS: Final = _modifier(REQUEST_HEADER, "request")
_HEADERS_OF_RESPONSES: Final = _modifier(RESPONSE_HEADER, "response")

PATH_MODIFIER: Final = Record(
    (
        Field(
            "type",
            Choice(PathModifierType),
            "ReplaceFullPath, or ReplacePrefixMatch for the prefix that the rule matches.",
            REQUIRED,
        ),
        Field(
            "value",
            Text(
                "a path",
                r"(?!.*(//|/\./|/\.\./|%2[fF]))(?!.*/\.\.?$)(/([\-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})*)?",
                "begin with /, percent-encode what needs it, and leave out //, /./, /../, %2F, ? and #",
                1024,
            ),
            "The path, or what stands in place of the prefix.",
            REQUIRED,
        ),
    ),
    name="path_modifier",
)
_PORT: Final = Integer(1, 65_535)
_REDIRECTS: Final = (301, 302, 303, 307, 308)


def _check_hostname(section: Section, report: Report) -> None:
    if section.get("hostname", "").startswith("*."):
        report.fault(section.at("hostname"), "is a wildcard", "write the name of one host")


def _check_redirect(section: Section, report: Report) -> None:
    _check_hostname(section, report)
    status = section.get("status", 302)
    if status not in _REDIRECTS:
        report.fault(section.at("status"), f"{status} is no redirect", "use 301, 302, 303, 307 or 308")


REDIRECT: Final = Record(
    (
        Field("scheme", Words(("http", "https")), "Default: the request's.", attribute="scheme"),
        Field("hostname", HOSTNAME, "Default: the request's.", attribute="hostname"),
        Field(
            "port",
            _PORT,
            "Default: the scheme's own where scheme is given, the listener's where it is not.",
            attribute="port",
        ),
        Field("path", PATH_MODIFIER, "Default: the request's."),
        Field(
            "status",
            Integer(301, 308),
            "301, 302, 303, 307 or 308.",
            Redirect().status,
            "status",
        ),
    ),
    name="redirect",
    check=_check_redirect,
)

REWRITE: Final = Record(
    (
        Field("hostname", HOSTNAME, "In Host, in place of the request's.", attribute="hostname"),
        Field("port", _PORT, "Behind the name in Host.", attribute="port"),
        Field("path", PATH_MODIFIER, "In place of the request's."),
    ),
    name="rewrite",
    check=_check_hostname,
)


def _check_fixed(section: Section, report: Report) -> None:
    if "body" in section and "file" in section:
        report.fault(section.node.key("file"), "stands beside body", "give one of the two")
    status = section.get("status", 200)
    if status in (204, 205, 304) and ("body" in section or "file" in section):
        report.fault(section.at("status"), f"{status} has no body", "leave body and file out, or use another status")


FIXED_RESPONSE: Final = Record(
    (
        Field("status", Integer(200, 599), "Of the response.", 200, "status"),
        Field("headers", Entries(RESPONSE_HEADER, HEADER_VALUE), "Default: content-type where there is a body."),
        Field("body", Text("text", r"[\s\S]*", max_length=1_048_576), "Text, sent as UTF-8."),
        Field("file", FILE, "A file with the body, read when the configuration is."),
    ),
    name="fixed_response",
    check=_check_fixed,
)

# --- time, number and size ----------------------------------------------------------------------


def _check_timeouts(section: Section, report: Report) -> None:
    whole, one = section.get("request", 0.0), section.get("backend_request", 0.0)
    if whole and one > whole:
        report.fault(section.at("backend_request"), "is longer than request", "give at most as much as request")


TIMEOUTS: Final = Record(
    (
        setting(Timeouts(), "request", Duration(zero=True), "For the whole request; 0s for no limit."),
        setting(Timeouts(), "backend_request", Duration(zero=True), "For each try; 0s for no limit."),
    ),
    name="timeouts",
    description="Past them 504, or the response is cut.",
    check=_check_timeouts,
)


def _check_retry(section: Section, report: Report) -> None:
    least, most = section.get("backoff", Retry().backoff), section.get("max_backoff", Retry().max_backoff)
    if least > most:
        report.fault(section.node, "has a backoff longer than max_backoff", "give max_backoff as much at least")


RETRY: Final = Record(
    (
        Field(
            "codes",
            ListOf(Integer(400, 599), 1, distinct=True),
            "Statuses of responses in whose place another try is made. Default: none.",
        ),
        setting(Retry(), "attempts", Integer(1, 100), "Further tries after the first."),
        setting(Retry(), "backoff", Duration(maximum=3600.0), "The least pause before a further try; doubles."),
        setting(Retry(), "max_backoff", Duration(maximum=3600.0), "The longest pause."),
        Field(
            "methods",
            ListOf(Text("a method", r"[A-Z]{1,32}", "write it in capitals: POST"), 1, distinct=True),
            "Of requests that may be sent twice. Default: GET, HEAD, OPTIONS, PUT, DELETE.",
        ),
        setting(Retry(), "max_body", Size(0, 64 * 1024**2), "What is kept of a request's body, to be sent again."),
    ),
    name="retry",
    check=_check_retry,
)

RATE_LIMIT: Final = Record(
    (
        Field("requests", Integer(1, 1_000_000_000), "So many in each unit.", REQUIRED),
        Field("unit", Words(tuple(UNITS)), "second, minute, hour or day.", "second"),
        Field("burst", Integer(1, 1_000_000_000), "So many at once. Default: requests."),
        Field(
            "per",
            Choice(RateLimitKey),
            "Whose requests are counted together: all of the rule's, those of an address, or of a verified identity.",
            RateLimitKey.RULE,
            "per",
        ),
        Field(
            "max_entries",
            Integer(1, 10_000_000),
            "Clients that are counted each for itself.",
            RateLimit(1, 1.0, 1).max_entries,
            "max_entries",
        ),
    ),
    name="rate_limit",
)


def rate_limit(section: Section) -> RateLimit:
    """Make the model of a rate limit."""
    requests = section.get("requests", 1)
    seconds = UNITS[section.get("unit", "second")]
    return RATE_LIMIT.settings(section, RateLimit(requests, seconds, section.get("burst", requests)))


# --- other origins ------------------------------------------------------------------------------


def _parse_origin(text: str) -> str:
    if text == "*":
        return text
    if not _ORIGIN.fullmatch(text):
        raise Unparsable(
            "is not an origin", "write scheme://host, or scheme://host:port, without a path; or * for all"
        )
    return text


_ORIGIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(\*|(\*\.)?[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
_TOKEN_OR_ANY: Final = Text("a name, or *", r"[!#$%&'+.^_`|~0-9A-Za-z*\-]{1,256}", "write a name without spaces, or *")
_MOST_LISTED: Final = 64


def _check_cors(section: Section, report: Report) -> None:
    if section.get("allow_credentials") and any(item.value.endswith("*") for item in section.items("allow_origins")):
        report.warn(
            section.at("allow_credentials"),
            "lets the pages of every origin read what a client may see who has cookies or a certificate",
            "name the origins, or leave it out",
        )


CORS_RULES: Final = Record(
    (
        Field(
            "allow_origins",
            ListOf(
                Parsed(
                    "an origin such as https://example.com",
                    _parse_origin,
                    {"pattern": rf"^(\*|{_ORIGIN.pattern})$"},
                ),
                1,
                _MOST_LISTED,
                distinct=True,
            ),
            "Origins whose pages may use responses; * for the beginning of a host, or for all.",
            REQUIRED,
            "allow_origins",
        ),
        setting(
            CORS(()), "allow_methods", ListOf(_TOKEN_OR_ANY, 0, _MOST_LISTED, distinct=True),
            "Beside GET, HEAD and POST; or *.",
        ),
        setting(
            CORS(()), "allow_headers", ListOf(_TOKEN_OR_ANY, 0, _MOST_LISTED, distinct=True),
            "Headers that requests may have; or *.",
        ),
        setting(
            CORS(()), "expose_headers", ListOf(_TOKEN_OR_ANY, 0, _MOST_LISTED, distinct=True),
            "Headers of responses that pages may read; or *.",
        ),
        setting(CORS(()), "allow_credentials", Boolean(), "Let pages use cookies and client certificates."),
        setting(CORS(()), "max_age", Duration(zero=True), "So long a browser may keep the answer to a preflight."),
    ),
    name="cors",
    description="Which pages of other origins may use responses (Fetch standard).",
    check=_check_cors,
)

# --- mirrors ------------------------------------------------------------------------------------


def _check_mirror(section: Section, report: Report) -> None:
    if "percent" in section and "fraction" in section:
        report.fault(section.node.key("fraction"), "stands beside percent", "give one of the two")


def _check_fraction(section: Section, report: Report) -> None:
    if section.get("numerator", 0) > section.get("denominator", 100):
        report.fault(section.at("numerator"), "is greater than the denominator", "give as much as that at most")


MIRROR: Final = Record(
    (
        Field("upstream", NAME, "The name of an upstream.", REQUIRED),
        Field("percent", Number(0, 100), "Of the requests. Default: all of them."),
        Field(
            "fraction",
            Record(
                (
                    Field("numerator", Integer(0, 1_000_000), "Of so many requests.", REQUIRED),
                    Field("denominator", Integer(1, 1_000_000), "So many requests.", 100),
                ),
                check=_check_fraction,
            ),
            "In place of percent.",
        ),
    ),
    name="mirror",
    description="An upstream that gets copies of requests, whose responses nobody sees.",
    check=_check_mirror,
)


def mirror(section: Section) -> Mirror:
    """Make the model of a mirror."""
    numerator, denominator = 100, 100
    if "percent" in section:
        numerator, denominator = round(section.get("percent", 100.0) * 10_000), 1_000_000
    fraction = section.get("fraction")
    if fraction is not None:
        numerator, denominator = fraction.get("numerator", 0), fraction.get("denominator", 100)
    return Mirror(section.get("upstream", ""), numerator, denominator)


# --- a service that decides ---------------------------------------------------------------------


def _parse_url(text: str) -> str:
    remedy = "write http:// or https:// with a host and a path, without user, fragment and spaces"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise Unparsable("is not a URL", remedy) from None
    plain = text.isascii() and text.isprintable() and " " not in text
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or not plain:
        raise Unparsable("is not a URL of http or https", remedy)
    if "@" in parts.netloc or "#" in text:
        raise Unparsable("has a user or a fragment", remedy)
    return text


def _check_auth(section: Section, report: Report) -> None:
    if section.get("append_path") and "?" in section.get("url", ""):
        report.fault(section.at("url"), "has a query, behind which no path can stand", "leave it out, or append_path")


_auth = ExternalAuth("")
EXTERNAL_AUTH: Final = Record(
    (
        Field(
            "url", Parsed("a URL of http or https", _parse_url, {"pattern": r"^https?://[!-~]+$"}),
            "Asked with GET about each request; 200 lets it pass.", REQUIRED, "url",
        ),
        setting(_auth, "append_path", Boolean(), "Ask for the client's path and query behind the URL's path."),
        setting(_auth, "timeout", Duration(maximum=60.0), "For the answer."),
        setting(
            _auth, "request_headers", ListOf(REQUEST_HEADER, 0, _MOST_LISTED, distinct=True),
            "Headers of the client's that the service is told.",
        ),
        Field("facts", HEADER_TEMPLATES, "Headers for the service, made of facts about the client."),
        setting(
            _auth, "upstream_headers", ListOf(REQUEST_HEADER, 0, _MOST_LISTED, distinct=True),
            "Headers of its answer that the upstream gets; what clients send under these names is taken out.",
        ),
        setting(
            _auth, "client_headers", ListOf(RESPONSE_HEADER, 0, _MOST_LISTED, distinct=True),
            "Headers of its answer that the client gets where it refuses.",
        ),
        setting(_auth, "on_failure", Choice(OnFailure), "Without a decision: refuse the request, or allow it."),
        setting(_auth, "status", Integer(400, 599), "What the client gets without a decision."),
        Field("ca_certificates", FILE, "A PEM file that an https service's chain ends in. Default: the system's."),
        setting(_auth, "concurrency", Integer(1, 10_000), "Requests to the service at a time; more wait."),
    ),
    name="external_auth",
    check=_check_auth,
)

_compression = Compression()
COMPRESSION: Final = Record(
    (
        setting(
            _compression, "encodings", ListOf(Choice(Encoding), 1, distinct=True),
            "The order where a client likes several as much.",
        ),
        setting(
            _compression,
            "content_types",
            ListOf(
                Text("a media type", r"[a-z0-9!#$&^_.+\-]+/[a-z0-9!#$&^_.+\-]+", "write it as text/html", 128), 1,
                _MOST_LISTED, distinct=True,
            ),
            "Of responses that are compressed.",
        ),
        setting(_compression, "min_length", Size(0, 1024**3), "Shorter bodies are left as they are."),
        setting(
            _compression, "with_credentials", Boolean(),
            "Compress responses with Set-Cookie and to requests with Authorization or Cookie too.",
        ),
    ),
    name="compression",
)

# --- the whole ----------------------------------------------------------------------------------

BACKEND_FILTERS: Final = (
    Field("request_headers", _HEADERS_OF_REQUESTS, "Changes to the headers of requests."),
    Field("response_headers", _HEADERS_OF_RESPONSES, "Changes to the headers of responses."),
    Field("redirect", REDIRECT, "Send the client elsewhere."),
    Field("rewrite", REWRITE, "What the upstream is asked for."),
    Field("cors", CORS_RULES, "Which pages of other origins may use responses."),
    Field("mirrors", ListOf(MIRROR, 1, 16), "Upstreams that get copies of requests."),
)
RULE_FILTERS: Final = (
    *BACKEND_FILTERS,
    Field("fixed_response", FIXED_RESPONSE, "Answer here, always the same."),
    Field("timeouts", TIMEOUTS, "In place of the upstream's response_timeout."),
    Field("max_body_size", Size(0, 1024**5), "The body of a request, in place of the listener's limit; past it 413."),
    Field("retry", RETRY, "When a request is sent again."),
    Field("rate_limit", RATE_LIMIT, "How many requests the rule takes; past it 429."),
    Field("external_auth", EXTERNAL_AUTH, "A service that decides about each request."),
    Field("compression", COMPRESSION, "Which responses are compressed. Default: none."),
)
