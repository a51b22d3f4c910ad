"""Where a cluster lives: a folder with a SQLite database, or a PostgreSQL database that several machines share.

Private keys and passwords in it are sealed under a key file. A folder holds its own; a cluster in PostgreSQL has the
same key file on every machine, beside the database and never in it.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from certferry.cluster.server_address import SCHEMES, ServerAddress
from certferry.errors import Refusal

KEY_VARIABLE = "CERTFERRY_SEAL_KEY"


class ClusterLocationError(Refusal):
    """``--cluster`` names something that cannot hold a cluster."""

    code = "cluster.location"
    remedy = "Give --cluster (or CERTFERRY_CLUSTER) the folder or URL that 'certferry cluster create' was given."


class ClusterMissingError(ClusterLocationError):
    """There is no cluster at the place named."""

    code = "cluster.missing"


class ClusterExistsError(ClusterLocationError):
    """A cluster stands already where a new one was to be created."""

    code = "cluster.exists"
    remedy = "Choose another place, or remove the old cluster on purpose."


@dataclass(frozen=True, slots=True)
class ClusterLocation:
    """A cluster's place. ``text`` is what ``--cluster`` takes, ``key_file`` seals private keys and passwords.

    ``server`` is where its PostgreSQL database is; None for a cluster in a folder.
    """

    text: str
    key_file: Path
    server: ServerAddress | None = None

    @classmethod
    def parse(cls, text: str | Path) -> Self:
        """Read what ``--cluster`` was given; raises ``ClusterLocationError``, ``ServerAddressError``."""
        scheme, is_url, _ = str(text).partition("://")
        if not is_url:
            return cls._folder(Path(text).expanduser())
        if scheme not in SCHEMES:
            raise ClusterLocationError(f"{scheme}:// is not a place certferry keeps clusters in")
        server = ServerAddress.parse(str(text))
        return cls(str(text), server.key_file or _key_file(server), server)

    @classmethod
    def _folder(cls, folder: Path) -> Self:
        if folder.exists() and not folder.is_dir():
            raise ClusterLocationError(f"{folder} is a file, not a cluster's folder")
        return cls(str(folder), folder / "seal.key")

    @property
    def folder(self) -> Path:
        """The cluster's folder; raises ``ClusterLocationError`` for a cluster in PostgreSQL, which has none."""
        if self.server is not None:
            raise ClusterLocationError(f"{self.text} is not a folder", remedy="Use a cluster in a folder for this.")
        return Path(self.text)

    @property
    def database(self) -> Path:
        """The SQLite file; raises ``ClusterLocationError`` as ``folder`` does."""
        return self.folder / "cluster.sqlite"


def _key_file(server: ServerAddress) -> Path:
    """Where the key of a cluster in PostgreSQL is: the file or folder of ``KEY_VARIABLE``, else in ``~/.config``."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "certferry"
    place = Path(os.environ.get(KEY_VARIABLE) or home).expanduser()
    return place / f"{server.name}.key" if place.is_dir() or place == home else place
