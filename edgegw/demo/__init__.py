"""``edgegw demo``: a gateway to try with curl, with everything it needs made on the spot.

The PKI (:mod:`edgegw.demo.pki`) and the echo (:mod:`edgegw.demo.upstream`) are useful without it.
"""
from __future__ import annotations

from collections.abc import Sequence

__all__ = ["run_demo"]


def run_demo(argv: Sequence[str]) -> int:
    """Serve a demonstration in the foreground until SIGINT or SIGTERM; gives the exit status.

    :param argv: the arguments behind ``edgegw demo``.
    :raises SystemExit: argparse's, after ``--help`` and after arguments that it does not understand.
    """
    # Here, so that the parts can be had without the gateway.
    from edgegw.demo.command import serve_demo

    return serve_demo(argv)
