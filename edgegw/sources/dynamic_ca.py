"""``dynamic_ca``: certificates for names as clients ask for them, signed by a CA that the gateway has the key of."""
from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from attrs import frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgegw.api import (
    CertificateAndKey,
    Duration,
    FilePath,
    IEnvironment,
    IFollowed,
    dynamic_certificate_source,
    option,
)
from edgegw.names import canonical_name, covers, is_hostname

__all__ = ["DynamicCA", "DynamicCAConfig"]

#: Bytes that each of the files may have.
_MOST_BYTES: Final = 1_048_576
#: Characters of a common name (RFC 5280, ub-common-name).
_MOST_COMMON_NAME: Final = 64
#: By how much clients' clocks may be behind.
_BACKDATED: Final = timedelta(minutes=5)
_SIGNING_KEYS: Final = (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)
_USAGE: Final = x509.KeyUsage(
    digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
    key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
)  # fmt: skip


def _names(given: Sequence[str]) -> tuple[str, ...]:
    names = []
    for name in given:
        wildcard = "*." if name.startswith("*.") else ""
        canonical = canonical_name(name.removeprefix("*."))
        if canonical is None or not is_hostname(canonical):
            raise ValueError(f"{name!r} is no host name; give one such as example.com or *.example.com")
        names.append(wildcard + canonical)
    return tuple(names)


@frozen
class DynamicCAConfig:
    """Options of ``dynamic_ca``."""

    certificate: FilePath = option(
        "A PEM file: the CA's certificate, then those above it that clients are to be shown."
    )
    private_key: FilePath = option("A PEM file: the CA's private key, unencrypted.")
    names: tuple[str, ...] = option(
        "The names that certificates are signed for: ``example.com``, or ``*.example.com`` for all below it. Without "
        "them every name that the listener takes.",
        default=(),
        convert=_names,
    )
    lifetime: Duration = option(
        "How long a certificate is valid, and never beyond the CA's own.", default=86_400.0, minimum=60.0
    )


class _Authority:
    """A CA that can sign.

    :param certificate: PEM; the CA's first, then those above it.
    :param private_key: PEM.
    :param what: the path of each, for messages.
    :raises ValueError: it cannot, or clients would not take what it signs.
    """

    def __init__(self, certificate: bytes, private_key: bytes, what: tuple[str, str], now: datetime) -> None:
        path, key_path = what
        try:
            self.chain = x509.load_pem_x509_certificates(certificate)
        except ValueError as error:
            raise ValueError(f"{path} has no certificate in it that can be read: {error}; give it in PEM") from None
        try:
            key: Any = load_pem_private_key(private_key, None)
        except TypeError:
            raise ValueError(f"the private key in {key_path} is encrypted; decrypt it") from None
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ValueError(f"{key_path} has no private key in it that can be read: {error}") from None
        own = self.certificate = self.chain[0]
        if not isinstance(key, _SIGNING_KEYS):
            raise ValueError(f"the private key in {key_path} is of no type that signs; use EC or RSA")
        if key.public_key() != own.public_key():
            raise ValueError(f"{key_path} is not the private key of the CA in {path}; give the CA's own")
        self.key = key
        for number, one in enumerate(self.chain, start=1):
            _check_authority(one, number - 1, f"certificate {number} of {path}", now)
        for number, (below, above) in enumerate(pairwise(self.chain), start=2):
            try:
                below.verify_directly_issued_by(above)
            except (ValueError, TypeError, InvalidSignature):
                problem = f"certificate {number} of {path} has not issued the one before it"
                raise ValueError(f"{problem}; let each be followed by its issuer") from None
        self.chain_pem = b"".join(one.public_bytes(Encoding.PEM) for one in self.chain)
        self._algorithm = _algorithm(key)
        self._identifier = _identifier_of(own)
        self._constraints = [
            extension.value for one in self.chain for extension in one.extensions
            if isinstance(extension.value, x509.NameConstraints)
        ]  # fmt: skip

    def permits(self, name: str) -> bool:
        """Whether the CA's name constraints let it sign for a DNS name (RFC 5280 §4.2.1.10)."""
        for constraints in self._constraints:
            permitted = _dns_trees(constraints.permitted_subtrees)
            if permitted and not any(_within(name, tree) for tree in permitted):
                return False
            if any(_within(name, tree) for tree in _dns_trees(constraints.excluded_subtrees)):
                return False
        return True

    def sign(self, name: str, lifetime: float, now: datetime) -> tuple[bytes, bytes]:
        """Make a key and a certificate for a name: the chain and the key, both PEM.

        :raises ValueError: the CA is not valid any more.
        """
        end = min(now + timedelta(seconds=lifetime), *(one.not_valid_after_utc for one in self.chain))
        if end <= now:
            raise ValueError(f"the CA expired on {end:%Y-%m-%d %H:%M:%S} UTC; renew it")
        key = ec.generate_private_key(ec.SECP256R1())
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, name)] if len(name) <= _MOST_COMMON_NAME else []
        public = key.public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(subject))
            .issuer_name(self.certificate.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_USAGE, critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            # Critical where it alone says whose the certificate is (RFC 5280 §4.2.1.6).
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=not subject)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(self._identifier, critical=False)
        )
        leaf = builder.sign(self.key, self._algorithm).public_bytes(Encoding.PEM)
        return leaf + self.chain_pem, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _check_authority(certificate: x509.Certificate, below: int, what: str, now: datetime) -> None:
    """Make sure that a certificate may sign others.

    :param below: CAs between it and what is signed.
    :raises ValueError: it may not.
    """
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if end <= now:
        raise ValueError(f"{what} expired on {end:%Y-%m-%d %H:%M:%S} UTC; renew it")
    if start > now:
        raise ValueError(f"{what} is not valid before {start:%Y-%m-%d %H:%M:%S} UTC; check the clock, or wait")
    values = [extension.value for extension in certificate.extensions]
    constraints = next((one for one in values if isinstance(one, x509.BasicConstraints)), None)
    if constraints is None or not constraints.ca:
        raise ValueError(f"{what} is not a CA's (basicConstraints); give the certificate of a CA")
    if constraints.path_length is not None and constraints.path_length < below:
        problem = f"{what} allows {constraints.path_length} CAs below it, and there are {below} (pathlen)"
        raise ValueError(f"{problem}; use a CA that may be there")
    usage = next((one for one in values if isinstance(one, x509.KeyUsage)), None)
    if usage is not None and not usage.key_cert_sign:
        raise ValueError(f"{what} may not sign certificates (keyUsage); use one that may")
    purposes = next((one for one in values if isinstance(one, x509.ExtendedKeyUsage)), None)
    wanted = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    if purposes is not None and wanted.isdisjoint(purposes):
        raise ValueError(f"{what} is not for servers (extendedKeyUsage); use one that is")


