"""PEM files that hold a certificate and its private key: whose word a list or a configuration is."""

from pathlib import Path
from typing import Annotated

import typer
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from certferry.cli.files import naming, read_file
from certferry.cli.output import Output
from certferry.cli.passwords import first_line
from certferry.errors import Refusal, UsageError
from certferry.wire.certificate import Certificate
from certferry.wire.signed_header import require_key_of

KeyOption = Annotated[
    Path, typer.Option("--key", metavar="PEM", help="The signer's certificate and its RSA private key, in one file.")
]
KeyPasswordOption = Annotated[
    Path | None,
    typer.Option(
        "--key-password-file", metavar="FILE", help="The first line is the key's password; else it is asked for."
    ),
]


class KeyFileError(Refusal):
    """The PEM file does not hold what signing needs."""

    code = "cli.key-file"
    remedy = "Give one PEM file with a certificate and its RSA key: cat certificate.pem key.pem > both.pem"


class KeyPasswordMissingError(UsageError):
    """The private key is encrypted and nobody can be asked for its password."""

    code = "cli.key-password-missing"
    remedy = "Give --key-password-file FILE, or run it on a terminal."


class KeyPasswordWrongError(Refusal):
    """The password does not open the private key."""

    code = "cli.key-password-wrong"
    remedy = "Give the password that the key was encrypted with."


def read_signer(out: Output, file: Path, password_file: Path | None) -> tuple[Certificate, rsa.RSAPrivateKey]:
    """Read a certificate and its RSA key; the password of an encrypted one comes from a file or is asked for.

    Raises ``KeyFileError``, ``KeyPasswordMissingError``, ``KeyPasswordWrongError``, ``CertificateMalformedError``
    and, where the key is not the certificate's, ``SignerKeyError``.
    """
    pem = read_file(file)
    key = _load(file, pem, None) or _load(file, pem, _password(out, file, password_file))
    if not isinstance(key, rsa.RSAPrivateKey):
        raise KeyFileError(f"the key in {file} is not an RSA key")
    with naming(file):
        certificate = Certificate.from_pem(pem)
        require_key_of(certificate, key)
    return certificate, key


def _load(file: Path, pem: bytes, password: bytes | None) -> PrivateKeyTypes | None:
    """Read the key; None when it takes a password and none is given."""
    try:
        return load_pem_private_key(pem, password)
    except TypeError:
        return None
    except (ValueError, UnsupportedAlgorithm) as error:
        # The library's words are left out: they may tell of the key.
        if password is not None:
            raise KeyPasswordWrongError(f"the password does not open the key in {file}") from error
        raise KeyFileError(f"{file} holds no private key that can be read") from error


def _password(out: Output, file: Path, password_file: Path | None) -> bytes:
    if password_file is not None:
        return first_line(password_file).encode()
    if not out.can_ask:
        raise KeyPasswordMissingError(f"the key in {file} is encrypted, and no password was given")
    asked: str = typer.prompt(f"Password of the key in {file}", hide_input=True, err=True)
    return asked.encode()
