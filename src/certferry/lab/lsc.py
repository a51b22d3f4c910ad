"""LSCs for the phones of a lab: thousands of certificates by a CAPF key opened once, over a few phone keys."""

import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certferry.cluster.cluster import Cluster
from certferry.cluster.issuing import locally_significant
from certferry.lab.keys import PooledKeys
from certferry.trust.purpose import Purpose

PHONE_KEYS = 4


class LscFiles:
    """A folder of certificates and keys as phones present them; the keys are made at the first use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._keys: Iterator[tuple[rsa.RSAPublicKey, Path]] | None = None

    def issue(self, cluster: Cluster, devices: Iterable[str]) -> Iterator[tuple[Path, Path]]:
        """Let the cluster's CAPF issue each device an LSC; give the paths of certificate and key, one device a time."""
        capf = cluster.identity(Purpose.CAPF)
        capf_key, now = cluster.private_key(capf), datetime.now(UTC).replace(microsecond=0)
        keys = self._keys = self._keys or self._make_keys()
        for device in devices:
            public, key_path = next(keys)
            path, own_key = self._folder / f"{device}.pem", self._folder / f"{device}.key"
            path.write_text(locally_significant(device, public, capf.certificate, capf_key, now).pem)
            own_key.unlink(missing_ok=True)
            own_key.symlink_to(key_path.name)
            yield path, own_key

    def _make_keys(self) -> Iterator[tuple[rsa.RSAPublicKey, Path]]:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        pool = PooledKeys(PHONE_KEYS)
        return cycle([self._kept(pool.rsa(2048), number) for number in range(PHONE_KEYS)])

    def _kept(self, key: rsa.RSAPrivateKey, number: int) -> tuple[rsa.RSAPublicKey, Path]:
        path = self._folder / f"phones-{number}.key"
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(pem)
        return key.public_key(), path
