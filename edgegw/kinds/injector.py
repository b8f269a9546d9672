"""``@header_injector``: a function or a class becomes a kind of header injector."""
from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Union

from attrs import frozen
from twisted.plugin import IPlugin
from zope.interface import implementer

from edgegw.identity import ConnectionInfo
from edgegw.interfaces import API_VERSION, IEnvironment, IHeaderInjector, IHeaderInjectorKind
from edgegw.kinds.policy import check_arguments, kind_name

__all__ = ["HeaderInjectorKind", "HeaderNames", "header_injector"]

#: The names themselves, or what gives them for an instance of the options class.
HeaderNames = Union[Sequence[str], Callable[[Any], Iterable[str]]]

#: Words that stand in the same place of a configuration and name the gateway's own injectors.
_TAKEN: Final = frozenset({"xfcc", "client_cert", "pem", "fields"})
_FROM_CLASS: Final = ("owned", "owned_responses", "needs_chain", "per_request")


@implementer(IHeaderInjector)
@frozen(eq=False)
class _FunctionInjector:
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    owned: frozenset[bytes]
    owned_responses: frozenset[bytes]
    needs_chain: bool
    per_request: bool

    def inject(
        self, connection: ConnectionInfo, received: Mapping[bytes, Sequence[bytes]]
    ) -> Sequence[tuple[bytes, bytes]]:
        """Ask the function, and encode what it gives."""
        if self.per_request:
            given = self.function(*self.arguments, connection, received)
        else:
            given = self.function(*self.arguments, connection)
        pairs = given.items() if isinstance(given, Mapping) else given
        return [(_encoded(name).lower(), _encoded(value)) for name, value in pairs]


@implementer(IHeaderInjector)
@frozen(eq=False)
class _ClassInjector:
    """An object of a class, with what it does not say by itself as its kind says it."""

    made: Any
    owned: frozenset[bytes]
    owned_responses: frozenset[bytes]
    needs_chain: bool
    per_request: bool

    def inject(
        self, connection: ConnectionInfo, received: Mapping[bytes, Sequence[bytes]]
    ) -> Sequence[tuple[bytes, bytes]]:
        """Ask the object."""
        return self.made.inject(connection, received)  # type: ignore[no-any-return]  # judged by the gateway


@implementer(IPlugin, IHeaderInjectorKind)
@frozen(eq=False)
class HeaderInjectorKind:
    """A kind of header injector, made of a function or a class by :func:`header_injector`.

    Calling it calls the function or makes an object of the class, so that both can be tested as what they are.

    :ivar target: the function or class.
    :ivar headers, owned_responses, needs_chain, per_request: as of :func:`header_injector`.
    """

    name: str
    config_type: type[Any] | None
    target: Callable[..., Any]
    description: str
    headers: HeaderNames
    owned_responses: tuple[str, ...] = ()
    needs_chain: bool = False
    per_request: bool = False
    version: str = ""
    api: int = API_VERSION

    def build(self, config: Any, env: IEnvironment) -> IHeaderInjector:
        """See :class:`~edgegw.interfaces.IPluginKind`."""
        names = self.headers(config) if callable(self.headers) else self.headers
        facts: dict[str, Any] = {
            "owned": _names(self.name, names),
            "owned_responses": _names(self.name, self.owned_responses),
            "needs_chain": self.needs_chain,
            "per_request": self.per_request,
        }
        arguments = () if self.config_type is None else (config,)
        if not isinstance(self.target, type):
            return _FunctionInjector(self.target, arguments, **facts)
        made = self.target(*arguments, env)
        facts.update({name: getattr(made, name) for name in _FROM_CLASS if hasattr(made, name)})
        return _ClassInjector(made, **facts)

    def __call__(self, *arguments: Any) -> Any:
        return self.target(*arguments)


