"""Upstreams, from the native document."""
from __future__ import annotations

from typing import Final

from edgegw.config.document_balancing import SESSION_PERSISTENCE, translate_balancing
from edgegw.config.document_health import OUTLIER_DETECTION, translate_health_check
from edgegw.config.document_upstreams import LIMITS, RESOLUTION, RETRY_BUDGET, UPSTREAM
from edgegw.config.faults import Report
from edgegw.config.nodes import Node, Sequence
from edgegw.config.policies import PluginTranslation
from edgegw.config.routing import translate_backend
from edgegw.config.shapes import Section
from edgegw.config.upstream_tls import UpstreamTLSTranslation
from edgegw.model import (
    EndpointKind,
    HTTPVersion,
    OutlierDetection,
    Resolution,
    RetryBudget,
    SessionPersistence,
    Upstream,
    UpstreamLimits,
)

__all__ = ["translate_upstream"]

_RESOLUTION: Final = Resolution()
_LIMITS: Final = UpstreamLimits()


def translate_upstream(
    section: Section, plugins: PluginTranslation, tls: UpstreamTLSTranslation, report: Report
) -> Upstream:
    """Make an upstream."""
    endpoints = tuple(item.value for item in section.items("endpoints"))
    persistence, outliers, budget, secured = (
        section.get(key) for key in ("session_persistence", "outlier_detection", "retry_budget", "tls")
    )
    upstream = Upstream(
        section.get("name", ""),
        endpoints,
        backend=translate_backend(section, plugins, report),
        balancing=translate_balancing(section.get("balancing")),
        resolution=RESOLUTION.settings(section.get("resolution"), _RESOLUTION),
        health_check=translate_health_check(section.get("health_check")),
        limits=LIMITS.settings(section.get("limits"), _LIMITS),
        session_persistence=(
            None if persistence is None else SESSION_PERSISTENCE.settings(persistence, SessionPersistence())
        ),
        outlier_detection=None if outliers is None else OUTLIER_DETECTION.settings(outliers, OutlierDetection()),
        retry_budget=None if budget is None else RETRY_BUDGET.settings(budget, RetryBudget()),
        tls=None if secured is None else tls.tls(secured, endpoints),
        **UPSTREAM.given(section),
    )
    _check_endpoints(section, report)
    _check_version(section, report)
    _check_intervals(section, upstream, report)
    return upstream


def _check_endpoints(section: Section, report: Report) -> None:
    """Find an address that stands there twice, with whatever weights."""
    first: dict[str, Node] = {}
    given = section.node.values.get("endpoints")
    if isinstance(given, Sequence) and not given.items:
        report.warn(given, "is an empty list: requests get 503, and connections are closed", "give one or more")
    for item in section.items("endpoints"):
        text = str(item.value)
        if first.setdefault(text, item.node) is not item.node:
            report.fault(item.node, f"repeats {first[text].path}", "keep one of the two, with a weight of its own")
        if item.value.kind is EndpointKind.UNIX:
            for key in ("tls", "proxy_protocol"):
                if key in section.node.values:
                    report.fault(section.node.key(key), f"does not go with {text}, a Unix socket", "leave it out")


def _check_version(section: Section, report: Report) -> None:
    version = section.get("http_version", HTTPVersion.HTTP_1_1)
    if version is HTTPVersion.HTTP_1_1:
        return
    if version is HTTPVersion.AUTO and "tls" not in section.node.values:
        problem = "without TLS nothing negotiates the version"
        report.fault(section.at("http_version"), problem, 'give tls, or use "2" or "1.1"')
    if "proxy_protocol" in section.node.values:
        report.fault(
            section.node.key("proxy_protocol"),
            f"does not go with http_version: {version.value}: such a connection serves one client only",
            'leave it out, or use http_version: "1.1"',
        )


def _check_intervals(section: Section, upstream: Upstream, report: Report) -> None:
    resolution = upstream.resolution
    if resolution.min_interval > resolution.max_interval:
        report.fault(section.at("resolution"), "min_interval is longer than max_interval", "correct one of them")
    outliers = upstream.outlier_detection
    if outliers is not None and outliers.base_ejection_time > outliers.max_ejection_time:
        problem = "base_ejection_time is longer than max_ejection_time"
        report.fault(section.at("outlier_detection"), problem, "correct one of them")
