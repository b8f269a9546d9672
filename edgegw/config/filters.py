"""What a rule does with requests and responses, from the native document."""
from __future__ import annotations

import stat
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Final

from attrs import evolve

from edgegw.config.certificates import CertificateFiles
from edgegw.config.document_filters import (
    BACKEND_FILTERS,
    COMPRESSION,
    CORS_RULES,
    EXTERNAL_AUTH,
    FIXED_RESPONSE,
    REDIRECT,
    RETRY,
    REWRITE,
    RULE_FILTERS,
    TIMEOUTS,
    mirror,
    rate_limit,
)
from edgegw.config.faults import Report
from edgegw.config.nodes import Node
from edgegw.config.shapes import Section, did_you_mean
from edgegw.model import (
    CORS,
    NO_FILTERS,
    Compression,
    ExternalAuth,
    Filters,
    FixedResponse,
    HeaderModifier,
    Mirror,
    PathModifier,
    PathModifierType,
    Redirect,
    Retry,
    Rewrite,
    Timeouts,
)

__all__ = ["FilterTranslation", "check_upstream_name"]

_MOST_BYTES: Final = 1_048_576
# A configuration may have hundreds of thousands of rules and backends without filters.
_KEYS_OF_RULES: Final = frozenset(entry.key for entry in RULE_FILTERS)
_KEYS_OF_BACKENDS: Final = frozenset(entry.key for entry in BACKEND_FILTERS)


