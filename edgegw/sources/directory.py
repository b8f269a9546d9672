"""``directory``: the certificate and key of a directory whose files have the names that tools give them."""
from __future__ import annotations

import os
from typing import Final

from attrs import frozen

from edgegw.api import FilePath, IEnvironment, certificate_source, option
from edgegw.sources.files import FollowedPair

__all__ = ["PAIRS", "Directory", "DirectoryConfig"]

#: Names of the certificate's file and the key's: of Kubernetes' secrets and cert-manager, certbot, SPIFFE's helper,
#: and of those who write them by hand.
PAIRS: Final = (
    ("tls.crt", "tls.key"),
    ("fullchain.pem", "privkey.pem"),
    ("svid.pem", "svid_key.pem"),
    ("cert.pem", "key.pem"),
)


@frozen
class DirectoryConfig:
    """Options of ``directory``."""

    path: FilePath = option("The directory.")


@certificate_source("directory", DirectoryConfig)
class Directory(FollowedPair):
    """Show the certificate of a directory that a tool keeps up to date, as ``files`` does that of two files.

    The first of these pairs that is there is followed: ``tls.crt`` and ``tls.key`` (a Kubernetes secret, cert-manager),
    ``fullchain.pem`` and ``privkey.pem`` (certbot), ``svid.pem`` and ``svid_key.pem`` (spiffe-helper), ``cert.pem`` and
    ``key.pem``.

    Example::

        listeners:
          - name: web
            port: 8443
            tls:
              certificates:
                - source:
                    directory: {path: /etc/letsencrypt/live/www.example.com}
    """

    def __init__(self, config: DirectoryConfig, env: IEnvironment) -> None:
        for certificate, private_key in PAIRS:
            paths = os.path.join(config.path, certificate), os.path.join(config.path, private_key)
            if all(map(os.path.exists, paths)):
                super().__init__(*paths, env)
                return
        wanted = ", or ".join(" and ".join(pair) for pair in PAIRS)
        raise ValueError(f"{config.path} has no certificate with a key in it; it takes {wanted}, or files in its place")
