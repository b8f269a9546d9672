"""An upstream that echoes each request as JSON, to see what a gateway really sends.

``python -m edgegw.demo.upstream [PORT]`` serves it alone on 127.0.0.1, prints the port as its first
line (0, the default, takes a free one) and runs until it is interrupted.
"""
from __future__ import annotations

import json
import sys

from twisted.internet.interfaces import IListeningPort, IReactorTCP
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import Site

__all__ = ["Echo", "listen"]


class Echo(Resource):
    """Answers every method and path with 200 and a JSON object of what came.

    ``method``, ``path`` (the request target), ``headers`` (pairs of lower-case name and value, several of
    a name one after the other) and ``body_length`` in bytes.  Latin-1 stands for bytes above 127.
    """

    isLeaf = True

    def render(self, request: Request) -> bytes:
        """Echo one request."""
        content = request.content
        echo = {
            "method": request.method.decode("latin-1"),
            "path": request.uri.decode("latin-1"),
            "headers": [
                [name.decode("latin-1").lower(), value.decode("latin-1")]
                for name, values in request.requestHeaders.getAllRawHeaders()
                for value in values
            ],
            "body_length": len(content.read()) if content is not None else 0,
        }
        request.setHeader(b"content-type", b"application/json")
        return json.dumps(echo, indent=2).encode() + b"\n"


def listen(reactor: IReactorTCP, port: int = 0) -> IListeningPort:
    """Serve the echo on 127.0.0.1.

    :param port: 0 takes a free one; ``getHost().port`` of what comes back says which.
    :raises twisted.internet.error.CannotListenError: the port is taken.
    """
    site = Site(Echo())
    site.displayTracebacks = False
    site.noisy = False
    # Site is an IProtocolFactory of Twisted's that mypy does not take for one.
    return reactor.listenTCP(port, site, interface="127.0.0.1")  # type: ignore[arg-type]  # see above


def _main() -> None:
    from twisted.internet import reactor

    port = listen(IReactorTCP(reactor), int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    print(port.getHost().port, flush=True)  # type: ignore[attr-defined]  # an IPv4Address
    reactor.run()


if __name__ == "__main__":
    _main()
