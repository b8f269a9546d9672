"""Upstreams, from the native document."""
from __future__ import annotations

from attrs import evolve

from edgegw.config.document_balancing import SESSION_PERSISTENCE, translate_balancing
from edgegw.config.document_health import OUTLIER_DETECTION, translate_health_check
from edgegw.config.document_upstreams import LIMITS, RESOLUTION, RETRY_BUDGET, UPSTREAM
from edgegw.config.faults import Report
from edgegw.config.policies import PluginTranslation
from edgegw.config.routing import translate_backend
from edgegw.config.shapes import Section
from edgegw.config.upstream_tls import UpstreamTLSTranslation
from edgegw.model import (
    EndpointKind,
    OutlierDetection,
    Resolution,
    RetryBudget,
    SessionPersistence,
    Upstream,
    UpstreamLimits,
)

__all__ = ["translate_upstream"]


def translate_upstream(
    section: Section, plugins: PluginTranslation, tls: UpstreamTLSTranslation, report: Report
) -> Upstream:
    """Make an upstream."""
    endpoints = tuple(item.value for item in section.items("endpoints"))
    upstream = Upstream(section.get("name", ""), endpoints, backend=translate_backend(section, plugins, report))
    upstream = evolve(
        upstream,
        balancing=translate_balancing(section.get("balancing")),
        resolution=RESOLUTION.settings(section.get("resolution"), Resolution()),
        health_check=translate_health_check(section.get("health_check")),
        limits=LIMITS.settings(section.get("limits"), UpstreamLimits()),
    )
    if "session_persistence" in section:
        persistence = SESSION_PERSISTENCE.settings(section.get("session_persistence"), SessionPersistence())
        upstream = evolve(upstream, session_persistence=persistence)
    if "outlier_detection" in section:
        outliers = OUTLIER_DETECTION.settings(section.get("outlier_detection"), OutlierDetection())
        upstream = evolve(upstream, outlier_detection=outliers)
    if "retry_budget" in section:
        upstream = evolve(upstream, retry_budget=RETRY_BUDGET.settings(section.get("retry_budget"), RetryBudget()))
    if "tls" in section:
        upstream = evolve(upstream, tls=tls.tls(section.get("tls"), endpoints))
    _check_endpoints(section, report)
    _check_intervals(section, upstream, report)
    return UPSTREAM.settings(section, upstream)


def _check_endpoints(section: Section, report: Report) -> None:
    """Find an address that stands there twice, with whatever weights."""
    first: dict[str, str] = {}
    for item in section.items("endpoints"):
        text = str(item.value)
        if first.setdefault(text, item.node.path) != item.node.path:
            report.fault(item.node, f"repeats {first[text]}", "keep one of the two, with a weight of its own")
        if item.value.kind is EndpointKind.UNIX:
            for key in ("tls", "proxy_protocol"):
                if key in section.node.values:
                    report.fault(section.node.key(key), f"does not go with {text}, a Unix socket", "leave it out")


def _check_intervals(section: Section, upstream: Upstream, report: Report) -> None:
    resolution = upstream.resolution
    if resolution.min_interval > resolution.max_interval:
        report.fault(section.at("resolution"), "min_interval is longer than max_interval", "correct one of them")
    outliers = upstream.outlier_detection
    if outliers is not None and outliers.base_ejection_time > outliers.max_ejection_time:
        problem = "base_ejection_time is longer than max_ejection_time"
        report.fault(section.at("outlier_detection"), problem, "correct one of them")
