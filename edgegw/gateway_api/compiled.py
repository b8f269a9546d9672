"""What a set of objects is compiled to, and what has to be known for it beside the objects."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import Factory, field, frozen

from edgegw.gateway_api.conditions import ObjectStatus
from edgegw.gateway_api.objects import Object

__all__ = ["CONTROLLER_NAME", "Compiled", "Surroundings"]

#: ``controllerName`` of GatewayClasses whose Gateways are served.
CONTROLLER_NAME: Final = "edgegw.io/gateway-controller"


@frozen
class Surroundings:
    """What is not in the objects.

    :ivar endpoints: where Services are, by ``namespace`` and ``name`` (``--resolve``): ``host:port`` each.
    :ivar cluster_domain: what DNS names of Services end with.
    :ivar gateway_addresses: an IP address for each Gateway, by namespace and name, that names none, empty where none
        is left; others without take all addresses of the machine.
    :ivar host_addresses: the machine's own, which Gateways that take all show in their status.
    :ivar host_names: IP addresses of the names that Gateways name as addresses; see
        :func:`edgegw.gateway_api.gateway_addresses.named_addresses`.
    :ivar unusable_addresses: IP addresses that cannot be bound here, and why: whoever tries it says so, and compiles
        once more.
    """

    endpoints: Mapping[tuple[str, str], tuple[str, ...]] = Factory(dict)
    cluster_domain: str = "cluster.local"
    gateway_addresses: Mapping[tuple[str, str], str] = Factory(dict)
    host_addresses: tuple[str, ...] = ("127.0.0.1",)
    host_names: Mapping[str, tuple[str, ...]] = Factory(dict)
    unusable_addresses: Mapping[str, str] = Factory(dict)


@frozen(eq=False)
class Compiled:
    """A native document, and what each object's status says.

    :ivar document: for :func:`edgegw.config.native.load_document`, as JSON; certificates and keys stand in it as PEM.
    :ivar statuses: of Gateways, GatewayClasses, routes and policies, in the order of the objects.
    :ivar owners: whose each element of the document is: by key (``listeners``, ``routes``, ``tls_routes``,
        ``tcp_routes``, ``upstreams``) and name.
    :ivar warnings: objects and what is odd about them, which no condition says.
    """

    document: Mapping[str, Any]
    statuses: tuple[ObjectStatus, ...]
    owners: Mapping[tuple[str, str], Object] = Factory(dict)
    warnings: tuple[tuple[Object, str], ...] = field(default=())
