"""``docs/backends.rst``: the backends that come with the gateway.

``python -m edgegw.plugins_command backend > docs/backends.rst`` makes it anew after a change of a backend's docstring
or options, or of what stands here; a test says when that was forgotten.
"""
from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from edgegw.config.reference import FoundKind, kind_as_rst

__all__ = ["backends_page"]

_INTRODUCTION: Final = """\
.. Made by "python -m edgegw.plugins_command backend" of the backends' docstrings and options, and of
   edgegw/config/backends_page.py.

========
Backends
========

A backend answers the requests that are sent to an upstream, in place of endpoints.  Those that come with the gateway
are listed below; :doc:`plugins` tells how to write one, and :doc:`twisted` what else there is for applications on
Twisted.  ``edgegw plugins --kind backend`` lists all that are installed.

.. code-block:: yaml

    routes:
      - name: site
        rules:
          - matches: [{path: {value: /app}}]
            backends: [{upstream: app}]
          - backends: [{upstream: files}]
    upstreams:
      - name: app
        backend: {wsgi: {application: "shop.wsgi:application"}}
        response_timeout: 30s
      - name: files
        backend: {static_files: {directory: /srv/site}}

To the rest of the gateway it is an upstream like any other: policies, rules, header injection, limits, time limits and
metrics are the same.  A client that takes its response slowly slows the backend down, and a backend that reads its
request slowly the client; neither holds up others.  ``response_timeout`` is the time that a backend has to begin with
its response, past which the client gets 504; ``idle_timeout`` the longest pause in it.  What fails is a 502, or a
connection that is cut where the response had begun; it is logged with its traceback, and counted by
``edgegw_plugin_errors_total``.

Backends run in the gateway's own process, with all that it may do.

"""


def backends_page(kinds: Iterable[FoundKind]) -> str:
    """Give the page, reStructuredText, ending with a newline.

    :param kinds: those that come with the gateway; of other sorts than backends none is shown.
    """
    sections = [kind_as_rst(found) for found in kinds if found.what == "backend" and found.built_in]
    return (_INTRODUCTION + "\n".join(sections)).rstrip("\n") + "\n"
