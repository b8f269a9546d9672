"""The native YAML configuration: a file → :class:`edgegw.model.Gateway`."""
from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Mapping as MappingABC
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import frozen

from edgegw.config.certificates import CertificateFiles
from edgegw.config.document import ADMIN, DOCUMENT, LOGGING
from edgegw.config.document_http import FORWARDING, HTTP, HTTP2, limits
from edgegw.config.faults import ConfigError, Fault, Report
from edgegw.config.filters import FilterTranslation
from edgegw.config.injection import injected_headers
from edgegw.config.listeners import check_bindings, translate_listener, translate_validations
from edgegw.config.nodes import Mapping, Node, Scalar
from edgegw.config.policies import MakeEnvironment, Plugins, PluginTranslation, describe_kinds
from edgegw.config.ports import translate_ports
from edgegw.config.reader import read_file
from edgegw.config.routes import translate_route
from edgegw.config.routing import translate_sni_routers
from edgegw.config.shapes import Item, Schema, Section
from edgegw.config.tls import TLSTranslation
from edgegw.config.tls_parameters import CheckTLS
from edgegw.config.tunnels import translate_tcp_routes, translate_tls_routes
from edgegw.config.upstream_tls import UpstreamTLSTranslation
from edgegw.config.upstreams import translate_upstream
from edgegw.garbage import no_garbage_collection
from edgegw.model import Admin, ConnectionLimits, Forwarding, Gateway, HTTP2Settings, HTTPSettings, Listener, Logging

__all__ = ["FindPlugins", "Loaded", "load", "load_document", "schema", "schema_text"]

#: Finds plugins in some directories and wherever else they are.
FindPlugins = Callable[[Sequence[str]], Plugins]


@frozen
class Loaded:
    """A configuration that can be used.

    :ivar warnings: in the order of the document.
    :ivar environments: what its plugins use, to be started and stopped with it; ``None`` without any.
    :ivar statuses: of the objects that it was compiled of; ``None`` for a dialect that has no objects.
    """

    gateway: Gateway
    warnings: tuple[Fault, ...]
    environments: Any = None
    statuses: tuple[Any, ...] | None = None


def load(
    path: str,
    environ: MappingABC[str, str] | None = None,
    *,
    check_tls: CheckTLS | None = None,
    now: datetime | None = None,
    find_plugins: FindPlugins | None = None,
    make_environment: MakeEnvironment | None = None,
    data: bytes | None = None,
) -> Loaded:
    """Read a configuration and everything that it names.

    :param path: of a YAML file; relative paths in it start from its directory.
    :param environ: for ``${VAR}``; by default the process's.
    :param check_tls: says which names in TLS settings the OpenSSL at hand does not have; it gives
        ``(attribute of TLSSettings, name, problem)`` for each.  Without it they are not checked.
    :param now: aware; certificates are judged by it.
    :param find_plugins: finds plugins in the directories of ``plugin_path`` and everywhere else; without
        it there are none.
    :param make_environment: gives each plugin what it may use of the gateway; needed with ``find_plugins``.
    :param data: what is in the file, where that was read already.
    :raises ConfigError: with every fault that was found, and the warnings.
    """
    report = Report(path)
    moment = now or datetime.now(UTC)
    with no_garbage_collection():
        translation = _Translation(path, report, check_tls, moment, find_plugins, make_environment)
        # Nothing of the document is left when the collector may look again.
        gateway = translation.gateway(
            # A document of comments alone is judged like an empty one.
            read_file(path, os.environ if environ is None else environ, report, data) or Mapping("", 1, 1, {}, {})
        )
    if gateway is None or report.failed:
        raise ConfigError(report.findings)
    return Loaded(gateway, report.findings)


def load_document(
    root: Node,
    path: str,
    report: Report,
    *,
    check_tls: CheckTLS | None = None,
    find_plugins: FindPlugins | None = None,
    make_environment: MakeEnvironment | None = None,
    may_be_idle: bool = False,
    now: datetime | None = None,
) -> Loaded:
    """Make a configuration of a document that is there already, as :func:`load` does.

    :param path: relative paths in it start from this path's directory; nothing is read there.
    :param report: takes the findings.
    :param may_be_idle: whether it may be without a listener.
    :param now: as for :func:`load`.
    :raises ConfigError: with every fault that was found, and the warnings.
    """
    moment = now or datetime.now(UTC)
    translation = _Translation(path, report, check_tls, moment, find_plugins, make_environment, may_be_idle)
    gateway = translation.gateway(root)
    if gateway is None or report.failed:
        raise ConfigError(report.findings)
    return Loaded(gateway, report.findings)


def schema(kinds: Iterable[Any] = ()) -> Schema:
    """Give the document's JSON Schema (draft 2020-12).

    :param kinds: of plugins, as :class:`edgegw.registry.Registry` finds them, whose options it is to explain.
    """
    definitions: dict[str, Schema] = {}
    body = DOCUMENT.schema(definitions)
    describe_kinds(definitions, kinds)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "edgegw configuration",
        **body,
        "$defs": dict(sorted(definitions.items())),
    }


def schema_text(kinds: Iterable[Any] = ()) -> str:
    """Give :func:`schema` as ``edgegw schema`` prints it."""
    return json.dumps(schema(kinds), indent=2, ensure_ascii=False) + "\n"


