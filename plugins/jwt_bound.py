"""jwt_bound: a request's access token must be bound to the certificate of the connection (RFC 8705 §3).

Needs PyJWT: ``pip install "PyJWT>=2.10,<3"``.
"""
from __future__ import annotations

import hmac
import json
import math
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

import jwt
from attrs import frozen
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from edgegw.api import (
    Accept,
    Duration,
    Explanation,
    FilePath,
    IEnvironment,
    Peer,
    Reject,
    Verdict,
    option,
    policy,
    printable,
)

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

#: Tokens whose signature is remembered, for each version of the key file.
REMEMBERED: Final = 1024
#: Keys of an issuer that are tried for a token which names none.
MOST_KEYS: Final = 16
_LEAST_RSA_BITS: Final = 2048
_RSA: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


def algorithms_of(key: object) -> frozenset[str]:
    """Give the algorithms that a key may be used with: never the token's word alone (RFC 8725 §3.1).

    :raises ValueError: it is no public key, or one that is too weak.
    """
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < _LEAST_RSA_BITS:
            raise ValueError(f"an RSA key of {key.key_size} bits; use one of {_LEAST_RSA_BITS} or more")
        return _RSA
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return frozenset({_CURVES[key.curve.name]})
    if isinstance(key, ed25519.Ed25519PublicKey):
        return frozenset({"EdDSA"})
    raise ValueError("a key that is no public key of RSA, P-256, P-384, P-521 or Ed25519")


class Keys:
    """The issuer's keys, and the tokens that they have been found to have signed.

    :param content: a JWK set (RFC 7517 §5), or one public key in PEM.
    :ivar known: the claims of tokens, those used last at the end.
    :raises ValueError: there is no usable key in it.
    """

    def __init__(self, content: bytes) -> None:
        self._keys: list[tuple[str | None, PublicKey, frozenset[str]]] = []
        self.known: OrderedDict[str, Mapping[str, Any]] = OrderedDict()
        if content.lstrip().startswith(b"-----BEGIN"):
            key = load_pem_public_key(content)
            self._add(None, key, algorithms_of(key))
        else:
            self._read_set(content)
        if not 0 < len(self._keys) <= MOST_KEYS:
            raise ValueError(f"{len(self._keys)} keys for signatures; there must be 1 to {MOST_KEYS}")

    def _read_set(self, content: bytes) -> None:
        try:
            listed = json.loads(content)["keys"]
            for one in listed:
                if one.get("use", "sig") != "sig":
                    continue
                key = jwt.PyJWK(one).key
                named = one.get("alg")
                self._add(one.get("kid"), key, algorithms_of(key) & {named} if named else algorithms_of(key))
        except (KeyError, TypeError, AttributeError, jwt.PyJWTError) as error:
            raise ValueError(f"no JWK set: {type(error).__name__} {error}") from error

    def _add(self, name: str | None, key: Any, algorithms: frozenset[str]) -> None:
        self._keys.append((name, key, algorithms))

    def claims(self, token: str, decode: Callable[[str, PublicKey, list[str]], Mapping[str, Any]]) -> Mapping[str, Any]:
        """Give the claims of a token that one of the keys has signed.

        :param decode: verifies with a key and the algorithms that go with it.
        :raises jwt.PyJWTError: none has, or the claims are not what they must be.
        """
        known = self.known.get(token)
        if known is not None:
            self.known.move_to_end(token)
            return known
        header = jwt.get_unverified_header(token)
        problem: jwt.PyJWTError = jwt.InvalidTokenError("no key for it")
        for name, key, algorithms in self._keys:
            wanted = header.get("kid")
            if header.get("alg") not in algorithms or (None not in (wanted, name) and wanted != name):
                continue
            try:
                claims = decode(token, key, sorted(algorithms))
            except jwt.InvalidSignatureError as error:
                problem = error
                continue
            self.known[token] = claims
            if len(self.known) > REMEMBERED:
                self.known.popitem(last=False)
            return claims
        raise problem


@frozen
class Config:
    """The options."""

    keys: FilePath = option("The issuer's public keys: a JWK set, or one key in PEM; followed as it changes.")
    issuer: str = option("What the claim ``iss`` must be.")
    audience: str = option("What the claim ``aud`` must be, or have in it.")
    scopes: tuple[str, ...] = option("All of these must be in the claim ``scope``.", default=())
    leeway: Duration = option("How far the issuer's clock may be off.", default=10.0, minimum=0.0, maximum=300.0)


