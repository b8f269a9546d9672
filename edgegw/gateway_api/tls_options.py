"""``tls.options`` of listeners: kgateway's keys, the same under ``edgegw.io/``, and what the Gateway API lacks.

Values are texts.  Those of kgateway's keys are lists as kgateway writes them; what only ``edgegw.io/`` has is YAML in
the words of the native document, under its key there with hyphens: ``edgegw.io/header-injection: "[client_cert: {}]"``.
Keys of other domains are others' and do not count.  All errors of a listener are told at once.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import field, frozen

from edgegw.config.document import LISTENER
from edgegw.config.document_tls import APPLICATION_PROTOCOL, CLIENT_VALIDATION, HTTP_PROTOCOLS, TLS
from edgegw.config.faults import ConfigError, Report
from edgegw.config.plain_data import nodes_of, plain_value
from edgegw.config.reader import read_text
from edgegw.config.scalars import Unparsable
from edgegw.config.shapes import Record, did_you_mean
from edgegw.config.suites import parse_cipher_suite, parse_group, parse_signature_algorithm
from edgegw.policies.hashes import parse_certificate_hashes
from edgegw.policies.subject_alt_names import Config as SubjectAltNamesConfig
from edgegw.policies.subject_alt_names import parse_dns_names

__all__ = ["TLSOptions", "read_options"]

_KGATEWAY: Final = "kgateway.dev/"
_EDGEGW: Final = "edgegw.io/"
#: kgateway's words for versions, in order.
_VERSIONS: Final = {"1.0": "TLSv1_0", "1.1": "TLSv1_1", "1.2": "TLSv1_2", "1.3": "TLSv1_3"}
_SERVED: Final = ("1.2", "1.3")


@frozen
class TLSOptions:
    """What the options of a listener say, in the words of the native document.

    :ivar tls: keys of ``tls``.
    :ivar validation: keys of ``tls.client_validation``; without ``policies``.
    :ivar listener: keys of the listener; without ``policies``.
    :ivar subject_alt_names: matchers of DNS names, of which a client's certificate must have one; empty asks for none.
    :ivar certificate_hashes: SHA-256 of certificates, one of which a client's must be; empty asks for none.
    :ivar policies: further ones.
    :ivar problems: what is wrong.
    """

    tls: dict[str, Any] = field(factory=dict)
    validation: dict[str, Any] = field(factory=dict)
    listener: dict[str, Any] = field(factory=dict)
    subject_alt_names: list[dict[str, Any]] = field(factory=list)
    certificate_hashes: list[str] = field(factory=list)
    policies: list[Any] = field(factory=list)
    problems: list[str] = field(factory=list)

    @property
    def given(self) -> bool:
        """Whether there is anything but problems."""
        return bool(
            self.tls or self.validation or self.listener or self.subject_alt_names or self.certificate_hashes
            or self.policies
        )


def read_options(options: Mapping[str, str], protocol: str) -> TLSOptions:
    """Read a listener's options.

    :param protocol: of the listener: HTTPS speaks only some application protocols.
    """
    return _Reading(protocol).read(options)


# --- values -------------------------------------------------------------------------------------


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",")]


class _Reading:
    """Reads the options of one listener."""

    def __init__(self, protocol: str) -> None:
        self._protocol = protocol
        self._result = TLSOptions()
        self._shared: dict[str, Callable[[str, str], None]] = {
            "alpn-protocols": self._alpn,
            "cipher-suites": lambda key, text: self._list(key, text, "cipher_suites", parse_cipher_suite),
            "ecdh-curves": lambda key, text: self._list(key, text, "groups", _group),
            "signature-algorithms": lambda key, text: self._list(
                key, text, "signature_algorithms", parse_signature_algorithm
            ),
            "min-tls-version": lambda key, text: self._version(key, text, "minimum"),
            "max-tls-version": lambda key, text: self._version(key, text, "maximum"),
            "verify-subject-alt-names": self._names,
            "verify-certificate-hash": self._hashes,
        }
        self._versions: dict[str, str] = {}

    def read(self, options: Mapping[str, str]) -> TLSOptions:
        """Read them all."""
        first: dict[str, str] = {}
        for key, text in options.items():
            prefix, slash, word = key.partition("/")
            domain = prefix + slash
            if domain not in (_KGATEWAY, _EDGEGW):
                continue
            if first.setdefault(word, key) != key:
                self._problem(f"{key} says again what {first[word]} says; keep one of the two")
            elif word in self._shared:
                self._shared[word](key, text)
            elif domain == _EDGEGW and word in _OWN:
                self._own(key, word, text)
            else:
                known = [*self._shared, *(_OWN if domain == _EDGEGW else ())]
                remedy = did_you_mean(word, sorted(known))
                self._problem(f"unknown tls option: {key}" + (f"; {remedy}" if remedy else ""))
        self._check_versions()
        return self._result

    def _problem(self, problem: str) -> None:
        self._result.problems.append(problem)

    def _list(self, key: str, text: str, native: str, parse: Callable[[str], str]) -> None:
        """Read a list of names, by the native language's own spelling."""
        found: dict[str, None] = {}
        for item in _items(text):
            try:
                found[parse(item)] = None
            except Unparsable as error:
                self._problem(_told(key, f'"{item}" {error}', error.remedy))
        self._result.tls[native] = list(found)

    def _alpn(self, key: str, text: str) -> None:
        items = _items(text)
        if items == ["allow-empty"]:
            self._result.tls["alpn"] = []
            return
        for item in items:
            report = Report("")
            if self._protocol == "HTTPS" and item not in HTTP_PROTOCOLS:
                remedy = f"use {' or '.join(HTTP_PROTOCOLS)}, or allow-empty alone"
                self._problem(_told(key, f'"{item}" is not spoken here', remedy))
            elif APPLICATION_PROTOCOL.read(nodes_of(item), report) != item:
                self._problem(_told(key, *_first(report)))
        self._result.tls["alpn"] = list(dict.fromkeys(items))

    def _version(self, key: str, text: str, which: str) -> None:
        if text not in _VERSIONS:
            self._problem(f"invalid {which} tls version: {text}; write one of {', '.join(_VERSIONS)} in {key}")
            return
        self._versions[which] = text
        if text not in _SERVED:
            self._problem(f"{key}: TLS {text} is not spoken here (RFC 8996); use {' or '.join(_SERVED)}")

    def _check_versions(self) -> None:
        lowest, highest = self._versions.get("minimum"), self._versions.get("maximum")
        if lowest is not None and highest is not None and highest < lowest:
            self._problem(
                f"maximum tls version {_VERSIONS[highest]} is less than minimum tls version {_VERSIONS[lowest]}"
            )
        if lowest in _SERVED:
            self._result.tls["min_version"] = lowest
        if highest in _SERVED:
            self._result.tls["max_version"] = highest

    def _names(self, key: str, text: str) -> None:
        try:
            matches = dict.fromkeys(parse_dns_names(text))
            # It judges the names.
            SubjectAltNamesConfig(dns=tuple(matches))
        except ValueError as error:
            self._problem(_told(key, str(error)))
            return
        self._result.subject_alt_names.extend(
            {"exact": one.exact} if one.exact is not None else {"regex": one.regex, "ignore_case": True}
            for one in matches
        )

    def _hashes(self, key: str, text: str) -> None:
        try:
            self._result.certificate_hashes.extend(dict.fromkeys(parse_certificate_hashes(text)))
        except ValueError as error:
            self._problem(f"invalid certificate hash: {error}")

    # --- YAML -----------------------------------------------------------------------------------

    def _own(self, key: str, word: str, text: str) -> None:
        """Read a value in the native language."""
        record, native = _OWN[word]
        report = Report("")
        if "${" in text:
            self._problem(_told(key, "has ${ in it, and there are no variables here", "write the value itself"))
            return
        try:
            node = read_text(text, "", {}, report)
        except ConfigError as error:
            for fault in error.faults:
                self._problem(_told(key, fault.problem, fault.remedy))
            return
        shape = next(entry.shape for entry in record.fields if entry.key == native)
        if node is None:
            self._problem(_told(key, "has nothing in it", f"write {shape.wanted}"))
            return
        if not report.failed:
            shape.read(node, report)
        for fault in report.findings:
            self._problem(_told(f"{key}: {fault.path}" if fault.path else key, fault.problem, fault.remedy))
        if report.failed:
            return
        value = plain_value(node)
        if native == "policies":
            self._result.policies.extend(value)
        elif record is TLS:
            self._result.tls[native] = value
        elif record is CLIENT_VALIDATION:
            self._result.validation[native] = value
        else:
            self._result.listener[native] = value


#: What ``edgegw.io/`` has alone: where it stands in the native document.
_OWN: Final[dict[str, tuple[Record, str]]] = {
    native.replace("_", "-"): (record, native)
    for record, keys in (
        (LISTENER, ("header_injection", "health_check", "limits", "http", "http2", "forwarding")),
        (
            TLS,
            (
                "dynamic_certificates", "security_level", "strict_sni", "session_tickets", "session_lifetime",
                "fingerprints", "ocsp_stapling", "ocsp_responder",
            ),
        ),
        (
            CLIENT_VALIDATION,
            (
                "policies", "required", "max_depth", "on_missing", "refuse_with", "policy_timeout",
                "recheck_established", "explain_to_client", "envoy_compatible",
            ),
        ),
    )
    for native in keys
}


def _group(name: str) -> str:
    if name.lower() == "x25519kyber768draft00":
        raise Unparsable("is a draft that no longer exists", "use X25519MLKEM768")
    return parse_group(name)


def _told(key: str, problem: str, remedy: str = "") -> str:
    return f"{key}: {problem}" + (f"; {remedy}" if remedy else "")


def _first(report: Report) -> tuple[str, str]:
    fault = report.findings[0]
    return fault.problem, fault.remedy
