"""``edgegw explain``: whether a client certificate would come in, and why, by the very code that would decide.

Nothing is listened on and nobody is asked anything, unless ``--online`` has policies ask as they do in a gateway that
serves.  The exit status is 0 for a client that comes in, and whose request, if there is one, goes through; 3 for one
that is refused; 4 where that is not known, because what waits was not asked: a policy that might yet refuse, or the
router that might send the client elsewhere; 1 when the configuration cannot be used; 2 when the command line or a file
that it names cannot be understood.
"""
from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Awaitable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

from attrs import evolve
from cryptography.exceptions import UnsupportedAlgorithm
from OpenSSL import SSL, crypto
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, eventAsText, globalLogPublisher
from twisted.python.failure import Failure

from edgegw.config import ConfigError
from edgegw.config.shapes import did_you_mean
from edgegw.configuration import Configuration
from edgegw.descriptors import reader_may_leave
from edgegw.explanation.arguments import parse_arguments
from edgegw.explanation.client import UnusableFile, read_certificates, read_key
from edgegw.explanation.findings import Document, connection_findings
from edgegw.explanation.requests import Wanted, request_findings
from edgegw.explanation.text import explanation_text
from edgegw.explanation.trial import PassiveEnvironments, TrialGateway, try_client
from edgegw.model import Gateway, TLSMode
from edgegw.observe.handshake_entry import visible
from edgegw.observe.plugin_counters import PluginCounters
from edgegw.policy_step import TooLate
from edgegw.proxy.generation import GenerationError
from edgegw.tls.rehearsal import ClientSide
from edgegw.tls.waiting import time_limit

__all__ = ["run_explain"]

ACCEPTED: Final = 0
UNUSABLE: Final = 1
NOT_UNDERSTOOD: Final = 2
REFUSED: Final = 3
NOT_KNOWN: Final = 4
#: Seconds that fetching lists and the like may take with ``--online``.
_PATIENCE: Final = 60.0


class _NotAsked(Exception):
    """What the command line asks for cannot be done; the text says why, on one line."""


def run_explain(arguments: Sequence[str]) -> int:
    """Say whether a client would come in; gives the exit status.

    :param arguments: those behind ``edgegw explain``.
    :raises SystemExit: argparse's, after ``--help`` and after arguments that it does not understand.
    """
    from twisted.internet import reactor

    options = parse_arguments(arguments)
    configuration: Configuration = options.configuration
    try:
        client = _client(options)
        with _failures_on_stderr():
            environments = PassiveEnvironments(reactor, configuration.directory, PluginCounters())
            loaded = configuration.read_with(environments, options.at)
            listener = _listener(loaded.gateway, options.listener)
            client = _named(loaded.gateway, listener, client)
            at = options.at or datetime.now(UTC)
            gateway = TrialGateway(reactor, loaded.gateway, at, options.at is None, options.online)
            explaining = _explain(gateway, listener, client, options)
            document = _with_reactor(reactor, environments, explaining) if options.online else _at_once(explaining)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return UNUSABLE
    except GenerationError as error:
        print(f"{configuration.paths[0]}:1:1: {visible(str(error))}", file=sys.stderr)
        return UNUSABLE
    except (_NotAsked, UnusableFile) as error:
        print(f"edgegw explain: {visible(str(error))}", file=sys.stderr)
        return NOT_UNDERSTOOD
    for warning in loaded.warnings:
        print(warning, file=sys.stderr)
    return _print(document, options.json)


def _print(document: Document, as_json: bool) -> int:
    with reader_may_leave():
        print(json.dumps(document, indent=2) if as_json else explanation_text(document), end="\n" if as_json else "")
    return _status(document)


def _status(document: Document) -> int:
    parts = [document, *([document["request"]] if "request" in document else [])]
    if any(part["result"] not in ("accepted", "passed through") and not part["not_asked"] for part in parts):
        return REFUSED
    return NOT_KNOWN if any(part["not_asked"] for part in parts) else ACCEPTED


# --- what it is about -------------------------------------------------------------------------


def _client(options: argparse.Namespace) -> ClientSide:
    side = ClientSide(
        server_name=options.sni, address=options.address, version=options.tls, fingerprints=options.fingerprints
    )
    if options.cert is None:
        return side
    own, *above = read_certificates(options.cert)
    for path in options.chain:
        above += read_certificates(path)
    key = None if options.key is None else read_key(options.key, own)
    return evolve(side, certificate=own, chain=tuple(dict.fromkeys(above)), key=key)


