"""Which tokens jwt_bound takes from whom."""
from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from jwt_bound import REMEMBERED, JWTBound, Keys
from twisted.trial.unittest import SynchronousTestCase, TestCase

from edgegw.testing import (
    Authority,
    FakeEnvironment,
    Issued,
    Request,
    assert_accepts,
    assert_rejects,
    build,
    check_plugin,
    handshake,
    make_key,
    peer,
)

ISSUER, AUDIENCE = "https://login.example", "https://api.example"
#: One key of each sort, with the algorithm that it signs with.
KEYS: dict[str, Any] = {
    "ES256": make_key("EC"), "ES384": make_key("P-384"), "ES512": make_key("P-521"), "EdDSA": make_key("Ed25519"),
    "RS256": make_key("RSA"), "PS256": make_key("RSA"),
}  # fmt: skip
CLIENT = Authority().issue("client")


def thumbprint(client: Issued) -> str:
    """Give ``x5t#S256`` of a certificate."""
    return urlsafe_b64encode(sha256(client.der).digest()).rstrip(b"=").decode()


def encoded_json(value: object) -> str:
    """Give a part of a token."""
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def jwks(*algorithms: str) -> bytes:
    """Give a JWK set of some keys, each named as its algorithm."""
    listed = []
    for algorithm in algorithms:
        to_jwk: Any = jwt.get_algorithm_by_name(algorithm)
        document = json.loads(to_jwk.to_jwk(KEYS[algorithm].public_key()))
        listed.append({**document, "kid": algorithm, "use": "sig", "alg": algorithm})
    return json.dumps({"keys": listed}).encode()


def token(algorithm: str = "ES256", key: Any = None, kid: str | None = "", **claims: Any) -> str:
    """Give a token that is right but for ``claims``; those that are ``None`` are left out."""
    now = datetime.now(UTC)
    usual = {
        "iss": ISSUER, "aud": AUDIENCE, "exp": now + timedelta(minutes=5), "sub": "alice", "scope": "read write",
        "cnf": {"x5t#S256": thumbprint(CLIENT)},
    }  # fmt: skip
    whole = {name: value for name, value in {**usual, **claims}.items() if value is not None}
    headers = None if kid is None else {"kid": kid or algorithm}
    return jwt.encode(whole, KEYS[algorithm] if key is None else key, algorithm, headers=headers)


def asking(value: str | None, **more: Any) -> Any:
    """Give a client with a request that has an ``Authorization`` header."""
    headers = {} if value is None else {"Authorization": value}
    return peer(CLIENT, request=Request("GET", "/accounts", headers=headers), **more)


