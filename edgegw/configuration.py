"""What a command line names as configuration: one file in the native language, or Gateway API manifests.

Manifests are directories, several files, standard input, and files whose objects say ``apiVersion`` or ``kind``;
anything else is native.  What can be read once only, as ``<(COMMAND)``, is read once and remembered.
"""
from __future__ import annotations

import os
import re
import socket
from codecs import BOM_UTF8
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Final

from attrs import evolve

from edgegw.config import Fault, Loaded, load
from edgegw.config.addresses import parse_hostname
from edgegw.config.scalars import Unparsable
from edgegw.environment import Environments
from edgegw.gateway_api.manifest_files import STANDARD_INPUT, is_stream, read_stream
from edgegw.gateway_api.manifest_settings import ManifestSettings, parse_endpoints
from edgegw.observe.plugin_counters import PluginCounters
from edgegw.registry import Registry
from edgegw.tls.names import check_tls
from edgegw.watching import Watched

if TYPE_CHECKING:
    from edgegw.gateway_api.compiled import Compiled
    from edgegw.gateway_api.loading import Manifests

__all__ = ["STANDARD_INPUT", "Configuration", "absolute_paths", "manifest_settings"]

#: So much of a file tells what it is.
_BEGINNING: Final = 65_536
#: A key of an object, where native documents have none: at the beginning of a line, ...
_OBJECT = re.compile(rb"""^(?:---[ \t]+)?["']?(?:apiVersion|kind)["']?[ \t]*:""", re.MULTILINE)
#: ... or in a document that is a mapping in braces, as JSON is.
_BRACES = re.compile(rb"(?:\s|#[^\n]*\n|---)*[{\[]")
_IN_BRACES = re.compile(rb"""[{,]\s*["']?(?:apiVersion|kind)["']?\s*:""")


class Configuration:
    """One configuration, to be read as often as it changes.

    :param paths: one at least, as :func:`absolute_paths` makes them if the working directory may change.
    :param settings: for manifests; native files have no use for them.
    :ivar manifests: ``None`` for a native file.
    :ivar directory: what relative paths in it start from.
    """

    def __init__(self, paths: Sequence[str], settings: ManifestSettings | None = None) -> None:
        self.paths = tuple(paths)
        self.manifests: Manifests | None = None
        self._streams = {path: read_stream(path) for path in dict.fromkeys(self.paths) if is_stream(path)}
        first = self.paths[0]
        if first == STANDARD_INPUT:
            self.directory = os.getcwd()
        else:
            self.directory = first if os.path.isdir(first) else os.path.dirname(first) or os.curdir
        if self._are_manifests():
            # A native configuration has no use for what compiles manifests, which takes its time to import.
            from edgegw.gateway_api.loading import Manifests

            self.manifests = Manifests(self.paths, ManifestSettings() if settings is None else settings, self._streams)
        files = [path for path in self.paths if path not in self._streams]
        #: The files and directories whose changes are taken over at once; a native file waits for SIGHUP.
        self.watched = Watched(files) if self.manifests is not None and files else None

    def _are_manifests(self) -> bool:
        first = self.paths[0]
        if len(self.paths) > 1 or first == STANDARD_INPUT or os.path.isdir(first):
            return True
        if first in self._streams:
            return _has_objects(self._streams[first].data[:_BEGINNING])
        with suppress(OSError, ValueError), open(first, "rb") as file:
            return _has_objects(file.read(_BEGINNING))
        return False

    def read(self, counters: PluginCounters | None = None) -> Loaded:
        """Read it, build its plugins and check it against this machine's OpenSSL.

        :param counters: of plugins; they outlive what is read here.
        :raises ConfigError: it has faults.
        """
        from twisted.internet import reactor

        environments = Environments(reactor, self.directory, PluginCounters() if counters is None else counters)
        return self.read_with(environments)

    def read_with(self, environments: Environments, now: datetime | None = None) -> Loaded:
        """Read it, with what plugins are to have to do with.

        :param now: aware; certificates are judged by it.
        :raises ConfigError: it has faults.
        """
        return self._read(environments, now)[0]

    def compile(self) -> tuple[Compiled, tuple[Fault, ...]]:
        """Read manifests, and give the native document that they are served as, and what is odd about them.

        :raises ConfigError: they have faults.
        """
        from twisted.internet import reactor

        environments = Environments(reactor, self.directory, PluginCounters())
        loaded, compiled = self._read(environments, None)
        environments.stop()
        assert compiled is not None
        return compiled, loaded.warnings

    def _read(self, environments: Environments, now: datetime | None) -> tuple[Loaded, Compiled | None]:
        if self.watched is not None:
            self.watched.note()
        compiled: Compiled | None = None
        try:
            if self.manifests is None:
                path = self.paths[0]
                stream = self._streams.get(path)
                loaded = load(
                    path, check_tls=check_tls, now=now, find_plugins=Registry, make_environment=environments.make,
                    data=None if stream is None or stream.problem else stream.data,
                )  # fmt: skip
            else:
                from edgegw.gateway_api.loading import load_manifests

                loaded, compiled = load_manifests(
                    self.manifests, self.directory, check_tls=check_tls, now=now, find_plugins=Registry,
                    make_environment=environments.make,
                )  # fmt: skip
        except BaseException:
            environments.stop()
            raise
        return evolve(loaded, environments=environments), compiled