def _listener(gateway: Gateway, name: str | None) -> str:
    """Give the name of the listener to ask.

    :raises _NotAsked: there is none of that name, or several to choose from.
    """
    https = [one.name for one in gateway.listeners if one.tls is not None]
    if name is not None:
        name = _whole_name(gateway, name)
    if name is None:
        if len(https) == 1:
            return https[0]
        if not https:
            raise _NotAsked("there is no HTTPS listener: nobody is asked for a certificate")
        raise _NotAsked(f"choose a listener with --listener: {', '.join(https)}")
    if name in https:
        return name
    if any(one.name == name and one.mode is TLSMode.PASSTHROUGH for one in gateway.listeners):
        raise _NotAsked(f"the listener {name} passes TLS through: the upstream asks for certificates, if anybody does")
    if any(one.name == name for one in gateway.listeners):
        raise _NotAsked(f"the listener {name} has no TLS: nobody is asked for a certificate there")
    raise _NotAsked(f"there is no listener {name}: {did_you_mean(name, https)}")


def _whole_name(gateway: Gateway, end: str) -> str:
    """Give the name of a Gateway's listener by its end, where only one ends so."""
    names = [one.name for one in gateway.listeners]
    if end in names:
        return end
    found = [name for name in names if name.endswith(f"/{end}")]
    return found[0] if len(found) == 1 else end


def _named(gateway: Gateway, listener: str, client: ClientSide) -> ClientSide:
    """Have a client that was given no name ask for the listener's own, if that is a single one."""
    hostname = next(one.hostname for one in gateway.listeners if one.name == listener)
    if client.server_name is not None or hostname is None or hostname.startswith("*."):
        return client
    return evolve(client, server_name=hostname)


async def _explain(
    gateway: TrialGateway, listener: str, client: ClientSide, options: argparse.Namespace
) -> Document:
    try:
        trial = await try_client(gateway, listener, client)
    except (SSL.Error, crypto.Error, UnsupportedAlgorithm, ValueError, TypeError) as error:
        if client.certificate is None:
            raise
        # The client's own OpenSSL does not take it: nobody can send it.
        raise _NotAsked(f"no TLS client can send the certificate: {_words(error)}") from error
    document = connection_findings(trial, options.at is None)
    if options.path is not None:
        wanted = Wanted(options.method or "GET", options.path, options.host, tuple(options.header))
        document["request"] = await request_findings(gateway, trial, wanted)
    return document


def _words(error: Exception) -> str:
    entries = error.args[0] if isinstance(error, SSL.Error) and error.args else ()
    said = [str(entry[-1]) for entry in entries if isinstance(entry, tuple)]
    return "; ".join(said) or f"{type(error).__name__}: {error}"


# --- running it -------------------------------------------------------------------------------


def _at_once(explaining: Coroutine[Any, Any, Document]) -> Document:
    """Run what waits for nothing, without a reactor."""
    try:
        explaining.send(None)
    except StopIteration as done:
        document: Document = done.value
        return document
    explaining.close()
    raise AssertionError("it waits for something although nobody was to be asked")


def _with_reactor(
    reactor: Any, environments: PassiveEnvironments, explaining: Coroutine[Any, Any, Document]
) -> Document:
    """Run the reactor until it is done; it cannot run again in this process.

    :raises _NotAsked: it was interrupted.
    """
    outcome: list[Document | Failure] = []

    def begin() -> None:
        work = Deferred.fromCoroutine(_online(reactor, environments, explaining))
        work.addBoth(outcome.append)
        work.addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    environments.stop()
    if not outcome:
        raise _NotAsked("interrupted")
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    assert isinstance(outcome[0], dict)
    return outcome[0]


async def _online(reactor: Any, environments: PassiveEnvironments, explaining: Awaitable[Document]) -> Document:
    try:
        await time_limit(reactor, _PATIENCE)(environments.call_once())
    except TooLate:
        print(f"edgegw explain: what plugins fetch was not there within {_PATIENCE:g} s", file=sys.stderr)
    return await explaining


@contextmanager
def _failures_on_stderr() -> Iterator[None]:
    """Show what is logged as an error, above all the traceback of a policy that failed."""

    observer: Any = _show_event
    globalLogPublisher.addObserver(observer)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(observer)


def _show_event(event: dict[str, Any]) -> None:
    ours = str(event.get("log_namespace", "")).startswith("edgegw")
    if ours and event.get("log_level") in (LogLevel.warn, LogLevel.error, LogLevel.critical):
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
        print("\n".join(map(visible, text.splitlines())), file=sys.stderr)
