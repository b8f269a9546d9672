"""What balancing knows of an endpoint, and of a request."""
from __future__ import annotations

from collections.abc import Collection
from typing import Protocol, TypeVar

from edgegw.identity import ConnectionInfo

__all__ = ["M", "Member", "Policy", "Request"]


class Request(Protocol):
    """Who asks for an endpoint.  A policy looks only at what it needs."""

    @property
    def info(self) -> ConnectionInfo:
        """What is known of the client's connection."""

    @property
    def header_lines(self) -> bytes:
        """The header lines that the upstream gets, each with its CRLF; empty where there are none."""


class Member(Protocol):
    """An endpoint among others."""

    @property
    def share(self) -> float:
        """Its weight, more than 0; less than what is configured while it starts slowly."""

    @property
    def weight(self) -> int:
        """Its weight as it is configured, from 1."""

    @property
    def priority(self) -> int:
        """0 is taken first."""

    @property
    def identity(self) -> bytes:
        """What tells it from the others, the same in every process and generation."""

    @property
    def in_flight(self) -> int:
        """Requests that it has not answered yet."""


M = TypeVar("M", bound=Member)


class Policy(Protocol[M]):
    """A way to choose among some members, all of which may be used."""

    def pick(self, request: Request, tried: Collection[M]) -> M | None:
        """Give the member for a request.

        :param tried: those that this request has come to nothing with.
        :returns: ``None`` where all were tried.
        """
