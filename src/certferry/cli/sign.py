"""``certferry sign`` and ``unsign``: .sgn files as TFTP nodes serve them, for systems that are not CUCM."""

import time
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from certferry.cli.cert import read_certificate
from certferry.cli.exit_codes import ExitCode
from certferry.cli.files import read_file, write_file
from certferry.cli.options import JsonOption, output
from certferry.errors import Refusal, UsageError
from certferry.wire.certificate import Certificate
from certferry.wire.signed_file import SUFFIX, SignedFile, sign_file
from certferry.wire.signed_header import Digest

ToOption = Annotated[str | None, typer.Option("--to", help="File to write, or - for standard output.")]


class KeyFileError(Refusal):
    """The file given with ``--key`` does not hold what signing needs."""

    code = "cli.key-file"
    remedy = "Give one PEM file with an RSA private key without passphrase and its certificate."


class SuffixError(UsageError):
    """The name of the file to write cannot be made of the one read."""

    code = "cli.suffix"
    remedy = "Say where to write: --to FILE"


def sign(
    file: Annotated[Path, typer.Argument(help="The file to sign, such as SEP001122334455.cnf.xml.")],
    key: Annotated[Path, typer.Option("--key", metavar="PEM", help="The signer's private key and certificate.")],
    sha512: Annotated[bool, typer.Option("--sha512", help="SHA-512 instead of SHA-1, for newer phones.")] = False,
    name: Annotated[str | None, typer.Option("--name", help="The name phones ask for; the file's own else.")] = None,
    to: ToOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a signed header before a file: FILE becomes FILE.sgn."""
    out = output(as_json)
    signer, private = read_signer(key)
    digest, target = Digest.SHA512 if sha512 else Digest.SHA1, to or f"{file}{SUFFIX}"
    signed = sign_file(name or file.name, read_file(file), signer, private, digest=digest, timestamp=int(time.time()))
    write_file(target, signed)
    if target != "-":
        result = {"to": target, "bytes": len(signed), "signer": signer.subject, "digest": digest.name}
        out.data(result, f"{target}: {len(signed)} bytes, signed by {signer.subject}")


def unsign(
    file: Annotated[Path, typer.Argument(help="A signed file, X.sgn.")],
    certificate: Annotated[
        Path | None, typer.Option("--certificate", metavar="PEM", help="Verify with it first; exit 4 if it fails.")
    ] = None,
    to: ToOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cut the signed header off a file: X.sgn becomes X."""
    out = output(as_json)
    if to is None and file.suffix != SUFFIX:
        raise SuffixError(f"{file} does not end in {SUFFIX}")
    signed, target = SignedFile.parse(read_file(file)), to or str(file.with_suffix(""))
    verified = signed.verify(read_certificate(certificate)) if certificate else None
    result = {"to": target, "filename": signed.header.filename, "signer": signed.header.subject, "verified": verified}
    if verified is False:
        out.data(result, f"{file} is not signed by {certificate}; nothing was written.")
        raise typer.Exit(ExitCode.VERIFICATION_FAILED)
    write_file(target, signed.payload)
    if target != "-":
        out.data(result, f"{target}: {len(signed.payload)} bytes, as {signed.header.subject} signed them")


def read_signer(file: Path) -> tuple[Certificate, rsa.RSAPrivateKey]:
    """Read a PEM file with a certificate and its RSA key; raises ``KeyFileError``."""
    pem = read_file(file)
    try:
        key = load_pem_private_key(_block(pem, b"PRIVATE KEY"), password=None)
    except (ValueError, TypeError) as error:  # TypeError: it wants a passphrase
        raise KeyFileError(f"{file} holds no usable private key") from error
    if not isinstance(key, rsa.RSAPrivateKey):
        raise KeyFileError(f"the key in {file} is not an RSA key")
    return Certificate.from_pem(pem), key


def _block(pem: bytes, label: bytes) -> bytes:
    """Cut out the first PEM block whose label ends in ``label``; raises ``ValueError``."""
    end = pem.index(label + b"-----")
    start = pem.rindex(b"-----BEGIN ", 0, end)
    stop = pem.index(b"-----END ", end)
    return pem[start : pem.index(b"-----", stop + len(b"-----END ")) + len(b"-----")] + b"\n"
