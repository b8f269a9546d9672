"""``edgegw secret`` and ``edgegw configmap``: manifests made of files."""
from __future__ import annotations

import base64
import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import mkdtemp

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.cli import main
from edgegw.gateway_api.make_objects import CannotMake, config_map, tls_secret
from edgegw.gateway_api.manifests import read_objects_text
from tests.config_documents import CA, SERVER, issue


class CommandTestCase(SynchronousTestCase):
    """Runs commands in a directory with files."""

    def setUp(self) -> None:
        self.directory = Path(mkdtemp())
        for name, content in (("tls.crt", SERVER.pem + CA.pem), ("tls.key", SERVER.key_pem), ("bin", b"\xff\x00")):
            (self.directory / name).write_bytes(content)

    def path(self, name: str) -> str:
        return str(self.directory / name)

    def run_edgegw(self, *arguments: str) -> tuple[int, str, str]:
        """Give exit status, output and complaints."""
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            try:
                status = main(arguments)
            except SystemExit as error:
                status = int(error.code or 0)
        return status, out.getvalue(), err.getvalue()


class Secret(CommandTestCase):
    """``edgegw secret tls``."""

    def secret(self, *arguments: str, certificate: str = "tls.crt", key: str = "tls.key") -> tuple[int, str, str]:
        return self.run_edgegw(
            "secret", "tls", "web", "--cert", self.path(certificate), "--key", self.path(key), *arguments
        )

    def test_as_kubectl(self) -> None:
        """It prints what ``kubectl create secret tls`` prints, and it is read as a Secret."""
        status, text, _ = self.secret("-n", "infra")
        certificate = base64.b64encode(SERVER.pem + CA.pem).decode()
        key = base64.b64encode(SERVER.key_pem).decode()
        self.assertEqual(status, 0)
        self.assertEqual(
            text,
            f"apiVersion: v1\ndata:\n  tls.crt: {certificate}\n  tls.key: {key}\nkind: Secret\n"
            "metadata:\n  name: web\n  namespace: infra\ntype: kubernetes.io/tls\n",
        )
        (one,) = read_objects_text(text).objects
        self.assertEqual((str(one), one.content["data"]["tls.key"]), ("Secret infra/web", key))
        self.assertNotIn("namespace", self.secret()[1])

    def test_pair(self) -> None:
        """Certificate and key belong together, and the server's certificate is the first."""
        other = issue("other")
        for name, content in (
            ("other.key", other.key_pem),
            ("turned.crt", CA.pem + SERVER.pem),
            ("bad.crt", b"-----BEGIN CERTIFICATE-----\neHk=\n-----END CERTIFICATE-----\n"),
            ("bad.key", b"-----BEGIN PRIVATE KEY-----\neHk=\n-----END PRIVATE KEY-----\n"),
            ("empty", b""),
        ):
            (self.directory / name).write_bytes(content)
        for certificate, key, words in (
            ("tls.crt", "other.key", "does not belong to the certificate"),
            ("turned.crt", "tls.key", "does not belong to the certificate"),
            ("bad.crt", "tls.key", "the certificate is not valid"),
            ("tls.crt", "bad.key", "the private key is not valid"),
            ("tls.key", "tls.key", "give PEM with -----BEGIN CERTIFICATE-----"),
            ("tls.crt", "tls.crt", "give PEM with -----BEGIN PRIVATE KEY-----"),
            ("empty", "tls.key", "the certificate is empty"),
            ("no", "tls.key", "no: No such file or directory"),
        ):
            status, text, complaint = self.secret(certificate=certificate, key=key)
            self.assertEqual((status, text), (1, ""), words)
            self.assertIn(words, complaint)

    def test_names(self) -> None:
        """Names are those that an API server takes."""
        for name, namespace in (("A", None), ("a", "b.c"), ("", None)):
            self.assertRaises(CannotMake, tls_secret, name, SERVER.pem, SERVER.key_pem, namespace)

    def test_usage(self) -> None:
        """What is missing is told."""
        self.assertEqual(self.run_edgegw("secret", "tls", "a")[0], 2)
        self.assertEqual(self.run_edgegw("secret", "generic", "a")[0], 2)
        self.assertEqual(self.run_edgegw("secret")[0], 2)
        self.assertIn("--cert FILE", self.run_edgegw("secret", "tls", "--help")[1])


class ConfigMap(CommandTestCase):
    """``edgegw configmap``."""

    def test_as_kubectl(self) -> None:
        """It prints what ``kubectl create configmap`` prints."""
        status, text, _ = self.run_edgegw(
            "configmap", "ca", "--from-literal=b=yes", "--from-literal", "a=x=y z", f"--from-file=c={self.path('bin')}",
            f"--from-file={self.path('tls.crt')}", "-n", "infra",
        )
        pem = "".join(f"    {line}\n" for line in (SERVER.pem + CA.pem).decode().splitlines())
        self.assertEqual(status, 0)
        self.assertEqual(
            text,
            'apiVersion: v1\nbinaryData:\n  c: /wA=\ndata:\n  a: x=y z\n  b: "yes"\n'
            f"  tls.crt: |\n{pem}kind: ConfigMap\nmetadata:\n  name: ca\n  namespace: infra\n",
        )
        (one,) = read_objects_text(text).objects
        self.assertEqual(one.content["data"]["tls.crt"], (SERVER.pem + CA.pem).decode())

    def test_directory(self) -> None:
        """A directory's files stand under their own names, what is below it is left out."""
        (self.directory / "below").mkdir()
        status, text, _ = self.run_edgegw("configmap", "a", f"--from-file={self.directory}")
        self.assertEqual(status, 0)
        self.assertEqual(set(yaml.safe_load(text)["data"]), {"tls.crt", "tls.key"})
        self.assertEqual(set(yaml.safe_load(text)["binaryData"]), {"bin"})

    def test_nothing(self) -> None:
        """A ConfigMap may be empty."""
        self.assertEqual(config_map("a", {}), "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n")

    def test_refused(self) -> None:
        """Keys are given once and have the form of keys."""
        for arguments, words in (
            (("--from-literal=a=b", "--from-literal=a=c"), "'a' is given twice"),
            (("--from-literal=a",), "is no KEY=VALUE"),
            (("--from-literal=a/b=c",), "cannot be a key"),
            (("--from-file=a=b=c",), "write KEY=FILE with one ="),
            (("--from-file=no",), "no: No such file or directory"),
        ):
            status, text, complaint = self.run_edgegw("configmap", "a", *arguments)
            self.assertEqual((status, text), (1, ""))
            self.assertIn(words, complaint)
        self.assertRaises(CannotMake, config_map, "a", {"a": b"x" * 1_048_577})

    @settings(max_examples=150, deadline=None)
    @given(st.dictionaries(st.from_regex(r"[a-z0-9._-]{1,8}", fullmatch=True), st.text(max_size=20), max_size=3))
    def test_any_text(self, entries: dict[str, str]) -> None:
        """Whatever text is put in comes out."""
        entries = {key: value for key, value in entries.items() if not key.startswith(".")}
        encoded = {key: value.encode() for key, value in entries.items()}
        (one,) = read_objects_text(config_map("a", encoded)).objects
        self.assertEqual(one.content.get("data", {}), entries)
