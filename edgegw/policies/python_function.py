"""``python``: a function named in the configuration decides."""
from __future__ import annotations

import inspect
import re
import traceback
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any, Final

from attrs import frozen

from edgegw.api import Duration, IEnvironment, IPolicyKind, Peer, Verdict, option, policy
from edgegw.policies.details import shown

__all__ = ["Config", "PythonFunction"]

_NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_STEPS: Final = 2


def _check_name(text: str) -> None:
    if not _NAME.fullmatch(text):
        raise ValueError(f"{shown(text)!r} names no function; write module:function, such as acme.policies:may_enter")


@frozen(kw_only=True)
class Config:
    """Options of ``python``."""

    function: str = option("What to call, as module:function.", check=_check_name)
    needs_chain: bool = option(
        "Whether it reads peer.chain; a listener with such a policy issues no session tickets.", default=False
    )
    needs_fingerprints: bool = option("Whether it reads peer.ja3 or peer.ja4.", default=False)
    without_certificate: bool = option("Whether it is asked about clients without a certificate, too.", default=False)
    cache: Duration = option(
        "How long an answer about a certificate is used again; only for functions that look at nothing else.",
        default=Duration(0.0),
        minimum=0.0,
    )


@policy("python", Config)
class PythonFunction:
    """Call a Python function, ``module:function``, with the client, and do what it says.

    It takes one argument, :class:`edgegw.api.Peer`, and returns ``Accept`` or ``Reject``; everything else that it
    returns and everything that it raises refuses the client::

        from edgegw.api import Accept, Reject

        def may_enter(peer):
            if peer.common_name == "billing":
                return Accept({"team": "billing"})
            return Reject("python", f"{peer.common_name!r}")

    ``Reject`` takes ``python`` or one of ``edgegw.api.Reason`` as its code.  A plain function runs in the TLS
    handshake and must not wait; one that is ``async def`` runs after it.

    The module is imported as any other of the gateway's process is: it must be installed, or lie in a directory of
    ``PYTHONPATH``.  The configuration's directory is none.  It is imported once: changes of its code count after a
    restart.  A file in a directory of ``plugin_path``, with ``@edgegw.api.policy`` over the function, is hardly longer,
    and has a name, options and reason codes of its own.

    Example::

        policies:
          - python: {function: "acme.policies:may_enter"}
    """

    def __init__(self, config: Config, env: IEnvironment) -> None:
        self._function = _load(config.function)
        #: Whether it is asked after the handshake; as the function is written.
        self.waits = _is_async(self._function)
        self.needs_chain = config.needs_chain
        self.needs_fingerprints = config.needs_fingerprints
        self.without_certificate = config.without_certificate
        self.cache_seconds = float(config.cache)

    def check(self, peer: Peer) -> Verdict | Awaitable[Verdict]:
        """Ask the function."""
        return self._function(peer)  # type: ignore[no-any-return]  # judged by who asks


def _load(name: str) -> Callable[[Peer], Any]:
    """Import a function.

    :raises ValueError: it cannot be imported, or is none that could be asked.
    """
    module_name, _, path = name.partition(":")
    try:
        found: Any = import_module(module_name)
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{module_name}.".startswith(f"{missing}."):
            raise ValueError(
                f"there is no module {missing}; install it, or name its directory in PYTHONPATH"
            ) from None
        raise ValueError(f"{module_name} cannot be imported: {_last_lines(error)}") from error
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise ValueError(f"{module_name} has no {path}") from None
    if IPolicyKind.providedBy(found):
        raise ValueError(f"{name} is a policy already; write {name!r} or its name {found.name} in place of python")
    if inspect.isclass(found) or not callable(found):
        raise ValueError(f"{name} is no function")
    try:
        inspect.signature(found).bind("peer")
    except TypeError as error:
        raise ValueError(f"{name} must take one argument, the client: {error}") from None
    except ValueError:
        # Some callables of C say nothing of their arguments.
        pass
    return found  # type: ignore[no-any-return]  # callable, as was seen


def _is_async(function: Any) -> bool:
    # Of an object with __call__ the class has the method.
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _last_lines(error: BaseException) -> str:
    """Give where an error was raised and what it says, in one line."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    steps = [f"{frame.filename}:{frame.lineno}: {frame.line}" for frame in frames[1:][-_STEPS:]]
    said = " ".join("".join(traceback.format_exception_only(error)).split())
    return shown(" > ".join([*steps, said]).replace("; ", ", "), 1000)