def absolute_paths(paths: Iterable[str]) -> list[str]:
    """Have paths mean the same after a daemon has changed its directory."""
    return [path if path == STANDARD_INPUT else os.path.abspath(path) for path in paths]


def _has_objects(beginning: bytes) -> bool:
    beginning = beginning.removeprefix(BOM_UTF8)
    if _BRACES.match(beginning):
        return _IN_BRACES.search(beginning) is not None
    return _OBJECT.search(beginning) is not None


# --- the command line -------------------------------------------------------------------------


def manifest_settings(
    resolve: Iterable[str] = (), cluster_domain: str | None = None, address_pool: str | None = None
) -> ManifestSettings:
    """Read what was given for manifests.

    :raises ValueError: with what is wrong.
    """
    pool: IPv4Network | IPv6Network | None = None
    if address_pool is not None:
        try:
            pool = ip_network(address_pool)
        except ValueError as error:
            raise ValueError(f"--address-pool: {error}; write a network such as 127.0.1.0/24") from None
    default = ManifestSettings()
    try:
        domain = default.cluster_domain if cluster_domain is None else parse_hostname(cluster_domain)
    except Unparsable as error:
        raise ValueError(f"--cluster-domain: {cluster_domain!r} {error}; {error.remedy}") from None
    try:
        endpoints = parse_endpoints(resolve)
    except ValueError as error:
        raise ValueError(f"--resolve: {error}") from None
    return ManifestSettings(endpoints, domain, pool, _host_addresses, _addresses_of, _address_problem)


def _host_addresses() -> tuple[str, ...]:
    """Give the machine's addresses that others may reach it at, the loopback's if there are no others."""
    found: dict[str, None] = {}
    with suppress(OSError):
        for *_, address in socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM):
            if not str(address[0]).startswith(("127.", "::1", "fe80")):
                found[str(address[0])] = None
    return tuple(found) or ("127.0.0.1",)


def _addresses_of(name: str) -> tuple[str, ...]:
    """Give the IP addresses of a name, as the machine's resolver has them."""
    with suppress(OSError, UnicodeError):
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        return tuple(dict.fromkeys(str(address[0]) for *_, address in found))
    return ()


def _address_problem(address: str) -> str:
    """Say why nothing can listen on an IP address of this machine; empty if something can."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.bind((address, 0))
    except OSError as error:
        return error.strerror or str(error)
    return ""
