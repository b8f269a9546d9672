"""A listener of a Gateway while its objects are compiled: what it may carry, and what becomes of it."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import define, field

from edgegw.gateway_api.conditions import Conditions
from edgegw.gateway_api.objects import Object

__all__ = ["GatewayState", "ListenerState"]


@define(eq=False)
class ListenerState:
    """One listener.

    :ivar gateway: the Gateway that it belongs to.
    :ivar spec: its entry of ``spec.listeners``, defaults filled in.
    :ivar index: its place there.
    :ivar hostname: exact or ``*.`` and a suffix, canonical (:mod:`edgegw.names`); ``None`` takes every name.
    :ivar kinds: groups and kinds of the routes that it may carry (``status.supportedKinds``).
    :ivar native: its names in the native document, one for each address of its Gateway; empty if it is not served.
    :ivar attached: how many accepted routes are attached to it, whether it is served or not.
    """

    gateway: Object
    spec: Mapping[str, Any]
    index: int
    hostname: str | None
    conditions: Conditions
    kinds: list[tuple[str, str]] = field(factory=list)
    native: list[str] = field(factory=list)
    attached: int = 0

    @property
    def name(self) -> str:
        """``name``, by which ``sectionName`` of routes finds it."""
        return str(self.spec["name"])

    @property
    def port(self) -> int:
        """The TCP port."""
        return int(self.spec["port"])

    @property
    def protocol(self) -> str:
        """``HTTP``, ``HTTPS``, ``TLS``, ``TCP``, or one that is not supported."""
        return str(self.spec["protocol"])

    @property
    def passthrough(self) -> bool:
        """Whether TLS goes through it as it is."""
        return self.protocol == "TLS" and (self.spec.get("tls") or {}).get("mode") == "Passthrough"


@define(eq=False)
class GatewayState:
    """One Gateway of ours.

    :ivar addresses: ``status.addresses`` as JSON.
    :ivar client_certificate: ``certificate`` and ``private_key`` as PEM text that are shown to upstreams with TLS
        (``spec.tls.backend.clientCertificateRef``); ``None`` without.
    """

    gateway: Object
    conditions: Conditions
    listeners: list[ListenerState] = field(factory=list)
    addresses: list[dict[str, Any]] = field(factory=list)
    client_certificate: dict[str, str] | None = None
