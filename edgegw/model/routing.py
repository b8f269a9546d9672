"""What code decides or answers: a port's SNI router, and an upstream that is written in Python."""
from __future__ import annotations

from typing import Any, Final

from attrs import frozen

__all__ = ["ROUTER_TIMEOUT", "BackendUse", "SNIRouterUse"]

#: Seconds that a router which waits has for its answer, where nothing else is said.
ROUTER_TIMEOUT: Final = 1.0


@frozen
class SNIRouterUse:
    """A router with its options, and where it decides.

    :ivar name: what connections that it passes through are counted under, as a listener's are.
    :ivar bindings: the addresses and ports of HTTPS listeners, as :class:`~edgegw.model.Listener` has them.
    :ivar kind: provides :class:`edgegw.interfaces.ISNIRouterKind`.
    :ivar router: what the kind has built of its options; provides :class:`edgegw.interfaces.ISNIRouter`.
    :ivar environment: what it was built with; provides :class:`edgegw.interfaces.IEnvironment`.
    :ivar timeout: seconds that it has for its answer, if it waits.
    """

    name: str
    bindings: tuple[tuple[str | None, int], ...]
    kind: Any
    router: Any
    environment: Any = None
    timeout: float = ROUTER_TIMEOUT


@frozen
class BackendUse:
    """A backend with its options.

    :ivar kind: provides :class:`edgegw.interfaces.IBackendKind`.
    :ivar backend: what the kind has built of its options; provides :class:`edgegw.interfaces.IBackend`.
    :ivar environment: what it was built with; provides :class:`edgegw.interfaces.IEnvironment`.
    """

    kind: Any
    backend: Any
    environment: Any = None
