"""``resource``: an upstream that is a twisted.web resource in the gateway's own process."""
from __future__ import annotations

import inspect
from typing import Any, Final

from attrs import frozen
from twisted.web.resource import IResource
from twisted.web.server import Site

from edgegw.api import BackendRequest, BackendResponse, IEnvironment, Size, backend, option
from edgegw.applications.channel import RequestChannel
from edgegw.applications.reference import check_reference, load_reference

__all__ = ["Config"]

#: Bytes that a request's body may have unless somebody says otherwise.
MAX_BODY: Final = 16_777_216


@frozen(kw_only=True)
class Config:
    """Options of ``resource``."""

    object: str = option(
        "module:object, a resource, or what is called to make one: with the reactor, or with nothing.",
        check=check_reference,
    )
    max_body_size: Size = option(
        "Bytes that a request's body may have; past it 413.", default=Size(MAX_BODY), minimum=0
    )


@backend("resource", Config)
class ResourceBackend:
    """Answer requests with a twisted.web resource, in the gateway's own process.

    ``object`` is a resource (``IResource``), or what gives one when it is called: a class, a function, a method such
    as ``resource`` of a Klein application.  What takes an argument is called with the reactor.  It is called once for
    each configuration, before the first request and on the reactor's thread; the module is imported when the
    configuration is read, from wherever Python finds it.

    The resource sees the request as it would see one of its own server's: the path as the client sent it,
    ``getClientAddress()`` with the client's address, the headers as every upstream gets them, the identity headers of
    the listener among them, and nothing of what the client sent under their names.  ``request.transport.info`` is
    what is known of the client, an ``edgegw.api.ConnectionInfo``: ``request.transport.info.identity.verified`` is the
    certificate if it was verified, ``None`` otherwise, and ``request.transport.info.attributes`` what policies have
    said.  ``edgegw.applications.connection_info(request)`` gives the same.

    As everywhere in twisted.web a request's body is whole before the resource is asked; a large one is in a temporary
    file, and a form's fields are in memory: ``max_body_size`` bounds both.  A response is sent as it is written, and
    its producer, if it has registered one, is paused while the client is behind.  What a resource writes without one
    waits in memory.  When the client leaves, the request's ``notifyFinish()`` fails.  A resource that blocks holds up
    the whole gateway.

    Example::

        upstreams:
          - name: shop
            backend:
              resource: {object: "shop.web:app.resource", max_body_size: 1MiB}
    """

    def __init__(self, config: Config, env: IEnvironment) -> None:
        self._named = config.object
        self._max_body = int(config.max_body_size)
        self._object = load_reference(config.object)
        if not IResource.providedBy(self._object) and not callable(self._object):
            kind = type(self._object).__name__
            raise ValueError(f"{self._named} is a {kind}; name a twisted.web resource, or what makes one when called")
        self._site: Site | None = None

    async def answer(self, request: BackendRequest) -> BackendResponse:
        """Have the resource answer."""
        site = self._site
        if site is None:
            site = self._site = self._make_site()
        return await RequestChannel(site, request).answer(self._max_body)

    def _make_site(self) -> Site:
        # Here and not at the top: whoever only checks a configuration needs none.
        from twisted.internet import reactor

        resource = self._object
        if not IResource.providedBy(resource):
            resource = resource(reactor) if _takes_an_argument(resource) else resource()
        if not IResource.providedBy(resource):
            raise TypeError(f"{self._named} has made a {type(resource).__name__}, which is no twisted.web resource")
        return Site(resource, reactor=reactor)

    def close(self) -> None:
        """End the sessions of the resource's clients, and with them their timers."""
        if self._site is not None:
            for session in list(self._site.sessions.values()):
                session.expire()


def _takes_an_argument(make: Any) -> bool:
    try:
        parameters = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(
        one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) and one.default is one.empty for one in parameters
    )
