"""The configuration step of a boot: which files a phone asks for, and what it makes of the one that it accepted.

::

    SEP<MAC>.cnf.xml.sgn ──► whole: installed
          │    └──► short, names the phone's certificate ──► SEP<MAC>.cnf.xml.enc.sgn ──► decrypted, installed
          └ not found ──► XMLDefault.cnf.xml.sgn: the cluster does not know this phone

A phone without a trust list asks for the same names without ``.sgn``, as does one whose lists were emptied; the
encrypted file has no such form (phone-trust 2.2, 4.1).
"""

from dataclasses import dataclass, field

from certferry.errors import MalformedError
from certferry.phone.candidate import Candidate, Rejection
from certferry.phone.decision import Held
from certferry.phone.flash import Flash
from certferry.phone.identity import Own
from certferry.phone.outcome import Code
from certferry.wire.default_config import DEFAULT_NAME
from certferry.wire.encrypted_file import ENCRYPTED_SUFFIX, DecryptionError, EncryptedFile
from certferry.wire.phone_config import PhoneConfig
from certferry.wire.signed_file import SUFFIX

_CHECKING = (Held.CTL, Held.ITL)
_WAS_ENCRYPTED = b"<encrConfig>true</encrConfig>"


@dataclass(frozen=True, slots=True)
class Opened:
    """A configuration that can be read: its XML as the phone keeps it, and what that says."""

    xml: bytes = field(repr=False)
    config: PhoneConfig


def configuration_names(device: str, held: Held, flash: Flash) -> tuple[str, ...]:
    """Return the names to ask for, in order.

    A phone whose configuration came encrypted asks for that again and, where encryption was switched off since, is
    told that there is none (2.2: documented; that this decides which phone asks first is deduced, INF).
    """
    suffix = SUFFIX if held in _CHECKING else ""
    usual = (f"{device}.cnf.xml{suffix}", f"{DEFAULT_NAME}{suffix}")
    return (encrypted_name(device), *usual) if _WAS_ENCRYPTED in (flash.config or b"") else usual


def encrypted_name(device: str) -> str:
    """Name the encrypted configuration of ``device``."""
    return f"{device}.cnf.xml{ENCRYPTED_SUFFIX}"


def is_encrypted_name(name: str) -> bool:
    """Whether a file of that name is an encrypted configuration."""
    return name.endswith(ENCRYPTED_SUFFIX)


def open_configuration(candidate: Candidate, own: Own) -> Opened | Rejection:
    """Read an accepted configuration, decrypting it with the phone's key where it is encrypted."""
    name = candidate.name
    try:
        xml = _decrypted(candidate, own) if is_encrypted_name(name) else candidate.xml
        config = PhoneConfig.parse(xml)
    except DecryptionError as error:
        return Rejection(Code.CONFIG_ENCRYPTED, f"{name} cannot be opened: {error}")
    except MalformedError as error:
        return Rejection(Code.CONFIG_MALFORMED, f"{name} cannot be read: {error}")
    if config.is_short and is_encrypted_name(name):
        return Rejection(Code.CONFIG_MALFORMED, f"{name} holds nothing but the note that it is encrypted")
    return Opened(xml, config)


def _decrypted(candidate: Candidate, own: Own) -> bytes:
    identity = own()
    if identity is None or identity.key is None:
        raise DecryptionError("the phone has no RSA key")
    return EncryptedFile.parse(candidate.data).decrypt(identity.key)


def why_not_ours(config: PhoneConfig, own: Own) -> str | None:
    """Say why the phone cannot go on to the encrypted file that a short one announces; None when it can.

    It compares the MD5 of its certificate with ``certHash``; a phone to which that does not apply would ask CAPF for
    a new LSC (2.2), which no phone here does.
    """
    identity = own()
    if identity is None:
        return "its configuration is encrypted and the phone has no certificate of its own"
    if not config.cert_hash:
        return "its configuration is encrypted, for no certificate that it names"
    if config.cert_hash.replace(":", "").lower() != identity.cert_hash:
        return f"its configuration is encrypted for the certificate with MD5 {config.cert_hash[:64]}, not the phone's"
    return None
