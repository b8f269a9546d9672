"""How endpoints' health is told, in the native document."""
from __future__ import annotations

import re
from typing import Final

from edgegw.config.document_terms import setting
from edgegw.config.faults import Report
from edgegw.config.scalars import Duration, Integer, Parsed, Text, Unparsable, Words
from edgegw.config.shapes import Field, ListOf, OrWord, Record, Section
from edgegw.model import ActiveHealthCheck, OutlierDetection

__all__ = ["HEALTH_CHECK", "OUTLIER_DETECTION", "PERCENT", "translate_health_check"]

PERCENT: Final = Integer(0, 100)
_STATUSES = re.compile(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?")


def parse_statuses(text: str) -> tuple[int, int]:
    """Give the first and the last of ``200`` or ``200-299``.

    :raises Unparsable: it is neither.
    """
    match = _STATUSES.fullmatch(text)
    if match is None or int(match[2] or match[1]) < int(match[1]):
        raise Unparsable("is no status and no range of them", 'write "200" or "200-299"')
    return int(match[1]), int(match[2] or match[1])


def _written(statuses: tuple[int, int]) -> str:
    first, last = statuses
    return str(first) if first == last else f"{first}-{last}"


STATUSES: Final = Parsed(
    "a status such as 200, or 200-299", parse_statuses, {"pattern": f"^{_STATUSES.pattern}$"}, _written
)
_check = ActiveHealthCheck()
HEALTH_CHECK: Final = Record(
    (
        Field("type", Words(("HTTP", "TCP")), "Ask for a path, or only open a connection.", "HTTP"),
        setting(
            _check, "path", Text("a path", r"/[\x21-\x7e]*", "begin with /, and percent-encode what needs it", 2048),
            "What is asked for.",
        ),
        setting(
            _check, "host", Text("a host, with a port or without", r"[A-Za-z0-9.\-:\[\]_]+"),
            "The Host. Default: the endpoint's.",
        ),
        setting(_check, "method", Words(("GET", "HEAD", "OPTIONS")), "The method."),
        setting(
            _check, "statuses", ListOf(STATUSES, 1), "Which answers are good.",
        ),
        setting(_check, "interval", Duration(minimum=0.05, maximum=3600.0), "Between two checks of an endpoint."),
        setting(_check, "timeout", Duration(maximum=300.0), "For one."),
        setting(_check, "unhealthy_threshold", Integer(1, 100), "Bad ones in a row that take an endpoint out."),
        setting(_check, "healthy_threshold", Integer(1, 100), "Good ones in a row that bring it back."),
    ),
    name="upstream_health_check",
    description="Ask each endpoint again and again whether it works.",
    check=lambda section, report: _check_kind(section, report),
)


def _check_kind(section: Section, report: Report) -> None:
    if section.get("type") == "TCP":
        for key in ("path", "host", "method", "statuses"):
            if key in section.node.values:
                report.fault(section.node.key(key), "is for HTTP", "leave it out")


def translate_health_check(section: Section | None) -> ActiveHealthCheck | None:
    """Make a health check; ``None`` without one."""
    if section is None:
        return None
    base = ActiveHealthCheck(path=None) if section.get("type") == "TCP" else ActiveHealthCheck()
    return HEALTH_CHECK.settings(section, base)


_outliers = OutlierDetection()
_TIMES: Final = OrWord("disabled", Integer(1, 10_000))
OUTLIER_DETECTION: Final = Record(
    (
        setting(_outliers, "consecutive_5xx", _TIMES, "Responses of 5xx, or none at all, in a row."),
        setting(_outliers, "consecutive_gateway_errors", _TIMES, "502, 503 and 504, or none at all, in a row."),
        setting(_outliers, "consecutive_connect_failures", _TIMES, "Connections that could not be opened, in a row."),
        setting(
            _outliers, "base_ejection_time", Duration(minimum=0.05),
            "How long an endpoint is left out the first time; twice as long the second time, and so on.",
        ),
        setting(_outliers, "max_ejection_time", Duration(minimum=0.05), "How long at most."),
        setting(_outliers, "max_ejected", PERCENT, "Of the endpoints that may be left out at a time."),
    ),
    name="outlier_detection",
    description="Leave endpoints out for a while that fail requests.",
)