class JWTBoundTests(SynchronousTestCase):
    """The policy, at a route's rule."""

    def setUp(self) -> None:
        """Write the key file and build the policy."""
        folder = Path(self.mktemp())
        folder.mkdir()
        self.file = folder / "jwks.json"
        self.file.write_bytes(jwks(*KEYS))
        self.env = FakeEnvironment(folder)
        self.options = {"keys": "jwks.json", "issuer": ISSUER, "audience": AUDIENCE}
        self.policy = build(JWTBound, self.options, self.env)

    def refused(self, code: str, given: str | None, **more: Any) -> str:
        """See that a request is refused; gives the detail."""
        return assert_rejects(self.policy, None, asking(given, **more), code).detail

    def test_bound(self) -> None:
        """A token that is bound to the certificate is taken, whichever algorithm signed it."""
        for algorithm in KEYS:
            assert_accepts(self.policy, None, asking(f"Bearer {token(algorithm)}"), subject="alice")
            assert_accepts(self.policy, None, asking(f"bearer  {token(algorithm, kid=None)}"), subject="alice")

    def test_stolen(self) -> None:
        """With another certificate the same token is worth nothing."""
        thief = peer(Authority().issue("client"), request=Request(headers={"authorization": f"Bearer {token()}"}))
        assert_rejects(self.policy, None, thief, "jwt_not_bound")
        for cnf in (None, "x", {}, {"x5t#S256": None}, {"x5t#S256": ""}, {"x5t#S256": "é"}, {"x5t": "x"},
                    {"x5t#S256": thumbprint(CLIENT) + "="}):  # fmt: skip
            self.refused("jwt_not_bound", f"Bearer {token(cnf=cnf)}")

    def test_missing(self) -> None:
        """No token, another scheme, or two headers are no token."""
        for value in (None, "", "Bearer", "Bearer ", "Basic YTpi", token(), "DPoP " + token()):
            self.refused("jwt_missing", value)
        twice = peer(CLIENT, request=Request(headers={"authorization": None}))
        assert_rejects(self.policy, None, twice, "jwt_missing")

    def test_forged(self) -> None:
        """Another's signature, none at all, and a public key taken for a secret are all refused."""
        other = make_key("EC")
        self.refused("jwt_invalid", f"Bearer {token(key=other)}")
        self.refused("jwt_invalid", f"Bearer {token(key=other, kid=None)}")
        self.refused("jwt_invalid", f"Bearer {token(kid='unknown')}")
        self.refused("jwt_invalid", f"Bearer {token('RS256', kid='ES256')}")
        body = token().split(".")[1]
        headers: tuple[Any, ...] = (
            {"alg": "none"}, {"alg": "HS256"}, {"alg": "HS256", "kid": "RS256"}, {}, {"alg": 1}, [],
        )  # fmt: skip
        for header in headers:
            self.refused("jwt_invalid", f"Bearer {encoded_json(header)}.{body}.")
        public = KEYS["RS256"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        signed = f"{encoded_json({'alg': 'HS256', 'kid': 'RS256'})}.{body}"
        mac = urlsafe_b64encode(hmac.digest(public, signed.encode(), "sha256")).rstrip(b"=").decode()
        self.refused("jwt_invalid", f"Bearer {signed}.{mac}")

    def test_claims(self) -> None:
        """Another issuer or audience, and claims that are missing, are refused."""
        for wrong in ({"iss": "https://evil.example"}, {"iss": None}, {"aud": "other"}, {"aud": None}, {"exp": None}):
            self.refused("jwt_invalid", f"Bearer {token(**wrong)}")
        assert_accepts(self.policy, None, asking(f"Bearer {token(aud=['x', AUDIENCE])}"))
        assert_accepts(self.policy, None, asking(f"Bearer {token(sub=None)}"))

    def test_times(self) -> None:
        """The time decides at every request, of a token that was taken before too, within the leeway."""
        now = datetime.now(UTC)
        given = f"Bearer {token(exp=now + timedelta(seconds=60), nbf=now)}"
        for _ in range(2):
            assert_accepts(self.policy, None, asking(given, now=now + timedelta(seconds=69)))
            self.refused("jwt_expired", given, now=now + timedelta(seconds=71))
            self.refused("jwt_expired", given, now=now - timedelta(seconds=12))

    def test_times_that_are_none(self) -> None:
        """A token that is valid until no number is never valid."""
        for exp in (float("nan"), float("inf"), 10**400):
            self.refused("jwt_invalid", f"Bearer {token(exp=exp)}")

    def test_scopes(self) -> None:
        """All scopes that are asked for must have been granted."""
        self.policy = build(JWTBound, {**self.options, "scopes": ["read", "admin"]}, self.env)
        self.assertEqual(self.refused("jwt_scope", f"Bearer {token()}"), "without admin")
        self.refused("jwt_scope", f"Bearer {token(scope=['read', 'admin'])}")
        assert_accepts(self.policy, None, asking(f"Bearer {token(scope='admin read')}"))

    def test_at_the_connection(self) -> None:
        """Where there is no request nobody comes in."""
        detail = assert_rejects(self.policy, None, peer(CLIENT), "jwt_bound").detail
        self.assertIn("route", detail)

    def test_new_keys(self) -> None:
        """A key that the issuer has withdrawn is worth nothing at once, for tokens that were taken before too."""
        given = f"Bearer {token()}"
        assert_accepts(self.policy, None, asking(given))
        self.file.write_bytes(jwks("RS256"))
        self.env.reread()
        self.refused("jwt_invalid", given)
        assert_accepts(self.policy, None, asking(f"Bearer {token('RS256')}"))

    def test_pem(self) -> None:
        """One key in PEM does as well."""
        public = KEYS["ES256"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.file.write_bytes(public)
        self.policy = build(JWTBound, self.options, self.env)
        assert_accepts(self.policy, None, asking(f"Bearer {token(kid=None)}"))
        assert_accepts(self.policy, None, asking(f"Bearer {token(kid='any')}"))
        self.refused("jwt_invalid", f"Bearer {token('RS256', kid=None)}")

    def test_what_is_remembered_is_bounded(self) -> None:
        """Tokens beyond number do not fill the memory."""
        keys, head = Keys(jwks("ES256")), token().split(".")[0]
        for number in range(REMEMBERED + 10):
            keys.claims(f"{head}.e30.{number:04}", lambda *given: {})
        self.assertEqual(len(keys.known), REMEMBERED)
        self.assertNotIn(f"{head}.e30.0000", keys.known)

    @given(st.text(st.characters(min_codepoint=33, max_codepoint=126)))
    def test_anything(self, text: str) -> None:
        """No token raises, whatever is in it."""
        head = token().split(".")[0]
        for garbage in (text, f"{head}.{text}.{text}", f"{text}.e30.e30"):
            assert_rejects(self.policy, None, asking(f"Bearer {garbage}x"))

    def test_faults(self) -> None:
        """Files without a usable public key are faults of the configuration."""
        weak = rsa.generate_private_key(65537, 1024).public_key()
        oct_key = {"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "x"}]}
        for content in (
            b"", b"{}", b'{"keys": []}', b'{"keys": [1]}', b'{"keys": 7}', b"[]", b"-----BEGIN PUBLIC KEY-----\n",
            json.dumps(oct_key).encode(), weak.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        ):  # fmt: skip
            self.file.write_bytes(content)
            self.assertRaises(ValueError, build, JWTBound, self.options, self.env)
        self.assertRaises(ValueError, build, JWTBound, {**self.options, "keys": "missing"}, self.env)

    def test_contract(self) -> None:
        """It keeps to what a plugin promises."""
        check_plugin(JWTBound, self.options, env=self.env)


class JWTBoundRequestTests(TestCase):
    """The policy in the gateway."""

    async def test_request(self) -> None:
        """A request with the right token is answered; with another certificate it gets 403."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "jwks.json").write_bytes(jwks("ES256"))
        env, rule = FakeEnvironment(folder), [(JWTBound, {"keys": "jwks.json", "issuer": ISSUER, "audience": AUDIENCE})]
        headers = {"authorization": f"Bearer {token()}"}
        outcome = await handshake(client=CLIENT, rule=rule, headers=headers, env=env)
        self.assertEqual((outcome.accepted, outcome.status), (True, 200))
        thief = Authority().issue("client")
        outcome = await handshake(client=thief, rule=rule, headers=headers, env=env)
        self.assertEqual((outcome.accepted, outcome.status, outcome.code), (False, 403, "jwt_not_bound"))
