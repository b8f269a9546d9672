"""``twistd edgegw``: the options, and the service made of them.

``twistd -n edgegw --config PATH`` keeps to what ``edgegw run`` does: faults of the configuration go
to stderr, one a line, and end it with status 1, as does an address that cannot be listened on; after
SIGTERM the status is 0.  Logs are as the configuration says, unless twistd was told where to log.
"""
from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from twisted.application.service import Service
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized
from twisted.python.usage import CompleteFiles, Completions, UsageError
from twisted.python.usage import Options as _Options

from edgegw.config import ConfigError, Loaded
from edgegw.configuration import Configuration, absolute_paths, manifest_settings
from edgegw.observe.logs import StandardOutputLog
from edgegw.observe.plugin_counters import PluginCounters
from edgegw.service import CannotStart, GatewayService

__all__ = ["DEFAULT_CONFIG", "Options", "config_paths", "makeService", "read"]

#: What is read when no file is named, if it exists.
DEFAULT_CONFIG = "/etc/edgegw/edgegw.yaml"

_log = Logger(namespace="edgegw.tap")


def config_paths(given: Sequence[str] | None) -> list[str]:
    """Give what to read: what was named, else :data:`DEFAULT_CONFIG` if it exists, else nothing."""
    if given:
        return list(given)
    return [DEFAULT_CONFIG] if Path(DEFAULT_CONFIG).exists() else []


def read(path: str, counters: PluginCounters | None = None) -> Loaded:
    """Read a configuration, build its plugins and check it against this machine's OpenSSL.

    :param path: of a native file, or of manifests.
    :param counters: of plugins; they outlive what is read here.
    :raises ConfigError: it has faults.
    """
    return Configuration([path]).read(counters)


class Options(_Options):
    """The command line behind ``twistd edgegw``.

    :ivar configuration: what was named, once the options were parsed, as for ``loaded``.
    :ivar loaded: what it says.
    :ivar counters: of its plugins.
    """

    synopsis = "[--config PATH]..."
    optParameters: ClassVar = [
        ["cluster-domain", None, "cluster.local", "What the DNS names of Services end with, for manifests."],
        ["address-pool", None, None, "A network of which each Gateway that names no address gets its own."],
    ]
    compData = Completions(optActions={"config": CompleteFiles("*.yaml")})
    configuration: Configuration
    loaded: Loaded
    counters: PluginCounters

    def __init__(self) -> None:
        super().__init__()
        self.update({"config": [], "resolve": []})

    def opt_config(self, path: str) -> None:
        """The configuration: a file, or a file or directory of Gateway API manifests, which may be given again.
        Without it /etc/edgegw/edgegw.yaml, if that exists."""
        self["config"].append(path)

    opt_c = opt_config

    def opt_resolve(self, text: str) -> None:
        """Where a Service is, for manifests: NAME.NAMESPACE=HOST:PORT; may be given again."""
        self["resolve"].append(text)

    def postOptions(self) -> None:
        """Read the configuration.

        :raises UsageError: none was named, or what was given for manifests cannot be understood.
        :raises SystemExit: it has faults, which are on stderr now.
        """
        paths = config_paths(self["config"])
        if not paths:
            raise UsageError(f"name a configuration with --config; there is no {DEFAULT_CONFIG}")
        try:
            settings = manifest_settings(self["resolve"], self["cluster-domain"], self["address-pool"])
        except ValueError as error:
            raise UsageError(str(error)) from error
        self.configuration = Configuration(absolute_paths(paths), settings)
        try:
            self.counters = PluginCounters()
            self.loaded = self.configuration.read(self.counters)
        except ConfigError as error:
            print(error, file=sys.stderr)
            raise SystemExit(1) from error


class _TwistdService(GatewayService):
    """Ends twistd with status 1 and without a traceback where the gateway cannot start."""

    def __init__(self, *args: Any, twistd: Any, output: StandardOutputLog | None, **named: Any) -> None:
        super().__init__(*args, output=output, **named)
        self._twistd = twistd
        self._observer = output

    def setServiceParent(self, parent: Any) -> None:
        """Join twistd's application, which asks for its log observer here."""
        if self._observer is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._observer)
        super().setServiceParent(parent)

    def privilegedStartService(self) -> None:
        """Open every port, or end the process."""
        try:
            super().privilegedStartService()
        except CannotStart as error:
            for fault in error.faults:
                _log.critical("{fault}", fault=fault)
            self._remove_pidfile()
            raise SystemExit(1) from error

    def _remove_pidfile(self) -> None:
        # twistd removes it at its own end and after an exception, but not after SystemExit.
        pidfile = self._twistd.get("pidfile")
        if pidfile:
            with suppress(OSError):
                os.unlink(pidfile)


def makeService(options: Options) -> Service:
    """Make the service of parsed options."""
    from twisted.internet import reactor

    twistd = options.parent if options.parent is not None else {}
    told_where_to_log = any(twistd.get(name) for name in ("logfile", "logger", "syslog"))
    # Without -n twistd becomes a daemon, whose stdout is /dev/null.
    in_foreground = bool(twistd.get("nodaemon", True))
    output = StandardOutputLog(options.loaded.gateway.logging) if in_foreground and not told_where_to_log else None
    return _TwistdService(
        reactor,
        partial(options.configuration.read, options.counters),
        watched=options.configuration.watched,
        initial=options.loaded,
        counters=options.counters,
        output=output,
        twistd=twistd,
    )
