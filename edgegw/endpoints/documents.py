"""Endpoints from a configuration, with everything that is wrong with it."""
from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from edgegw.config import ConfigError, Loaded, load
from edgegw.config.shapes import did_you_mean
from edgegw.endpoints.server import EdgeServerEndpoint, EndpointError
from edgegw.environment import Environments
from edgegw.model import Listener
from edgegw.observe.handshakes import HandshakeRecord
from edgegw.observe.metrics import Metrics
from edgegw.observe.plugin_counters import PluginCounters
from edgegw.registry import Registry
from edgegw.tls.names import check_tls

__all__ = ["build_endpoint", "endpoint_from_config"]

_log = Logger(namespace="edgegw.endpoint")

#: Makes a configuration, given what looks after its plugins.
LoadWith = Callable[[Environments], Loaded]


def endpoint_from_config(
    reactor: Any,
    path: str,
    listener: str | None = None,
    *,
    metrics: Metrics | None = None,
    handshakes: HandshakeRecord | None = None,
) -> EdgeServerEndpoint:
    """Make an endpoint of a listener in a configuration file.

    The whole file is judged, as ``edgegw check`` does.  Of what it says only the listener is used: its address,
    ``tls``, client validation, policies and limits.

    :param listener: its name; may be left out where there is one with TLS only.
    :raises EndpointError: the file has faults, or no such listener.
    """

    def load_with(environments: Environments) -> Loaded:
        return load(path, check_tls=check_tls, find_plugins=Registry, make_environment=environments.make)

    def choose(listeners: tuple[Listener, ...]) -> Listener:
        return _named(path, listeners, listener)

    directory = os.path.dirname(os.path.abspath(path))
    return build_endpoint(reactor, directory, load_with, choose, str, metrics, handshakes)


def build_endpoint(
    reactor: Any,
    directory: str,
    load_with: LoadWith,
    choose: Callable[[tuple[Listener, ...]], Listener],
    write: Callable[[Any], str],
    metrics: Metrics | None = None,
    handshakes: HandshakeRecord | None = None,
) -> EdgeServerEndpoint:
    """Make an endpoint of one listener of a configuration.

    :param choose: chooses the listener.
    :param write: gives the text of a finding.
    :raises EndpointError: it has faults, which the text has all of.
    """
    metrics = Metrics() if metrics is None else metrics
    counters = PluginCounters()
    environments = Environments(reactor, directory, counters)
    try:
        loaded = load_with(environments)
        warnings = [write(warning) for warning in loaded.warnings]
        listener = choose(loaded.gateway.listeners)
        try:
            endpoint = EdgeServerEndpoint(
                reactor, listener, metrics=metrics, handshakes=handshakes, environments=environments
            )
        except EndpointError as error:
            # What the configuration only warns of may be why.
            raise EndpointError("\n".join([*warnings, str(error)])) from error
    except ConfigError as error:
        environments.stop()
        raise EndpointError("\n".join(map(write, error.faults))) from error
    except BaseException:
        environments.stop()
        raise
    metrics.plugin_families.append(counters.collect)
    for warning in warnings:
        # An event with a field called "warning" is one of the warnings module's to Twisted.
        _log.warn("{text}", text=warning)
    return endpoint


def _named(path: str, listeners: tuple[Listener, ...], name: str | None) -> Listener:
    secure = [one for one in listeners if one.tls is not None]
    if name is None:
        if len(secure) != 1:
            names = ", ".join(one.name for one in secure) or "none"
            raise EndpointError(f"{path}: there is not one listener with TLS but {names}; name one")
        return secure[0]
    for one in listeners:
        if one.name == name:
            return one
    remedy = did_you_mean(name, [one.name for one in secure])
    raise EndpointError(f"{path}: there is no listener {name}" + (f"; {remedy}" if remedy else ""))