def header_injector(
    name: str,
    config: type[Any] | None = None,
    *,
    headers: HeaderNames = (),
    owned_responses: Sequence[str] = (),
    needs_chain: bool = False,
    per_request: bool = False,
    version: str = "",
) -> Callable[[Callable[..., Any]], HeaderInjectorKind]:
    """Make a kind of header injector of a function or a class.

    A function takes ``(config, connection)``, or ``(connection)`` without options, and with ``per_request``
    one argument more, ``received``; it gives pairs of name and value, or a mapping, as text or bytes, and nothing
    that must be awaited.  A class is called with ``(config, env)``, or ``(env)`` without options, and has the
    method ``inject`` of :class:`~edgegw.interfaces.IHeaderInjector`; attributes of that interface which its objects
    have count more than what is said here.

    ``connection`` is :class:`~edgegw.identity.ConnectionInfo`: ``connection.identity.verified`` is the client's
    certificate if it was verified (``connection.identity.certificate`` may be a mere claim), and
    ``connection.attributes`` what policies said of the client.

    :param name: what a configuration writes.
    :param config: the attrs class of its options.
    :param headers: the names that only it sets, in lower case, or a function that gives them for the options.
    :param owned_responses: see :class:`~edgegw.interfaces.IHeaderInjector`, as for the next two.
    :raises TypeError: the function or class does not take these arguments, is ``async``, or does not say which headers
        it sets; or ``config`` is no attrs class.
    :raises ValueError: a name that cannot be one.
    """
    if not isinstance(name, str):
        raise TypeError('the decorator takes the plugin\'s name first: @header_injector("name")')
    kind_name(name)
    if name in _TAKEN:
        raise ValueError(f"{name!r} cannot be a plugin's name: the gateway has a header injector {name} of its own")
    if config is not None and not hasattr(config, "__attrs_attrs__"):
        raise TypeError(f"the options of {name} must be an attrs class, made with @attrs.frozen")
    for names in (headers, owned_responses):
        if isinstance(names, (str, bytes)):
            raise TypeError(f"{name}: {names!r} is one name; write ({names!r},)")

    def make(target: Callable[..., Any]) -> HeaderInjectorKind:
        is_class = isinstance(target, type)
        arguments = [] if config is None else ["config"]
        received = ["received"] if per_request else []
        check_arguments(target, [*arguments, "env"] if is_class else [*arguments, "connection", *received])
        asked = getattr(target, "inject", None) if isinstance(target, type) else target
        if asked is None:
            raise TypeError(f"the class of {name} has no method inject(self, connection, received)")
        if is_class:
            check_arguments(asked, ["self", "connection", "received"])
        elif not callable(headers) and not headers:
            raise TypeError(f'{name} does not say which headers it sets: headers=("x-{name.replace("_", "-")}",)')
        if inspect.iscoroutinefunction(asked) or inspect.isasyncgenfunction(asked):
            raise TypeError(f"{name} is async, and headers are not waited for: let a policy find out what takes time, "
                            "and read its attributes")
        description = inspect.cleandoc(target.__doc__ or "")
        if not description:
            raise TypeError(f"{name} has no docstring: its first line tells operators what it is for")
        return HeaderInjectorKind(
            name, config, target, description, headers, tuple(owned_responses), needs_chain, per_request, version
        )

    return make


def _encoded(text: Any) -> bytes:
    """Give text as bytes.

    :raises ValueError: it is not ASCII, and what others make of it is anyone's guess.
    :raises TypeError: it is no text.
    """
    if isinstance(text, str):
        return text.encode("ascii")
    if isinstance(text, bytes):
        return text
    raise TypeError(f"a {type(text).__name__} cannot stand in a header")


def _names(kind: str, names: Iterable[str]) -> frozenset[bytes]:
    if isinstance(names, (str, bytes)):
        raise ValueError(f"{kind} gives {names!r} for the names of its headers, where a list should be")
    return frozenset(map(_encoded, names))
