"""What a command line names as configuration: one file in the native language, or Gateway API manifests.

Manifests are directories, several files, standard input, and files whose objects say ``apiVersion``; anything else is
native.
"""
from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from attrs import evolve

from edgegw.config import Loaded, load
from edgegw.environment import Environments
from edgegw.gateway_api.compiled import Compiled
from edgegw.gateway_api.loading import Manifests, ManifestSettings, load_manifests, parse_endpoints
from edgegw.observe.plugin_counters import PluginCounters
from edgegw.registry import Registry
from edgegw.tls.names import check_tls

__all__ = ["STANDARD_INPUT", "Configuration", "absolute_paths", "manifest_settings"]

#: The path that stands for it.
STANDARD_INPUT: Final = "-"
#: So much of a file tells what it is.
_BEGINNING: Final = 65_536
_OBJECT = re.compile(rb"""(?:^|[{,]\s*)(?:- )?["']?apiVersion["']?\s*:""", re.MULTILINE)


class Configuration:
    """One configuration, to be read as often as it changes.

    :param paths: one at least, as :func:`absolute_paths` makes them if the working directory may change.
    :param settings: for manifests; native files have no use for them.
    :ivar manifests: ``None`` for a native file.
    """

    def __init__(self, paths: Sequence[str], settings: ManifestSettings | None = None) -> None:
        self.paths = tuple(paths)
        self.manifests: Manifests | None = None
        if _are_manifests(self.paths):
            self.manifests = Manifests(self.paths, ManifestSettings() if settings is None else settings)

    @property
    def directory(self) -> str:
        """What relative paths in it start from."""
        first = self.paths[0]
        if first == STANDARD_INPUT:
            return os.getcwd()
        return first if os.path.isdir(first) else os.path.dirname(first) or os.curdir

    @property
    def watched(self) -> tuple[str, ...]:
        """The files and directories whose changes are taken over at once; a native file waits for SIGHUP."""
        if self.manifests is None:
            return ()
        return tuple(path for path in self.paths if path != STANDARD_INPUT)

    def read(self, counters: PluginCounters | None = None) -> Loaded:
        """Read it, build its plugins and check it against this machine's OpenSSL.

        :param counters: of plugins; they outlive what is read here.
        :raises ConfigError: it has faults.
        """
        return self._read(counters)[0]

    def compile(self) -> Compiled:
        """Read manifests, and give the native document that they are served as.

        :raises ConfigError: they have faults.
        """
        loaded, compiled = self._read(None)
        if loaded.environments is not None:
            loaded.environments.stop()
        assert compiled is not None
        return compiled

    def _read(self, counters: PluginCounters | None) -> tuple[Loaded, Compiled | None]:
        from twisted.internet import reactor

        environments = Environments(reactor, self.directory, PluginCounters() if counters is None else counters)
        compiled: Compiled | None = None
        try:
            if self.manifests is None:
                loaded = load(
                    self.paths[0], check_tls=check_tls, find_plugins=Registry, make_environment=environments.make
                )
            else:
                loaded, compiled = load_manifests(
                    self.manifests, self.directory, check_tls=check_tls, find_plugins=Registry,
                    make_environment=environments.make,
                )  # fmt: skip
        except BaseException:
            environments.stop()
            raise
        return evolve(loaded, environments=environments), compiled


def absolute_paths(paths: Iterable[str]) -> list[str]:
    """Have paths mean the same after a daemon has changed its directory."""
    return [path if path == STANDARD_INPUT else os.path.abspath(path) for path in paths]


def _are_manifests(paths: Sequence[str]) -> bool:
    if len(paths) > 1 or paths[0] == STANDARD_INPUT or os.path.isdir(paths[0]):
        return True
    with suppress(OSError, ValueError), open(paths[0], "rb") as file:
        return _OBJECT.search(file.read(_BEGINNING)) is not None
    return False


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
        endpoints = parse_endpoints(resolve)
    except ValueError as error:
        raise ValueError(f"--resolve: {error}") from None
    return ManifestSettings(
        endpoints, cluster_domain or default.cluster_domain, pool, _host_addresses(), _addresses_of, _address_problem
    )


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
