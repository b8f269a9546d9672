"""``key_strength``: keys and signatures that are strong enough, and not too large."""
from __future__ import annotations

from typing import Literal

from attrs import frozen

from edgegw.api import Accept, Certificate, IEnvironment, Peer, Reason, Reject, Verdict, option, policy
from edgegw.der import DERError
from edgegw.policies.details import shown
from edgegw.policies.encoded_parts import encoded_parts, remembered
from edgegw.policies.public_keys import NO_HASH, PublicKey, public_key, signature_hash

__all__ = ["Config", "KeyStrength"]

_ACCEPT = Accept()

KeyType = Literal["rsa", "ec", "dsa", "ed25519", "ed448", "ml-dsa-44", "ml-dsa-65", "ml-dsa-87"]
Curve = Literal[
    "P-256", "P-384", "P-521", "P-224", "P-192", "secp256k1", "brainpoolP256r1", "brainpoolP384r1", "brainpoolP512r1"
]
Hash = Literal["sha1", "sha224", "sha256", "sha384", "sha512", "sha3-224", "sha3-256", "sha3-384", "sha3-512"]


@frozen(kw_only=True)
class Config:
    """Options of ``key_strength``; what it asks without any is what is thought strong today."""

    min_rsa_bits: int = option("The fewest bits of an RSA key.", default=2048, minimum=512, maximum=16_384)
    max_rsa_bits: int = option(
        "The most bits of an RSA key: checking a signature costs with their square.", default=8192, minimum=512,
        maximum=16_384,
    )
    key_types: tuple[KeyType, ...] = option(
        "The types of keys that come in.",
        default=("rsa", "ec", "ed25519", "ed448", "ml-dsa-44", "ml-dsa-65", "ml-dsa-87"),
    )
    curves: tuple[Curve, ...] = option("The curves of ec keys that come in.", default=("P-256", "P-384", "P-521"))
    signature_hashes: tuple[Hash, ...] = option(
        "The hashes of the signatures on certificates that come in.  Signatures that have no hash to choose, such as "
        "those of Ed25519 and ML-DSA, always do.",
        default=("sha256", "sha384", "sha512", "sha3-256", "sha3-384", "sha3-512"),
    )
    chain: bool = option(
        "Whether every certificate of the chain but the trust anchor is judged, and not the client's alone.",
        default=False,
    )

    def __attrs_post_init__(self) -> None:
        if self.min_rsa_bits > self.max_rsa_bits:
            raise ValueError(f"no RSA key has at least {self.min_rsa_bits} and at most {self.max_rsa_bits} bits; "
                             "let max_rsa_bits be the larger")
        if not self.key_types:
            raise ValueError("has an empty list of key_types, which would refuse everyone; name one, or leave it out")
        if "ec" in self.key_types and not self.curves:
            raise ValueError("has ec among key_types and no curves; name a curve, or leave ec out of key_types")


@policy("key_strength", Config)
class KeyStrength:
    """Let in the certificates whose key and signature are strong enough.

    RSA keys, those for RSASSA-PSS among them, are judged by their bits, and their exponent must be odd and greater
    than 1; ``ec`` keys by their curve, which must have a name.  The signature on the client's certificate is its
    issuer's, and ``signature_hashes`` are about it.  OpenSSL's security level is applied before, and may ask more.

    With ``chain: true`` the certificates between the client's and the trust anchor are judged in the same way.  The
    chain is in no session ticket, so that listeners with it issue none.

    Example::

        policies:
          - key_strength:
              min_rsa_bits: 3072
              key_types: [rsa, ec]
              curves: [P-256, P-384]
              chain: true
    """

    def __init__(self, config: Config, env: IEnvironment) -> None:
        self.needs_chain = config.chain
        self._config = config
        self._key_types = frozenset[str](config.key_types)
        self._curves = frozenset[str](config.curves)
        self._hashes = frozenset[str]((*config.signature_hashes, NO_HASH))

    def check(self, peer: Peer) -> Verdict:
        """Judge the client's certificate and, if asked, those above it."""
        certificate = peer.certificate
        if certificate is None:
            return Reject(Reason.NO_CERTIFICATE)
        refused = self._judge(certificate)
        if refused is not None:
            return Reject(refused.code, f"the certificate {refused.detail}")
        if self.needs_chain:
            for place, above in enumerate(peer.certificates[1:-1], 1):
                refused = self._judge(above)
                if refused is not None:
                    where = f"certificate {place} above the client's, {shown(above.subject)},"
                    return Reject(refused.code, f"{where} {refused.detail}")
        return _ACCEPT

    def _judge(self, certificate: Certificate) -> Reject | None:
        try:
            key, digest = _key_and_hash(certificate)
        except DERError as error:
            return Reject(Reason.CERTIFICATE_INVALID, f"cannot be read: {error}")
        weakness = self._key_weakness(key) or self._hash_weakness(digest)
        return None if weakness is None else Reject(Reason.CERTIFICATE_WEAK, weakness)

    def _key_weakness(self, key: PublicKey) -> str | None:
        if key.type not in self._key_types:
            return f"has a key of type {shown(key.type)}, which is none of {', '.join(self._config.key_types)}"
        if key.type == "rsa":
            if key.bits < self._config.min_rsa_bits:
                return f"has an RSA key of {key.bits} bits, fewer than {self._config.min_rsa_bits}"
            if key.bits > self._config.max_rsa_bits:
                return f"has an RSA key of {key.bits} bits, more than {self._config.max_rsa_bits}"
            if key.exponent < 3 or key.exponent % 2 == 0:
                return "has an RSA key with an exponent that is 1 or even"
        elif key.type == "ec" and key.curve not in self._curves:
            return f"has a key on the curve {shown(key.curve)}, which is none of {', '.join(self._config.curves)}"
        return None

    def _hash_weakness(self, digest: str) -> str | None:
        if digest in self._hashes:
            return None
        wanted = ", ".join(self._config.signature_hashes) or "none at all"
        return f"is signed with {shown(digest)}, and wanted is {wanted}"


@remembered
def _key_and_hash(certificate: Certificate) -> tuple[PublicKey, str]:
    parts = encoded_parts(certificate)
    return public_key(parts.public_key), signature_hash(parts.signature_algorithm)
