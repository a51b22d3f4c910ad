"""Where a cluster lives: a folder with a SQLite database and the key file that seals its secrets."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from certferry.errors import Refusal


class ClusterLocationError(Refusal):
    """``--cluster`` names something that cannot hold a cluster."""

    code = "cluster.location"
    remedy = "Give --cluster (or CERTFERRY_CLUSTER) the folder that 'certferry cluster create' made."


class ClusterMissingError(ClusterLocationError):
    """There is no cluster at the place named."""

    code = "cluster.missing"


class ClusterExistsError(ClusterLocationError):
    """A cluster stands already where a new one was to be created."""

    code = "cluster.exists"
    remedy = "Choose another folder, or remove the old cluster's folder on purpose."


@dataclass(frozen=True, slots=True)
class ClusterLocation:
    """A cluster's folder. ``database`` is the SQLite file, ``key_file`` seals private keys and passwords."""

    folder: Path

    @classmethod
    def parse(cls, text: str | Path) -> Self:
        """Read what ``--cluster`` was given; raise ``ClusterLocationError`` for what is not a folder."""
        if "://" in str(text):
            raise ClusterLocationError(f"{str(text).split('://')[0]}:// is not a place certferry keeps clusters in yet")
        folder = Path(text).expanduser()
        if folder.exists() and not folder.is_dir():
            raise ClusterLocationError(f"{folder} is a file, not a cluster's folder")
        return cls(folder)

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.folder / "cluster.sqlite"

    @property
    def key_file(self) -> Path:
        """The file whose key seals secrets, mode 0600."""
        return self.folder / "seal.key"

    def must_exist(self) -> Self:
        """Return self, or raise ``ClusterMissingError``."""
        if not self.database.is_file():
            raise ClusterMissingError(f"no cluster in {self.folder}")
        return self

    def must_not_exist(self) -> Self:
        """Return self, or raise ``ClusterExistsError``."""
        if self.database.exists():
            raise ClusterExistsError(f"{self.folder} holds a cluster already")
        return self
