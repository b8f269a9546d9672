"""What a command line says of manifests, beside where they are."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network

from attrs import Factory, frozen

from edgegw.config.endpoints import parse_upstream_endpoint
from edgegw.config.scalars import Unparsable
from edgegw.gateway_api.schema_terms import NAMESPACE

__all__ = ["ManifestSettings", "parse_endpoints"]


@frozen
class ManifestSettings:
    """What the command line says of manifests.

    :ivar endpoints: see :class:`~edgegw.gateway_api.compiled.Surroundings`, as for ``cluster_domain``.
    :ivar address_pool: has an address for each Gateway that names none; ``None`` gives such Gateways all addresses.
    :ivar host_addresses: gives the IP addresses that others may reach this machine at.
    :ivar look_up: gives the IP addresses of a name that a Gateway has as its address.
    :ivar address_problem: says why this machine cannot listen on an IP address; empty if it can.
    """

    endpoints: Mapping[tuple[str, str], tuple[str, ...]] = Factory(dict)
    cluster_domain: str = "cluster.local"
    address_pool: IPv4Network | IPv6Network | None = None
    host_addresses: Callable[[], tuple[str, ...]] = lambda: ("127.0.0.1",)
    look_up: Callable[[str], tuple[str, ...]] = lambda _: ()
    address_problem: Callable[[str], str] = lambda _: ""


def parse_endpoints(texts: Iterable[str]) -> dict[tuple[str, str], tuple[str, ...]]:
    """Read what ``--resolve`` says: ``NAME.NAMESPACE=HOST:PORT``, again for each further endpoint.

    :raises ValueError: with what is wrong.
    """
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for text in texts:
        service, equals, endpoints = text.partition("=")
        name, dot, namespace = service.partition(".")
        if not (equals and NAMESPACE.takes(name) and dot and NAMESPACE.takes(namespace)):
            raise ValueError(f"{text!r} is not NAME.NAMESPACE=HOST:PORT, as httpbin.httpbin=127.0.0.1:8000")
        for endpoint in endpoints.split(","):
            try:
                parse_upstream_endpoint(endpoint.strip())
            except Unparsable as error:
                raise ValueError(f"{text!r}: {endpoint!r} {error}; {error.remedy}") from None
        found[namespace, name] = (*found.get((namespace, name), ()), *endpoints.split(","))
    return found