def _identifier_of(certificate: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.SubjectKeyIdentifier):
            return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(extension.value)
    public: Any = certificate.public_key()
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(public)


def _algorithm(key: Any) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        # As strong as the curve, as RFC 5480 §4 has it.
        return hashes.SHA256() if key.key_size < 384 else hashes.SHA384() if key.key_size < 512 else hashes.SHA512()
    return hashes.SHA256() if isinstance(key, rsa.RSAPrivateKey) else None


def _dns_trees(trees: Sequence[x509.GeneralName] | None) -> list[str]:
    return [tree.value.lower() for tree in trees or () if isinstance(tree, x509.DNSName)]


def _within(name: str, tree: str) -> bool:
    suffix = tree if tree.startswith(".") else f".{tree}"
    return not tree or name == tree or name.endswith(suffix)


@dynamic_certificate_source("dynamic_ca", DynamicCAConfig)
class DynamicCA:
    """Sign a certificate for each name that clients ask for, by a CA whose key is the gateway's to use.

    A certificate is for one name (as common name and in subjectAltName), for servers alone (serverAuth), has a new
    P-256 key, and is shown with the CA's and what the file has above it.  Whoever trusts the CA trusts the gateway for
    every name that it may sign for: give it a CA of its own, best with name constraints.

    Both files are followed.  With a new CA all names get new certificates by it; one that cannot be used leaves the one
    before in use, and the log says why.

    Example::

        listeners:
          - name: web
            port: 8443
            hostname: "*.example.com"
            tls:
              dynamic_certificates:
                source:
                  dynamic_ca:
                    certificate: /etc/edgegw/ca/ca.pem
                    private_key: /etc/edgegw/ca/ca.key
                    names: ["*.example.com"]
    """

    def __init__(self, config: DynamicCAConfig, env: IEnvironment) -> None:
        self._config = config
        self._log = env.log
        self._files = _followed(config.certificate, env), _followed(config.private_key, env)
        self._expires = env.gauge("ca_expiry_timestamp_seconds", "When the CA, or one above it, expires.")
        mode = stat.S_IMODE(os.stat(os.path.join(env.directory, config.private_key)).st_mode)
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            text = "{path} can be read or changed by others than its owner (mode {mode}); chmod 600 {path}"
            env.log.warn(text, path=config.private_key, mode=f"{mode:04o}")
        contents = self._contents()
        #: What was read last, and what is in use: one value, since several threads come here.
        self._newest = contents, self._made(contents)

    def _contents(self) -> tuple[bytes, bytes]:
        certificate, private_key = self._files
        return certificate.value, private_key.value

    def _made(self, contents: tuple[bytes, bytes]) -> _Authority:
        made = _Authority(*contents, (self._config.certificate, self._config.private_key), datetime.now(UTC))
        self._expires(min(one.not_valid_after_utc for one in made.chain).timestamp())
        return made

    def _signing(self) -> _Authority:
        """Give the newest CA that can be used."""
        contents = self._contents()
        read, authority = self._newest
        if contents == read:
            return authority
        problem = ""
        try:
            authority = self._made(contents)
        except ValueError as error:
            # Not rarely for a moment: the files are two, and seldom renewed in one instant.
            problem = str(error)
        told = self._newest[0] == contents
        self._newest = contents, authority
        if not told and problem:
            self._log.error("the CA before stays in use: {problem}", problem=problem)
        elif not told:
            self._log.info("certificates are signed by a new CA from {path}", path=self._config.certificate)
        return authority

    def certificate_for(self, name: str) -> CertificateAndKey | None:
        """Sign one; ``None`` for a name that is not among those wanted, or that the CA may not sign for."""
        names = self._config.names
        if names and not any(covers(pattern, name) for pattern in names):
            return None
        authority = self._signing()
        if not authority.permits(name):
            return None
        chain, key = authority.sign(name, self._config.lifetime, datetime.now(UTC))
        return CertificateAndKey(chain, key, f"{name}, signed by {self._config.certificate}")


def _followed(path: str, env: IEnvironment) -> IFollowed:
    try:
        return env.follow(path, bytes, _MOST_BYTES)
    except OSError as error:
        problem = error.strerror or str(error)
        raise ValueError(f"{path} cannot be read: {problem}; give the path of a readable PEM file") from None
