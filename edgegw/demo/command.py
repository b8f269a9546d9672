"""The ``edgegw demo`` command: makes everything, starts everything, says what to try."""
from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.internet.interfaces import IReactorCore, IReactorTCP
from twisted.logger import globalLogBeginner

from edgegw.config import ConfigError
from edgegw.demo.pki import make_pki, write_private
from edgegw.demo.tour import Ports, describe, steps
from edgegw.demo.upstream import listen
from edgegw.descriptors import reader_may_leave
from edgegw.observe.logs import StandardOutputLog
from edgegw.service import CannotStart, GatewayService
from edgegw.tap import read

__all__ = ["NotEmpty", "configuration", "serve_demo"]

#: By its first line a directory is known as a demonstration's, and made anew.
_FIRST_LINE = "# Written by `edgegw demo`, anew each time it starts."

_CONFIGURATION = """\
{first_line}
#
# Check it:        edgegw check edgegw.yaml
# After a change:  kill -HUP {pid}    (a fault in it leaves the old configuration at work)

# Metrics and health, for this machine only.
admin: {{address: 127.0.0.1, port: {ports.admin}}}

# Who may come in, for every HTTPS port that is not listed under per_port.
client_validation:
  default:
    mode: AllowValidOnly              # no certificate or a bad one ends the handshake
    ca_certificates: [ca-cert.pem]    # paths are relative to this file
  per_port:
    - port: {ports.fallback}
      validation:                     # replaces the default as a whole
        mode: AllowInsecureFallback   # everybody comes in; only verified clients have an identity
        ca_certificates: [ca-cert.pem]

listeners:
  - name: strict
    address: 127.0.0.1
    port: {ports.strict}
    protocol: HTTPS
    tls: {{certificates: [{{certificate: server-cert.pem, private_key: server-key.pem}}]}}
  - name: fallback
    address: 127.0.0.1
    port: {ports.fallback}
    protocol: HTTPS
    tls: {{certificates: [{{certificate: server-cert.pem, private_key: server-key.pem}}]}}

# Every name and path goes to the upstream; hostnames: [example.com] would narrow it.
routes:
  - name: everything
    rules: [{{backends: [{{upstream: echo}}]}}]

# Answers with what it received, as JSON.
upstreams:
  - {{name: echo, endpoints: ["127.0.0.1:{upstream_port}"]}}
"""


class NotEmpty(Exception):
    """A directory was named that holds something other than a demonstration."""


def configuration(ports: Ports, upstream_port: int) -> str:
    """Give the configuration of a demonstration, for the directory with its certificates."""
    return _CONFIGURATION.format(
        first_line=_FIRST_LINE, pid=os.getpid(), ports=ports, upstream_port=upstream_port
    )


def serve_demo(argv: Sequence[str]) -> int:
    """Do what :func:`edgegw.demo.run_demo` says."""
    options = _parse(argv)
    ports = Ports(options.port, options.fallback_port, options.admin_port)
    try:
        with _directory(options.dir) as directory:
            return _serve(directory, ports, kept=options.dir is not None)
    except (CannotStart, ConfigError, NotEmpty, OSError) as error:
        print(f"edgegw demo: {error}", file=sys.stderr)
        return 1


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="edgegw demo",
        description="Make a throw-away PKI, an upstream that echoes requests and a configuration, serve them,"
        " and say what to try with curl.",
        allow_abbrev=False,
    )
    parser.add_argument("--dir", type=Path, help="where to put it all, and leave it (default: a temporary directory)")
    for option, default, what in (
        ("--port", 8443, "AllowValidOnly"),
        ("--fallback-port", 8444, "AllowInsecureFallback"),
        ("--admin-port", 9901, "metrics and health"),
    ):
        parser.add_argument(option, type=int, default=default, metavar="PORT", help=f"{what} (default: {default})")
    return parser.parse_args(argv)


@contextmanager
def _directory(named: Path | None) -> Iterator[Path]:
    """Give a directory that only its owner can enter; one that was not named is removed in the end.

    :raises NotEmpty: the named one is in use for something else.
    :raises OSError: there is none to be had.
    """
    if named is None:
        with TemporaryDirectory(prefix="edgegw-demo-") as made:
            yield Path(made)
        return
    named.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(named.iterdir()) and not _is_demo(named / "edgegw.yaml"):
        raise NotEmpty(f"{named} is not empty; name a new directory")
    named.chmod(0o700)
    yield named.resolve()


def _is_demo(config: Path) -> bool:
    try:
        with open(config, encoding="utf-8", errors="replace") as lines:
            return lines.readline().rstrip("\n") == _FIRST_LINE
    except FileNotFoundError:
        return False


def _serve(directory: Path, ports: Ports, kept: bool) -> int:
    from twisted.internet import reactor

    make_pki(directory)
    upstream = listen(IReactorTCP(reactor))
    path = directory / "edgegw.yaml"
    write_private(path, configuration(ports, upstream.getHost().port).encode())  # type: ignore[attr-defined]  # TCP's
    load = partial(read, str(path))
    loaded = load()
    output = StandardOutputLog(loaded.gateway.logging)
    service = GatewayService(reactor, load, initial=loaded, output=output)
    service.privilegedStartService()
    service.startService()
    core = IReactorCore(reactor)
    core.addSystemEventTrigger("before", "shutdown", service.stopService)

    def introduce() -> None:
        with reader_may_leave():
            print(f"Certificates, keys and edgegw.yaml are in {directory}{'' if kept else ' until the end'}.\n")
            print(describe(steps(directory, ports)))
            print("Serving; Ctrl-C ends it.  From here on the gateway's log:")
        # What was logged until here was kept, and comes now.
        globalLogBeginner.beginLoggingTo([output], redirectStandardIO=False)

    # After the service's own beginning, so that whoever reads this may already send signals.
    core.callWhenRunning(introduce)
    core.run()
    return 0
