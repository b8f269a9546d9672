"""What a plugin author implements: every extension point of the gateway in one place.

There are two sorts of objects.  A *kind* is what a plugin module defines and discovery finds: it has a
name, a class for its options, and makes *configured* objects, which are what the gateway calls.  The
decorators of :mod:`edgegw.api` make kinds of plain functions and classes; whoever implements these
interfaces by hand gets the same treatment.

Everything here is called on the reactor's thread and must neither block nor wait, unless its
documentation says otherwise.  Whatever it raises, and whatever it returns that it should not, refuses:
the connection, the request or the configuration, never more than that.

The interfaces are versioned by :data:`API_VERSION`.  What is promised for a version: no method gets
another required argument, no attribute that was optional becomes required, nothing is called more
often or on another thread.  A later version may add optional attributes.  Kinds written for a version
that the gateway does not know are refused when they are found.
"""
from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from attrs import field, frozen
from zope.interface import Attribute, Interface

from edgegw.backend import BackendRequest, BackendResponse
from edgegw.identity import ConnectionInfo
from edgegw.peer import Peer
from edgegw.sni import ClientHelloFacts, RouterAnswer
from edgegw.verdict import Explanation, Verdict

__all__ = [
    "API_VERSION",
    "CertificateAndKey",
    "HTTPAnswer",
    "HTTPUnavailable",
    "IBackend",
    "IBackendKind",
    "ICertificateSource",
    "ICertificateSourceKind",
    "IDynamicCertificateSource",
    "IDynamicCertificateSourceKind",
    "IEnvironment",
    "IFollowed",
    "IHTTPClient",
    "IHeaderInjector",
    "IHeaderInjectorKind",
    "IPluginKind",
    "IPolicy",
    "IPolicyKind",
    "ISNIRouter",
    "ISNIRouterKind",
]

#: The version of these interfaces; kinds name the one they were written for.
API_VERSION: Final = 1


# --- kinds ------------------------------------------------------------------------------------


class IPluginKind(Interface):
    """A named constructor, found by the registry.

    The module that defines it is imported whenever the gateway looks for plugins, also by ``edgegw check``:
    importing it must have no effect on anything outside it.

    What it has built may have a method ``close()``, which is called on the reactor's thread when the configuration is
    out of use: no connection that was judged by it is left.
    """

    name: str = Attribute("What a configuration writes: ``[a-z][a-z0-9_]*``, unique among its interface's kinds.")
    api: int = Attribute("The version of the interfaces that it was written for: 1.")
    config_type: type[Any] | None = Attribute(
        "A frozen attrs class for its options, fields made with ``edgegw.api.option``; ``None`` for no options."
    )
    description: str = Attribute("What it is for, as its docstring says: the first line is shown in lists.")
    version: str = Attribute("Its own version, for ``edgegw plugins``; may be empty.")

    def build(config: Any, env: IEnvironment) -> Any:
        """Make a configured object.

        Called when a configuration is read, possibly on another thread than the reactor's: it may read
        files, and must not touch the reactor.

        :param config: an instance of :attr:`config_type`, ``None`` if there is none.
        :raises ValueError: the options are not usable together; a fault of the configuration, as is any other
            exception.
        """


class IPolicyKind(IPluginKind):
    """Makes :class:`IPolicy` objects."""

    codes: Mapping[str, Explanation] = Attribute(
        "The reason codes of its own that its policies may give beside those of ``edgegw.verdict.Reason``; "
        "its name is one without being declared."
    )
    waits: bool = Attribute("Whether ``check`` is ``async``: then it runs after the handshake.")


# --- policies ---------------------------------------------------------------------------------


