"""``@backend``: a function or a class becomes a kind of backend."""
from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import frozen
from twisted.plugin import IPlugin
from zope.interface import implementer

from edgegw.backend import BackendRequest, BackendResponse
from edgegw.interfaces import API_VERSION, IBackend, IBackendKind, IEnvironment
from edgegw.kinds.target import check_declaration, describe_target

__all__ = ["BackendKind", "backend"]


@implementer(IBackend)
@frozen(eq=False)
class _FunctionBackend:
    function: Callable[..., Any]
    arguments: tuple[Any, ...]

    def answer(self, request: BackendRequest) -> BackendResponse | Awaitable[BackendResponse]:
        """Ask the function."""
        return self.function(*self.arguments, request)  # type: ignore[no-any-return]  # judged where it is called


@implementer(IPlugin, IBackendKind)
@frozen(eq=False)
class BackendKind:
    """A kind of backend, made of a function or a class by :func:`backend`.

    Calling it calls the function or makes an object of the class, so that both can be tested as what they are.

    :ivar target: the function or class.
    """

    name: str
    config_type: type[Any] | None
    target: Callable[..., Any]
    description: str
    version: str = ""
    api: int = API_VERSION

    def build(self, config: Any, env: IEnvironment) -> IBackend:
        """See :class:`~edgegw.interfaces.IPluginKind`."""
        arguments = () if self.config_type is None else (config,)
        if isinstance(self.target, type):
            made: IBackend = self.target(*arguments, env)
            return made
        return _FunctionBackend(self.target, arguments)

    def __call__(self, *arguments: Any) -> Any:
        return self.target(*arguments)


def backend(
    name: str, config: type[Any] | None = None, *, version: str = ""
) -> Callable[[Callable[..., Any]], BackendKind]:
    """Make a kind of backend of a function or a class.

    A function takes ``(config, request)``, or ``(request)`` without options, and returns a
    :class:`~edgegw.backend.BackendResponse`; it may be ``async``, and is nearly always.  A class is called with
    ``(config, env)``, or ``(env)`` without options, and has a method ``answer(request)`` that does the same;
    ``env`` is :class:`~edgegw.interfaces.IEnvironment`.

    ::

        @backend("whoami")
        async def whoami(request):
            \"\"\"Tell clients who they are.\"\"\"
            certificate = request.identity.verified
            subject = "nobody" if certificate is None else certificate.subject
            return BackendResponse(200, {"content-type": "text/plain"}, f"{subject}\\n".encode())

    :param name: what a configuration writes.
    :param config: the attrs class of its options.
    :raises TypeError: the function or class does not take these arguments, or ``config`` is no attrs class.
    :raises ValueError: a name that cannot be one.
    """
    check_declaration("backend", name, config)

    def make(target: Callable[..., Any]) -> BackendKind:
        description = describe_target(name, target, config, "answer", ["request"])
        return BackendKind(name, config, target, description, version)

    return make
