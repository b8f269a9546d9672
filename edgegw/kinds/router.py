"""``@sni_router``: a function or a class becomes a kind of SNI router."""
from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from attrs import Factory, frozen
from twisted.plugin import IPlugin
from zope.interface import implementer

from edgegw.interfaces import API_VERSION, IEnvironment, ISNIRouter, ISNIRouterKind
from edgegw.kinds.target import check_declaration, describe_target, explained
from edgegw.sni import ClientHelloFacts, RouterAnswer
from edgegw.verdict import Explanation

__all__ = ["SNIRouterKind", "sni_router"]


@implementer(ISNIRouter)
@frozen(eq=False)
class _FunctionRouter:
    function: Callable[..., Any]
    arguments: tuple[Any, ...]

    def route(self, hello: ClientHelloFacts, address: str) -> RouterAnswer | Awaitable[RouterAnswer]:
        """Ask the function."""
        return self.function(*self.arguments, hello, address)  # type: ignore[no-any-return]  # judged by the port


@implementer(IPlugin, ISNIRouterKind)
@frozen(eq=False)
class SNIRouterKind:
    """A kind of SNI router, made of a function or a class by :func:`sni_router`.

    Calling it calls the function or makes an object of the class, so that both can be tested as what they are.

    :ivar target: the function or class.
    """

    name: str
    config_type: type[Any] | None
    target: Callable[..., Any]
    description: str
    codes: Mapping[str, Explanation] = Factory(dict)
    version: str = ""
    api: int = API_VERSION

    def build(self, config: Any, env: IEnvironment) -> ISNIRouter:
        """See :class:`~edgegw.interfaces.IPluginKind`."""
        arguments = () if self.config_type is None else (config,)
        if isinstance(self.target, type):
            made: ISNIRouter = self.target(*arguments, env)
            return made
        return _FunctionRouter(self.target, arguments)

    def __call__(self, *arguments: Any) -> Any:
        return self.target(*arguments)


def sni_router(
    name: str,
    config: type[Any] | None = None,
    *,
    codes: Mapping[str, str | Explanation] | None = None,
    version: str = "",
) -> Callable[[Callable[..., Any]], SNIRouterKind]:
    """Make a kind of SNI router of a function or a class.

    A function takes ``(config, hello, address)``, or ``(hello, address)`` without options, and returns
    :class:`~edgegw.sni.ToListener`, :class:`~edgegw.sni.PassThrough`, :class:`~edgegw.verdict.Reject`, or ``None``
    to leave the decision to the listeners' host names; it may be ``async``.  A class is called with
    ``(config, env)``, or ``(env)`` without options, and has a method ``route(hello, address)`` that does the
    same; ``env`` is :class:`~edgegw.interfaces.IEnvironment`.

    ::

        @sni_router("by_tenant", Config)
        def by_tenant(config, hello, address):
            \"\"\"Send tenants' names to their own upstreams, which speak TLS themselves.\"\"\"
            upstream = config.tenants.get(hello.server_name or "")
            return PassThrough(upstream) if upstream else None

    :param name: what a configuration writes.
    :param config: the attrs class of its options.
    :param codes: reason codes of its own that it may refuse with, beside its name, with a sentence for each.
    :raises TypeError: the function or class does not take these arguments, or ``config`` is no attrs class.
    :raises ValueError: a name or code that cannot be one.
    """
    check_declaration("sni_router", name, config)
    own_codes = explained(codes)

    def make(target: Callable[..., Any]) -> SNIRouterKind:
        description = describe_target(name, target, config, "route", ["hello", "address"])
        return SNIRouterKind(name, config, target, description, own_codes, version)

    return make