class IPolicy(Interface):
    """Decides whether a client may come in; configured.

    A plain ``check`` runs in the TLS handshake, in OpenSSL's verification callback, once the chain has been
    found good: it must be quick (a millisecond is long) and do no I/O.  On a resumed session, where there is no
    such callback, it runs when the handshake is done.  An ``async`` one runs after the handshake and
    before the first byte of the application is read, with the time limit ``policy_timeout``; it is
    cancelled then, and when the client leaves.

    Both run again on every new connection, resumed or not; at a route's rule, on every request.

    A configured policy may have these attributes; where it has not, the kind's of the same name hold:

    :ivar waits: whether ``check`` gives something to await.
    :ivar needs_chain: whether it reads ``peer.chain``.  A chain is not kept in a session ticket, so a listener with
        such a policy issues none.
    :ivar needs_fingerprints: whether it reads ``peer.ja3`` or ``peer.ja4``, which are taken where something asks for
        them.
    :ivar without_certificate: whether it is asked about clients without a certificate too, where these may come in.
    :ivar cache_seconds: how long an answer about a certificate is used again for the same certificate; 0 for never.
        Only for policies that look at nothing but the certificate and whether it is verified; an answer of more than
        4096 characters is not kept.
    :ivar recheck: whether it is asked again about connections that are open already, with ``recheck_established``;
        it is, if nothing else is said.
    :ivar allows_expired: whether certificates that have expired, or are not valid yet, come to it instead of being
        refused before; it judges the dates then.  Heeded only where it must accept: not under ``any`` or ``not``.
    """

    def check(peer: Peer) -> Verdict | Awaitable[Verdict]:
        """Decide about a client.

        :returns: :class:`~edgegw.verdict.Accept` or :class:`~edgegw.verdict.Reject`.  Anything else, ``True`` and
            ``None`` among it, and any exception refuse the client with ``policy_error``.
        """


# --- what a plugin may use of the gateway -----------------------------------------------------


class IFollowed(Interface):
    """What was made of a file, and is made anew whenever the file changes."""

    value: Any = Attribute("The newest that could be made of it.")
    error: str = Attribute("Why the file as it is now could not be used; empty if it could.")


class HTTPUnavailable(Exception):
    """A request got no whole answer: no connection, a time-out, a broken or too long answer."""


