"""Secrets and ConfigMaps as ``kubectl create … --dry-run=client -o yaml`` prints them."""
from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any, Final

import yaml
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from edgegw.config import pem
from edgegw.config.core_schema import core_type
from edgegw.config.nodes import ScalarType
from edgegw.gateway_api.schema_core import DATA_KEY, MOST_DATA, SUBDOMAIN_NAME, TLS_SECRET
from edgegw.gateway_api.schema_terms import NAMESPACE
from edgegw.gateway_api.schema_values import Text

__all__ = ["CannotMake", "config_map", "data_key", "tls_secret"]

_PUBLIC: Final = Encoding.DER, PublicFormat.SubjectPublicKeyInfo


class CannotMake(ValueError):
    """An object cannot be made; the text says why and what would be right."""


def tls_secret(name: str, certificate: bytes, key: bytes, namespace: str | None = None) -> str:
    """Give a Secret of type ``kubernetes.io/tls`` as YAML.

    :param certificate: PEM: the certificate, and behind it those that issued it.
    :param key: PEM: its private key, not encrypted.
    :raises CannotMake: a name is not allowed, or the two are not what they should be or do not belong together.
    """
    metadata = _metadata(name, namespace)
    _check_pair(certificate, key)
    return _as_yaml({
        "apiVersion": "v1",
        "data": {"tls.crt": _base64(certificate), "tls.key": _base64(key)},
        "kind": "Secret",
        "metadata": metadata,
        "type": TLS_SECRET,
    })


def config_map(name: str, entries: Mapping[str, bytes], namespace: str | None = None) -> str:
    """Give a ConfigMap as YAML.

    :param entries: what stands under each key; what is not UTF-8 is put under ``binaryData``.
    :raises CannotMake: a name or a key is not allowed, or it would be larger than an API server takes.
    """
    metadata = _metadata(name, namespace)
    size = sum(map(len, entries.values()))
    if size > MOST_DATA:
        raise CannotMake(f"the ConfigMap would hold {size} bytes; give {MOST_DATA} or fewer")
    texts: dict[str, str] = {}
    binaries: dict[str, str] = {}
    for key, content in sorted(entries.items()):
        data_key(key)
        try:
            texts[key] = content.decode("utf-8")
        except UnicodeDecodeError:
            binaries[key] = _base64(content)
    document: dict[str, Any] = {"apiVersion": "v1"}
    if binaries:
        document["binaryData"] = binaries
    if texts:
        document["data"] = texts
    return _as_yaml({**document, "kind": "ConfigMap", "metadata": metadata})


def data_key(key: str) -> str:
    """Check a key of a ConfigMap, and give it.

    :raises CannotMake: it is not allowed.
    """
    return _checked(key, DATA_KEY, "key")


def _metadata(name: str, namespace: str | None) -> dict[str, str]:
    metadata = {"name": _checked(name, SUBDOMAIN_NAME, "name")}
    if namespace is not None:
        metadata["namespace"] = _checked(namespace, NAMESPACE, "namespace")
    return metadata


def _checked(text: str, shape: Text, what: str) -> str:
    if not shape.takes(text):
        raise CannotMake(f"{text!r} cannot be a {what}; use {shape.wanted}")
    return text


def _check_pair(certificate: bytes, key: bytes) -> None:
    blocks = pem.certificates(certificate)
    if not blocks:
        raise CannotMake(f"the certificate {pem.without(certificate)}; give PEM with -----BEGIN CERTIFICATE-----")
    try:
        leaf = x509.load_pem_x509_certificate(blocks[0]).public_key().public_bytes(*_PUBLIC)
    except pem.PARSE_ERRORS as error:
        raise CannotMake(f"the certificate is not valid: {error}") from error
    keys = [text for label, text in pem.blocks(key) if label.endswith(b"PRIVATE KEY")]
    if not keys:
        raise CannotMake(f"the private key {pem.without(key)}; give PEM with -----BEGIN PRIVATE KEY-----")
    try:
        public = load_pem_private_key(keys[0], None).public_key().public_bytes(*_PUBLIC)
    except TypeError as error:
        raise CannotMake("the private key is encrypted; decrypt it: openssl pkey -in FILE -out FILE") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CannotMake(f"the private key is not valid: {error}") from error
    if public != leaf:
        raise CannotMake("the private key does not belong to the certificate; give the one that it was issued for")


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


# --- YAML as kubectl writes it ------------------------------------------------------------------


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, and quotes where a text would be read as something else."""


#: What Kubernetes' reader takes for a flag, while PyYAML has it for text.
_FLAGS: Final = re.compile(r"[yYnN]")


def _read_otherwise(text: str) -> bool:
    """Whether other versions of YAML than PyYAML's take a text without quotes for something else."""
    return _FLAGS.fullmatch(text) is not None or core_type(text) is not ScalarType.TEXT


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    tag = "tag:yaml.org,2002:str"
    style: str | None
    if not text.replace("\n", "").replace("\t", "").isprintable():
        style = '"'
    elif "\n" in text:
        style = "|"
    elif _read_otherwise(text) or dumper.resolve(yaml.ScalarNode, text, (True, False)) != tag:
        style = '"'
    else:
        style = None
    return dumper.represent_scalar(tag, text, style=style)


_Dumper.add_representer(str, _text)


def _as_yaml(document: dict[str, Any]) -> str:
    return yaml.dump(
        document, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True, width=2**31
    )