class FilterTranslation:
    """Makes the model of filters.

    :param directory: what relative paths start from.
    :param files: reads certificates.
    :param injected: the headers that any listener's injectors set.
    :param upstreams: the names of all.
    """

    def __init__(
        self,
        directory: Path,
        files: CertificateFiles,
        injected: AbstractSet[str],
        upstreams: AbstractSet[str],
        report: Report,
    ) -> None:
        self._directory = directory
        self._files = files
        self._upstreams = upstreams
        self._report = report
        self._injected = injected

    def rule(self, section: Section, has_prefix: bool) -> Filters:
        """Make the filters of a rule.

        :param has_prefix: whether the rule matches exactly one prefix.
        """
        if _KEYS_OF_RULES.isdisjoint(section.values):
            return NO_FILTERS
        filters = self.backend(section, has_prefix)
        retry = section.get("retry")
        timeouts = section.get("timeouts")
        limit, auth, compression = (section.get(key) for key in ("rate_limit", "external_auth", "compression"))
        return evolve(
            filters,
            fixed_response=self._fixed(section.get("fixed_response")),
            timeouts=None if timeouts is None else TIMEOUTS.settings(timeouts, Timeouts()),
            max_body=section.get("max_body_size"),
            retry=None if retry is None else self._retry(retry),
            rate_limit=None if limit is None else rate_limit(limit),
            compression=None if compression is None else COMPRESSION.settings(compression, Compression()),
            external_auth=None if auth is None else self._external_auth(auth),
        )

    def backend(self, section: Section, has_prefix: bool) -> Filters:
        """Make the filters of one backend of a rule, or those of a rule that backends may have too."""
        if _KEYS_OF_BACKENDS.isdisjoint(section.values):
            return NO_FILTERS
        redirect, rewrite, cors = section.get("redirect"), section.get("rewrite"), section.get("cors")
        if redirect is not None and rewrite is not None:
            self._report.fault(
                section.node.key("rewrite"), "does not go with redirect: nothing is sent to an upstream", "leave it out"
            )
        return Filters(
            request_headers=self._modifier(section.get("request_headers"), True),
            response_headers=self._modifier(section.get("response_headers"), False),
            redirect=None if redirect is None else evolve(
                REDIRECT.settings(redirect, Redirect()), path=self._path(redirect, has_prefix)
            ),
            rewrite=None if rewrite is None else evolve(
                REWRITE.settings(rewrite, Rewrite()), path=self._path(rewrite, has_prefix)
            ),
            cors=None if cors is None else CORS_RULES.settings(cors, CORS(())),
            mirrors=tuple(self._mirror(item.value) for item in section.items("mirrors")),
        )

    def _mirror(self, section: Section) -> Mirror:
        check_upstream_name(section, self._upstreams, self._report)
        return mirror(section)

    # --- headers and places -----------------------------------------------------------------

    def _modifier(self, section: Section | None, of_requests: bool) -> HeaderModifier | None:
        if section is None:
            return None
        given = {key: section.get(key, ()) for key in ("set", "add")}
        removed = section.items("remove")
        if of_requests:
            for place, name, _ in (*given["set"], *given["add"]):
                self.check_owner(name, place)
            for item in removed:
                self.check_owner(item.value, item.node)
        return HeaderModifier(
            tuple((name, value) for _, name, value in given["set"]),
            tuple((name, value) for _, name, value in given["add"]),
            tuple(item.value for item in removed),
        )

    def check_owner(self, name: str, place: Node) -> None:
        """Find fault with the name of a request header that an injector of a listener owns."""
        if name in self._injected:
            self._report.fault(
                place, f"{name} tells upstreams who is calling: a listener injects it", "use another name"
            )

    def _path(self, section: Section, has_prefix: bool) -> PathModifier | None:
        path: Section | None = section.get("path")
        if path is None or "type" not in path or "value" not in path:
            return None
        kind = path.get("type")
        if kind is PathModifierType.REPLACE_PREFIX_MATCH and not has_prefix:
            self._report.fault(
                path.at("type"),
                "needs a rule that matches exactly one PathPrefix",
                "give the rule one match with a PathPrefix, or use ReplaceFullPath",
            )
        elif kind is PathModifierType.REPLACE_FULL_PATH and not path.get("value"):
            self._report.fault(path.at("value"), "is empty", "write a path, such as /")
        return PathModifier(kind, path.get("value"))

    def _fixed(self, section: Section | None) -> FixedResponse | None:
        if section is None:
            return None
        body = section.get("body", "").encode("utf-8")
        if "file" in section:
            body = self._file(section)
        headers = tuple((name, value) for _, name, value in section.get("headers", ()))
        return evolve(FIXED_RESPONSE.settings(section, FixedResponse()), headers=headers, body=body)

    def _file(self, section: Section) -> bytes:
        name = section.get("file", "")
        try:
            path = self._directory / name
            # Opening a pipe would wait for whoever writes into it.
            if not stat.S_ISREG(path.stat().st_mode):
                raise ValueError("it is no regular file")
            with path.open("rb") as file:
                content: bytes = file.read(_MOST_BYTES + 1)
            if len(content) > _MOST_BYTES:
                raise ValueError(f"it is larger than {_MOST_BYTES} bytes")
        except (OSError, ValueError) as error:
            problem = f"{name} cannot be read: {getattr(error, 'strerror', None) or error}"
            self._report.fault(section.at("file"), problem, "give the path of a readable file of 1MiB or less")
            return b""
        return content

    # --- a service that decides -------------------------------------------------------------

    def _external_auth(self, section: Section) -> ExternalAuth:
        for key in ("request_headers", "upstream_headers"):
            for item in section.items(key):
                self.check_owner(item.value, item.node)
        auth = EXTERNAL_AUTH.settings(section, ExternalAuth(""))
        facts = tuple((name, template) for _, name, template in section.get("facts", ()))
        asked = {item.value for item in section.items("request_headers")} or set(auth.request_headers)
        for place, name, _ in section.get("facts", ()):
            if name in asked:
                self._report.fault(place, f"{name} is among request_headers too", "use another name")
        if facts:
            auth = evolve(auth, facts=facts)
        if "ca_certificates" in section:
            anchors, findings = self._files.bundle(section.get("ca_certificates", ""))
            place = section.at("ca_certificates")
            for finding in findings:
                self._report.warn(place, finding.problem, finding.remedy)
            if anchors:
                auth = evolve(auth, ca_certificates=b"".join(anchor.pem for anchor in anchors))
            else:
                self._report.fault(place, "has no CA certificate that can be used", "correct the file")
        return auth

    # --- time, number and size --------------------------------------------------------------

    @staticmethod
    def _retry(section: Section) -> Retry:
        changes: dict[str, Any] = {}
        if "codes" in section:
            changes["codes"] = frozenset(item.value for item in section.items("codes"))
        if "methods" in section:
            changes["methods"] = frozenset(item.value for item in section.items("methods"))
        return evolve(RETRY.settings(section, Retry()), **changes)


def check_upstream_name(section: Section, upstreams: AbstractSet[str], report: Report) -> None:
    """Find fault with ``upstream`` where there is none of that name."""
    name = section.get("upstream", "")
    if "upstream" in section and name not in upstreams:
        remedy = did_you_mean(name, sorted(upstreams)) or f"add {name} to upstreams"
        report.fault(section.at("upstream"), f"there is no upstream {name}", remedy)

