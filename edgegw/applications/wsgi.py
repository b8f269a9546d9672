"""``wsgi``: an upstream that is a WSGI application (PEP 3333) in the gateway's own process."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from threading import Event, Thread
from typing import Any, Final

from attrs import frozen
from twisted.internet.address import IPv4Address
from twisted.python.threadpool import ThreadPool
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from twisted.web.wsgi import WSGIResource

from edgegw.api import BackendRequest, BackendResponse, IEnvironment, Size, backend, option
from edgegw.applications.channel import RequestChannel
from edgegw.applications.environ import environ_of
from edgegw.applications.reference import check_reference, load_reference
from edgegw.applications.resource import MAX_BODY
from edgegw.identity import ConnectionInfo

__all__ = ["Config"]

_BUSY: Final = BackendResponse(
    503, {"content-type": "text/plain; charset=utf-8", "retry-after": "1"}, b"The application is busy.\n"
)

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@frozen(kw_only=True)
class Config:
    """Options of ``wsgi``."""

    application: str = option("module:object, the application.", check=check_reference)
    threads: int = option("Requests that are worked on at a time.", default=10, minimum=1, maximum=1000)
    max_waiting: int = option(
        "Requests that wait for a thread; beyond them 503.", default=100, minimum=0, maximum=100_000
    )
    max_body_size: Size = option(
        "Bytes that a request's body may have; past it 413.", default=Size(MAX_BODY), minimum=0
    )


@backend("wsgi", Config)
class WSGIBackend:
    """Answer requests with a WSGI application, in threads of the gateway's own process.

    The module is imported when the configuration is read, from wherever Python finds it.  The application runs in a
    pool of its own with at most ``threads`` threads; ``max_waiting`` requests wait for one, and more are answered
    with 503.  A thread is busy for as long as a client takes the response, and pauses where the client is behind: no
    more than a piece of it waits in memory.  When the client leaves, the response is not iterated further and its
    ``close()`` is called.  An exception before the response has begun is a 500; after that the connection is cut.

    ``SCRIPT_NAME`` is empty and ``PATH_INFO`` the whole path.  The environment has the headers as every upstream gets
    them, and tells who is calling by the names of Apache's ``mod_ssl``: ``SSL_CLIENT_VERIFY`` is ``SUCCESS``,
    ``FAILED`` or ``NONE``, and only with ``SUCCESS`` there are ``SSL_CLIENT_S_DN``, ``SSL_CLIENT_S_DN_CN``,
    ``SSL_CLIENT_I_DN``, ``SSL_CLIENT_M_SERIAL``, ``SSL_CLIENT_V_START``, ``SSL_CLIENT_V_END``, ``SSL_CLIENT_CERT``,
    ``SSL_CLIENT_SHA256``, and ``SSL_CLIENT_SAN_DNS_0`` and so on with ``URI``, ``Email`` and ``IP``.  ``HTTPS``,
    ``SSL_PROTOCOL``, ``SSL_CIPHER`` and ``SSL_TLS_SNI`` tell of the connection; ``edgegw.connection`` is the
    ``edgegw.api.ConnectionInfo``.  No header that a client sends can set one of these.

    Example::

        upstreams:
          - name: shop
            backend:
              wsgi: {application: "shop.wsgi:application", threads: 20}
    """

    def __init__(self, config: Config, env: IEnvironment) -> None:
        self._config = config
        application = load_reference(config.application)
        if not callable(application):
            raise ValueError(f"{config.application} is a {type(application).__name__}, which cannot be called")
        self._application: Application = application
        self._pool: ThreadPool | None = None
        self.in_progress = 0

    async def answer(self, request: BackendRequest) -> BackendResponse:
        """Have the application answer."""
        from twisted.internet import reactor

        if self.in_progress >= self._config.threads + self._config.max_waiting:
            return _BUSY
        call = _Call(self._application, request.connection)
        leaf = _Leaf(reactor, _Counting(self, self._started_pool(), reactor), call)
        # Forms are the application's to read; here the whole of one would be in memory.
        site = Site(leaf, reactor=reactor, parsePOSTFormSubmission=False)
        channel = RequestChannel(site, request, call.may_go_on)
        return await channel.answer(int(self._config.max_body_size), partial(self._prepare, call))

    def _prepare(self, call: _Call, request: Request) -> None:
        request.notifyFinish().addBoth(call.over)
        # What is called Proxy here would be HTTP_PROXY there, which some libraries take for their own setting.
        request.requestHeaders.removeHeader(b"proxy")
        if not hasattr(request.client, "host"):
            request.client = IPv4Address("TCP", "unix:", 0)

    def _started_pool(self) -> ThreadPool:
        pool = self._pool
        if pool is None:
            pool = self._pool = ThreadPool(0, self._config.threads, "edgegw.wsgi")
            # A call that hangs must not keep the process from its end.
            pool.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]  # it is only called
            pool.start()
        return pool

    def close(self) -> None:
        """End the threads, each after the call that it is in; nobody waits for that."""
        pool, self._pool = self._pool, None
        if pool is not None:
            Thread(target=pool.stop, daemon=True).start()


class _Leaf(Resource):
    """Has a call's application answer whatever is asked."""

    isLeaf = True

    def __init__(self, reactor: Any, threads: _Counting, call: _Call) -> None:
        super().__init__()
        self._answering = WSGIResource(reactor, threads, call)

    def render(self, request: Request) -> int:
        """Begin."""
        self._answering.render(request)
        return NOT_DONE_YET


class _Counting:
    """Runs one call on a pool, and counts it for as long as it has not let its thread go."""

    def __init__(self, owner: WSGIBackend, pool: ThreadPool, reactor: Any) -> None:
        self._owner = owner
        self._pool = pool
        self._reactor = reactor

    def callInThread(self, function: Callable[[], None]) -> None:
        """See ``ThreadPool``."""
        self._owner.in_progress += 1
        self._pool.callInThreadWithCallback(lambda _ok, _result: self._reactor.callFromThread(self._ended), function)

    def _ended(self) -> None:
        self._owner.in_progress -= 1


class _Call:
    """One request's call of the application; itself an application.

    The reactor's thread says when the client is behind, and when it has left; the other thread waits.
    """

    def __init__(self, application: Application, info: ConnectionInfo) -> None:
        self._application = application
        self._info = info
        self._room = Event()
        self._room.set()
        self._over: bool = False

    # --- on the reactor's thread ------------------------------------------------------------

    def may_go_on(self, room: bool) -> None:
        """There is room for more of the response, or there is none."""
        if room or self._over:
            self._room.set()
        else:
            self._room.clear()

    def over(self, _: object) -> None:
        """The request is finished, or its client has left."""
        self._over = True
        self._room.set()

    def _is_over(self) -> bool:
        return self._over

    # --- on its own -------------------------------------------------------------------------

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        """See PEP 3333."""
        if self._over:
            start_response("503 Service Unavailable", [])  # to nobody: it has waited too long for its thread
            return
        environ.update(environ_of(self._info))

        def start(status: str, headers: Any, exc_info: Any = None) -> Callable[[bytes], None]:
            write = start_response(status, headers, exc_info)

            def paced(data: bytes) -> None:
                write(data)
                self._room.wait()

            return paced

        pieces = None
        try:
            pieces = self._application(environ, start)
            for piece in pieces:
                yield piece
                self._room.wait()
                if self._is_over():
                    return
        except Exception:
            if not self._is_over():
                raise
            # Nobody is there any more to be told.
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                close()
