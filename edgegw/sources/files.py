"""``files``: a certificate and its key from two files, followed as they change."""
from __future__ import annotations

from attrs import frozen

from edgegw.api import CertificateAndKey, FilePath, IEnvironment, IFollowed, certificate_source, option

__all__ = ["Files", "FilesConfig", "FollowedPair"]

#: Bytes that each of the files may have.
_MOST_BYTES = 8 * 1024 * 1024


class FollowedPair:
    """A certificate and its key in files, followed.

    :param certificate: a path; also what the certificate is called.
    :raises ValueError: one of them cannot be read.
    """

    def __init__(self, certificate: str, private_key: str, env: IEnvironment) -> None:
        self._name = certificate
        self._certificate = _followed(certificate, env)
        self._private_key = _followed(private_key, env)

    def load(self) -> CertificateAndKey:
        """Give what is in them; the gateway judges whether the one goes with the other."""
        return CertificateAndKey(self._certificate.value, self._private_key.value, self._name)


def _followed(path: str, env: IEnvironment) -> IFollowed:
    try:
        return env.follow(path, bytes, _MOST_BYTES)
    except OSError as error:
        problem = error.strerror or str(error)
        raise ValueError(f"{path} cannot be read: {problem}; give the path of a readable PEM file") from None


@frozen
class FilesConfig:
    """Options of ``files``."""

    certificate: FilePath = option("A PEM file: the certificate and its chain, the leaf first.")
    private_key: FilePath = option("A PEM file: the unencrypted private key.")


@certificate_source("files", FilesConfig)
class Files(FollowedPair):
    """Show the certificate of a file, and a newer one about two seconds after the file was renewed.

    Both files are looked at about once a second.  A new certificate is shown once its key is there too, whichever was
    written first; until then, and for as long as either is missing, cut off or faulty, the one before stays in use, and
    the log says why.  Symbolic links may be turned over, Kubernetes' ``..data`` among them.

    What a new certificate does not change is its listener's configuration: names that it has no longer lead to no
    certificate.

    Example::

        listeners:
          - name: web
            port: 8443
            tls:
              certificates:
                - source:
                    files: {certificate: /etc/edgegw/tls/server.pem, private_key: /etc/edgegw/tls/server.key}
    """

    def __init__(self, config: FilesConfig, env: IEnvironment) -> None:
        super().__init__(config.certificate, config.private_key, env)
