"""What there is to see in a demonstration: each step a curl command and what it will show."""
from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

__all__ = ["Ports", "Step", "describe", "steps"]


@frozen
class Ports:
    """Where a demonstration listens, on 127.0.0.1.

    :ivar strict: ``AllowValidOnly``.
    :ivar fallback: ``AllowInsecureFallback``.
    :ivar admin: metrics and health.
    """

    strict: int
    fallback: int
    admin: int


@frozen
class Step:
    """Something to try.

    :ivar title: whose request it is.
    :ivar command: for a POSIX shell, one line.
    :ivar shows: what will be seen.
    """

    title: str
    command: str
    shows: str


def steps(directory: Path, ports: Ports) -> list[Step]:
    """Give the tour of a demonstration.

    :param directory: where :func:`edgegw.demo.pki.make_pki` wrote, absolute.
    """

    def curl(port: int, client: str | None = None, *more: str) -> str:
        words = ["curl", "-sSi", "--cacert", str(directory / "ca-cert.pem")]
        if client is not None:
            words += ["--cert", str(directory / f"{client}-cert.pem"), "--key", str(directory / f"{client}-key.pem")]
        return shlex.join([*words, *more, f"https://localhost:{port}/get"])

    spoofed = "x-forwarded-client-cert: Hash=00;URI=spiffe://example.com/admin"
    strict, fallback = ports.strict, ports.fallback
    metrics = f"http://127.0.0.1:{ports.admin}/metrics"
    return [
        Step(
            "A client with a good certificate",
            curl(strict, "client"),
            "200, and what the upstream received: who calls stands in x-forwarded-client-cert",
        ),
        Step("A client without a certificate", curl(strict), "no HTTP at all: the TLS alert 'certificate required'"),
        Step("A certificate from a stranger's CA", curl(strict, "stranger"), "the alert 'unknown ca'"),
        Step("A certificate that has expired", curl(strict, "expired"), "the alert 'certificate expired'"),
        Step(
            "A good client that claims to be somebody else",
            curl(strict, "client", "-H", spoofed),
            "200, and the upstream sees the certificate's identity, not the claim",
        ),
        Step(
            f"No certificate on port {fallback}, which is on AllowInsecureFallback",
            curl(fallback),
            "200, and the upstream is told of no identity",
        ),
        Step(
            f"The stranger on port {fallback}",
            curl(fallback, "stranger"),
            "200; an unverified certificate is never passed off as an identity",
        ),
        Step(
            f"The same claim without a certificate on port {fallback}",
            curl(fallback, None, "-H", spoofed),
            "200, and the claim does not reach the upstream",
        ),
        Step(
            f"The good client on port {fallback}",
            curl(fallback, "client"),
            "200, with its identity, as on the other port",
        ),
        Step(
            "The same story in numbers",
            f"curl -sS {metrics} | grep ^edgegw_tls_handshakes_total",
            "handshakes by listener, result and reason",
        ),
    ]


def describe(tour: Sequence[Step]) -> str:
    """Give a tour as text to print."""
    return "\n".join(f"{step.title}\n    {step.command}\n  shows {step.shows}.\n" for step in tour)
