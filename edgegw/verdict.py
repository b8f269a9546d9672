"""Accept or refuse, with a reason from one list.

A :class:`Reason` is the same word everywhere: the metrics label, the log field, the admin
record and what an operator is told.  The list is closed, so that no client can make new labels.
"""
from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Union

from attrs import Factory, frozen

__all__ = ["Accept", "Reason", "Reject", "Verdict"]


class Reason(str, Enum):
    """Why a connection was refused or a handshake failed."""

    # the client's certificate
    NO_CERTIFICATE = "no_certificate"
    UNKNOWN_CA = "unknown_ca"
    CERTIFICATE_EXPIRED = "certificate_expired"
    CERTIFICATE_NOT_YET_VALID = "certificate_not_yet_valid"
    CERTIFICATE_REVOKED = "certificate_revoked"
    CERTIFICATE_PURPOSE = "certificate_purpose"
    CERTIFICATE_SIGNATURE = "certificate_signature"
    CERTIFICATE_WEAK = "certificate_weak"
    CHAIN_TOO_LONG = "chain_too_long"
    CERTIFICATE_INVALID = "certificate_invalid"
    NO_TRUST_ANCHOR = "no_trust_anchor"
    # the handshake
    NOT_TLS = "not_tls"
    BAD_CLIENT_HELLO = "bad_client_hello"
    UNRECOGNIZED_NAME = "unrecognized_name"
    PROTOCOL_VERSION = "protocol_version"
    NO_SHARED_CIPHER = "no_shared_cipher"
    NO_SHARED_GROUP = "no_shared_group"
    NO_APPLICATION_PROTOCOL = "no_application_protocol"
    CLIENT_ALERT = "client_alert"
    CLIENT_CLOSED = "client_closed"
    HANDSHAKE_TIMEOUT = "handshake_timeout"
    TLS_ERROR = "tls_error"
    # limits
    MAX_CONNECTIONS = "max_connections"
    MAX_CONNECTIONS_PER_PEER = "max_connections_per_peer"
    MAX_HANDSHAKES = "max_handshakes"
    DRAINING = "draining"
    INTERNAL_ERROR = "internal_error"

    def __str__(self) -> str:
        return self.value


@frozen
class Accept:
    """The client may come in.

    :ivar attributes: facts that a policy found out, for routes, injectors and logs.
    """

    attributes: Mapping[str, str] = Factory(dict)


@frozen
class Reject:
    """The client may not come in.

    :ivar detail: for the log only; it never reaches the client.
    """

    reason: Reason
    detail: str = ""


Verdict = Union[Accept, Reject]
