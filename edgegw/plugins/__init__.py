"""Plugin modules live here and in every ``edgegw/plugins`` directory on ``sys.path``.

Such a directory has no ``__init__.py``.  It is searched as Twisted searches plugin packages, by
:mod:`edgegw.registry`, which refuses what Twisted would leave out in silence.
"""
from __future__ import annotations

from twisted.plugin import pluginPackagePaths

__path__.extend(pluginPackagePaths(__name__))
__all__: list[str] = []
