"""Opening what a configuration needs beyond what is open, all of it or nothing."""
from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import ExitStack
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from edgegw.model import Gateway
from edgegw.proxy.generation import Generation
from edgegw.tls.port import ListeningPort, PortKey, cannot_listen_text

__all__ = ["CannotOpen", "OpenPort", "close_port", "log_failure", "names_at", "open_ports"]

_log = Logger(namespace="edgegw.service")


class OpenPort(Protocol):
    """What Twisted gives for an open port."""

    def getHost(self) -> Any:
        """Give its address."""

    def stopListening(self) -> Deferred[None] | None:
        """Close it."""


class CannotOpen(Exception):
    """The configuration cannot take over; the text has a line for each reason."""


def open_ports(
    generation: Generation, gateway: Gateway, open_already: Collection[PortKey], undo: ExitStack, faults: list[str]
) -> Mapping[PortKey, ListeningPort]:
    """Open the ports of a generation that are not open yet.

    :param undo: closes them again.
    :param faults: takes a line for each that cannot be opened.
    """
    opened: dict[PortKey, ListeningPort] = {}
    missing = (key for key in generation.port_keys if key not in open_already)
    for key in sorted(missing, key=lambda key: (key[0] or "", key[1])):
        try:
            opened[key] = generation.listen(key)
        except CannotListenError as error:
            faults.append(cannot_listen_text(key, names_at(gateway, key), error))
        else:
            undo.callback(close_port, opened[key])
    return opened


def close_port(port: OpenPort | None) -> Deferred[None]:
    """Stop listening; what goes wrong is logged."""

    async def close() -> None:
        closed = None if port is None else port.stopListening()
        if closed is not None:
            await closed

    return Deferred.fromCoroutine(close()).addErrback(log_failure, "A port did not close")


def log_failure(failure: Any, message: str) -> None:
    """Log what nobody else will hear of."""
    _log.failure(message, failure=failure)


def names_at(gateway: Gateway, key: PortKey) -> str:
    """Name the listeners of a port."""
    return ", ".join(listener.name for listener in gateway.listeners if (listener.address, listener.port) == key)