class _Translation:
    """Makes one document into a gateway."""

    def __init__(
        self,
        path: str,
        report: Report,
        check_tls: CheckTLS | None,
        now: datetime,
        find_plugins: FindPlugins | None,
        make_environment: MakeEnvironment | None,
        may_be_idle: bool = False,
    ) -> None:
        self._report = report
        self._may_be_idle = may_be_idle
        self._directory = Path(path).absolute().parent
        self._files = CertificateFiles(self._directory, now)
        self._check_tls = check_tls
        self._find_plugins = find_plugins
        self._make_environment = make_environment

    def gateway(self, root: Node) -> Gateway | None:
        """Give the gateway; worth something only if nothing was reported as a fault."""
        document = DOCUMENT.read(root, self._report)
        if not isinstance(document, Section):
            return None
        self._plugins = self._found_plugins(document)
        self._tls = TLSTranslation(self._files, self._report, self._check_tls, self._plugins)
        upstream_tls = UpstreamTLSTranslation(self._files, self._report, self._check_tls)
        upstreams = [
            translate_upstream(item.value, self._plugins, upstream_tls, self._report)
            for item in document.items("upstreams")
        ]
        listeners = self._listeners(document)
        for key in ("listeners", "upstreams"):
            deque(self._checked_names(document.items(key)), 0)
        by_name = {listener.name: listener for _, listener in listeners}
        by_upstream = {upstream.name: upstream for upstream in upstreams}
        names = by_upstream.keys()
        hostnames = {listener.hostname for _, listener in listeners}
        injected = {name for _, listener in listeners for name in injected_headers(listener.header_injection)}
        filters = FilterTranslation(self._directory, self._files, injected, names, self._report)
        routes = [
            translate_route(item.value, by_name, hostnames, names, injected, self._plugins, filters, self._report)
            for item in self._checked_names(document.get("routes", ()))
        ]
        admin = self._admin(document)
        beside_tls = {item.value.get("plaintext_listener") for item in document.items("ports")}
        check_bindings(listeners, beside_tls, admin, self._report)
        only_listeners = [listener for _, listener in listeners]
        routers = translate_sni_routers(
            document.items("sni_routers"), listeners, self._plugins, self._directory, self._report
        )
        self._plugins.warn_of_changes(document.node)
        return Gateway(
            listeners=tuple(listener for _, listener in listeners),
            routes=tuple(routes),
            upstreams=tuple(upstreams),
            admin=admin,
            logging=LOGGING.settings(document.get("logging"), Logging()),
            drain_timeout=document.get("drain_timeout", Gateway(()).drain_timeout),
            handshake_record=document.get("handshake_record", Gateway(()).handshake_record),
            sni_routers=routers,
            ports=translate_ports(document.items("ports"), only_listeners, self._directory, self._report),
            tls_routes=translate_tls_routes(
                self._checked_names(document.items("tls_routes")), by_name, by_upstream, self._report
            ),
            tcp_routes=translate_tcp_routes(
                self._checked_names(document.items("tcp_routes")), by_name, by_upstream, self._report
            ),
        )

    def _listeners(self, document: Section) -> list[tuple[Section, Listener]]:
        items = document.items("listeners")
        if document.get("listeners") == () and not self._may_be_idle:
            self._report.fault(document.at("listeners"), "is an empty list", "give 1 or more")
        validations = translate_validations(document.get("client_validation"), items, self._tls, self._report)
        defaults = (
            limits(document.get("limits"), ConnectionLimits()),
            HTTP.settings(document.get("http"), HTTPSettings()),
            FORWARDING.settings(document.get("forwarding"), Forwarding()),
            HTTP2.settings(document.get("http2"), HTTP2Settings()),
        )
        return [
            (
                item.value,
                translate_listener(
                    item.value, defaults, validations, self._tls, self._plugins, self._directory, self._report
                ),
            )
            for item in items
        ]

    def _found_plugins(self, document: Section) -> PluginTranslation:
        """Give what looks for plugins as soon as the document has a use for one."""
        plugin_path = self._plugin_path(document)
        # It must not hold this object, which holds it, nor the document: only the collector would free them.
        find_plugins, report = self._find_plugins, self._report
        place = Scalar("", document.node.line, document.node.column, "")

        def find() -> Plugins | None:
            if find_plugins is None:
                return None
            plugins = find_plugins(plugin_path)
            for problem in plugins.problems:
                report.warn(place, f"a plugin could not be loaded: {problem}")
            return plugins

        return PluginTranslation(find, self._make_environment, report, str(self._directory))

    def _plugin_path(self, document: Section) -> tuple[str, ...]:
        if "plugin_path" not in document:
            default = (self._directory / "plugins", Path("/etc/edgegw/plugins"))
            return tuple(str(path) for path in default if path.is_dir())
        paths = []
        for item in document.items("plugin_path"):
            path = self._directory / item.value
            if path.is_dir():
                paths.append(str(path))
            else:
                self._report.fault(item.node, f"there is no directory {path}", "create it, or correct the path")
        return tuple(paths)

    @staticmethod
    def _admin(document: Section) -> Admin | None:
        if "admin" in document and document.get("admin") is None:
            return None
        return ADMIN.settings(document.get("admin"), Admin())

    def _checked_names(self, items: Iterable[Item[Section]]) -> Iterator[Item[Section]]:
        """Give elements as they are come to, and report those whose name another one before has."""
        first: dict[str, int] = {}
        for item in items:
            section = item.value
            name = section.get("name")
            if name is not None:
                place = section.at("name")
                if name in first:
                    problem = f"the name {name} is given to another in line {first[name]}"
                    self._report.fault(place, problem, "rename one")
                first.setdefault(name, place.line)
            yield item