@policy(
    "jwt_bound",
    Config,
    codes={
        "jwt_missing": Explanation(
            "The request has no access token, or more than one.",
            "The client sends no Authorization header with the scheme Bearer.",
            "Let the client get a token and send it.",
        ),
        "jwt_invalid": Explanation(
            "The access token's signature or its claims are wrong.",
            "It comes from another issuer or for another audience, or the key file is old.",
            "Compare iss and aud with the options, and the key's name with the key file.",
        ),
        "jwt_expired": Explanation(
            "The access token has expired, or is not valid yet.",
            "The client kept it too long, or a clock is wrong.",
            "Let the client get a new one; compare the clocks.",
        ),
        "jwt_not_bound": Explanation(
            "The access token is bound to another certificate, or to none.",
            "It was stolen or passed on, or the client's certificate was renewed since.",
            "Let the client get a token over a connection with its present certificate.",
        ),
        "jwt_scope": Explanation(
            "The access token lacks a scope.",
            "The client asked for fewer scopes, or was granted fewer.",
            "Grant the scope, or let the client ask for it.",
        ),
    },
)
class JWTBound:
    """Demand an access token that is bound to the client's certificate (RFC 8705 §3).

    For the policies of a route's rule: the token stands in the request's ``Authorization`` header, and where there is
    no request this refuses everybody.  The token is a JWT signed by the issuer (RS, PS, ES or EdDSA), its ``iss``,
    ``aud``, ``exp`` and ``nbf`` are right, and ``cnf`` has an ``x5t#S256`` that is the certificate's SHA-256: a token
    that was stolen is of no use without the certificate's key.  ``sub`` becomes the attribute ``subject``.

    Example::

        policies:
          - jwt_bound: {keys: jwks.json, issuer: "https://login.example", audience: "https://api.example"}
    """

    def __init__(self, config: Config, env: IEnvironment) -> None:
        self._config = config
        self._scopes = frozenset(config.scopes)
        try:
            self._keys = env.follow(config.keys, Keys, 1_048_576)
        except OSError as error:
            raise ValueError(f"{config.keys} cannot be read: {error.strerror}; give the issuer's keys") from error

    def check(self, peer: Peer) -> Verdict:
        """See :class:`edgegw.api.IPolicy`."""
        if peer.request is None:
            return Reject("jwt_bound", "there is no request to look at: it stands in no route's rule")
        scheme, _, token = (peer.request.header("authorization") or "").partition(" ")
        token = token.strip(" ")
        if scheme.lower() != "bearer" or not token:
            return Reject("jwt_missing", "no Authorization header with one Bearer token")
        try:
            claims = self._keys.value.claims(token, self._decode)
        except jwt.PyJWTError as error:
            return Reject("jwt_invalid", _said(error))
        except (ValueError, TypeError, RecursionError) as error:
            return Reject("jwt_invalid", f"it cannot be read: {type(error).__name__}")
        return self._judge(claims, peer)

    def _decode(self, token: str, key: PublicKey, algorithms: list[str]) -> Mapping[str, Any]:
        # Times are compared with the peer's, and at every request: a token that is remembered expires too.
        claims: Mapping[str, Any] = jwt.decode(
            token, key, algorithms, audience=self._config.audience, issuer=self._config.issuer,
            options={
                "require": ["exp", "iss", "aud"], "verify_exp": False, "verify_nbf": False, "verify_iat": False,
            },
        )  # fmt: skip
        return claims

    def _judge(self, claims: Mapping[str, Any], peer: Peer) -> Verdict:
        now, leeway = peer.now.timestamp(), self._config.leeway
        expires, begins = _number(claims["exp"]), _number(claims.get("nbf", 0))
        if expires is None or begins is None:
            return Reject("jwt_invalid", "exp or nbf is no number")
        if now >= expires + leeway:
            return Reject("jwt_expired", f"it has expired {now - expires:.0f} s ago")
        if now < begins - leeway:
            return Reject("jwt_expired", f"it is valid in {begins - now:.0f} s")
        confirmation = claims.get("cnf")
        bound = confirmation.get("x5t#S256") if isinstance(confirmation, dict) else None
        if not isinstance(bound, str):
            return Reject("jwt_not_bound", "there is no x5t#S256 in cnf")
        own = urlsafe_b64encode(bytes.fromhex(peer.sha256)).rstrip(b"=")
        if not hmac.compare_digest(bound.encode("utf-8", "replace"), own):
            return Reject("jwt_not_bound", f"it is bound to another certificate than {peer.sha256}")
        granted = claims.get("scope")
        missing = self._scopes.difference(granted.split() if isinstance(granted, str) else ())
        if missing:
            return Reject("jwt_scope", f"without {', '.join(sorted(missing))}")
        subject = claims.get("sub")
        return Accept({"subject": _shown(subject)} if isinstance(subject, str) and subject else {})


def _number(value: object) -> float | None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    # NaN is neither before nor after any time.
    return number if math.isfinite(number) else None


def _shown(text: str) -> str:
    return printable(text.encode("utf-8", "backslashreplace"))[:200]


def _said(error: Exception) -> str:
    return _shown(f"{type(error).__name__}: {error}")