class HTTPAnswer:
    """An HTTP service's whole answer.

    :ivar headers: the last value of each by lower-case name.
    :ivar fields: every header line, in order: lower-case name and value.
    """

    __slots__ = ("body", "fields", "headers", "status")

    def __init__(
        self, status: int, headers: Mapping[str, str], body: bytes, fields: Sequence[tuple[str, str]] = ()
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.fields = fields


class IHTTPClient(Interface):
    """Asks other services; bounded in time, size and number."""

    async def request(
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout: float = 5.0,
        limit: int = 1_048_576,
    ) -> HTTPAnswer:
        """Send a request and give the whole answer; redirects are not followed.

        A request whose method is idempotent (RFC 9110 §9.2.2), or that carries ``Idempotency-Key``, is sent a second
        time if the kept connection that it went on was closed without an answer.  Equal requests with the same
        ``Idempotency-Key`` that are on their way at the same time are sent once.  Compressed answers are refused.

        :param timeout: seconds, waiting for a free place among the concurrent requests included.  A policy gives less
            than its ``policy_timeout``, which is 2 seconds unless configured: past that nobody waits for its answer.
        :param limit: bytes that the body of the answer may have.
        :raises HTTPUnavailable: there is none.
        """


class IEnvironment(Interface):
    """What a configured object may use of the gateway, given to ``build``; one for each object."""

    directory: str = Attribute("The configuration's directory, absolute; options of type ``FilePath`` begin there.")
    log: Any = Attribute("A ``twisted.logger.Logger`` that names the plugin.")

    def seconds() -> float:
        """Give the time for measuring: it never goes back."""

    def changed() -> None:
        """Say that earlier answers no longer hold, because what they were made of has changed.

        Empties the object's cache, and has open connections judged again on listeners with
        ``recheck_established``.  May be called at any time, on the reactor's thread.
        """

    def follow(path: str, read: Callable[[bytes], Any], limit: int = 268_435_456) -> IFollowed:
        """Read a file now, and again whenever it changes while the configuration is in use.

        A change is noticed by its content's size, time and inode within about a second, and ``read`` then
        runs on another thread; :meth:`changed` is called after it.  What cannot be read leaves the last value in use,
        is logged and counted.

        :param path: absolute, or relative to :attr:`directory`.
        :param read: makes the value of the file's bytes; must not touch what other threads use.
        :param limit: bytes that the file may have.
        :raises OSError: the file cannot be read now.
        :raises ValueError: it is too long, or ``read`` raised it.
        """

    def every(seconds: float, call: Callable[[], Awaitable[None]]) -> None:
        """Have an async function called when the configuration is taken into use, and then again and again.

        :param seconds: from the end of one call to the beginning of the next, varied by a tenth.
        """

    async def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
        """Run something that computes for long on another thread, and give what it gives.

        :param function: must not touch what other threads use.
        """

    def http(ca_certificates: str | None = None, concurrency: int = 16) -> IHTTPClient:
        """Give a client for services.

        What a policy asks of one must be answered within ``policy_timeout``: see :meth:`IHTTPClient.request`.

        :param ca_certificates: a PEM file with what ``https`` servers' chains end in, read now; ``None`` for the
            system's.
        :param concurrency: requests at a time; more wait.
        :raises OSError: the file cannot be read.
        :raises ValueError: there is no certificate in it.
        """

    def counter(name: str, documentation: str) -> Callable[[int], None]:
        """Give a function that adds to a counter of the plugin's own.

        It is shown as ``edgegw_plugin_<kind>_<name>_total``.

        :raises ValueError: the name is not ``[a-z][a-z0-9_]*``.
        """

    def gauge(name: str, documentation: str) -> Callable[[float], None]:
        """Give a function that sets a number of the object's own.

        It is shown as ``edgegw_plugin_<kind>_<name>`` with the object's place in the configuration as the label
        ``place``, once it was set, for as long as the configuration is in use.

        :raises ValueError: as for :meth:`counter`.
        """


# --- header injection -------------------------------------------------------------------------


class IHeaderInjector(Interface):
    """Tells upstreams in request headers who is calling.

    The gateway removes every header of :attr:`owned` from what the client sent, in all its
    spellings, before an injector runs, whether the injector then has a value for it or not.
    Two injectors of one listener that own the same name are a fault of the configuration.
    """

    owned: frozenset[bytes] = Attribute(
        "Lower-case header names that only this injector sets on the listener where it stands."
    )
    owned_responses: frozenset[bytes] = Attribute(
        "Lower-case header names on whose value an upstream's response may depend without the client's "
        "knowing: a ``Vary`` that names one becomes ``*`` (RFC 9440 §2.4).  Usually empty."
    )
    needs_chain: bool = Attribute(
        "Whether it reads ``identity.chain``.  A chain is not kept in a session ticket, so a listener "
        "with such an injector issues none."
    )
    per_request: bool = Attribute(
        "False: inject() is called once for a connection and its answer used for each of its requests.  "
        "True: it is called at every request, with what the client had sent."
    )

    def inject(
        connection: ConnectionInfo, received: Mapping[bytes, Sequence[bytes]]
    ) -> Sequence[tuple[bytes, bytes]]:
        """Give the headers to add, as ``(lower-case name, value)`` in the order to send them.

        :param received: what the client sent under the names of :attr:`owned`, by lower-case name;
            empty where :attr:`per_request` is false.
        :returns: names from :attr:`owned` only.  A name outside it, a value with CR, LF or NUL in it,
            an exception: the request is answered with 500 and does not reach an upstream.
        """


class IHeaderInjectorKind(IPluginKind):
    """Makes :class:`IHeaderInjector` objects.

    A configuration names it in a listener's ``header_injection``.  ``env.changed()`` does nothing there: the headers of
    a connection that is open stay as they are, and what an injector gives next is asked of it then.
    """


# --- certificate sources ----------------------------------------------------------------------


@frozen
class CertificateAndKey:
    """What a certificate source yields.

    :ivar certificate: PEM blocks: the server's certificate first, then each one's issuer; what is between them is
        passed over.
    :ivar private_key: one unencrypted PEM block.
    :ivar name: where they came from, for messages and the metrics' label ``name``; without it the kind's name.
    """

    certificate: bytes
    private_key: bytes = field(repr=False)
    name: str = ""


class ICertificateSource(Interface):
    """Yields a certificate that a listener shows, with its key; configured.

    A source says with ``env.changed()`` that :meth:`load` would give something else now.  The gateway then asks
    it, soon but not at once, since two files are seldom renewed in one instant, and shows what it gave to every
    connection from then on.  Handshakes that have begun go on with the certificate that they began with.

    What cannot be used is logged and counted, and the certificate in use stays: an exception, a result that is no
    :class:`CertificateAndKey`, a key that is not the certificate's, PEM that is cut off, a certificate that is not
    valid now while the one in use is.  The source is then asked again and again, at ever longer intervals.
    """

    def load() -> CertificateAndKey:
        """Give the newest certificate.

        Called when the configuration is read, and later on another thread than the reactor's, never on two at
        once; so it may block, for some seconds at most.

        :raises Exception: there is none; when the configuration is read, that is a fault of it.
        """


class ICertificateSourceKind(IPluginKind):
    """Makes :class:`ICertificateSource` objects."""


class IDynamicCertificateSource(Interface):
    """Gives the certificate, with its key, for a name that a client asks for; configured.

    It stands in a listener's ``dynamic_certificates``, and is asked about names that are on none of the listener's own
    certificates, when the ClientHello has come and before OpenSSL sees a byte.  However many clients ask for a name,
    it is asked about it once at a time.  The answer is kept for ``ttl`` and never beyond the certificate's validity;
    that there is none is kept for some seconds.

    Whatever names clients think of it may be asked about: which of them it serves is the source's to say.

    ``env.changed()`` says that earlier answers no longer hold: no new connection gets one of them.
    """

    def certificate_for(name: str) -> CertificateAndKey | Awaitable[CertificateAndKey | None] | None:
        """Give the certificate for a host name.

        A plain method is called on another thread than the reactor's, for one name after the other, and may block there
        for a moment: one that waits for others is better ``async``, which is called on the reactor's thread, for many
        names at a time.  When ``timeout`` is over the clients are refused and an ``async`` method is cancelled; what a
        plain one gives all the same is kept for the next clients, and others are asked about meanwhile, on a few more
        threads.

        :param name: in lower case, international ones as A-labels, without a dot at the end, never a wildcard; one
            that the listener's host name takes, where it has one and no SNI router has chosen the listener.
        :returns: ``None`` if there is none: the clients get the alert ``unrecognized_name``.  Any exception, no answer
            in time, and a certificate that is not for the name, not valid now or not the key's refuse them with
            ``certificate_unavailable``.
        """


class IDynamicCertificateSourceKind(IPluginKind):
    """Makes :class:`IDynamicCertificateSource` objects."""


# --- SNI routers ------------------------------------------------------------------------------


class ISNIRouter(Interface):
    """Decides where the TLS connections of a port go, by their ClientHello; configured.

    It is asked once for each connection, when the ClientHello is complete and before OpenSSL sees a byte.  A plain
    ``route`` must be quick (a millisecond is long) and do no I/O; an ``async`` one has the port's ``timeout``, within
    the handshake's own, and is cancelled then and when the client leaves.

    What it says of a name holds for that name alone: on a port with a router a request for any other host name
    than the one in the ClientHello gets 421, because nobody has asked the router about that one.  A connection that it
    sends to a listener serves the ClientHello's name by that listener's routes, whatever the listener's host name is.
    Clients that name no server are served the listener's own host names where the router has sent them there; a
    router that tells names apart should refuse them.
    """

    def route(hello: ClientHelloFacts, address: str) -> RouterAnswer | Awaitable[RouterAnswer]:
        """Decide about a connection.

        :param address: the client's IP address as text; ``unix:`` for a Unix socket.
        :returns: :class:`~edgegw.sni.ToListener`, :class:`~edgegw.sni.PassThrough`,
            :class:`~edgegw.verdict.Reject`, or ``None`` to leave it to the listeners' host names.  Anything else, any
            exception, no answer in time, a listener that is not the port's, and an upstream that does not exist or has
            no endpoints refuse the connection with ``router_error``.
        """


class ISNIRouterKind(IPluginKind):
    """Makes :class:`ISNIRouter` objects.  ``env.changed()`` does nothing there: nothing a router said is kept."""

    codes: Mapping[str, Explanation] = Attribute(
        "The reason codes of its own that its routers may refuse with beside those of ``edgegw.verdict.Reason``; "
        "its name is one without being declared."
    )


# --- backends ---------------------------------------------------------------------------------


class IBackend(Interface):
    """Answers the requests that are sent to an upstream; configured, in place of the upstream's endpoints."""

    def answer(request: BackendRequest) -> BackendResponse | Awaitable[BackendResponse]:
        """Answer a request; nearly always ``async``.

        It has the upstream's ``response_timeout`` to return, from when the whole request has come or was last waited
        for; past it the client gets 504.  A body that comes in pieces may pause for ``idle_timeout``.  It is cancelled
        when its time is over, and when the client leaves.

        Whatever it raises, and whatever it returns that is no usable response, is answered with 502; once a
        body has begun, the client's connection is cut, so that it sees that the body is not whole.
        """


class IBackendKind(IPluginKind):
    """Makes :class:`IBackend` objects.  ``env.changed()`` does nothing there: no answer is kept."""
