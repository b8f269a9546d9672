"""The certificates that the conformance suite makes at run time, as Secrets and ConfigMaps."""
from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["Manifest", "fixture_objects"]

#: An object as JSON.
Manifest = dict[str, Any]

_USAGES = {"serverAuth": ExtendedKeyUsageOID.SERVER_AUTH, "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH}


def fixture_objects(fixtures: Mapping[str, Any]) -> list[Manifest]:
    """Make all Secrets and ConfigMaps of ``_fixtures.yaml``."""
    authorities: dict[str, tuple[x509.Certificate, rsa.RSAPrivateKey]] = {}
    objects = []
    for entry in fixtures["config_maps"]:
        certificate, key = _authority()
        authorities[entry["name"]] = certificate, key
        objects.append(
            _object(entry, "ConfigMap", data={"ca.crt": certificate.public_bytes(Encoding.PEM).decode("ascii")})
        )
    for entry in fixtures["secrets"]:
        issuer = None if entry["issuer"] == "self" else authorities[entry["issuer"]]
        leaf, leaf_key = _leaf(entry, issuer)
        pem = leaf_key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        data = {"tls.crt": _base64(leaf.public_bytes(Encoding.PEM)), "tls.key": _base64(pem)}
        objects.append({**_object(entry, "Secret", data=data), "type": entry["type"]})
    return objects


def _object(entry: Mapping[str, Any], kind: str, **content: Any) -> Manifest:
    metadata = {"namespace": entry["namespace"], "name": entry["name"]}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **content}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _builder(subject: x509.Name, issuer: x509.Name, key: rsa.RSAPrivateKey, serial: int) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(days=365))
    )


def _key_usage(certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=not certificates, data_encipherment=False,
        key_agreement=False, key_cert_sign=certificates, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _authority() -> tuple[x509.Certificate, rsa.RSAPrivateKey]:
    # All authorities have one subject and serial, which is what several of the cases are about.
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Kubernetes Gateway API"),
            x509.NameAttribute(NameOID.COMMON_NAME, "gatewayapi"),
        ]
    )
    builder = (
        _builder(name, name, key, 2024)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_usage(certificates=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage(list(_USAGES.values())), critical=False)
    )
    return builder.sign(key, hashes.SHA256()), key


def _leaf(
    entry: Mapping[str, Any], issuer: tuple[x509.Certificate, rsa.RSAPrivateKey] | None
) -> tuple[x509.Certificate, rsa.RSAPrivateKey]:
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Acme Co"),
            x509.NameAttribute(NameOID.COMMON_NAME, "default"),
        ]
    )
    builder = (
        _builder(name, name if issuer is None else issuer[0].subject, key, x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([_USAGES[entry["eku"]]]), critical=False)
    )
    names: list[x509.GeneralName] = [x509.DNSName(one) for one in entry["dns_sans"]]
    names += [x509.UniformResourceIdentifier(one) for one in entry["uri_sans"]]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key if issuer is None else issuer[1], hashes.SHA256()), key
