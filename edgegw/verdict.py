"""Accept or refuse, with a reason from one list.

A reason code is the same word everywhere: the metrics label, the log field, the handshake record and
what ``edgegw explain`` prints.  The codes of the gateway and of the policies that come with it are
:class:`Reason`; a plugin declares its own, with an :class:`Explanation` for each, when it is
registered.  Both lists are closed while the gateway runs, so that no client can make new labels.
"""
from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple, Union

from attrs import Factory, frozen

__all__ = ["Accept", "Explanation", "Reason", "Reject", "Ruling", "Verdict", "is_code"]

_CODE = re.compile(r"[a-z][a-z0-9_]{0,62}")


def is_code(text: str) -> bool:
    """Whether a text can be a reason code: lower-case letters, digits and underscores, 63 at most."""
    return _CODE.fullmatch(text) is not None


class Reason(str, Enum):
    """Why a connection or a request was refused, or a handshake failed; what it means stands in
    :data:`edgegw.reason_explanations.EXPLANATIONS`."""

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
    NAME_CONSTRAINT = "name_constraint"
    CRITICAL_EXTENSION = "critical_extension"
    CERTIFICATE_INVALID = "certificate_invalid"
    NO_TRUST_ANCHOR = "no_trust_anchor"
    # policies
    SUBJECT_ALT_NAME = "subject_alt_name"
    CERTIFICATE_HASH = "certificate_hash"
    SPKI_HASH = "spki_hash"
    SPIFFE_ID = "spiffe_id"
    SPIFFE_TRUST_DOMAIN = "spiffe_trust_domain"
    SUBJECT = "subject"
    ISSUER = "issuer"
    EXTENDED_KEY_USAGE = "extended_key_usage"
    CERTIFICATE_LIFETIME = "certificate_lifetime"
    CERTIFICATE_EXPIRES_SOON = "certificate_expires_soon"
    SERIAL = "serial"
    TLS_FINGERPRINT = "tls_fingerprint"
    NO_FINGERPRINT = "no_fingerprint"
    RFC5280 = "rfc5280"
    CRL_MISSING = "crl_missing"
    CRL_STALE = "crl_stale"
    OCSP_UNAVAILABLE = "ocsp_unavailable"
    OCSP_UNKNOWN = "ocsp_unknown"
    NOT_LISTED = "not_listed"
    CHECK_REFUSED = "check_refused"
    CHECK_UNAVAILABLE = "check_unavailable"
    RATE_LIMITED = "rate_limited"
    EXCLUDED = "excluded"
    NO_POLICY = "no_policy"
    POLICY_ERROR = "policy_error"
    POLICY_TIMEOUT = "policy_timeout"
    # a request's rule
    CLIENT_UNVERIFIED = "client_unverified"
    # the handshake
    NOT_TLS = "not_tls"
    PLAIN_HTTP = "plain_http"
    BAD_CLIENT_HELLO = "bad_client_hello"
    UNRECOGNIZED_NAME = "unrecognized_name"
    NO_ROUTE = "no_route"
    NO_BACKEND = "no_backend"
    CERTIFICATE_UNAVAILABLE = "certificate_unavailable"
    ROUTER_REFUSED = "router_refused"
    ROUTER_ERROR = "router_error"
    PROTOCOL_VERSION = "protocol_version"
    NO_SHARED_CIPHER = "no_shared_cipher"
    NO_SHARED_GROUP = "no_shared_group"
    NO_APPLICATION_PROTOCOL = "no_application_protocol"
    CLIENT_ALERT = "client_alert"
    CLIENT_CLOSED = "client_closed"
    HANDSHAKE_TIMEOUT = "handshake_timeout"
    TLS_ERROR = "tls_error"
    # the PROXY header
    PROXY_HEADER_MISSING = "proxy_header_missing"
    BAD_PROXY_HEADER = "bad_proxy_header"
    PROXY_HEADER_TIMEOUT = "proxy_header_timeout"
    UNTRUSTED_PROXY = "untrusted_proxy"
    # limits
    MAX_CONNECTIONS = "max_connections"
    MAX_CONNECTIONS_PER_PEER = "max_connections_per_peer"
    MAX_HANDSHAKES = "max_handshakes"
    CONNECTION_RATE = "connection_rate"
    DRAINING = "draining"
    INTERNAL_ERROR = "internal_error"

    def __str__(self) -> str:
        return self.value

    # Counters are kept by code, whether a plugin's or one of these: equal ones must be found as one.
    __hash__ = str.__hash__


@frozen
class Accept:
    """The client may come in.

    :ivar attributes: facts that a policy found out, for later policies, header templates and logs; text by
        text.  What an earlier policy has said stays: a later one cannot say otherwise.
    """

    attributes: Mapping[str, str] = Factory(dict)


@frozen
class Reject:
    """The client may not come in.

    :ivar code: one of :class:`Reason`, or one that the plugin declared.
    :ivar detail: for logs, the handshake record and ``edgegw explain``; it does not reach the client.
    """

    code: str
    detail: str = ""


Verdict = Union[Accept, Reject]


class Ruling(NamedTuple):
    """What one policy said of one client.

    :ivar policy: its place in the list and its name, such as ``any[1].spiffe``.
    :ivar seconds: that it took, waiting included.
    :ivar cached: whether an earlier answer was used.
    """

    policy: str
    verdict: Verdict
    seconds: float = 0.0
    cached: bool = False


@frozen
class Explanation:
    """What a reason code means, for people.

    :ivar sentence: what happened.
    :ivar cause: what it usually comes from.
    :ivar remedy: what to do.
    """

    sentence: str
    cause: str = ""
    remedy: str = ""
