"""What ``edgegw:`` in a server endpoint's string is read by; imports nothing until there is one.

Twisted loads it whenever any string with a prefix is read.
"""
from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IStreamServerEndpoint, IStreamServerEndpointStringParser
from twisted.plugin import IPlugin
from zope.interface import implementer

__all__ = ["EndpointParser"]


@implementer(IPlugin, IStreamServerEndpointStringParser)
class EndpointParser:
    """Reads such strings."""

    prefix = "edgegw"

    def parseStreamServer(  # type: ignore[override]  # the interface's own first argument is self
        self, reactor: Any, *args: str, **kwargs: str
    ) -> IStreamServerEndpoint:
        """Make the endpoint; see :mod:`edgegw.endpoints.strings`.

        :raises edgegw.endpoints.EndpointError: with all that is wrong with it.
        """
        from edgegw.endpoints.strings import endpoint_from_string

        return endpoint_from_string(reactor, *args, **kwargs)
