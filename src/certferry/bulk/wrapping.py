"""How exchange files are locked and opened: passwords, and the PKCS#12 profile that all clusters can read."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from certferry.bulk.opening import OPENER
from certferry.bulk.settings import DEFAULT_PKCS12_PASSWORD, SftpSettings
from certferry.errors import Refusal
from certferry.trust.release import Release
from certferry.wire.pkcs12 import Bundle, BundledCertificate, Pkcs12PasswordError, Profile, rounds_asked

LAST_LEGACY = Release(10, 5, 2)
"""Builds of 10.5(2) before 13900 cannot import what newer ones wrote (CSCuy43181, bulk 2); the release number
does not tell the builds apart, so all of 10.5(2) counts as old."""


class BundleUnreadableError(Refusal):
    """An exchange file cannot be opened."""

    code = "bulk.file-unreadable"
    remedy = "Give the password of the file (--pkcs12-password-file), or export again on the cluster it belongs to."


class BundlePasswordError(BundleUnreadableError):
    """No password that was tried opens an exchange file."""

    code = "bulk.file-password"


class FilesTooCostlyError(BundleUnreadableError):
    """The files together ask for so much key derivation that opening them would take minutes."""

    code = "bulk.files-too-costly"
    remedy = "Do not trust these files' maker without asking; write them again with usual settings."


@dataclass(slots=True)
class Patience:
    """How many rounds of key derivation all files of one step may ask for together; usual files ask for 4,096 each."""

    rounds: int = 20_000_000

    def spend(self, name: str, data: bytes) -> None:
        """Count a file that is to be opened; raise ``FilesTooCostlyError`` when it asks for more than is left."""
        asked = rounds_asked(data)
        if asked > self.rounds:
            raise FilesTooCostlyError(f"{name} asks for {asked} key derivation rounds, and {self.rounds} are left")
        self.rounds -= asked


@dataclass(frozen=True, slots=True)
class Wrapping:
    """The password files are written with, other passwords to try when reading, and the profile (None: auto)."""

    password: str = field(default=DEFAULT_PKCS12_PASSWORD, repr=False)
    other_passwords: tuple[str, ...] = field(default=(), repr=False)
    profile: Profile | None = None

    @classmethod
    def of(
        cls, settings: SftpSettings, other_passwords: Iterable[str] = (), profile: Profile | None = None
    ) -> "Wrapping":
        """Take the password from the SFTP settings."""
        return cls(settings.pkcs12_password, tuple(other_passwords), profile)

    def open(self, name: str, data: bytes) -> Bundle:
        """Open the file ``name``; raise ``BundleUnreadableError`` when it does not parse whole."""
        try:
            return OPENER.open(data, [self.password, *self.other_passwords, DEFAULT_PKCS12_PASSWORD, None])
        except Pkcs12PasswordError as error:
            raise BundlePasswordError(f"{name}: {error}") from error
        except Refusal as error:
            raise BundleUnreadableError(f"{name}: {error}") from error

    def with_password(self, password: str) -> "Wrapping":
        """Return this with one password more to try when reading."""
        return replace(self, other_passwords=(*self.other_passwords, password))

    def close(self, certificates: Iterable[BundledCertificate], releases: Iterable[Release]) -> bytes:
        """Write a file that every release taking part can read."""
        return Bundle(tuple(certificates)).encode(self.password, self.profile or profile_for(releases))


def profile_for(releases: Iterable[Release]) -> Profile:
    """Choose by the oldest release that takes part."""
    return Profile.LEGACY if min(releases) <= LAST_LEGACY else Profile.MODERN
