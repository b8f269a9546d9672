"""The listeners as server endpoints of Twisted: for any protocol, in any application.

::

    endpoint = endpoint_from_config(reactor, "/etc/edgegw.yaml", "edge")
    port = await endpoint.listen(factory)

``serverFromString(reactor, "edgegw:config=/etc/edgegw.yaml:listener=edge")`` gives the same; see
:mod:`edgegw.endpoints.strings`.
"""
from edgegw.endpoints.documents import endpoint_from_config
from edgegw.endpoints.server import EdgeListeningPort, EdgeServerEndpoint, EndpointError

__all__ = ["EdgeListeningPort", "EdgeServerEndpoint", "EndpointError", "endpoint_from_config"]
