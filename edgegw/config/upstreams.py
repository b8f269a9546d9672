"""Upstreams, from the native document."""
from __future__ import annotations

from edgegw.config.document_upstreams import UPSTREAM
from edgegw.config.faults import Report
from edgegw.config.policies import PluginTranslation
from edgegw.config.routing import translate_backend
from edgegw.config.shapes import Section
from edgegw.model import Upstream

__all__ = ["translate_upstream"]


def translate_upstream(section: Section, plugins: PluginTranslation, report: Report) -> Upstream:
    """Make an upstream."""
    endpoints = tuple(item.value for item in section.items("endpoints"))
    upstream = Upstream(section.get("name", ""), endpoints, backend=translate_backend(section, plugins, report))
    return UPSTREAM.settings(section, upstream)
